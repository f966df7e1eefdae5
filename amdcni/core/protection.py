"""What a netdev carries, and why the node would lose more than the netdev by lending it.

ADD, its preview and `amdcni devices` all decide by `protections` alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.errors import DeviceProtected
from amdcni.core.host import IpAddress, Load, Netdev, SysfsDevice, WayOut

PAIRS: Final = frozenset({"veth", "netkit", "vxcan", "netdevsim"})
"""Kinds of netdevs that come in pairs: the IFLA_LINK of one is the other, which is not below it."""


@attrs.frozen
class Surroundings:
    """The host around a netdev: all netdevs, what they carry, and the ways out of the node."""

    netdevs: tuple[Netdev, ...]
    ways_out: tuple[WayOut, ...] = ()
    load: Load = attrs.field(factory=Load)


@attrs.frozen
class Protection:
    """Why a netdev is not lent, and what to do about it, for people."""

    why: str
    remedy: str


def refuse_protected(netdev: Netdev, around: Surroundings) -> None:
    """Raise DeviceProtected if the node would lose more than this netdev by lending it."""
    found = protections(around).get(netdev.ifindex)
    if found is not None:
        raise DeviceProtected(f"{netdev.ifname} {found.why}; {found.remedy}")


def protections(around: Surroundings) -> dict[int, Protection]:
    """Why some netdevs of the host are not lent, by ifindex; the others may be."""
    names = {netdev.ifindex: netdev.ifname for netdev in around.netdevs}
    uplinks, carried = uplinks_of(around), _carried(around)
    found = {}
    for netdev in around.netdevs:
        if netdev.loopback:
            protection = Protection("is the loopback netdev", "choose a NIC")
        elif netdev.ifindex in uplinks:
            why = f"carries the node's only default route of {uplinks[netdev.ifindex]}"
            protection = Protection(why, "the node would become unreachable")
        elif netdev.master is not None:
            master = names.get(netdev.master, "a bond or bridge")
            protection = Protection(f"is a member of {master}", "take it out first")
        elif netdev.ifindex in carried:
            why = f"carries {', '.join(carried[netdev.ifindex])}"
            protection = Protection(why, "they would be destroyed or cut off; remove them first")
        else:
            continue
        found[netdev.ifindex] = protection
    return found


def protection_by(kin: Attachment, device: SysfsDevice) -> Protection:
    """Why a device is not lent while another pod has one of its `kin`.

    By the netdev of a physical function, whoever has that sets the hardware addresses, VLANs and
    link states of its virtual functions, whatever network namespaces these are in.
    """
    if kin.key.bus_device == device.physfn:
        why = f"belongs to the physical function {kin.key.bus_device}, which"
    else:
        why = f"has the virtual function {kin.key.bus_device}, which"
    holder = f"container {kin.id.short} has as {kin.id.ifname!r}"
    remedy = "one pod would control what another one has; wait until that attachment is deleted"
    return Protection(f"{why} {holder}", remedy)


# ---- what rests on what ------------------------------------------------------------------------


@attrs.frozen
class _Rest:
    """That the netdev `upper` does not work without the netdev `lower`; `how` is for people."""

    upper: Netdev
    lower: int
    how: str = ""


def _rests(around: Surroundings) -> Iterator[_Rest]:
    """What rests on which netdev, not counting masters: a bond does not rest on one member."""
    holders = _holders(around.netdevs)
    for netdev in around.netdevs:
        below = netdev.below
        if netdev.lower is not None and netdev.kind not in PAIRS:
            yield _Rest(netdev, netdev.lower)
        yield from (_Rest(netdev, ifindex) for ifindex in below.links)
        if below.local is not None:
            # Where several netdevs have the address, the tunnel keeps it if one of them leaves.
            others = tuple(holders[below.local] - {netdev.ifindex})
            if len(others) == 1:
                yield _Rest(netdev, others[0], f" (from {below.local})")
        if netdev.ifindex in around.load.tunnel_ways:
            yield _Rest(netdev, around.load.tunnel_ways[netdev.ifindex], f" (to {below.remote})")


def _holders(netdevs: Iterable[Netdev]) -> Mapping[IpAddress, set[int]]:
    """The netdevs that have an address; those that are down count if no other one has it."""
    holders: dict[IpAddress, set[int]] = defaultdict(set)
    for up in (True, False):
        found = [
            (address.interface.ip, netdev.ifindex)
            for netdev in netdevs
            if netdev.up is up
            for address in netdev.addresses
        ]
        already = set(holders)
        for ip, ifindex in found:
            if ip not in already:
                holders[ip].add(ifindex)
    return holders


def _carried(around: Surroundings) -> dict[int, list[str]]:
    """In words, what rests on netdevs, by ifindex."""
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for rest in _rests(around):
        if rest.lower != rest.upper.ifindex:
            found[rest.lower].setdefault(rest.upper.ifname, rest.how)
    by_name = {netdev.ifname: netdev.ifindex for netdev in around.netdevs}
    for ifname in around.load.pppoe & by_name.keys():
        found[by_name[ifname]].setdefault("a PPPoE session", "")
    for device, ifname in sorted(around.load.rdma.items()):
        if ifname in by_name:
            found[by_name[ifname]].setdefault(f"the RDMA device {device}", "")
    for ifindex, macs in around.load.receives_for.items():
        if ifindex not in found:
            found[ifindex] = {f"what receives at {mac} through it": "" for mac in macs}
    return {n: [what + how for what, how in resting.items()] for n, resting in found.items()}


def rests_on(netdev: Netdev, around: Surroundings) -> tuple[Netdev, ...]:
    """The netdevs of the host without which this one does not work, or that are its members."""
    ((_, found),) = each_rests_on((netdev,), around)
    return found


def each_rests_on(
    netdevs: Iterable[Netdev], around: Surroundings
) -> Iterator[tuple[Netdev, tuple[Netdev, ...]]]:
    """Each of `netdevs`, in their order, with what it rests on."""
    right_below = _below(around)
    for netdev in netdevs:
        below = _all_below(netdev.ifindex, right_below) - {netdev.ifindex}
        yield netdev, tuple(each for each in around.netdevs if each.ifindex in below)


# ---- the uplink --------------------------------------------------------------------------------


def uplinks_of(around: Surroundings) -> dict[int, str]:
    """The netdevs without which the node has no way out, with the family: `IPv4`, or `IPv6`.

    All ways out of a family lead through such a netdev: directly, or through what rests on it, or
    through the bond, bridge or the like whose member it is.
    """
    below = _below(around)
    found: dict[int, str] = {}
    for family in (4, 6):
        for hops in _ways_out([way for way in around.ways_out if way.family == family]):
            needed = frozenset.intersection(*(_all_below(hop, below) for hop in hops))
            for ifindex in needed:
                found.setdefault(ifindex, f"IPv{family}")
    return found


def _ways_out(ways: list[WayOut]) -> Iterator[frozenset[int]]:
    """The hops of the routes of a family, those grouped that can stand in for each other.

    Metrics do not matter: the next route takes over.  Without a default route, each other wide
    prefix is a group of its own.  Dead hops count only where no hop is alive.
    """
    defaults = [way for way in ways if way.destination.prefixlen == 0]
    for destination in {way.destination for way in defaults or ways}:
        hops = [way for way in ways if way.destination == destination]
        alive = [way for way in hops if not way.dead]
        yield frozenset(way.ifindex for way in alive or hops)


def _below(around: Surroundings) -> Mapping[int, set[int]]:
    """The ifindexes of the netdevs right below each, members of a bond or the like among them.

    PPPoE does not show which session a PPP netdev has, nor Open vSwitch which member a bridge has,
    so each counts as having all of them below it.
    """
    below: dict[int, set[int]] = defaultdict(set)
    for rest in _rests(around):
        below[rest.upper.ifindex].add(rest.lower)
    for netdev in around.netdevs:
        if netdev.master is not None:
            below[netdev.master].add(netdev.ifindex)
    kinds = {netdev.ifindex: netdev.kind for netdev in around.netdevs}
    switches = [members for ifindex, members in below.items() if kinds.get(ifindex) == _SWITCH]
    shared = {
        "ppp": {n.ifindex for n in around.netdevs if n.ifname in around.load.pppoe},
        _SWITCH: set[int]().union(*switches),
    }
    for netdev in around.netdevs:
        below[netdev.ifindex] |= shared.get(netdev.kind or "", set())
    return below


_SWITCH: Final = "openvswitch"


def _all_below(ifindex: int, below: Mapping[int, set[int]]) -> frozenset[int]:
    """The netdev itself, and all that are below it at any depth."""
    found: set[int] = set()
    added = {ifindex}
    while added:
        found |= added
        added = {each for one in added for each in below.get(one, ())} - found
    return frozenset(found)
