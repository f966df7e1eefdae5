"""The sysctls of netdevs, as `grep -r` prints them; a script, run by `readings.py`."""

import contextlib
import os
import sys
from collections.abc import Iterator

_ROOT = "/proc/sys"
_FOLDERS = ("net/ipv4/conf", "net/ipv4/neigh", "net/ipv6/conf", "net/ipv6/neigh")
_MAX_BYTES = 1 << 16


def main() -> None:
    """Print `FOLDER/NETDEV/NAME:VALUE` for each sysctl that can be read, with one line a value."""
    lines: list[str] = []
    for folder in _FOLDERS:
        for ifname in os.listdir(f"{_ROOT}/{folder}"):
            # A netdev may go at any time, and its sysctls with it.
            with contextlib.suppress(FileNotFoundError):
                lines += _lines_of(f"{folder}/{ifname}")
    sys.stdout.write("".join(lines))


def _lines_of(folder: str) -> Iterator[str]:
    opened = os.open(f"{_ROOT}/{folder}", os.O_RDONLY)
    try:
        for name in os.listdir(opened):
            with contextlib.suppress(OSError):
                for line in _read(opened, name).splitlines():
                    yield f"{folder}/{name}:{line}\n"
    finally:
        os.close(opened)


def _read(folder: int, name: str) -> str:
    file = os.open(name, os.O_RDONLY, dir_fd=folder)
    try:
        return os.read(file, _MAX_BYTES).decode(errors="surrogateescape")
    finally:
        os.close(file)
