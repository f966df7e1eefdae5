"""`FakeOpenNode`: a process on the machine in memory that reports on its state folders."""

import attrs

from amdcni import ports
from amdcni.core import formats
from amdcni.core.attachment import Attachment
from amdcni.core.errors import DamagedRecord
from amdcni.core.names import DeviceKey
from amdcni.core.request import DEFAULT_DATA_DIR
from tests.unit.fake_machine import Disk, Machine
from tests.unit.fake_node import FakeNode


@attrs.frozen
class FakeFolder:
    """One state folder."""

    path: str
    disk: Disk

    def device_keys(self) -> tuple[DeviceKey, ...]:
        return tuple(DeviceKey.parse(name) for name in sorted(self.disk.files))

    def read(self, key: DeviceKey) -> Attachment | None:
        data = self.disk.files.get(str(key))
        if data is None:
            return None
        try:
            record = formats.parse_attachment(data)
        except DamagedRecord as failure:
            raise DamagedRecord(f"{self.path}/{key}.json: {failure.message}") from None
        return attrs.evolve(record, folder=self.path)


@attrs.frozen
class FakeFolders:
    """Several of them."""

    parts: tuple[FakeFolder, ...]

    def set_aside(self) -> tuple[tuple[DeviceKey, str], ...]:
        return tuple(
            (DeviceKey.parse(name), f"{part.path}/{name}.json.damaged-1")
            for part in self.parts
            for name, _ in part.disk.aside
        )


class FakeOpenNode(FakeNode):
    """An `amdcni.ports.OpenNode`.  With `looks_only`, no damaged record is set aside."""

    def __init__(
        self,
        machine: Machine,
        *,
        data_dir: str = DEFAULT_DATA_DIR,
        alone: bool = False,
        looks_only: bool = True,
    ) -> None:
        super().__init__(machine, data_dir=data_dir)
        self._alone = alone
        self._looks_only = looks_only

    @property
    def store(self) -> FakeFolders:
        return FakeFolders(tuple(FakeFolder(*each) for each in self._disks().items()))

    def _disks(self) -> dict[str, Disk]:
        return {self._home: self._disk(self._home)} if self._alone else super()._disks()

    def _set_aside(self, folder: str, key: DeviceKey, failure: DamagedRecord) -> None:
        if not self._looks_only:
            super()._set_aside(folder, key, failure)


_: type[ports.OpenNode] = FakeOpenNode
