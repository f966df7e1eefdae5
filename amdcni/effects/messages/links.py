"""Links: RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK, and their alternative names."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from pyroute2.netlink import NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, nla, nlmsg
from pyroute2.netlink.rtnl import RTM_DELLINKPROP, RTM_GETLINK, RTM_NEWLINKPROP, RTM_SETLINK

from amdcni.core.host import SETTABLE_LINK_FLAGS, Address, IpAddress, Netdev
from amdcni.core.names import IfName
from amdcni.effects.messages.common import attributes_of, ip_of, mac_of, octets_of, request
from amdcni.effects.rtnetlink import Request

_IFF_UP: Final = 0x1
_IFF_LOOPBACK: Final = 0x8
_RTEXT_FILTER_SKIP_STATS: Final = 8


class LinkMessage(nlmsg):  # type: ignore[misc]
    """A message about a link, with the attributes that a `Netdev` tells of some fifty."""

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
        (3, "IFLA_IFNAME", "asciiz"),
        (4, "IFLA_MTU", "uint32"),
        (5, "IFLA_LINK", "uint32"),
        (10, "IFLA_MASTER", "uint32"),
        (13, "IFLA_TXQLEN", "uint32"),
        (18, "IFLA_LINKINFO", "link_info"),
        (20, "IFLA_IFALIAS", "asciiz"),
        (26, "IFLA_AF_SPEC", "families"),
        (27, "IFLA_GROUP", "uint32"),
        (28, "IFLA_NET_NS_FD", "uint32"),
        (29, "IFLA_EXT_MASK", "uint32"),
        (37, "IFLA_LINK_NETNSID", "int32"),
        (52, "IFLA_PROP_LIST", "properties"),
        (54, "IFLA_PERM_ADDRESS", "cdata"),
        (56, "IFLA_PARENT_DEV_NAME", "asciiz"),
    )

    class link_info(nla):  # type: ignore[misc]
        """What kind of link it is."""

        prefix = "IFLA_INFO_"
        nla_map = ((1, "IFLA_INFO_KIND", "asciiz"),)

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
        nla_map = ((53, "IFLA_ALT_IFNAME", "asciiz"),)


@cache
def query(ifname: str | None = None) -> Request:
    """For the link of that name, be it an alternative one, or for all; without statistics."""
    asked = [("IFLA_EXT_MASK", _RTEXT_FILTER_SKIP_STATS), ("IFLA_IFNAME", ifname)]
    return request(RTM_GETLINK, LinkMessage(), {}, asked)


def netdev_of(link: Any, addresses: tuple[Address, ...]) -> Netdev:
    """The netdev that an RTM_NEWLINK tells of."""
    told = attributes_of(link)
    properties = told("IFLA_PROP_LIST")
    altnames = () if properties is None else properties.get_attrs("IFLA_ALT_IFNAME")
    here = told("IFLA_LINK_NETNSID") is None
    info = told("IFLA_LINKINFO")
    return Netdev(
        ifindex=link["index"],
        ifname=ifname_of(link),
        mac=mac_of(told("IFLA_ADDRESS")),
        permanent_mac=mac_of(told("IFLA_PERM_ADDRESS")),
        mtu=told("IFLA_MTU") or 0,
        txqlen=told("IFLA_TXQLEN") or 0,
        group=told("IFLA_GROUP") or 0,
        flags=link["flags"] & SETTABLE_LINK_FLAGS,
        up=bool(link["flags"] & _IFF_UP),
        loopback=bool(link["flags"] & _IFF_LOOPBACK),
        kind=None if info is None else info.get("IFLA_INFO_KIND"),
        alias=told("IFLA_IFALIAS"),
        altnames=tuple(altnames),
        parent=told("IFLA_PARENT_DEV_NAME"),
        lower=told("IFLA_LINK") or None if here else None,
        master=told("IFLA_MASTER"),
        token=_token_in(told("IFLA_AF_SPEC")),
        addresses=addresses,
    )


def ifname_of(link: Any) -> IfName:
    """The name that an RTM_NEWLINK tells of."""
    return IfName(link.get("IFLA_IFNAME"))


def _token_in(families: Any) -> IpAddress | None:
    ipv6 = None if families is None else families.get("AF_INET6")
    token = None if ipv6 is None else ipv6.get("IFLA_INET6_TOKEN")
    return ip_of(token) if token and int(ip_of(token)) else None


def change(netdev: Netdev, attributes: Mapping[str, Any]) -> Request:
    """To give the netdev these values of attributes of `Netdev`.

    Beyond those, `netns_fd` is a file descriptor of the network namespace to move it to.
    """
    flags = mask = 0
    if "flags" in attributes:
        flags, mask = attributes["flags"], int(SETTABLE_LINK_FLAGS)
    if "up" in attributes:
        flags, mask = flags | (_IFF_UP if attributes["up"] else 0), mask | _IFF_UP
    given = (
        (kind, encode(attributes[name]))
        for name, (kind, encode) in _ATTRIBUTES.items()
        if name in attributes
    )
    fields = {"index": netdev.ifindex, "flags": flags, "change": mask}
    return request(RTM_SETLINK, LinkMessage(), fields, given)


def _token(token: IpAddress) -> Any:
    return {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_TOKEN", str(token))]})]}


_ATTRIBUTES: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "netns_fd": ("IFLA_NET_NS_FD", int),
    "ifname": ("IFLA_IFNAME", str),
    "alias": ("IFLA_IFALIAS", lambda alias: alias or ""),
    "mac": ("IFLA_ADDRESS", octets_of),
    "mtu": ("IFLA_MTU", int),
    "txqlen": ("IFLA_TXQLEN", int),
    "group": ("IFLA_GROUP", int),
    "token": ("IFLA_AF_SPEC", _token),
}


def add_altname(netdev: Netdev, altname: str) -> Request:
    """To give the netdev an alternative name."""
    flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND
    return _about_altname(RTM_NEWLINKPROP, netdev, altname, flags)


def drop_altname(netdev: Netdev, altname: str) -> Request:
    """To take an alternative name from the netdev."""
    return _about_altname(RTM_DELLINKPROP, netdev, altname, 0)


def _about_altname(kind: int, netdev: Netdev, altname: str, flags: int) -> Request:
    properties = {"attrs": [("IFLA_ALT_IFNAME", altname)]}
    fields = {"index": netdev.ifindex}
    return request(kind, LinkMessage(), fields, [("IFLA_PROP_LIST", properties)], flags)
