"""The RDMA subsystem of a kernel in memory (drivers/infiniband/core/device.c).

As the kernel's own, it gives a number to no second device of a boot, and brings devices of a
namespace that ends back to the host before their netdevs.
"""

from typing import TYPE_CHECKING

import attrs

from amdcni.core.rdma import Rdma, RdmaDevice, RdmaMode, Seen
from tests.unit.fake_netdevs import Link, Refused, Space

if TYPE_CHECKING:
    from tests.unit.fake_kernel import Kernel


class CannotMove(Refused):
    """The driver cannot take the device away from those who use it, or the mode is shared."""


@attrs.define(eq=False)
class Hca:
    """An RDMA device, with a port on each of some netdevs; `function` is its bus device."""

    index: int
    name: str
    guid: str
    ports: tuple[Link, ...]
    function: str | None
    space: Space
    file: int
    usual_name: str
    """The name that its driver gives it."""
    movable: bool = True
    files_change: bool = False
    """Whether a move gives it another number below /dev/infiniband."""


@attrs.define(eq=False)
class RdmaSubsystem:
    """All RDMA devices of a machine; every namespace has them all if it is not `exclusive`."""

    kernel: "Kernel"
    exclusive: bool = True
    hcas: list[Hca] = attrs.field(factory=list)
    _index: int = 0

    def plug(self, name: str, *ports: Link, guid: str | None = None) -> Hca:
        """A driver makes an RDMA device for netdevs of one function."""
        self._index += 1
        guid = guid or f"{self._index:016x}"
        place = (ports, ports[0].function, self.kernel.host)
        self.hcas.append(Hca(self._index, name, guid, *place, self._index, name))
        return self.hcas[-1]

    def unplug(self, function: str) -> None:
        self.hcas = [hca for hca in self.hcas if hca.function != function]

    def reset(self, function: str) -> None:
        """The driver makes the devices of a function anew."""
        for hca in self.hcas:
            if hca.function == function:
                self._index += 1
                hca.index, hca.space = self._index, self.kernel.host
                taken = {other.name for other in self.hcas if other is not hca}
                hca.name = f"ibdev{hca.index}" if hca.usual_name in taken else hca.usual_name

    def reboot(self) -> None:
        for hca in self.hcas:
            hca.space, hca.name = self.kernel.host, hca.usual_name

    def lose(self, space: Space) -> None:
        """A namespace has ended."""
        for hca in self.hcas:
            if hca.space is space:
                hca.space = self.kernel.host

    def move(self, hca: Hca, to: Space) -> None:
        self.kernel.moment(f"move the RDMA device {hca.name}")
        if not (self.exclusive and hca.movable):
            raise CannotMove("Operation not supported")
        hca.space = to
        hca.file += 100 * hca.files_change

    def rename(self, hca: Hca, name: str) -> None:
        self.kernel.moment(f"rename the RDMA device {hca.name}")
        if name in {other.name for other in self.hcas}:
            raise Refused("File exists")
        hca.name = name

    def in_space(self, space: Space) -> list[Hca]:
        """The devices that can be used in a namespace."""
        return [hca for hca in self.hcas if hca.space is space or not self.exclusive]

    def devices(self, space: Space) -> tuple[RdmaDevice, ...]:
        """What RDMA netlink shows of them."""
        return tuple(RdmaDevice(h.index, h.name, h.guid) for h in self.in_space(space))

    def seen(self) -> Rdma:
        """What the host sees."""
        mode = RdmaMode.EXCLUSIVE if self.exclusive else RdmaMode.SHARED
        return Rdma(mode, tuple(map(self._seen, self.in_space(self.kernel.host))))

    def _seen(self, hca: Hca) -> Seen:
        here = (link.ifindex for link in hca.ports if link.space is self.kernel.host)
        return Seen(RdmaDevice(hca.index, hca.name, hca.guid, hca.function), frozenset(here))

    def configured(self, link: Link) -> tuple[tuple[str, bool], ...]:
        """The devices of a netdev by their names, each with whether it is on the host."""
        own = [hca for hca in self.hcas if link in hca.ports]
        return tuple((hca.name, hca.space is self.kernel.host) for hca in own)
