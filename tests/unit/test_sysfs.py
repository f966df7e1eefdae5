"""What is read from /sys, on fake trees with the shape of those in Linux."""

import os
from pathlib import Path

import pytest

from amdcni.core.host import SysfsDevice
from amdcni.core.names import AuxiliaryDevice, IfName, PciAddress
from amdcni.effects import sysfs

BDF = "0000:c1:00.0"
NIC = PciAddress.parse(BDF)
SUBFUNCTION = AuxiliaryDevice.parse("mlx5_core.sf.4")


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


def function(sys: Path, bdf: str = BDF, driver: str | None = "ionic") -> Path:
    """A PCI function below a bridge, as /sys/bus/pci/devices links to it."""
    home = sys / "devices/pci0000:c0/0000:c0:01.0" / bdf
    home.mkdir(parents=True)
    link(sys / "bus/pci/devices" / bdf, home)
    if driver is not None:
        folder = sys / "bus/pci/drivers" / driver
        folder.mkdir(parents=True, exist_ok=True)
        link(home / "driver", folder)
    return home


def netdev(sys: Path, parent: Path, name: str) -> Path:
    """A netdev of the host that belongs to the device `parent`."""
    home = parent / "net" / name
    home.mkdir(parents=True)
    (home / "ifindex").write_text("7\n")
    link(home / "device", parent)
    link(sys / "class/net" / name, home)
    return home


def test_a_pci_function_has_its_driver_and_its_netdevs(sys: Path) -> None:
    home = function(sys)
    for name in ("ens1np1", "ens1np0"):
        netdev(sys, home, name)
    found = SysfsDevice(NIC, driver="ionic", ifnames=(IfName("ens1np0"), IfName("ens1np1")))
    assert sysfs.find_device(NIC, sys) == found


def test_a_device_that_is_not_plugged_in_is_not_found(sys: Path) -> None:
    assert sysfs.find_device(NIC, sys) is None
    function(sys, "0000:c1:00.1")
    assert sysfs.find_device(NIC, sys) is None
    assert sysfs.find_device(SUBFUNCTION, sys) is None


def test_physical_and_virtual_functions_name_each_other(sys: Path) -> None:
    physical, virtual = function(sys), ["0000:c1:00.3", "0000:c1:00.2"]
    for number, name in enumerate(virtual):
        home = function(sys, name)
        link(home / "physfn", physical)
        link(physical / f"virtfn{number}", home)
    link(physical / "virtfn2", physical / "nowhere")
    addresses = tuple(PciAddress.parse(name) for name in sorted(virtual))
    found = sysfs.find_device(NIC, sys)
    assert found is not None
    assert (found.physfn, found.virtfns, found.kin) == (None, addresses, addresses)
    for address in addresses:
        found = sysfs.find_device(address, sys)
        assert found is not None
        assert (found.physfn, found.virtfns, found.kin) == (NIC, (), (NIC,))


@pytest.mark.parametrize("driver", [None, "vfio-pci"])
def test_a_function_without_netdevs_is_still_found(sys: Path, driver: str | None) -> None:
    function(sys, driver=driver)
    assert sysfs.find_device(NIC, sys) == SysfsDevice(NIC, driver=driver)


def test_a_virtio_netdev_is_one_level_down_and_its_device_is_named(sys: Path) -> None:
    home = function(sys, driver="virtio-pci")
    netdev(sys, home / "virtio3", "ens1")
    found = sysfs.find_device(NIC, sys)
    assert found is not None
    assert found.ifnames == (IfName("ens1"),)
    assert found.virtio == ("virtio3",)


def test_netdevs_deeper_down_belong_to_another_device(sys: Path) -> None:
    home = function(sys)
    netdev(sys, home, "ens1")
    netdev(sys, home / "mlx5_core.sf.4", "sf4")
    netdev(sys, home / "usb1" / "1-1", "usb0")
    found = sysfs.find_device(NIC, sys)
    assert found is not None
    assert found.ifnames == (IfName("ens1"),)


def test_an_auxiliary_device_is_found_on_its_own_bus(sys: Path) -> None:
    parent = function(sys)
    home = parent / "mlx5_core.sf.4"
    home.mkdir()
    link(sys / "bus/auxiliary/devices/mlx5_core.sf.4", home)
    folder = sys / "bus/auxiliary/drivers/mlx5_core.sf"
    folder.mkdir(parents=True)
    link(home / "driver", folder)
    netdev(sys, home, "sf4")
    found = SysfsDevice(SUBFUNCTION, driver="mlx5_core.sf", ifnames=(IfName("sf4"),))
    assert sysfs.find_device(SUBFUNCTION, sys) == found


def test_a_netdev_that_has_left_meanwhile_is_not_listed(sys: Path) -> None:
    home = function(sys)
    netdev(sys, home, "ens1")
    gone = netdev(sys, home, "ens2")
    (gone / "ifindex").unlink()
    (home / "net" / "ens3").symlink_to("../nowhere")
    found = sysfs.find_device(NIC, sys)
    assert found is not None
    assert found.ifnames == (IfName("ens1"),)


@pytest.mark.parametrize("name", ["with space", "a" * 16, "a:b", "per%cent", "new\nline"])
def test_an_entry_that_is_not_an_ifname_is_skipped(sys: Path, name: str) -> None:
    home = function(sys)
    netdev(sys, home, "ens1")
    (home / "net" / name).mkdir()
    (home / "net" / name / "ifindex").write_text("8\n")
    found = sysfs.find_device(NIC, sys)
    assert found is not None
    assert found.ifnames == (IfName("ens1"),)


def test_a_file_in_place_of_the_net_folder_means_no_netdevs(sys: Path) -> None:
    (function(sys) / "net").write_text("")
    found = sysfs.find_device(NIC, sys)
    assert found is not None
    assert found.ifnames == ()


# ---- from a netdev to its device


def test_a_netdev_belongs_to_its_pci_function_also_below_a_virtio_device(sys: Path) -> None:
    netdev(sys, function(sys), "ens1")
    netdev(sys, function(sys, "0000:c2:00.0") / "virtio0", "ens2")
    assert sysfs.bus_device_of(IfName("ens1"), sys) == NIC
    assert sysfs.bus_device_of(IfName("ens2"), sys) == PciAddress.parse("0000:c2:00.0")


def test_a_netdev_of_a_subfunction_belongs_to_that_not_to_the_pci_function(sys: Path) -> None:
    netdev(sys, function(sys) / "mlx5_core.sf.4", "sf4")
    assert sysfs.bus_device_of(IfName("sf4"), sys) == SUBFUNCTION


def test_a_netdev_without_a_device_has_no_bus_device(sys: Path) -> None:
    (sys / "class/net/dummy0").mkdir(parents=True)
    for name in ("dummy0", "absent"):
        assert sysfs.bus_device_of(IfName(name), sys) is None


@pytest.mark.parametrize("name", ["ens1.100.7", "mlx5_core.sf.4"])
def test_the_name_of_a_netdev_without_a_device_is_not_a_bus_device(sys: Path, name: str) -> None:
    (sys / "class/net" / name).mkdir(parents=True)
    assert sysfs.bus_device_of(IfName(name), sys) is None


# ---- kernelpath


@pytest.mark.parametrize(
    "path",
    ["", "/", "/sys", "/sys/class/net", "/sys/devices/../class", "devices/pci0000:00", "/etc"],
)
def test_only_a_path_below_sys_devices_is_read(path: str) -> None:
    assert sysfs.netdevs_at(path) == ()


def test_the_netdevs_at_a_kernelpath_are_those_of_its_net_folder(sys: Path) -> None:
    home = function(sys)
    netdev(sys, home, "ens1")
    assert sysfs.netdevs_below(str(home)) == (IfName("ens1"),)
    assert sysfs.netdevs_below(f"{home}/absent") == ()
