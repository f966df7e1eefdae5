"""The fake part of a throwaway node's sysfs: its PCI and auxiliary buses.

A `net/` folder holds a link for each name that its netdev may carry on the node, to that name in
the real sysfs of the node's network namespace.  So an entry can be opened exactly while a netdev of
that name is on the node, without anything to keep up to date as the netdev moves.  What differs
from a real machine: a link of an absent netdev dangles, where the kernel would show nothing.
"""

import os
from pathlib import Path

from attrs import frozen

_REAL_CLASS_NET = "run/amdcni-node/sysfs/class/net"


@frozen
class FakeSysfs:
    """The PCI and auxiliary buses of the node whose root folder is `root`."""

    root: Path

    def add_function(
        self, bdf: str, *, driver: str | None, vendor: str, device: str, numa_node: int
    ) -> None:
        """Plug in an Ethernet PCI function (class 0x020000), bound to `driver` if there is one."""
        home = self.function(bdf)
        home.mkdir(parents=True)
        attributes = {
            "vendor": vendor,
            "device": device,
            "class": "0x020000",
            "numa_node": str(numa_node),
            "uevent": f"PCI_CLASS=20000\nPCI_SLOT_NAME={bdf}",
        }
        for name, value in attributes.items():
            (home / name).write_text(value + "\n")
        self._join_bus("pci", home)
        if driver is not None:
            self._bind("pci", home, driver)

    def add_auxiliary(self, bdf: str, name: str, driver: str) -> None:
        """Add the auxiliary device `name`, such as `mlx5_core.sf.4`, below the function `bdf`."""
        home = self.function(bdf) / name
        home.mkdir()
        (home / "sfnum").write_text(name.rpartition(".")[2] + "\n")
        self._join_bus("auxiliary", home)
        self._bind("auxiliary", home, driver)

    def make_virtual(self, bdf: str, number: int, of: str) -> None:
        """Make the function `bdf` a virtual one of `of`, the one of that number, from 0 on."""
        virtual, physical = self.function(bdf), self.function(of)
        _link(virtual / "physfn", physical)
        _link(physical / f"virtfn{number}", virtual)
        count = physical / "sriov_numvfs"
        count.write_text(f"{len(list(physical.glob('virtfn*')))}\n")

    def function(self, bdf: str) -> Path:
        """Return the folder of a PCI function, in /sys/devices."""
        return self.root / "sys/devices" / f"pci{bdf.rpartition(':')[0]}" / bdf

    def has(self, bdf: str) -> bool:
        """Return whether a PCI function is plugged in."""
        return self.function(bdf).is_dir()

    def names(self, net: Path) -> set[str]:
        """Return the names that the folder `net` shows."""
        return {entry.name for entry in net.iterdir()}

    def learn(self, net: Path, ifname: str) -> None:
        """Let the folder `net` show the node's netdev `ifname`, whenever there is one."""
        net.mkdir(parents=True, exist_ok=True)
        if ifname not in self.names(net):
            (net / ifname).symlink_to(os.path.relpath(self.root / _REAL_CLASS_NET / ifname, net))

    def forget(self, net: Path, ifname: str) -> None:
        """Let the folder `net` no longer show the netdev `ifname`."""
        (net / ifname).unlink(missing_ok=True)

    def unplug(self, bdf: str) -> None:
        """Remove a PCI function and what is below it from every bus."""
        home = self.function(bdf)
        for link in self.root.glob("sys/devices/*/*/virtfn*"):
            if Path(os.readlink(link)).name == bdf:
                link.unlink()
        for bus in ("pci", "auxiliary"):
            bus_folder = self.root / "sys/bus" / bus
            for link in [*bus_folder.glob("devices/*"), *bus_folder.glob("drivers/*/*")]:
                if bdf in Path(os.readlink(link)).parts:
                    link.unlink()
        _remove_tree(home)

    def _join_bus(self, bus: str, home: Path) -> None:
        bus_folder = self.root / "sys/bus" / bus
        _link(bus_folder / "devices" / home.name, home)
        _link(home / "subsystem", bus_folder)

    def _bind(self, bus: str, home: Path, driver: str) -> None:
        driver_folder = self.root / "sys/bus" / bus / "drivers" / driver
        driver_folder.mkdir(parents=True, exist_ok=True)
        _link(home / "driver", driver_folder)
        _link(driver_folder / home.name, home)


def _link(link: Path, target: Path) -> None:
    link.symlink_to(os.path.relpath(target, link.parent))


def _remove_tree(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _remove_tree(entry)
        else:
            entry.unlink()
    folder.rmdir()
