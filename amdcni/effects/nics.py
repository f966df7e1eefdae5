"""The NICs that sysfs shows on the PCI and auxiliary buses, without any privilege."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from amdcni.core.errors import InvalidName
from amdcni.core.host import SysfsDevice
from amdcni.core.names import AuxiliaryDevice, BusDevice, IfName, PciAddress
from amdcni.core.nics import BusNic, Port
from amdcni.effects.files import text_in
from amdcni.effects.sysfs import entries, find_device, folder_of, pci_address_at

_NETWORK_CLASS: Final = "0x02"


def read_nics(sys: Path = Path("/sys")) -> tuple[BusNic, ...]:
    """Every PCI function of a network class or with a netdev, and every sub-function."""
    return tuple(
        nic
        for bus, parse in _BUSES.items()
        for bus_device in _devices(f"{sys}/bus/{bus}/devices", parse)
        if (nic := _find_nic(bus_device, sys)) is not None
    )


_BUSES: Final[dict[str, Callable[[str], BusDevice]]] = {
    "pci": PciAddress.parse,
    "auxiliary": AuxiliaryDevice.parse,
}


def _devices(folder: str, parse: Callable[[str], BusDevice]) -> Iterator[BusDevice]:
    for name in entries(folder):
        try:
            yield parse(name)
        except InvalidName:
            continue


def _find_nic(bus_device: BusDevice, sys: Path) -> BusNic | None:
    folder = folder_of(bus_device, sys)
    if not (_is_nic(folder) or os.path.isdir(f"{folder}/net")):
        return None
    device = find_device(bus_device, sys)
    return None if device is None else _nic_of(device, folder)


def _is_nic(folder: str) -> bool:
    """Whether the device itself is a NIC: its netdev may be elsewhere."""
    pci_class = text_in(f"{folder}/class")
    if pci_class is not None:
        return pci_class.startswith(_NETWORK_CLASS)
    return os.path.exists(f"{folder}/sfnum")


def _nic_of(device: SysfsDevice, folder: str) -> BusNic:
    identity, parent = folder, device.physfn
    folders = (folder, *(f"{folder}/{name}" for name in device.virtio))
    if isinstance(device.bus_device, AuxiliaryDevice):
        identity = os.path.dirname(os.path.realpath(folder))
        parent = pci_address_at(identity)
    return BusNic(
        device,
        numa_node=_number(f"{identity}/numa_node"),
        parent=parent,
        vfs=_number(f"{folder}/sriov_numvfs") or 0,
        rdma=tuple(sorted(n for each in folders for n in entries(f"{each}/infiniband"))),
        ports=tuple(_port(device, folder, ifname) for ifname in device.ifnames),
    )


def _port(device: SysfsDevice, folder: str, ifname: IfName) -> Port:
    parents = (folder, *(f"{folder}/{name}" for name in device.virtio))
    homes = [f"{parent}/net/{ifname}" for parent in parents]
    home = next((home for home in homes if os.path.isdir(home)), homes[0])
    return Port(ifname, text_in(f"{home}/operstate"), _number(f"{home}/speed") or None)


def _number(path: str) -> int | None:
    """The number in a file; None if the kernel does not know it, and says so by -1 or an error."""
    text = text_in(path) or ""
    return int(text) if text.isascii() and text.isdigit() and text != _UNKNOWN_SPEED else None


_UNKNOWN_SPEED: Final = str(2**32 - 1)
"""SPEED_UNKNOWN (-1) of include/uapi/linux/ethtool.h, as drivers report it without a sign."""
