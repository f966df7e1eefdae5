"""The sysctls of a netdev: files, in the network namespace that this thread is in."""

import os
from collections.abc import Iterable
from typing import Final

from amdcni.core.aspects.sysctls import SeenSysctls, SetSysctl
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Netdev, Values
from amdcni.effects.files import text_in, write
from amdcni.effects.messages import neighbours
from amdcni.effects.rtnetlink import Rtnetlink

_TREES: Final = ("ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh", "mpls/conf")
_NEIGHBOURS: Final = {"ipv4/neigh": 4, "ipv6/neigh": 6}
_NET: Final = "/proc/sys/net"

_LEFT_OUT: Final = frozenset({"mc_forwarding", "base_reachable_time", "retrans_time"})
"""What a routing daemon controls, and other names of base_reachable_time_ms, retrans_time_ms."""

_DEFAULTS: Final = "default"
"""Stands in place of an ifname for the values that a new netdev gets."""


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
            if names and not _read_all(tree, _DEFAULTS, names, usual):
                tables = _neighbour_tables(kernel, tree)
                new, here = tables.get(None, {}), tables.get(netdev.ifindex, {})
                alike = [name for name in names if name in new and here.get(name) == new[name]]
                usual |= {path: own[path] for path in (f"{tree}/{name}" for name in alike)}
    else:
        for tree, names in _by_tree(kept.sysctls):
            _read_all(tree, netdev.ifname, names, own)
    return SeenSysctls(sysctls=own, sysctl_defaults=usual)


def defaults_of(kernel: Rtnetlink, names: Iterable[str]) -> Values:
    """What a new netdev has of the sysctls with these names; what cannot be read has no value."""
    found: dict[str, int | str] = {}
    for tree, leaves in _by_tree(names):
        if not _read_all(tree, _DEFAULTS, leaves, found):
            new = _neighbour_tables(kernel, tree).get(None, {})
            shown = {name: neighbours.as_sysctl(name, new[name]) for name in leaves if name in new}
            found |= {f"{tree}/{name}": value for name, value in shown.items() if value is not None}
    return found


def _by_tree(names: Iterable[str]) -> Iterable[tuple[str, list[str]]]:
    """The files that are meant in each tree."""
    leaves: dict[str, list[str]] = {}
    for name in names:
        tree, _, leaf = name.rpartition("/")
        leaves.setdefault(tree, []).append(leaf)
    return leaves.items()


def _neighbour_tables(kernel: Rtnetlink, tree: str) -> dict[int | None, dict[str, int]]:
    """The parameters of each netdev by its ifindex, and of new ones, which few netns have as files.

    There are none in a tree about anything but neighbours.
    """
    if tree not in _NEIGHBOURS:
        return {}
    try:
        replies = kernel.dump(neighbours.tables_query(_NEIGHBOURS[tree]))
    except KernelRefused:
        return {}
    found = map(neighbours.parameters_in, replies)
    return {ifindex: values for ifindex, values in found if values}


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
            value = text_in(name, folder)
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
        write(f"{_NET}/{tree}/{ifname}/{leaf}", f"{value}\n")
    except OSError as error:
        raise KernelRefused(
            f"the kernel refused to set {name} of {ifname} to {value}: {error.strerror}"
        ) from None


def allow_ipv6(ifname: str) -> None:
    """Let the netdev have IPv6 addresses; writes only if a sysctl forbids them."""
    if text_in(f"{_NET}/ipv6/conf/{ifname}/disable_ipv6") not in (None, "0"):
        _write(ifname, "ipv6/conf/disable_ipv6", 0)
