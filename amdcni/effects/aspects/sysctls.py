"""The sysctls of a netdev: files, in the network namespace that this thread is in."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from amdcni.core.aspects.sysctls import SeenSysctls, SetSysctl
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Netdev, Values
from amdcni.effects.rtnetlink import Rtnetlink

_TREES: Final = ("ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh", "mpls/conf")
_NET: Final = "/proc/sys/net"

_LEFT_OUT: Final = frozenset({"mc_forwarding", "base_reachable_time", "retrans_time"})
"""What a routing daemon controls, and other names of base_reachable_time_ms, retrans_time_ms."""

_DEFAULTS: Final = "default"
"""Stands in place of an ifname for the values that a new netdev gets."""

_VALUE_BYTES: Final = 4096


def read(kernel: Rtnetlink, netdev: Netdev, kept: Captured | None) -> SeenSysctls:
    """All of them, with those that a new netdev would get, which say what to keep.

    Once that is known, only what is kept is read: it is few of a hundred files.  What cannot be
    read has no value.
    """
    own: dict[str, int | str] = {}
    usual: dict[str, int | str] = {}
    if kept is None:
        for tree in _TREES:
            names = _read_all(tree, netdev.ifname, None, own)
            _read_all(tree, _DEFAULTS, names, usual)
    else:
        leaves: dict[str, list[str]] = {}
        for name in kept.sysctls:
            tree, _, leaf = name.rpartition("/")
            leaves.setdefault(tree, []).append(leaf)
        for tree, names in leaves.items():
            _read_all(tree, netdev.ifname, names, own)
    return SeenSysctls(sysctls=own, sysctl_defaults=usual)


def _read_all(
    tree: str, ifname: str, names: list[str] | None, values: dict[str, int | str]
) -> list[str]:
    """Add the values of a folder, of all files or those with these names; return the names."""
    try:
        folder = os.open(f"{_NET}/{tree}/{ifname}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        if names is None:
            names = sorted(set(os.listdir(folder)) - _LEFT_OUT)
        for name in names:
            value = _read(name, folder)
            if value is not None:
                values[f"{tree}/{name}"] = value
        return names
    finally:
        os.close(folder)


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetSysctl) -> None:
    """Set it."""
    _write(netdev.ifname, change.name, change.value)


def _write(ifname: str, name: str, value: int | str) -> None:
    """Set a sysctl of the netdev; raises KernelRefused."""
    tree, _, leaf = name.rpartition("/")
    try:
        Path(_NET, tree, ifname, leaf).write_text(f"{value}\n")
    except OSError as error:
        raise KernelRefused(
            f"the kernel refused to set {name} of {ifname} to {value}: {error.strerror}"
        ) from None


def allow_ipv6(ifname: str) -> None:
    """Let the netdev have IPv6 addresses; writes only if a sysctl forbids them."""
    if _read(f"{_NET}/ipv6/conf/{ifname}/disable_ipv6") not in (None, "0"):
        _write(ifname, "ipv6/conf/disable_ipv6", 0)


def defaults_of(names: Iterable[str]) -> Values:
    """What a new netdev has of the sysctls with these names; what cannot be read has no value."""
    places = ((name, *name.rsplit("/", 1)) for name in names)
    found = {name: _read(f"{_NET}/{tree}/{_DEFAULTS}/{leaf}") for name, tree, leaf in places}
    return {name: value for name, value in found.items() if value is not None}


def _read(path: str, folder: int | None = None) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        return os.read(fd, _VALUE_BYTES).decode().strip()
    except OSError:  # stable_secret, before it is set
        return None
    finally:
        os.close(fd)
