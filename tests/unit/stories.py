"""Stories of a node with four NICs and two state folders: what has become of each."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import attrs
from hypothesis import example
from hypothesis import strategies as st

from amdcni.core.errors import AmdcniError
from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni.core.spec import Verb
from tests.unit.fake_folders import FakeOpenNode
from tests.unit.fake_machine import Disk, Machine
from tests.unit.fake_netdevs import Link
from tests.unit.fake_node import Killed
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL, ask
from tests.unit.four_nics import BOOT, NICS, TWIN, A, B, C, V, booted, config_of

OTHER: Final = "/var/lib/cni/amd-host-device-2"
ELSEWHERE: Final = "/run/netns/elsewhere"


@attrs.define(eq=False)
class Nodes:
    """A machine, its NICs, and what may happen to each."""

    machine: Machine
    links: dict[str, Link]
    folders: dict[str, str]

    def path(self, device: str) -> str:
        return f"/run/netns/cni-{NICS.index(device)}"

    def container(self, device: str) -> str:
        return f"{NICS.index(device)}" * 64

    def lend(self, device: str, kill_at: int | None = None) -> None:
        kernel = self.machine.kernel
        if self.path(device) not in kernel.paths:
            kernel.make_netns(self.path(device))
        config = config_of(device, dataDir=self.folders[device])
        self._ask(Verb.ADD, device, {**config, "ipam": HOST_LOCAL}, kill_at)

    def delete(self, device: str, kill_at: int | None = None) -> None:
        config = config_of(device, dataDir=self.folders[device], ipam=HOST_LOCAL)
        self._ask(Verb.DEL, device, config, kill_at)

    def _ask(
        self, verb: Verb, device: str, config: Mapping[str, object], kill_at: int | None
    ) -> None:
        args = f"K8S_POD_NAMESPACE=ml;K8S_POD_NAME=trainer-{NICS.index(device)}"
        if device == C:
            args = ""  # Not every runtime names pods.
        with suppress(AmdcniError, Killed):
            ask(
                self.machine,
                verb,
                config,
                container=self.container(device),
                netns=self.path(device),
                args=args,
                kill_at=kill_at,
            )
        self.machine.locks.clear()

    # ---- what happens

    def a_del_is_killed(self, device: str, moment: int) -> None:
        self.delete(device, kill_at=moment)

    def a_del_waits_for_a_plugin(self, device: str, _: int) -> None:
        self.machine.plugins.troubles = [Trouble("host-local", Verb.DEL)]
        self.delete(device)

    def its_pod_dies(self, device: str, _: int) -> None:
        space = self.machine.kernel.paths.get(self.path(device))
        if space is not None:
            self.machine.kernel.destroy_netns(space)

    def its_pod_hides(self, device: str, _: int) -> None:
        self.machine.kernel.paths.pop(self.path(device), None)

    def it_is_moved_elsewhere(self, device: str, _: int) -> None:
        kernel, link = self.machine.kernel, self.links[device]
        there = kernel.paths.get(ELSEWHERE)
        if there is not None and self._exists(link) and link.space not in (kernel.host, there):
            kernel.move(link, there, f"rail{NICS.index(device)}")

    def somebody_brings_it_home(self, device: str, _: int) -> None:
        link = self.links[device]
        away = link.space is not self.machine.kernel.host
        if away and self._exists(link) and "home0" not in self.machine.kernel.host.names:
            self.machine.kernel.move(link, self.machine.kernel.host, "home0")

    def it_is_unplugged(self, device: str, _: int) -> None:
        if device in self.machine.kernel.functions:
            self.machine.kernel.unplug(device)

    def it_is_replaced(self, device: str, _: int) -> None:
        if device in self.machine.kernel.functions:
            self.machine.kernel.unplug(device)
            function = self.machine.kernel.plug(device, f"new{NICS.index(device)}")
            self.links[device] = function.links[0]

    def it_is_reset(self, device: str, _: int) -> None:
        if device in self.machine.kernel.functions:
            self.machine.kernel.reset(device)

    def a_stranger_takes_its_name(self, device: str, moment: int) -> None:
        name = BOOT[device][0]
        if name not in self.machine.kernel.host.names:
            alike = moment % 2 == 0
            kind = self.links[device].kind if alike else "dummy"
            self.machine.kernel.add_link(name, kind=kind).mac = self.links[device].mac

    def its_record_is_damaged(self, device: str, _: int) -> None:
        for disk in self._disks(device):
            disk.files[device_key(device, disk.files)] = b"{"

    def its_record_is_set_aside(self, device: str, _: int) -> None:
        for disk in self._disks(device):
            key = device_key(device, disk.files)
            disk.aside.append((key, disk.files.pop(key)))

    def its_record_is_of_a_newer_version(self, device: str, _: int) -> None:
        for disk in self._disks(device):
            key = device_key(device, disk.files)
            with suppress(ValueError):
                disk.files[key] = json.dumps({**json.loads(disk.files[key]), "format": 99}).encode()

    def another_folder_gets_its_record_too(self, device: str, _: int) -> None:
        """As when a node was restored from a backup; the older record is of another container."""
        for disk in self._disks(device):
            key = device_key(device, disk.files)
            with suppress(ValueError):
                older = json.loads(disk.files[key])
                older["boot_id"] = "boot-0"
                older["id"]["containerID"] = "f" * 64
                other = self.machine.other_disks[OTHER]
                if disk is not other and key not in other.files:
                    other.files[key] = json.dumps(older).encode()
                    self.machine.disk.folders.add(OTHER)

    def a_call_works_on_it(self, device: str, _: int) -> None:
        self.machine.locks.add(device)

    def _disks(self, device: str) -> list[Disk]:
        """The folder that has a record of the device; nothing if one was damaged already."""
        disks = (self.machine.disk, *self.machine.other_disks.values())
        key = device_key(device, {key: b"" for disk in disks for key in disk.files})
        files = [disk.files[key] for disk in disks if key in disk.files]
        aside = [name for disk in disks for name, _ in disk.aside]
        if b"{" in files or key in aside or any(b'"format": 99' in each for each in files):
            return []
        return [disk for disk in disks if key in disk.files][:1]

    @staticmethod
    def _exists(link: Link) -> bool:
        return link in link.space.links


def device_key(device: str, files: Mapping[str, bytes]) -> str:
    return next((key for key in files if key.partition("@")[0] == device), device)


HAPPENINGS: Final[Sequence[Callable[[Nodes, str, int], None]]] = (
    Nodes.its_pod_dies,
    Nodes.it_is_moved_elsewhere,
    Nodes.its_pod_hides,
    Nodes.somebody_brings_it_home,
    Nodes.it_is_unplugged,
    Nodes.it_is_replaced,
    Nodes.it_is_reset,
    Nodes.a_stranger_takes_its_name,
    Nodes.a_del_is_killed,
    Nodes.a_del_waits_for_a_plugin,
    Nodes.its_record_is_damaged,
    Nodes.its_record_is_set_aside,
    Nodes.its_record_is_of_a_newer_version,
    Nodes.another_folder_gets_its_record_too,
    Nodes.a_call_works_on_it,
)

BEGINNINGS: Final = ("home", "lent", "lent", "an add is killed", "lent before the boot")


@attrs.frozen
class Story:
    """What happens to a node: how each NIC begins and in which folder, and what comes then."""

    mover: str
    has_cookies: bool
    plugins_fail: bool
    begun: tuple[tuple[str, str, str, int], ...]
    happenings: tuple[tuple[str, str, int], ...]


moments = st.integers(0, 60)
stories = st.builds(
    Story,
    mover=st.sampled_from(["delegate", "native"]),
    has_cookies=st.booleans(),
    plugins_fail=st.booleans(),
    begun=st.tuples(
        *(
            st.tuples(
                st.just(device),
                st.sampled_from(BEGINNINGS),
                st.sampled_from([DEFAULT_DATA_DIR, OTHER]),
                moments,
            )
            for device in NICS
        )
    ),
    happenings=st.lists(
        st.tuples(
            st.sampled_from([each.__name__ for each in HAPPENINGS]),
            st.sampled_from(NICS),
            moments,
        ),
        max_size=10,
    ).map(tuple),
)


def played(story: Story) -> Machine:
    """The node after all of that."""
    machine = Machine(mover=story.mover)
    machine.kernel.has_cookies = story.has_cookies
    machine.plugins.pool = tuple(f"10.9.0.{n}/24" for n in range(2, 8))
    FakeOpenNode(machine)._disk(OTHER)
    links = {device: booted(machine, device) for device in (*NICS, TWIN)}
    node = Nodes(machine, links, {device: folder for device, _, folder, _ in story.begun})
    earlier = [device for device, how, *_ in story.begun if how == "lent before the boot"]
    for device in earlier:
        node.lend(device)
    if earlier:
        machine.kernel.paths.clear()
        machine.kernel.reboot()
        for device in (*NICS, TWIN):
            links[device] = booted(machine, device)
    machine.kernel.make_netns(ELSEWHERE)
    for device, how, _, moment in story.begun:
        if how in ("lent", "an add is killed"):
            node.lend(device, None if how == "lent" else moment)
    for what, device, moment in story.happenings:
        getattr(node, what)(device, moment)
    machine.plugins.troubles = [Trouble("host-local", Verb.DEL)] if story.plugins_fail else []
    return machine


def told(
    *happenings: tuple[str, str], folder: str = DEFAULT_DATA_DIR, fails: bool = False
) -> Story:
    """A story in which every NIC was lent."""
    begun = tuple((device, "lent", folder, 0) for device in NICS)
    then = tuple((what, device, 0) for what, device in happenings)
    return Story("native", has_cookies=True, plugins_fail=fails, begun=begun, happenings=then)


MOVED_ON = told(("it_is_moved_elsewhere", A), ("it_is_moved_elsewhere", V))
LEFT_BEHIND = told(("it_is_moved_elsewhere", A), ("its_pod_dies", A))
REPLACED = told(("it_is_replaced", A), ("it_is_replaced", B))
UNPLUGGED_IN_USE = told(("it_is_unplugged", C), ("a_call_works_on_it", C))
RETURNED_IN_USE = told(("its_pod_dies", A), ("a_call_works_on_it", A))
WAITING = told(("its_pod_dies", A), ("its_pod_dies", C), fails=True)
TWICE = told(("another_folder_gets_its_record_too", A), ("its_pod_dies", A))
DAMAGED = told(("its_record_is_damaged", A), ("its_record_is_set_aside", B), folder=OTHER)
NEWER = told(
    ("another_folder_gets_its_record_too", A),
    ("its_record_is_of_a_newer_version", A),
    ("its_pod_dies", B),
)


def remembered(test: Callable[[Story], None]) -> Callable[[Story], None]:
    """The test with each story in which outputs have contradicted one another."""
    for each in (MOVED_ON, LEFT_BEHIND, REPLACED, UNPLUGGED_IN_USE, RETURNED_IN_USE):
        test = example(each)(test)
    for each in (WAITING, TWICE, DAMAGED, NEWER):
        test = example(each)(test)
    return test
