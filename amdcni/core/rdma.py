"""RDMA devices: which of them belong to a netdev, and how one is recognised wherever it is.

In the exclusive mode of the RDMA subsystem, an RDMA device is in one network namespace, and can be
used only there.  In the shared mode every namespace has all of them, and none can be moved.
"""

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Final

import attrs

from amdcni.core.errors import RdmaImmovable
from amdcni.core.host import Netdev, SysfsDevice


@attrs.frozen
class RdmaDevice:
    """An RDMA device, and what proves which one it is.

    The kernel gives its number, `index`, to no other one of the same boot, whatever namespace it is
    in.  A driver that is loaded again, or a reset, makes another device with the same `guid`, its
    node GUID in hexadecimal, and the same `parent`, the device on the bus, as sysfs names it.  What
    is not known is None.
    """

    index: int
    name: str
    guid: str | None = None
    parent: str | None = None


@attrs.frozen
class Seen:
    """An RDMA device, and the ifindexes of its ports' netdevs, if they are in the same netns."""

    device: RdmaDevice
    ifindexes: frozenset[int] = frozenset()


@attrs.frozen
class RdmaFile:
    """A file below /dev/infiniband by which programs use an RDMA device, such as `uverbs0`.

    sysfs shows the files to every network namespace, whichever the device is in: `rdma` is the name
    of the device, and `parent` that of the device on the bus.
    """

    name: str
    rdma: str
    parent: str | None = None


class RdmaMode(StrEnum):
    """Whether an RDMA device is in one network namespace, or in all of them."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"


@attrs.frozen
class Rdma:
    """The RDMA subsystem as the host's network namespace sees it.

    The mode is None if this kernel has no such subsystem, or has not loaded it.
    """

    mode: RdmaMode | None = None
    seen: tuple[Seen, ...] = ()

    @property
    def devices(self) -> tuple[RdmaDevice, ...]:
        """The devices alone."""
        return tuple(each.device for each in self.seen)


def find_rdma(device: RdmaDevice, there: Iterable[RdmaDevice]) -> RdmaDevice | None:
    """The one among `there` that is `device`, perhaps made anew by its driver; None if none is."""
    others = [each for each in there if not _differ(device, each)]
    numbered = [each for each in others if each.index == device.index]
    if numbered:
        return numbered[0]
    alike = [each for each in others if each.guid is not None and each.guid == device.guid]
    return alike[0] if len(alike) == 1 else None


def is_elsewhere(device: RdmaDevice, files: Iterable[RdmaFile], host: Iterable[RdmaDevice]) -> bool:
    """Whether the device, which is not on the host, still exists: by its name, or by its function.

    A pod may rename it.
    """
    here = {each.name for each in host}
    others = [each for each in files if each.rdma not in here]
    return any(
        each.rdma == device.name or (each.parent is not None and each.parent == device.parent)
        for each in others
    )


def _differ(one: RdmaDevice, other: RdmaDevice) -> bool:
    """Whether something is known of both that never changes, and is not the same."""
    pairs = ((one.guid, other.guid), (one.parent, other.parent))
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def rdma_devices_of(
    netdev: Netdev,
    netdevs: Collection[Netdev],
    device: SysfsDevice | None,
    rdma: Rdma,
    *,
    moved: bool,
) -> tuple[RdmaDevice, ...]:
    """The RDMA devices that can follow `netdev`; none in the shared mode.

    They are those that have a port on it and, if their ports show no netdev, those of the same
    bus device.  One that also serves a netdev that stays on the host cannot follow.  `netdevs` are
    those of the host, and `device` is what sysfs says of the bus device.

    Raises: RdmaImmovable if one cannot follow, and all are to be `moved`.
    """
    if rdma.mode is not RdmaMode.EXCLUSIVE:
        return ()
    parents = () if device is None else (str(device.bus_device), *device.virtio)
    names = () if device is None else device.ifnames
    siblings = frozenset(each.ifindex for each in netdevs if each.ifname in names)
    found = []
    for seen in rdma.seen:
        own = siblings if seen.device.parent in parents else frozenset()
        served = seen.ifindexes or own
        if netdev.ifindex not in served:
            continue
        others = sorted(n.ifname for n in netdevs if n.ifindex in served - {netdev.ifindex})
        if others and moved:
            raise RdmaImmovable(
                f"{netdev.ifname} is not lent: its RDMA device {seen.device.name} also serves "
                f"{', '.join(others)}, which would lose it; {STAY}"
            )
        if not others:
            found.append(seen.device)
    return tuple(found)


STAY: Final = 'lend the NIC without its RDMA devices ("moveRdma": false), or use the shared mode'
"""What to do about an RDMA device that cannot follow its netdev."""
