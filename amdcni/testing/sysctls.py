"""The sysctls of netdevs; a script, run by `readings.py`."""

import contextlib
import json
import os
import sys

_ROOT = "/proc/sys"
_FOLDERS = ("net/ipv4/conf", "net/ipv4/neigh", "net/ipv6/conf", "net/ipv6/neigh")
_MAX_BYTES = 1 << 16


def main() -> None:
    """Print a JSON object with the values by name of each folder, as `net/ipv4/conf/eth1`."""
    found = {}
    for folder in _FOLDERS:
        for ifname in os.listdir(f"{_ROOT}/{folder}"):
            # A netdev may go at any time, and its sysctls with it.
            with contextlib.suppress(FileNotFoundError):
                found[f"{folder}/{ifname}"] = _values_in(f"{_ROOT}/{folder}/{ifname}")
    json.dump(found, sys.stdout)


def _values_in(folder: str) -> dict[str, str]:
    """Return those that can be read."""
    opened, values = os.open(folder, os.O_RDONLY), {}
    try:
        for name in os.listdir(opened):
            with contextlib.suppress(OSError):
                values[name] = _read(opened, name).removesuffix("\n")
    finally:
        os.close(opened)
    return values


def _read(folder: int, name: str) -> str:
    file = os.open(name, os.O_RDONLY, dir_fd=folder)
    try:
        return os.read(file, _MAX_BYTES).decode(errors="surrogateescape")
    finally:
        os.close(file)
