"""Links: RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK, and their alternative names."""

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, Final

from attrs import frozen
from pyroute2.netlink import NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, nla, nlmsg
from pyroute2.netlink.rtnl import (
    RTM_DELLINKPROP,
    RTM_GETLINK,
    RTM_GETSTATS,
    RTM_NEWLINKPROP,
    RTM_SETLINK,
)

from amdcni.core.host import SETTABLE_LINK_FLAGS, Address, Below, IpAddress, Netdev, Program
from amdcni.core.names import IFNAME_MAX_BYTES, IfName
from amdcni.effects.messages.common import (
    Layout,
    ip_of,
    mac_of,
    named_in,
    number_of,
    octets_of,
    octets_of_text,
    packed,
    text_of,
    u32,
)
from amdcni.effects.rtnetlink import Reply, Request, attributes_in

_IFF_UP: Final = 0x1
_IFF_LOOPBACK: Final = 0x8
_IFF_LOWER_UP: Final = 0x10000


class LinkMessage(nlmsg):  # type: ignore[misc]
    """A message about a link, with those of its some fifty attributes that a `Netdev` has."""

    prefix = "IFLA_"
    fields = (
        ("family", "B"),
        ("__align", "x"),
        ("ifi_type", "H"),
        ("index", "i"),
        ("flags", "I"),
        ("change", "I"),
    )
    nla_map = (
        (1, "IFLA_ADDRESS", "cdata"),
        (3, "IFLA_IFNAME", "cdata"),
        (4, "IFLA_MTU", "uint32"),
        (5, "IFLA_LINK", "uint32"),
        (10, "IFLA_MASTER", "uint32"),
        (13, "IFLA_TXQLEN", "uint32"),
        (18, "IFLA_LINKINFO", "link_info"),
        (20, "IFLA_IFALIAS", "cdata"),
        (26, "IFLA_AF_SPEC", "families"),
        (27, "IFLA_GROUP", "uint32"),
        (28, "IFLA_NET_NS_FD", "uint32"),
        (29, "IFLA_EXT_MASK", "uint32"),
        (34, "IFLA_PHYS_PORT_ID", "cdata"),
        (37, "IFLA_LINK_NETNSID", "int32"),
        (49, "IFLA_NEW_IFINDEX", "int32"),
        (38, "IFLA_PHYS_PORT_NAME", "asciiz"),
        (43, "IFLA_XDP", "cdata"),
        (40, "IFLA_GSO_MAX_SEGS", "uint32"),
        (41, "IFLA_GSO_MAX_SIZE", "uint32"),
        (52, "IFLA_PROP_LIST", "properties"),
        (53, "IFLA_ALT_IFNAME", "cdata"),
        (54, "IFLA_PERM_ADDRESS", "cdata"),
        (56, "IFLA_PARENT_DEV_NAME", "asciiz"),
        (58, "IFLA_GRO_MAX_SIZE", "uint32"),
        (63, "IFLA_GSO_IPV4_MAX_SIZE", "uint32"),
        (64, "IFLA_GRO_IPV4_MAX_SIZE", "uint32"),
    )

    class link_info(nla):  # type: ignore[misc]
        """What kind of link it is."""

        prefix = "IFLA_INFO_"
        nla_map = ((1, "IFLA_INFO_KIND", "asciiz"), (2, "IFLA_INFO_DATA", "cdata"))

    class families(nla):  # type: ignore[misc]
        """What belongs to an address family."""

        nla_flags = NLA_F_NESTED
        prefix = "AF_"
        nla_map = ((10, "AF_INET6", "ipv6"),)

        class ipv6(nla):  # type: ignore[misc]
            """What belongs to IPv6."""

            nla_flags = NLA_F_NESTED
            prefix = "IFLA_INET6_"
            nla_map = ((7, "IFLA_INET6_TOKEN", "ip6addr"),)

    class properties(nla):  # type: ignore[misc]
        """Alternative names."""

        nla_flags = NLA_F_NESTED
        prefix = "IFLA_"
        nla_map = ((53, "IFLA_ALT_IFNAME", "cdata"),)


class StatsMessage(nlmsg):  # type: ignore[misc]
    """A message about the statistics of a link, which are left unread."""

    prefix = "IFLA_STATS_"
    fields = (
        ("family", "B"),
        ("__align", "3x"),
        ("ifindex", "I"),
        ("filter_mask", "I"),
    )
    nla_map = ((1, "IFLA_STATS_LINK_64", "cdata"),)


_LAYOUT: Final = Layout(LinkMessage)
_COUNTED: Final = Layout(StatsMessage)
_INFO: Final = Layout(LinkMessage.link_info)
_PROPERTIES: Final = Layout(LinkMessage.properties)
_FAMILIES: Final = Layout(LinkMessage.families)
_IPV6: Final = Layout(LinkMessage.families.ipv6)

_ALTNAME_MAX_BYTES: Final = 127  # ALTIFNAMSIZ without the byte at its end

_MRP_OF_BRIDGES: Final = 1 << 4  # RTEXT_FILTER_MRP
"""A flag that changes nothing in the answer, but has the kernel make room for the longest link.

Without it, a link with alternative names of more than 32 KiB silently ends a dump
(net/core/rtnetlink.c, rtnl_calcit).
"""

_LINK_64: Final = 1 << 0  # IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64)


@cache
def query_all() -> Request:
    """The query for all links.

    Without statistics it would be quicker, but then kernels before 2025 leave out the token.
    """
    return _LAYOUT.request(RTM_GETLINK, {}, [("IFLA_EXT_MASK", u32(_MRP_OF_BRIDGES))])


@lru_cache(maxsize=16)
def query(ifname: str) -> Request | None:
    """The query for the link of that name, even an alternative one; None if no link can have it."""
    name = octets_of_text(ifname)
    if len(name) > _ALTNAME_MAX_BYTES + 1:
        return None
    kind = "IFLA_IFNAME" if len(name) <= IFNAME_MAX_BYTES + 1 else "IFLA_ALT_IFNAME"
    return _LAYOUT.request(RTM_GETLINK, {}, [(kind, name)])


@lru_cache(maxsize=16)
def query_by_index(ifindex: int) -> Request:
    """The query for the link of that number."""
    return _LAYOUT.request(RTM_GETLINK, {"index": ifindex})


@cache
def census() -> Request:
    """The query for a little about each link (RTM_NEWSTATS), which is quick for all of them."""
    return _COUNTED.request(RTM_GETSTATS, {"filter_mask": _LINK_64})


def netdev_of(link: Reply, addresses: tuple[Address, ...]) -> Netdev:
    """The netdev in an RTM_NEWLINK."""
    fields, attributes = _LAYOUT.read(link.body)
    info = named_in(attributes.get("IFLA_LINKINFO", b""), 0, _INFO.names)
    kind = text_of(info.get("IFLA_INFO_KIND"))
    here = "IFLA_LINK_NETNSID" not in attributes
    port_id = attributes.get("IFLA_PHYS_PORT_ID")
    return Netdev(
        ifindex=fields["index"],
        ifname=IfName(text_of(attributes["IFLA_IFNAME"]) or ""),
        mac=mac_of(attributes.get("IFLA_ADDRESS")),
        permanent_mac=mac_of(attributes.get("IFLA_PERM_ADDRESS")),
        mtu=number_of(attributes.get("IFLA_MTU")) or 0,
        txqlen=number_of(attributes.get("IFLA_TXQLEN")) or 0,
        group=number_of(attributes.get("IFLA_GROUP")) or 0,
        flags=fields["flags"] & SETTABLE_LINK_FLAGS,
        up=bool(fields["flags"] & _IFF_UP),
        carrier=bool(fields["flags"] & _IFF_LOWER_UP),
        loopback=bool(fields["flags"] & _IFF_LOOPBACK),
        kind=kind,
        alias=text_of(attributes.get("IFLA_IFALIAS")),
        altnames=_altnames_in(attributes.get("IFLA_PROP_LIST", b"")),
        link_type=fields["ifi_type"],
        parent=text_of(attributes.get("IFLA_PARENT_DEV_NAME")),
        port_name=text_of(attributes.get("IFLA_PHYS_PORT_NAME")),
        port_id=None if port_id is None else port_id.hex(),
        lower=number_of(attributes.get("IFLA_LINK")) or None if here else None,
        master=number_of(attributes.get("IFLA_MASTER")),
        below=_below_in(info.get("IFLA_INFO_DATA", b""), kind) if here else _NOTHING_BELOW,
        token=_token_in(attributes.get("IFLA_AF_SPEC", b"")),
        xdp=_programs_in(attributes.get("IFLA_XDP", b"")),
        gso_max_size=number_of(attributes.get("IFLA_GSO_MAX_SIZE")),
        gso_max_segs=number_of(attributes.get("IFLA_GSO_MAX_SEGS")),
        gso_ipv4_max_size=number_of(attributes.get("IFLA_GSO_IPV4_MAX_SIZE")),
        gro_max_size=number_of(attributes.get("IFLA_GRO_MAX_SIZE")),
        gro_ipv4_max_size=number_of(attributes.get("IFLA_GRO_IPV4_MAX_SIZE")),
        addresses=addresses,
    )


_NOTHING_BELOW: Final = Below()


@frozen
class _Numbers:
    """The numbers of the attributes of IFLA_INFO_DATA that show what is below a kind of netdev."""

    links: tuple[int, ...]
    local: tuple[int, ...] = ()
    remote: tuple[int, ...] = ()


_GRE: Final = _Numbers((1,), (6,), (7,))  # IFLA_GRE_LINK, _LOCAL, _REMOTE
_IPTUN: Final = _Numbers((1,), (2,), (3,))  # IFLA_IPTUN_*
_VTI: Final = _Numbers((1,), (4,), (5,))  # IFLA_VTI_*
_GRE_KINDS: Final = ("gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan")
_NUMBERS: Final[Mapping[str, _Numbers]] = {
    "vxlan": _Numbers((3,), (4, 17), (2, 16)),  # IFLA_VXLAN_LINK, _LOCAL, _LOCAL6, _GROUP, _GROUP6
    "geneve": _Numbers((), (), (2, 7)),  # IFLA_GENEVE_REMOTE, _REMOTE6
    **dict.fromkeys(_GRE_KINDS, _GRE),
    **dict.fromkeys(("ipip", "sit", "ip6tnl"), _IPTUN),
    **dict.fromkeys(("vti", "vti6"), _VTI),
    "xfrm": _Numbers((1,)),  # IFLA_XFRM_LINK
    "amt": _Numbers((4,), (5,), (6,)),  # IFLA_AMT_LINK, _LOCAL_IP, _REMOTE_IP
    "hsr": _Numbers((1, 2, 8)),  # IFLA_HSR_SLAVE1, _SLAVE2, _INTERLINK
}


def _below_in(data: bytes, kind: str | None) -> Below:
    """What the kind's own attributes show; an address or ifindex of zeros is treated as absent."""
    numbers = _NUMBERS.get(kind or "")
    if numbers is None:
        return _NOTHING_BELOW
    values = {number: value for number, value in attributes_in(data, 0) if any(value)}
    return Below(
        links=tuple(number_of(values[each]) or 0 for each in numbers.links if each in values),
        local=_first_ip(values, numbers.local),
        remote=_first_ip(values, numbers.remote),
    )


def _first_ip(values: Mapping[int, bytes], numbers: tuple[int, ...]) -> IpAddress | None:
    return next((ip_of(values[number]) for number in numbers if number in values), None)


def ifindex_of(link: Reply) -> int:
    """The ifindex in an RTM_NEWLINK."""
    return _LAYOUT.fixed(link.body)["index"]


def ifindex_counted(reply: Reply) -> int:
    """The ifindex in an RTM_NEWSTATS."""
    return _COUNTED.fixed(reply.body)["ifindex"]


def ifname_of(link: Reply) -> IfName:
    """The name in an RTM_NEWLINK."""
    return IfName(text_of(_LAYOUT.read(link.body)[1]["IFLA_IFNAME"]) or "")


def _altnames_in(properties: bytes) -> tuple[str, ...]:
    found = attributes_in(properties, 0)
    return tuple(text_of(name) or "" for number, name in found if number in _PROPERTIES.names)


def _token_in(families: bytes) -> IpAddress | None:
    ipv6 = named_in(families, 0, _FAMILIES.names).get("AF_INET6", b"")
    token = ip_of(named_in(ipv6, 0, _IPV6.names).get("IFLA_INET6_TOKEN"))
    return token if token is not None and int(token) else None


_PROGRAMS: Final = {5: "driver", 6: "generic", 7: "offloaded"}
"""IFLA_XDP_DRV_PROG_ID and its like."""

_NO_PROGRAM_BYTES: Final = 8
"""The size of IFLA_XDP for a netdev without programs: IFLA_XDP_ATTACHED alone."""


def _programs_in(xdp: bytes) -> tuple[Program, ...]:
    if len(xdp) <= _NO_PROGRAM_BYTES:
        return ()
    found = ((_PROGRAMS.get(kind), value) for kind, value in attributes_in(xdp, 0))
    return tuple(Program(number_of(value) or 0, mode) for mode, value in found if mode)


def change(netdev: Netdev, attributes: Mapping[str, Any], netns_fd: int | None = None) -> Request:
    """The request to set these attributes of the netdev, in another namespace if one is given."""
    unknown = attributes.keys() - _ATTRIBUTES.keys() - {"flags", "up"}
    if unknown:
        raise ValueError(f"a request cannot set {', '.join(sorted(unknown))} of a netdev")
    flags = mask = 0
    if "flags" in attributes:
        flags, mask = attributes["flags"], int(SETTABLE_LINK_FLAGS)
    if "up" in attributes:
        flags, mask = flags | (_IFF_UP if attributes["up"] else 0), mask | _IFF_UP
    given = [
        ("IFLA_NET_NS_FD", packed(netns_fd)),
        *(
            (kind, encode(attributes[name]))
            for name, (kind, encode) in _ATTRIBUTES.items()
            if name in attributes
        ),
    ]
    fields = {"index": netdev.ifindex, "flags": flags, "change": mask}
    return _LAYOUT.request(RTM_SETLINK, fields, given)


def _octets_of_token(token: IpAddress) -> bytes:
    ipv6 = _IPV6.attributes([("IFLA_INET6_TOKEN", token.packed)])
    return _FAMILIES.attributes([("AF_INET6", ipv6)])


_ATTRIBUTES: Final[Mapping[str, tuple[str, Callable[[Any], bytes]]]] = {
    "ifname": ("IFLA_IFNAME", octets_of_text),
    "ifindex": ("IFLA_NEW_IFINDEX", u32),
    "alias": ("IFLA_IFALIAS", lambda alias: octets_of_text(alias or "")),
    "mac": ("IFLA_ADDRESS", octets_of),
    "mtu": ("IFLA_MTU", u32),
    "txqlen": ("IFLA_TXQLEN", u32),
    "group": ("IFLA_GROUP", u32),
    "token": ("IFLA_AF_SPEC", _octets_of_token),
    "gso_max_size": ("IFLA_GSO_MAX_SIZE", u32),
    "gso_max_segs": ("IFLA_GSO_MAX_SEGS", u32),
    "gso_ipv4_max_size": ("IFLA_GSO_IPV4_MAX_SIZE", u32),
    "gro_max_size": ("IFLA_GRO_MAX_SIZE", u32),
    "gro_ipv4_max_size": ("IFLA_GRO_IPV4_MAX_SIZE", u32),
}


def add_altname(netdev: Netdev, altname: str) -> Request:
    """The request to give the netdev an alternative name."""
    flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND
    return _about_altname(RTM_NEWLINKPROP, netdev, altname, flags)


def drop_altname(netdev: Netdev, altname: str) -> Request:
    """The request to remove an alternative name from the netdev."""
    return _about_altname(RTM_DELLINKPROP, netdev, altname, 0)


def _about_altname(kind: int, netdev: Netdev, altname: str, flags: int) -> Request:
    properties = _PROPERTIES.attributes([("IFLA_ALT_IFNAME", octets_of_text(altname))])
    fields = {"index": netdev.ifindex}
    return _LAYOUT.request(kind, fields, [("IFLA_PROP_LIST", properties)], flags)
