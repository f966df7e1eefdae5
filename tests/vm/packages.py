"""QEMU, a kernel and busybox from Debian's packages, unpacked into a folder, not installed."""

import lzma
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

_KERNEL = "linux-image-amd64"
_QEMU = "qemu-system-x86"
_XZ = b"\xfd7zXZ\0"
_LIBRARIES = "lib/x86_64-linux-gnu"


class NoMachine(Exception):
    """Why this computer cannot run the machine."""


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

    def _find(self, path: str) -> Path:
        """Return where `path` is: packages have moved from / to /usr one by one."""
        return next(place for top in ("usr", "") if (place := self.root / top / path).exists())


def unpacked(folder: Path) -> Unpacked:
    """Return the unpacked packages in `folder`, downloaded if they are not there yet.

    Raises:
        NoMachine: this computer cannot download or run them.
    """
    found = Unpacked(folder / "root")
    if not found.kernel.exists():
        _require_debian()
        packages = folder / "packages"
        for leftover in (packages, found.root):
            shutil.rmtree(leftover, ignore_errors=True)
            leftover.mkdir(parents=True)
        for package in _download(packages):
            _run(["dpkg", "--extract", package, found.root])
        shutil.rmtree(packages)
        _write_kernel(found)
    _require_qemu(found)
    return found


def _require_debian() -> None:
    if platform.machine() != "x86_64":
        raise NoMachine(f"the machine is an x86_64 one, and this is {platform.machine()}")
    for tool in ("apt-get", "apt-cache", "dpkg"):
        if shutil.which(tool) is None:
            raise NoMachine(f"{tool} is missing: the packages of the machine are Debian's")


def _require_qemu(found: Unpacked) -> None:
    try:
        _run([*found.qemu, "--version"], environment=found.environment)
    except FileNotFoundError as error:
        raise NoMachine(f"QEMU does not start: {error}") from None


def _download(folder: Path) -> list[Path]:
    """Download what is needed; if apt's lists are out of date, update them first."""
    try:
        _download_listed(folder)
    except NoMachine:
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "-qq", "update"])
        _download_listed(folder)
    return sorted(folder.glob("*.deb"))


def _download_listed(folder: Path) -> None:
    names = ["busybox-static", _newest_kernel(), *_lacking(_QEMU)]
    # Not as apt's own user, which could not write here.
    _run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *names], cwd=folder)


def _newest_kernel() -> str:
    """Return the package that the metapackage of the newest kernel depends on."""
    depends = _run(["apt-cache", "depends", "--important", _KERNEL])
    match = re.search(r"Depends: (linux-image-\S+)", depends)
    if match is None:
        raise NoMachine(f"the package {_KERNEL} depends on no kernel")
    return match[1]


def _lacking(package: str) -> list[str]:
    """Return the packages that installing `package` would add to this computer."""
    argv = ["apt-get", "--simulate", "-o", "Debug::NoLocking=1", "--no-install-recommends"]
    lines = _run([*argv, "install", package]).splitlines()
    return [line.split()[1] for line in lines if line.startswith("Inst ")]


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


def _run(
    argv: Sequence[str | Path],
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    done = subprocess.run(
        argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode != 0:
        said = _last_lines(done.stderr or done.stdout)
        raise NoMachine(f"{' '.join(map(str, argv[:3]))} ... ended with {done.returncode}: {said}")
    return done.stdout


def _last_lines(text: str) -> str:
    lines = text.strip().splitlines()[-3:]
    return "; ".join(line.strip() for line in lines)
