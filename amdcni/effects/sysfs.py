"""What sysfs says of bus devices and their netdevs, read through the usual /sys paths.

The names that appear there are those of the netns in which that sysfs was mounted: the host's.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from amdcni.core.errors import InvalidName
from amdcni.core.host import SysfsDevice
from amdcni.core.names import (
    BusDevice,
    IfName,
    PciAddress,
    parse_bus_device,
    parse_ifname,
)

_DEVICES: Final = "/sys/devices/"


def find_device(bus_device: BusDevice, sys: Path = Path("/sys")) -> SysfsDevice | None:
    """The device with its driver and its netdevs; None if it is not plugged in."""
    folder = folder_of(bus_device, sys)
    if not os.path.isdir(folder):
        return None
    return SysfsDevice(
        bus_device,
        driver=_target_of(f"{folder}/driver"),
        ifnames=netdevs_below(folder),
        virtio=tuple(_virtio_devices(folder)),
    )


def folder_of(bus_device: BusDevice, sys: Path = Path("/sys")) -> str:
    """Where sysfs has the device, if it is plugged in."""
    bus = "pci" if isinstance(bus_device, PciAddress) else "auxiliary"
    return f"{sys}/bus/{bus}/devices/{bus_device}"


def netdevs_below(folder: str) -> tuple[IfName, ...]:
    """The netdevs of a device folder: in `net/`, and for virtio one level down.

    An entry whose `ifindex` cannot be read is not there: a netdev may leave at any moment.
    """
    found = {
        name
        for parent in (folder, *(f"{folder}/{name}" for name in _virtio_devices(folder)))
        for name in entries(f"{parent}/net")
        if os.path.exists(f"{parent}/net/{name}/ifindex")
    }
    return tuple(sorted(_ifnames(found)))


def netdevs_at(kernelpath: str) -> tuple[IfName, ...]:
    """The netdevs below a path of /sys/devices; none if it is not such a path."""
    path = os.path.normpath(kernelpath)
    return netdevs_below(path) if path.startswith(_DEVICES) else ()


def bus_device_of(ifname: IfName, sys: Path = Path("/sys")) -> BusDevice | None:
    """The PCI or auxiliary device that a netdev of the host hangs on, be it below a virtio one."""
    device = sys / "class" / "net" / ifname / "device"
    if not device.exists():
        return None
    for part in reversed(device.resolve().parts):
        try:
            return parse_bus_device(part)
        except InvalidName:
            continue
    return None


def _virtio_devices(folder: str) -> list[str]:
    return sorted(name for name in entries(folder) if name.startswith("virtio"))


def _target_of(link: str) -> str | None:
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return None


def entries(folder: str) -> list[str]:
    """The names in a folder; none if it cannot be read."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _ifnames(names: Iterable[str]) -> Iterator[IfName]:
    for name in names:
        try:
            yield parse_ifname(name)
        except InvalidName:
            continue
