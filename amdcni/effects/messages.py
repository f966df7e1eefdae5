"""Between what netlink says, as pyroute2 decodes it, and the types of `amdcni.core.host`."""

import ipaddress
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from amdcni.core.host import (
    SETTABLE_LINK_FLAGS,
    Address,
    AddressFlag,
    Hop,
    IpAddress,
    IpNetwork,
    Neighbour,
    Netdev,
    Qdisc,
    Route,
)
from amdcni.core.names import IfName, MacAddress

FAMILIES: Final = {4: 2, 6: 10}  # AF_INET, AF_INET6
FOREVER: Final = 0xFFFFFFFF

_VERSIONS: Final = {number: version for version, number in FAMILIES.items()}
_IFF_UP: Final = 0x1
_IFF_LOOPBACK: Final = 0x8
_RTNH_F_ONLINK: Final = 4
_CLOCK_TICKS_HZ: Final = 100  # USER_HZ, in which rta_expires counts


# ---- links and addresses


def netdev_of(link: Any, addresses: tuple[Address, ...]) -> Netdev:
    """The netdev that an RTM_NEWLINK tells of."""
    properties = link.get("IFLA_PROP_LIST")
    altnames = () if properties is None else properties.get_attrs("IFLA_ALT_IFNAME")
    here = link.get("IFLA_LINK_NETNSID") is None
    info = link.get("IFLA_LINKINFO")
    return Netdev(
        ifindex=link["index"],
        ifname=IfName(link.get("IFLA_IFNAME")),
        mac=_mac(link.get("IFLA_ADDRESS")),
        permanent_mac=_mac(link.get("IFLA_PERM_ADDRESS")),
        mtu=link.get("IFLA_MTU") or 0,
        txqlen=link.get("IFLA_TXQLEN") or 0,
        group=link.get("IFLA_GROUP") or 0,
        flags=link["flags"] & SETTABLE_LINK_FLAGS,
        up=bool(link["flags"] & _IFF_UP),
        loopback=bool(link["flags"] & _IFF_LOOPBACK),
        kind=None if info is None else info.get("IFLA_INFO_KIND"),
        alias=link.get("IFLA_IFALIAS"),
        altnames=tuple(altnames),
        parent=link.get("IFLA_PARENT_DEV_NAME"),
        lower=link.get("IFLA_LINK") or None if here else None,
        master=link.get("IFLA_MASTER"),
        addresses=addresses,
    )


def token_of(link: Any) -> IpAddress | None:
    """The IPv6 token that an RTM_NEWLINK tells of; None if none is set."""
    families = link.get("IFLA_AF_SPEC")
    ipv6 = None if families is None else families.get("AF_INET6")
    token = None if ipv6 is None else ipv6.get("IFLA_INET6_TOKEN")
    return _ip(token) if token and int(_ip(token)) else None


def _mac(text: str | None) -> MacAddress | None:
    """A tunnel has an IP address for its hardware address, which is none (net/ipv4/ip_gre.c)."""
    return MacAddress(text) if text and len(text) >= len("00:00:00:00:00:00") else None


def address_of(message: Mapping[str, Any]) -> Address:
    """The address that an RTM_NEWADDR tells of.

    IFA_LOCAL is the address and IFA_ADDRESS the peer, where both are there and differ.
    """
    first, local = message.get("IFA_ADDRESS"), message.get("IFA_LOCAL")
    own = local or first
    lifetimes = message.get("IFA_CACHEINFO") or {}
    all_flags = message.get("IFA_FLAGS")
    flags = message["flags"] if all_flags is None else all_flags
    preferred_s = _lifetime(lifetimes.get("ifa_preferred"))
    if preferred_s is None and flags & AddressFlag.DEPRECATED:
        # Of a permanent IPv4 address the kernel shows no lifetime (inet_fill_ifaddr).
        preferred_s = 0
    broadcast = message.get("IFA_BROADCAST")
    return Address(
        interface=ipaddress.ip_interface(f"{own}/{message['prefixlen']}"),
        peer=_ip(first) if first and first != own else None,
        broadcast=ipaddress.IPv4Address(broadcast) if broadcast else None,
        label=message.get("IFA_LABEL"),
        scope=message["scope"],
        flags=flags,
        metric=message.get("IFA_RT_PRIORITY") or None,
        proto=message.get("IFA_PROTO") or None,
        valid_s=_lifetime(lifetimes.get("ifa_valid")),
        preferred_s=preferred_s,
    )


def _ip(text: str) -> IpAddress:
    return ipaddress.ip_address(text)


def _lifetime(seconds: int | None) -> int | None:
    return None if seconds in (None, FOREVER) else seconds


# ---- routes


UNSAVED: Final = {"RTA_ENCAP": "an encapsulation", "RTA_NH_ID": "a nexthop object"}
"""Attributes of a route that no record can hold."""


def ifindexes_of(message: Any) -> set[int]:
    """The netdevs that the route of an RTM_NEWROUTE leads through."""
    legs = message.get("RTA_MULTIPATH") or ()
    return {leg["oif"] for leg in legs} or {message.get("RTA_OIF") or 0}


def route_of(message: Any, ifnames: Mapping[int, IfName]) -> Route | None:
    """The route that an RTM_NEWROUTE tells of; None if it leads through no netdev.

    `ifnames` are those of the namespace.
    """
    legs = message.get("RTA_MULTIPATH") or ()
    hops = tuple(_hop(leg["oif"], leg, leg["hops"] + 1, ifnames) for leg in legs)
    if not hops:
        oif = message.get("RTA_OIF")
        if oif is None:
            return None
        hops = (_hop(oif, message, 1, ifnames),)
    version = _VERSIONS[message["family"]]
    metrics = message.get("RTA_METRICS")
    expires = (message.get("RTA_CACHEINFO") or {}).get("rta_expires") or 0
    source = message.get("RTA_PREFSRC")
    return Route(
        destination=_network(message.get("RTA_DST"), message["dst_len"], version),
        hops=hops,
        table=message.get("RTA_TABLE") or message["table"],
        kind=message["type"],
        protocol=message["proto"],
        scope=message["scope"],
        tos=message["tos"],
        metric=message.get("RTA_PRIORITY"),
        origin=_network(message.get("RTA_SRC"), message["src_len"], version)
        if message["src_len"]
        else None,
        source=_ip(source) if source else None,
        realm=message.get("RTA_FLOW"),
        preference=message.get("RTA_PREF"),
        metrics={} if metrics is None else _metrics(metrics),
        expires_s=expires // _CLOCK_TICKS_HZ if expires > 0 else None,
    )


def _hop(oif: int, where: Any, weight: int, ifnames: Mapping[int, IfName]) -> Hop:
    gateway, via = where.get("RTA_GATEWAY"), where.get("RTA_VIA")
    router = gateway or (via["addr"] if via else None)
    return Hop(
        ifname=ifnames.get(oif, IfName(f"if{oif}")),
        ifindex=oif,
        via=_ip(router) if router else None,
        weight=weight,
        onlink=bool(where["flags"] & _RTNH_F_ONLINK),
    )


def _network(address: str | None, length: int, version: int) -> IpNetwork:
    anywhere = "0.0.0.0" if version == 4 else "::"
    return ipaddress.ip_network(f"{address or anywhere}/{length}")


def _metrics(metrics: Any) -> dict[str, int | str]:
    return {name.removeprefix("RTAX_").lower(): value for name, value in metrics["attrs"]}


def route_message(route: Route) -> Any:
    """The RTM_NEWROUTE that sets `route`."""
    message: Any = rtmsg()
    single = route.hops[0] if len(route.hops) == 1 else None
    for field, value in {
        "family": FAMILIES[route.family],
        "dst_len": route.destination.prefixlen,
        "src_len": route.origin.prefixlen if route.origin else 0,
        "tos": route.tos,
        "table": route.table if route.table < 256 else 0,
        "proto": route.protocol,
        "scope": route.scope,
        "type": route.kind,
        "flags": _RTNH_F_ONLINK if single and single.onlink else 0,
    }.items():
        message[field] = value
    message["attrs"] = list(_route_attributes(route, single))
    return message


def _route_attributes(route: Route, single: Hop | None) -> Iterator[tuple[str, Any]]:
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


# ---- neighbours and qdiscs


def neighbour_of(message: Any) -> Neighbour:
    """The neighbour that an RTM_NEWNEIGH tells of."""
    return Neighbour(
        address=_ip(message.get("NDA_DST")),
        mac=_mac(message.get("NDA_LLADDR")),
        flags=message["flags"],
        protocol=message.get("NDA_PROTOCOL") or None,
    )


def qdisc_of(message: Any) -> Qdisc:
    """The qdisc that an RTM_NEWQDISC tells of."""
    return Qdisc(message.get("TCA_KIND"), message["handle"], _raw(message, _TCA_OPTIONS).hex())


class QdiscMessage(nlmsg):  # type: ignore[misc]
    """An RTM_NEWQDISC whose options are bytes."""

    prefix = tcmsg.prefix
    fields = tcmsg.fields
    nla_map = (("TCA_UNSPEC", "none"), ("TCA_KIND", "asciiz"), ("TCA_OPTIONS", "cdata"))


TC_H_ROOT: Final = 0xFFFFFFFF


def qdisc_message(qdisc: Qdisc, ifindex: int) -> QdiscMessage:
    """The RTM_NEWQDISC that makes it the root qdisc of a netdev."""
    message = QdiscMessage()
    for field, value in {
        "family": 0,
        "pad1": 0,
        "pad2": 0,
        "index": ifindex,
        "handle": qdisc.handle,
        "parent": TC_H_ROOT,
        "info": 0,
    }.items():
        message[field] = value
    options = [("TCA_OPTIONS", bytes.fromhex(qdisc.options))] if qdisc.options else []
    message["attrs"] = [("TCA_KIND", qdisc.kind), *options]
    return message


_TCA_OPTIONS: Final = 2
_TCMSG_BYTES: Final = 16 + 20  # struct nlmsghdr, struct tcmsg
_KIND_MASK: Final = 0x3FFF


def _raw(message: Any, wanted: int) -> bytes:
    """The bytes of an attribute as they came: each kind of qdisc has options of its own."""
    end = message.offset + message.length
    data, at = bytes(message.data[:end]), message.offset + _TCMSG_BYTES
    while at + 4 <= end:
        length = int.from_bytes(data[at : at + 2], sys.byteorder)
        kind = int.from_bytes(data[at + 2 : at + 4], sys.byteorder) & _KIND_MASK
        if kind == wanted:
            return data[at + 4 : at + length]
        at += max(4, (length + 3) & ~3)
    return b""
