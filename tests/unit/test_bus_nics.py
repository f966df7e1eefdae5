"""The NICs that are found in /sys, on fake trees with the shape of those in Linux."""

import os
from pathlib import Path

import attrs
import pytest

from amdcni.core.host import Hardware, SysfsDevice
from amdcni.core.names import AuxiliaryDevice, IfName, PciAddress
from amdcni.core.nics import BusNic, Port
from amdcni.effects.nics import read_nics

BDF, VF = "0000:c1:00.0", "0000:c1:00.1"
NIC = PciAddress.parse(BDF)
SUBFUNCTION = AuxiliaryDevice.parse("mlx5_core.sf.4")


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


def write(folder: Path, **attributes: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in attributes.items():
        (folder / name).write_text(value + "\n")


def function(sys: Path, bdf: str = BDF, **attributes: str) -> Path:
    """A PCI function below a bridge, by default an Ethernet controller of AMD."""
    home = sys / "devices/pci0000:c0/0000:c0:01.0" / bdf
    plain = {"class": "0x020000", "vendor": "0x1dd8", "device": "0x1002", "numa_node": "1"}
    write(home, **{**plain, **attributes})
    link(sys / "bus/pci/devices" / bdf, home)
    return home


def netdev(parent: Path, name: str, **attributes: str) -> None:
    write(parent / "net" / name, ifindex="7", **attributes)


def found(sys: Path) -> BusNic:
    (nic,) = read_nics(sys)
    return nic


def test_a_function_is_read_with_everything_that_sysfs_shows(sys: Path) -> None:
    home = function(sys, sriov_numvfs="4")
    netdev(home, "eth1", operstate="up", speed="100000")
    (home / "infiniband/ionic_0").mkdir(parents=True)
    assert found(sys) == BusNic(
        SysfsDevice(NIC, None, (IfName("eth1"),), hardware=Hardware("0x1dd8", "0x1002")),
        numa_node=1,
        vfs=4,
        rdma=("ionic_0",),
        ports=(Port(IfName("eth1"), "up", 100000),),
    )


def test_a_virtual_function_names_its_physical_one(sys: Path) -> None:
    home = function(sys)
    link(function(sys, VF) / "physfn", home)
    found = {str(nic.device.bus_device): nic.parent for nic in read_nics(sys)}
    assert found == {BDF: None, VF: NIC}


def test_a_sub_function_has_the_vendor_of_the_function_above_it(sys: Path) -> None:
    home = function(sys) / str(SUBFUNCTION)
    write(home, sfnum="4")
    link(sys / "bus/auxiliary/devices" / home.name, home)
    netdev(home, "eth4", operstate="down")
    found = {nic.device.bus_device: nic for nic in read_nics(sys)}
    assert found[SUBFUNCTION] == BusNic(
        SysfsDevice(SUBFUNCTION, None, (IfName("eth4"),), hardware=Hardware("0x1dd8", "0x1002")),
        numa_node=1,
        parent=NIC,
        ports=(Port(IfName("eth4"), "down"),),
    )


def test_a_netdev_below_a_virtio_device_is_found(sys: Path) -> None:
    home = function(sys)
    netdev(home / "virtio3", "eth0", operstate="up")
    assert found(sys).ports == (Port(IfName("eth0"), "up"),)


@pytest.mark.parametrize("speed", ["-1", "4294967295", "0", ""])
def test_an_unknown_speed_is_absent(sys: Path, speed: str) -> None:
    netdev(function(sys), "eth1", operstate="up", speed=speed)
    assert found(sys).ports == (Port(IfName("eth1"), "up"),)


@pytest.mark.parametrize("node", ["-1", "", "x"])
def test_an_unknown_numa_node_is_absent(sys: Path, node: str) -> None:
    function(sys, numa_node=node)
    assert found(sys).numa_node is None


def test_a_nic_whose_netdev_is_elsewhere_is_found_by_its_class(sys: Path) -> None:
    function(sys)
    function(sys, "0000:02:00.0", **{"class": "0x010802"})
    assert found(sys).device.bus_device == NIC


def test_a_function_of_another_class_with_a_netdev_is_a_nic(sys: Path) -> None:
    netdev(function(sys, **{"class": "0x0c0600"}), "ib0")
    assert found(sys).ports == (Port(IfName("ib0")),)


def test_an_auxiliary_device_that_is_not_a_sub_function_is_not_a_nic(sys: Path) -> None:
    home = function(sys) / "ionic.rdma.0"
    write(home)
    link(sys / "bus/auxiliary/devices" / home.name, home)
    assert found(sys).device.bus_device == NIC


def test_what_sysfs_spells_differently_is_not_read_as_a_device_or_vendor(sys: Path) -> None:
    function(sys, vendor="AMD", device="")
    (sys / "bus/pci/devices/rescan").touch()
    assert attrs.evolve(found(sys), numa_node=None) == BusNic(SysfsDevice(NIC))


def test_without_buses_there_are_no_nics(sys: Path) -> None:
    assert read_nics(sys) == ()
