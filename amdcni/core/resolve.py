"""From a selector to the one netdev that it means."""

from collections.abc import Iterable, Sequence

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.errors import DeviceAmbiguous, DeviceNotFound
from amdcni.core.host import USERSPACE_DRIVERS, Netdev, SysfsDevice
from amdcni.core.names import DeviceKey, IfName
from amdcni.core.request import DeviceSelector


@attrs.frozen
class Candidates:
    """What a selector may mean: the host's netdevs, and what sysfs says of the things it names.

    `device` is None if the selector names no bus device, or one that does not exist.
    `at_kernelpath` are the netdev names below the selector's kernelpath; None if there is no such
    path.
    """

    netdevs: tuple[Netdev, ...]
    device: SysfsDevice | None = None
    at_kernelpath: tuple[IfName, ...] | None = None


def resolve(selector: DeviceSelector, candidates: Candidates) -> Netdev | None:
    """The netdev that fits everything in `selector`; None for a device of a userspace driver.

    Raises: DeviceNotFound, DeviceAmbiguous; both say what there is.
    """
    fitting: Sequence[Netdev] = candidates.netdevs
    if selector.bus_device is not None:
        device = candidates.device
        if device is None:
            raise DeviceNotFound(
                f"there is no device {selector.bus_device} on this node; "
                "is the allocation from another node, or the NIC unplugged?"
            )
        if device.driver in USERSPACE_DRIVERS:
            return None
        fitting = [netdev for netdev in fitting if netdev.ifname in device.ifnames]
        if not fitting:
            bound = f"is bound to {device.driver!r}" if device.driver else "has no driver"
            raise DeviceNotFound(
                f"{device.bus_device} {bound} and has no netdev on the host; "
                "is the right driver bound, or the netdev in some network namespace?"
            )
    fitting = [netdev for netdev in fitting if _fits(netdev, selector, candidates)]
    match fitting:
        case []:
            raise DeviceNotFound(f"no netdev on the host fits {selector}")
        case [only]:
            return only
        case _:
            listed = ", ".join(sorted(netdev.ifname for netdev in fitting))
            raise DeviceAmbiguous(
                f"{selector} has several netdevs: {listed}; choose one with the key 'device'"
            )


def _fits(netdev: Netdev, selector: DeviceSelector, candidates: Candidates) -> bool:
    names = (netdev.ifname, *netdev.altnames)
    below = candidates.at_kernelpath or ()
    return (
        (selector.ifname is None or selector.ifname in names)
        and (selector.hwaddr is None or selector.hwaddr == netdev.mac)
        and (selector.kernelpath is None or netdev.ifname in below)
    )


def fits_record(selector: DeviceSelector, record: Attachment) -> bool:
    """Whether `selector` meant the netdev of `record` when that was captured.

    Where the netdev is now does not matter, nor what it is called there.  A path in /sys/devices
    means the netdev if the ADD was given that path, or if it leads to the netdev's bus device.
    """
    captured = record.captured
    names = () if captured is None else (captured.ifname, *(captured.altnames or ()))
    mac = None if captured is None else captured.mac
    path = selector.kernelpath
    return (
        selector.bus_device in (None, record.key.bus_device)
        and (selector.ifname is None or selector.ifname in names)
        and (selector.hwaddr is None or selector.hwaddr == mac)
        and (
            path is None
            or path == record.config.get("kernelpath")
            or _last_device(path) == str(record.key.bus_device)
        )
    )


def _last_device(path: str) -> str | None:
    """The device that a path leads to, or that of the virtio one; None if it leads up again."""
    parts = [part for part in path.split("/") if not part.startswith("virtio")]
    named = [part for part in parts if part not in ("", ".")]
    return None if ".." in parts or not named else named[-1]


def key_of(
    device: SysfsDevice | None, netdev: Netdev | None, records: Iterable[Attachment]
) -> DeviceKey:
    """The key of the record for `netdev` of `device`.

    The name on the host is part of it only where the device alone is not enough: on no bus, with
    several netdevs visible, or where `records` show that another netdev of the device is held
    already.
    """
    if netdev is None or device is None:
        bus_device = None if device is None else device.bus_device
        return DeviceKey(bus_device, None if netdev is None else netdev.ifname)
    if len(device.ifnames) > 1 or any(True for _ in records):
        return DeviceKey(device.bus_device, netdev.ifname)
    return DeviceKey(device.bus_device)
