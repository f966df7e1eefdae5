"""QEMU, a kernel, busybox and udev from packages of Debian, unpacked and not installed."""

import lzma
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from tests.debian import NotHere, lacking, run, unpack

_KERNEL = "linux-image-amd64"
_QEMU = "qemu-system-x86"
_UDEV = "udev"
_UDEVADM = "bin/udevadm"
_XZ = b"\xfd7zXZ\0"
_LIBRARIES = "lib/x86_64-linux-gnu"


@frozen
class Unpacked:
    """The folder that the packages are unpacked into."""

    root: Path

    @property
    def qemu(self) -> tuple[str, ...]:
        """The command for QEMU with its own firmware."""
        own = self.root / "usr/bin/qemu-system-x86_64"
        if not own.exists():
            return ("qemu-system-x86_64",)
        folders = [self.root / "usr/share/qemu", self.root / "usr/share/seabios"]
        return (str(own), *(word for folder in folders for word in ("-L", str(folder))))

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment in which QEMU finds the libraries and modules that came with it."""
        folders = [self.root / "usr" / _LIBRARIES, self.root / _LIBRARIES]
        return {
            **os.environ,
            "LD_LIBRARY_PATH": ":".join(map(str, folders)),
            "QEMU_MODULE_DIR": str(folders[0] / "qemu"),
        }

    @property
    def kernel(self) -> Path:
        return self.root / "vmlinux"

    @property
    def busybox(self) -> Path:
        return self._find("bin/busybox")

    @property
    def modules(self) -> Path:
        """The folder with the modules of the only kernel here."""
        (folder,) = self._find("lib/modules").iterdir()
        return folder

    @property
    def udev(self) -> Path | None:
        """The only program of udev, unless it is installed on this computer."""
        return next((p for top in ("usr", "") if (p := self.root / top / _UDEVADM).exists()), None)

    def _find(self, path: str) -> Path:
        """Return where `path` is: packages have moved from / to /usr one by one."""
        return next(place for top in ("usr", "") if (place := self.root / top / path).exists())


def unpacked(folder: Path) -> Unpacked:
    """Return the unpacked packages in `folder`, downloaded if they are not there yet.

    Raises:
        NotHere: this computer cannot download or run them.
    """
    found = Unpacked(folder / "root")
    if not (found.kernel.exists() and (found.udev or Path("/", _UDEVADM).exists())):
        if platform.machine() != "x86_64":
            raise NotHere(f"the machine is an x86_64 one, and this is {platform.machine()}")
        unpack(lambda: ["busybox-static", _newest_kernel(), *lacking(_QEMU, _UDEV)], found.root)
        _write_kernel(found)
    _require_qemu(found)
    return found


def _require_qemu(found: Unpacked) -> None:
    try:
        run([*found.qemu, "--version"], environment=found.environment)
    except FileNotFoundError as error:
        raise NotHere(f"QEMU does not start: {error}") from None


def _newest_kernel() -> str:
    """Return the package that the metapackage of the newest kernel depends on."""
    depends = run(["apt-cache", "depends", "--important", _KERNEL])
    match = re.search(r"Depends: (linux-image-\S+)", depends)
    if match is None:
        raise NotHere(f"the package {_KERNEL} depends on no kernel")
    return match[1]


def _write_kernel(found: Unpacked) -> None:
    """Write the kernel in the form that QEMU starts fastest: uncompressed, if Debian used xz."""
    (image,) = (found.root / "boot").glob("vmlinuz-*")
    data = image.read_bytes()
    start = data.find(_XZ)
    plain = data if start < 0 else lzma.LZMADecompressor().decompress(data[start:])
    part = found.kernel.with_suffix(".part")
    part.write_bytes(plain)
    # It comes last and in one step: if it is there, everything is.
    part.rename(found.kernel)
