"""Routes: RTM_GETROUTE, RTM_NEWROUTE."""

import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final

import attrs
from pyroute2.netlink import NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE
from pyroute2.netlink.rtnl import RTM_GETROUTE, RTM_NEWROUTE
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from amdcni.core.aspects.routes import RouteChange
from amdcni.core.host import WIDEST_PREFIXES, Encap, Hop, IpAddress, IpNetwork, Route, WayOut
from amdcni.core.names import IfName
from amdcni.effects.messages.common import (
    FAMILIES,
    Layout,
    ip_of,
    named_in,
    names_of,
    network_of,
    number_of,
    octets_of_text,
    packed,
    packed_ip,
    text_of,
    u8,
    u16,
    u32,
)
from amdcni.effects.rtnetlink import Reply, Request, attribute, attributes_in

_VERSIONS: Final = {number: version for version, number in FAMILIES.items()}
_DST_LEN_OFFSET: Final = 1  # in struct rtmsg, after the family
_RTA_DST: Final = 1
_ANYWHERE: Final = {FAMILIES[4]: bytes(4), FAMILIES[6]: bytes(16)}
_MAIN_TABLE: Final = 254
_RTN_UNICAST: Final = 1
_RTNH_F_ONLINK: Final = 4
_DEAD: Final = 1 | 16  # RTNH_F_DEAD, RTNH_F_LINKDOWN
_CLOCK_TICKS_HZ: Final = 100  # USER_HZ, in which rta_expires counts
_RTAX_CC_ALGO: Final = 16
_IFINDEX: Final = struct.Struct("=i")
_RTNEXTHOP: Final = struct.Struct("=HBBi")
_CACHEINFO: Final = struct.Struct("=IIi")  # references, last use, expires
_RTVIA_BYTES: Final = 2  # struct rtvia: the family, then the address

_METRIC_NAMES: Final = {
    number: name.removeprefix("RTAX_").lower() for number, name in names_of(rtmsg.metrics).items()
}
_METRIC_NUMBERS: Final = {name: number for number, name in _METRIC_NAMES.items()}
_RTA_NH_ID: Final = 30
_NH_ID_HEADER: Final = struct.pack("=HH", 8, _RTA_NH_ID)
_LAYOUT: Final = Layout(rtmsg, {_RTA_NH_ID: "RTA_NH_ID"})


@lru_cache(maxsize=16)
def query(family: int, ifindex: int | None = None) -> Request:
    """The query for all routes of a family, AF_INET or AF_INET6, or those through one link.

    The kernel looks at every hop of a route, and may answer with more than was asked for.
    """
    return _LAYOUT.request(RTM_GETROUTE, {"family": family}, [("RTA_OIF", packed(ifindex))])


def lookup(ip: IpAddress) -> Request:
    """The query for the one route that packets to `ip` take."""
    fields = {"family": FAMILIES[ip.version], "dst_len": ip.max_prefixlen}
    return _LAYOUT.request(RTM_GETROUTE, fields, [("RTA_DST", ip.packed)])


@attrs.frozen
class Leg:
    """One hop of a route, as the kernel has it: `flags` are RTNH_F_*, `weight` counts from 0."""

    flags: int
    weight: int
    ifindex: int
    attributes: dict[str, bytes]

    @property
    def encap(self) -> Encap | None:
        """How it wraps packets; None if it does not, or in a way that no record can hold."""
        if "RTA_ENCAP" not in self.attributes:
            return None
        from amdcni.effects.messages.encaps import encap_of

        return encap_of(self.attributes.get("RTA_ENCAP_TYPE"), self.attributes["RTA_ENCAP"])


@attrs.frozen
class RawRoute:
    """A route as the kernel shows it (RTM_NEWROUTE), before the names of its netdevs are known.

    The fields before `attributes` are struct rtmsg.
    """

    family: int
    dst_len: int
    src_len: int
    tos: int
    table: int
    protocol: int
    scope: int
    kind: int
    attributes: dict[str, bytes]
    legs: tuple[Leg, ...]

    @property
    def ifindexes(self) -> tuple[int, ...]:
        """The netdevs that it leads through."""
        return tuple(leg.ifindex for leg in self.legs)

    @property
    def ways_out(self) -> tuple[WayOut, ...]:
        """Its hops, if it is a route of the main table to a wide prefix."""
        wide = self.dst_len <= WIDEST_PREFIXES
        if not wide or (self.table, self.kind) != (_MAIN_TABLE, _RTN_UNICAST):
            return ()
        version = _VERSIONS[self.family]
        destination = _network(self.attributes.get("RTA_DST"), self.dst_len, version)
        return tuple(
            WayOut(destination, leg.ifindex, dead=bool(leg.flags & _DEAD)) for leg in self.legs
        )

    @property
    def unsaved(self) -> tuple[str, ...]:
        """In words, what of it no record can hold."""
        lost = any("RTA_ENCAP" in leg.attributes and leg.encap is None for leg in self.legs)
        return ("an encapsulation",) if lost else ()

    @property
    def is_abridged(self) -> bool:
        """Whether its hops are not shown, but only its nexthop object.

        That is up to the sysctl net.ipv4.nexthop_compat_mode.
        """
        return not self.legs and "RTA_NH_ID" in self.attributes


def raw_route_of(reply: Reply) -> RawRoute:
    """The route in an RTM_NEWROUTE."""
    fields, attributes = _LAYOUT.read(reply.body)
    legs = tuple(_legs_in(attributes.get("RTA_MULTIPATH", b"")))
    if not legs and "RTA_OIF" in attributes:
        legs = (Leg(fields["flags"], 0, number_of(attributes["RTA_OIF"]) or 0, attributes),)
    return RawRoute(
        family=fields["family"],
        dst_len=fields["dst_len"],
        src_len=fields["src_len"],
        tos=fields["tos"],
        table=fields["table"],
        protocol=fields["proto"],
        scope=fields["scope"],
        kind=fields["type"],
        attributes=attributes,
        legs=legs,
    )


def _legs_in(data: bytes) -> Iterator[Leg]:
    offset = 0
    while offset + _RTNEXTHOP.size <= len(data):
        length, flags, weight, ifindex = _RTNEXTHOP.unpack_from(data, offset)
        length = max(length, _RTNEXTHOP.size)
        attributes = named_in(data[offset : offset + length], _RTNEXTHOP.size, _LAYOUT.names)
        yield Leg(flags, weight, ifindex, attributes)
        offset += (length + 3) & ~3


def is_wide(reply: Reply) -> bool:
    """Whether an RTM_NEWROUTE is of a route to a wide prefix, of any table."""
    return reply.body[_DST_LEN_OFFSET] <= WIDEST_PREFIXES


def leads_through(ifindex: int) -> Callable[[Reply], bool]:
    """Whether an RTM_NEWROUTE may be of a route through that netdev.

    It looks for the number, or for a nexthop object whose netdevs may not be shown, anywhere in the
    bytes: with many routes that is quicker than parsing.
    """
    number = _IFINDEX.pack(ifindex)
    return lambda reply: number in reply.body or _NH_ID_HEADER in reply.body


def leads_to(destinations: Iterable[IpNetwork]) -> Callable[[Reply], bool]:
    """Whether an RTM_NEWROUTE is of a route to one of these networks, of any table."""
    wanted = {
        (FAMILIES[network.version], network.prefixlen, network.network_address.packed)
        for network in destinations
    }

    def is_wanted(reply: Reply) -> bool:
        family, dst_len = reply.body[0], reply.body[_DST_LEN_OFFSET]
        if not dst_len:
            return (family, 0, _ANYWHERE[family]) in wanted
        found = attributes_in(reply.body, _LAYOUT.size)
        address = next((value for number, value in found if number == _RTA_DST), b"")
        return (family, dst_len, address) in wanted

    return is_wanted


def route_of(raw: RawRoute, ifnames: Mapping[int, IfName]) -> Route | None:
    """The route; None if it leads through no netdev.  `ifnames` are those of the namespace."""
    if not raw.legs and not raw.is_abridged:
        return None
    attributes, version = raw.attributes, _VERSIONS[raw.family]
    expires = 0
    if "RTA_CACHEINFO" in attributes:
        _, _, expires = _CACHEINFO.unpack_from(attributes["RTA_CACHEINFO"])
    return Route(
        destination=_network(attributes.get("RTA_DST"), raw.dst_len, version),
        hops=tuple(_hop(leg, ifnames) for leg in raw.legs),
        table=number_of(attributes.get("RTA_TABLE")) or raw.table,
        kind=raw.kind,
        protocol=raw.protocol,
        scope=raw.scope,
        tos=raw.tos,
        metric=number_of(attributes.get("RTA_PRIORITY")),
        origin=_network(attributes.get("RTA_SRC"), raw.src_len, version) if raw.src_len else None,
        source=ip_of(attributes.get("RTA_PREFSRC")),
        realm=number_of(attributes.get("RTA_FLOW")),
        preference=number_of(attributes.get("RTA_PREF")),
        metrics=_metrics(attributes.get("RTA_METRICS", b"")),
        expires_s=expires // _CLOCK_TICKS_HZ if expires > 0 else None,
        nexthop=number_of(attributes.get("RTA_NH_ID")),
    )


def _hop(leg: Leg, ifnames: Mapping[int, IfName]) -> Hop:
    via = leg.attributes.get("RTA_VIA")
    router = leg.attributes.get("RTA_GATEWAY") if via is None else via[_RTVIA_BYTES:]
    return Hop(
        ifname=ifnames.get(leg.ifindex, IfName(f"if{leg.ifindex}")),
        ifindex=leg.ifindex,
        via=ip_of(router),
        weight=leg.weight + 1,
        onlink=bool(leg.flags & _RTNH_F_ONLINK),
        encap=leg.encap,
    )


def _network(address: bytes | None, length: int, version: int) -> IpNetwork:
    return network_of(address or bytes(4 if version == 4 else 16), length)


def _metrics(data: bytes) -> dict[str, int | str]:
    return {
        _METRIC_NAMES.get(number, str(number)): (text_of(value) or "")
        if number == _RTAX_CC_ALGO
        else int.from_bytes(value, sys.byteorder)
        for number, value in attributes_in(data, 0)
    }


def put(change: RouteChange) -> Request:
    """The request to set the route, whose hops have ifindexes."""
    route = change.route
    single = route.hops[0] if len(route.hops) == 1 and route.nexthop is None else None
    fields = {
        "family": FAMILIES[route.family],
        "dst_len": route.destination.prefixlen,
        "src_len": route.origin.prefixlen if route.origin else 0,
        "tos": route.tos,
        "table": route.table if route.table < 256 else 0,
        "proto": route.protocol,
        "scope": route.scope,
        "type": route.kind,
        "flags": _RTNH_F_ONLINK if single and single.onlink else 0,
    }
    flags = NLM_F_CREATE | (NLM_F_REPLACE if change.replace else NLM_F_APPEND)
    return _LAYOUT.request(RTM_NEWROUTE, fields, _attributes(route, single), flags)


def _attributes(route: Route, single: Hop | None) -> Iterator[tuple[str, bytes | None]]:
    if route.destination.prefixlen:
        yield "RTA_DST", route.destination.network_address.packed
    if route.origin is not None:
        yield "RTA_SRC", route.origin.network_address.packed
    yield "RTA_TABLE", u32(route.table)
    yield "RTA_PREFSRC", packed_ip(route.source)
    yield "RTA_PRIORITY", packed(route.metric)
    yield "RTA_FLOW", packed(route.realm)
    yield "RTA_PREF", None if route.preference is None else u8(route.preference)
    yield "RTA_EXPIRES", packed(route.expires_s)
    yield "RTA_METRICS", b"".join(_metric(*each) for each in route.metrics.items()) or None
    if route.nexthop is not None:
        yield "RTA_NH_ID", u32(route.nexthop)
    elif single is not None:
        yield "RTA_OIF", u32(single.ifindex)
        yield from _way(route, single)
    else:
        yield "RTA_MULTIPATH", b"".join(_leg(route, hop) for hop in route.hops)


def _metric(name: str, value: int | str) -> bytes:
    octets = octets_of_text(value) if isinstance(value, str) else u32(value)
    return attribute(int(name) if name.isdigit() else _METRIC_NUMBERS[name], octets)


def _leg(route: Route, hop: Hop) -> bytes:
    way = _LAYOUT.attributes(_way(route, hop))
    flags = _RTNH_F_ONLINK if hop.onlink else 0
    return _RTNEXTHOP.pack(_RTNEXTHOP.size + len(way), flags, hop.weight - 1, hop.ifindex) + way


def _way(route: Route, hop: Hop) -> Iterator[tuple[str, bytes]]:
    if hop.via is not None and hop.via.version == route.family:
        yield "RTA_GATEWAY", hop.via.packed
    elif hop.via is not None:
        yield "RTA_VIA", u16(FAMILIES[hop.via.version]) + hop.via.packed
    if hop.encap is not None:
        yield "RTA_ENCAP_TYPE", u16(hop.encap.kind)
        yield "RTA_ENCAP", bytes.fromhex(hop.encap.data)
