"""Routes: RTM_GETROUTE, RTM_NEWROUTE."""

import ipaddress
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from pyroute2.netlink import NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE
from pyroute2.netlink.rtnl import RTM_GETROUTE, RTM_NEWROUTE
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from amdcni.core.host import Hop, IpNetwork, Route
from amdcni.core.names import IfName
from amdcni.core.routes import RouteChange
from amdcni.effects.messages.common import FAMILIES, attributes_of, ip_of, request
from amdcni.effects.rtnetlink import Reply, Request

_VERSIONS: Final = {number: version for version, number in FAMILIES.items()}
_DST_LEN_OFFSET: Final = 1  # in struct rtmsg
_MAIN_TABLE: Final = 254
_RTN_UNICAST: Final = 1
_RTNH_F_ONLINK: Final = 4
_CLOCK_TICKS_HZ: Final = 100  # USER_HZ, in which rta_expires counts

UNSAVED: Final = {"RTA_ENCAP": "an encapsulation", "RTA_NH_ID": "a nexthop object"}
"""Attributes of a route that no record can hold."""


@cache
def query(family: int) -> Request:
    """For all routes of a family, AF_INET or AF_INET6."""
    return request(RTM_GETROUTE, rtmsg(), {"family": family})


def matters_to(ifindex: int) -> Callable[[Reply], bool]:
    """Whether an RTM_NEWROUTE may be of a route through that netdev, or of a default route."""
    return lambda reply: reply.byte(_DST_LEN_OFFSET) == 0 or reply.mentions(ifindex)


def default_hops(message: Any) -> tuple[int, ...]:
    """The ifindexes that a default route of the main table leads to; none for other routes."""
    if message["dst_len"] or message["type"] != _RTN_UNICAST or message["table"] != _MAIN_TABLE:
        return ()
    return tuple(_hops_of(message))


def ifindexes_of(message: Any) -> set[int]:
    """The netdevs that the route of an RTM_NEWROUTE leads through."""
    return set(_hops_of(message))


def _hops_of(message: Any) -> list[int]:
    told = attributes_of(message)
    found = [leg["oif"] for leg in told("RTA_MULTIPATH") or ()] or [told("RTA_OIF")]
    return [index for index in found if index]


def route_of(message: Any, ifnames: Mapping[int, IfName]) -> Route | None:
    """The route that an RTM_NEWROUTE tells of; None if it leads through no netdev.

    `ifnames` are those of the namespace.
    """
    told = attributes_of(message)
    legs = told("RTA_MULTIPATH") or ()
    hops = tuple(_hop(leg["oif"], leg, leg["hops"] + 1, ifnames) for leg in legs)
    if not hops:
        oif = told("RTA_OIF")
        if oif is None:
            return None
        hops = (_hop(oif, message, 1, ifnames),)
    version = _VERSIONS[message["family"]]
    metrics = told("RTA_METRICS")
    expires = (told("RTA_CACHEINFO") or {}).get("rta_expires") or 0
    source = told("RTA_PREFSRC")
    return Route(
        destination=_network(told("RTA_DST"), message["dst_len"], version),
        hops=hops,
        table=told("RTA_TABLE") or message["table"],
        kind=message["type"],
        protocol=message["proto"],
        scope=message["scope"],
        tos=message["tos"],
        metric=told("RTA_PRIORITY"),
        origin=_network(told("RTA_SRC"), message["src_len"], version)
        if message["src_len"]
        else None,
        source=ip_of(source) if source else None,
        realm=told("RTA_FLOW"),
        preference=told("RTA_PREF"),
        metrics={} if metrics is None else _metrics(metrics),
        expires_s=expires // _CLOCK_TICKS_HZ if expires > 0 else None,
    )


def _hop(oif: int, where: Any, weight: int, ifnames: Mapping[int, IfName]) -> Hop:
    gateway, via = where.get("RTA_GATEWAY"), where.get("RTA_VIA")
    router = gateway or (via["addr"] if via else None)
    return Hop(
        ifname=ifnames.get(oif, IfName(f"if{oif}")),
        ifindex=oif,
        via=ip_of(router) if router else None,
        weight=weight,
        onlink=bool(where["flags"] & _RTNH_F_ONLINK),
    )


def _network(address: str | None, length: int, version: int) -> IpNetwork:
    anywhere = "0.0.0.0" if version == 4 else "::"
    return ipaddress.ip_network(f"{address or anywhere}/{length}")


def _metrics(metrics: Any) -> dict[str, int | str]:
    return {name.removeprefix("RTAX_").lower(): value for name, value in metrics["attrs"]}


def put(change: RouteChange) -> Request:
    """To set the route, whose hops have ifindexes."""
    route = change.route
    single = route.hops[0] if len(route.hops) == 1 else None
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
    return request(RTM_NEWROUTE, rtmsg(), fields, _attributes(route, single), flags)


def _attributes(route: Route, single: Hop | None) -> Iterator[tuple[str, Any]]:
    yield "RTA_TABLE", route.table
    if route.destination.prefixlen:
        yield "RTA_DST", str(route.destination.network_address)
    if route.origin is not None:
        yield "RTA_SRC", str(route.origin.network_address)
    if route.source is not None:
        yield "RTA_PREFSRC", str(route.source)
    if route.metric is not None:
        yield "RTA_PRIORITY", route.metric
    if route.realm is not None:
        yield "RTA_FLOW", route.realm
    if route.preference is not None:
        yield "RTA_PREF", route.preference
    if route.expires_s is not None:
        yield "RTA_EXPIRES", route.expires_s.to_bytes(4, sys.byteorder)
    if route.metrics:
        named = [(f"RTAX_{name.upper()}", value) for name, value in route.metrics.items()]
        yield "RTA_METRICS", {"attrs": named}
    if single is not None:
        yield "RTA_OIF", single.ifindex
        yield from _router(route, single)
    else:
        yield (
            "RTA_MULTIPATH",
            [
                {
                    "oif": hop.ifindex,
                    "hops": hop.weight - 1,
                    "flags": _RTNH_F_ONLINK if hop.onlink else 0,
                    "attrs": list(_router(route, hop)),
                }
                for hop in route.hops
            ],
        )


def _router(route: Route, hop: Hop) -> Iterator[tuple[str, Any]]:
    if hop.via is None:
        return
    if hop.via.version == route.family:
        yield "RTA_GATEWAY", str(hop.via)
    else:
        yield "RTA_VIA", {"family": FAMILIES[hop.via.version], "addr": str(hop.via)}
