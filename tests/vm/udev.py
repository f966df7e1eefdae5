"""udev in the virtual machine: it names NICs by `.link` files, as on a node with systemd.

What is executed is Debian's, unpacked on this computer and not installed; see `packages.py`.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.patience import wait_until
from tests.vm.machine import CHECKOUT
from tests.vm.nics import SLOTS, Slot
from tests.vm.packages import Unpacked

_UNPACKED: Final = Unpacked(CHECKOUT / ".vm/root")
_RULES: Final = "lib/udev/rules.d/80-net-setup-link.rules"
_FOLDERS: Final = tuple(map(Path, ("/run/udev/rules.d", "/run/systemd/network")))


@contextmanager
def udev(links: Mapping[Slot, str]) -> Iterator[None]:
    """udev at work, with a `.link` file for each NIC, whose section [Link] has these lines, too.

    All NICs have their usual names; those that are not mentioned have nothing else.
    """
    for folder in _FOLDERS:
        folder.mkdir(parents=True)
    shutil.copy(_RULES_FILE, _FOLDERS[0])
    for slot in SLOTS:
        # One half of the files goes by the place of the NIC, the other by its hardware address.
        match = f"Path=pci-{slot.bdf}*" if slot.number % 2 else f"MACAddress={slot.mac}"
        lines = ("[Match]", match, "[Link]", f"Name={slot.ifname}", links.get(slot, ""), "")
        (_FOLDERS[1] / f"10-{slot.ifname}.link").write_text("\n".join(lines))
    daemon = subprocess.Popen(
        ["systemd-udevd"], executable=_PROGRAM, env=_ENVIRONMENT, stdin=subprocess.DEVNULL
    )
    try:
        wait_until(Path("/run/udev/control").exists, "udev listens")
        yield
    finally:
        daemon.kill()
        daemon.wait()
        for made in ("/run/udev", "/run/systemd"):
            shutil.rmtree(made)


def udevadm(*words: str) -> str:
    """Run `udevadm`; return what it prints."""
    done = subprocess.run([_PROGRAM, *words], env=_ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout


def settle() -> None:
    """Wait until udev has nothing to do."""
    udevadm("settle")


_PROGRAM: Final = _UNPACKED.udev or Path("/bin/udevadm")
_RULES_FILE: Final = (
    Path("/usr", _RULES) if _UNPACKED.udev is None else _UNPACKED.udev.parents[1] / _RULES
)
_LIBRARIES: Final = [
    str(_UNPACKED.root / each) for each in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
]
_ENVIRONMENT: Final = {**os.environ, "LD_LIBRARY_PATH": ":".join(_LIBRARIES)}
