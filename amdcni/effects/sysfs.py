"""What sysfs says about bus devices and their netdevs, read through the usual /sys paths.

The names that appear there are those of the netns in which that sysfs was mounted: the host's.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from amdcni.core.errors import InvalidName
from amdcni.core.host import Hardware, SysfsDevice
from amdcni.core.names import (
    BusDevice,
    IfName,
    PciAddress,
    parse_bus_device,
    parse_ifname,
)
from amdcni.core.rdma import RdmaFile
from amdcni.effects.files import text_in

_DEVICES: Final = "/sys/devices/"

RDMA_DEVICES: Final = "/sys/class/infiniband"
"""The RDMA devices of the host; the folder is there if the kernel has an RDMA subsystem."""


def find_device(bus_device: BusDevice, sys: Path = Path("/sys")) -> SysfsDevice | None:
    """The device with its driver and its netdevs; None if it is not plugged in."""
    folder = folder_of(bus_device, sys)
    if not os.path.isdir(folder):
        return None
    names = entries(folder)
    return SysfsDevice(
        bus_device,
        driver=_target_of(f"{folder}/driver"),
        ifnames=_netdevs_in(folder, names),
        virtio=tuple(_virtio_in(names)),
        hardware=_hardware_at(folder if isinstance(bus_device, PciAddress) else _above(folder)),
        physfn=pci_address_at(f"{folder}/physfn") if "physfn" in names else None,
        virtfns=tuple(_virtual_functions(folder, names)),
    )


def pci_address_at(path: str) -> PciAddress | None:
    """The PCI address of the device at `path`, which may be a link; None if there is none."""
    try:
        return PciAddress.parse(os.path.basename(os.path.realpath(path)))
    except InvalidName:
        return None


def _virtual_functions(folder: str, names: Iterable[str]) -> Iterator[PciAddress]:
    """Those that `virtfnN` lead to, in the order of their addresses."""
    links = (name for name in names if name.startswith("virtfn"))
    found = (pci_address_at(f"{folder}/{name}") for name in links)
    yield from sorted((each for each in found if each is not None), key=str)


def _above(folder: str) -> str:
    """The PCI function below which an auxiliary device is."""
    return os.path.dirname(os.path.realpath(folder))


def _hardware_at(folder: str) -> Hardware:
    return Hardware(
        vendor=_id_in(f"{folder}/vendor"),
        product=_id_in(f"{folder}/device"),
        serial=_serial_in(f"{folder}/config"),
    )


_ID: Final = re.compile(r"0x[0-9a-f]{4}")


def _id_in(path: str) -> str | None:
    text = text_in(path)
    return text if text is not None and _ID.fullmatch(text) else None


_EXTENDED_CAPABILITIES: Final = 0x100
_SERIAL_NUMBER: Final = 0x0003  # PCI_EXT_CAP_ID_DSN of include/uapi/linux/pci_regs.h


def _serial_in(path: str) -> str | None:
    """The device serial number in a PCI configuration space, which only root sees whole."""
    try:
        with open(path, "rb", buffering=0) as file:
            offset, seen = _EXTENDED_CAPABILITIES, set[int]()
            while offset >= _EXTENDED_CAPABILITIES and offset not in seen:
                seen.add(offset)
                file.seek(offset)
                header = int.from_bytes(file.read(4), "little")
                if header & 0xFFFF == _SERIAL_NUMBER:
                    return file.read(8)[::-1].hex() or None
                offset = (header >> 20) & ~3
    except OSError:
        pass
    return None


def folder_of(bus_device: BusDevice, sys: Path = Path("/sys")) -> str:
    """Where sysfs has the device, if it is plugged in."""
    bus = "pci" if isinstance(bus_device, PciAddress) else "auxiliary"
    return f"{sys}/bus/{bus}/devices/{bus_device}"


def netdevs_below(folder: str) -> tuple[IfName, ...]:
    """The netdevs of a device folder: in `net/`, and for virtio one level down.

    An entry without `ifindex` is treated as absent: a netdev may leave at any moment.
    """
    return _netdevs_in(folder, entries(folder))


def _netdevs_in(folder: str, names: Iterable[str]) -> tuple[IfName, ...]:
    """The same, for a folder whose entries are known."""
    found = {
        name
        for parent in (folder, *(f"{folder}/{name}" for name in _virtio_in(names)))
        for name in entries(f"{parent}/net")
        if os.path.exists(f"{parent}/net/{name}/ifindex")
    }
    return tuple(sorted(_ifnames(found)))


def netdevs_at(kernelpath: str) -> tuple[IfName, ...]:
    """The netdevs below a path of /sys/devices; none if it is not such a path."""
    path = os.path.normpath(kernelpath)
    return netdevs_below(path) if path.startswith(_DEVICES) else ()


def bus_device_of(ifname: IfName, sys: Path = Path("/sys")) -> BusDevice | None:
    """The PCI or auxiliary device that a netdev of the host belongs to, even by a virtio one."""
    device = sys / "class" / "net" / ifname / "device"
    if not device.exists():
        return None
    for part in reversed(device.resolve().parts):
        try:
            return parse_bus_device(part)
        except InvalidName:
            continue
    return None


def rdma_parent_of(name: str, sys: Path = Path("/sys")) -> str | None:
    """The name of the device on the bus that an RDMA device of the host belongs to."""
    return _target_of(f"{sys}/class/infiniband/{name}/device")


def rdma_files(sys: Path = Path("/sys")) -> Iterator[RdmaFile]:
    """The files below /dev/infiniband of all RDMA devices."""
    folder = f"{sys}/class/infiniband_verbs"
    for name in sorted(entries(folder)):
        rdma = text_in(f"{folder}/{name}/ibdev")
        if rdma is not None:
            yield RdmaFile(name, rdma, _target_of(f"{folder}/{name}/device"))


def _virtio_in(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith("virtio"))


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
