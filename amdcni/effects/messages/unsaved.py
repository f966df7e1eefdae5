"""What is asked about a netdev only to name what no record can hold.

Each question is about that one netdev, or has a short answer; a kernel that does not know the
question has nothing of the kind.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Final

import attrs
from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl import (
    RTM_GETNEIGH,
    RTM_GETROUTE,
)
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from amdcni.core.host import LinkFlag, Netdev
from amdcni.core.unsaved import Kind, Unsaved
from amdcni.effects.messages import neighbours
from amdcni.effects.messages.common import Layout, ip_of, number_of, request
from amdcni.effects.messages.neighbours import AF_BRIDGE, NTF_SELF, NUD_PERMANENT, NeighbourMessage
from amdcni.effects.rtnetlink import Reply, Request

Found = Iterator[Unsaved]


@attrs.frozen
class Question:
    """A request for a dump of `what`, in words, and how to read each message of the answer."""

    what: str
    request: Request
    unsaved_in: Callable[[Reply], Found]


def questions(netdev: Netdev, *, has_mpls: bool, renumbered: bool) -> Iterator[Question]:
    """What to ask about the netdev; if `renumbered`, it will have another ifindex in the pod."""
    ifindex = netdev.ifindex
    yield from _about_neighbours(netdev)
    query = request(_RTM_GETNEXTHOP, NexthopMessage(), {}, [("NHA_OIF", ifindex)])
    yield Question("nexthop objects", query, _nexthops)
    if has_mpls:
        query = request(RTM_GETROUTE, rtmsg(), {"family": _AF_MPLS}, [("RTA_OIF", ifindex)])
        yield Question("MPLS routes", query, lambda reply: _mpls_routes(reply, ifindex))
    if renumbered:
        query = request(_RTM_GETADDRLABEL, LabelMessage(), {"family": _AF_INET6})
        yield Question("address labels", query, lambda reply: _labels(reply, ifindex))


# ---- neighbours, and hardware addresses

_NTF_EXT_LEARNED: Final = 0x10
_NTF_EXT_MANAGED: Final = 0x01
_NUD_NOARP: Final = 0x40
_NEIGHBOUR: Final = Layout(NeighbourMessage, {15: "NDA_FLAGS_EXT"})
_WITH_OWN_TABLE: Final = frozenset({"vxlan", "geneve", "bridge"})
"""Kinds whose forwarding entries are not hardware addresses, and move with the netdev."""


def _about_neighbours(netdev: Netdev) -> Iterator[Question]:
    own = [("NDA_IFINDEX", netdev.ifindex)]
    others = neighbours.query(netdev.ifindex)
    yield Question("neighbours", others, lambda reply: _neighbours(reply, netdev))
    if netdev.kind not in _WITH_OWN_TABLE:
        entries = request(RTM_GETNEIGH, NeighbourMessage(), {"family": AF_BRIDGE}, own)
        yield Question("hardware addresses", entries, lambda reply: _unicast(reply, netdev))


def _neighbours(reply: Reply, netdev: Netdev) -> Found:
    """Those that somebody has set, except permanent ones, which are kept.

    The kernel itself makes NOARP neighbours: for groups, and where a netdev does without ARP.
    """
    fields, attributes = _NEIGHBOUR.read(reply.body)
    if fields["state"] & NUD_PERMANENT or fields["ifindex"] != netdev.ifindex:
        return
    name, mac = str(ip_of(attributes.get("NDA_DST"))), attributes.get("NDA_LLADDR", b"")
    if (number_of(attributes.get("NDA_FLAGS_EXT")) or 0) & _NTF_EXT_MANAGED:
        yield Unsaved(Kind.MANAGED_NEIGHBOUR, name)
    elif fields["flags"] & _NTF_EXT_LEARNED:
        yield Unsaved(Kind.LEARNT_NEIGHBOUR, name)
    elif fields["state"] & _NUD_NOARP and not netdev.flags & LinkFlag.NOARP and _is_unicast(mac):
        yield Unsaved(Kind.NOARP_NEIGHBOUR, name)


def _unicast(reply: Reply, netdev: Netdev) -> Found:
    fields, attributes = _NEIGHBOUR.read(reply.body)
    octets = attributes.get("NDA_LLADDR", b"")
    here = fields["ifindex"] == netdev.ifindex and fields["flags"] & NTF_SELF
    if here and fields["state"] & NUD_PERMANENT and _is_unicast(octets):
        mac = octets.hex(":")
        if mac != netdev.mac:
            yield Unsaved(Kind.UNICAST_ADDRESS, mac)


def _is_unicast(octets: bytes) -> bool:
    return any(octets) and not octets[0] & 1


def static_groups(listed: str, ifindex: int) -> Found:
    """The hardware multicast addresses of a netdev that somebody has set, from /proc/net/dev_mcast.

    A line has ifindex, name, references, how many of these are not the kernel's, and the address.
    """
    own = f"{ifindex} "
    for line in listed.splitlines():
        if line.startswith(own):
            *_, by_others, address = line.split()
            if int(by_others):
                yield Unsaved(Kind.MULTICAST_ADDRESS, bytes.fromhex(address).hex(":"))


# ---- nexthop objects, MPLS

_RTM_GETNEXTHOP: Final = 106
_AF_INET6: Final = 10
_AF_MPLS: Final = 28
_GROUP_ENTRY: Final = struct.Struct("=IBBH")  # struct nexthop_grp: ID, weight, its high part
_LABEL_SHIFT: Final = 12


class NexthopMessage(nlmsg):  # type: ignore[misc]
    """A message about a nexthop object or a group of them."""

    prefix = "NHA_"
    fields = (
        ("family", "B"),
        ("scope", "B"),
        ("protocol", "B"),
        ("resvd", "B"),
        ("flags", "I"),
    )
    nla_map = (
        (1, "NHA_ID", "uint32"),
        (2, "NHA_GROUP", "cdata"),
        (5, "NHA_OIF", "uint32"),
        (9, "NHA_GROUPS", "flag"),
    )


_NEXTHOP: Final = Layout(NexthopMessage)
_MPLS: Final = Layout(rtmsg)


def _nexthops(reply: Reply) -> Found:
    _, attributes = _NEXTHOP.read(reply.body)
    yield Unsaved(Kind.NEXTHOP, str(number_of(attributes.get("NHA_ID"))))


def groups_of(found: list[Unsaved]) -> Question | None:
    """The question for groups that contain one of the nexthop objects; None if there are none."""
    lost = {each.name for each in found if each.kind is Kind.NEXTHOP}

    def unsaved_in(reply: Reply) -> Found:
        _, attributes = _NEXTHOP.read(reply.body)
        group = attributes.get("NHA_GROUP", b"")
        members = {str(number) for number, *_ in _GROUP_ENTRY.iter_unpack(group)}
        if members & lost:
            yield Unsaved(Kind.NEXTHOP_GROUP, str(number_of(attributes.get("NHA_ID"))))

    query = request(_RTM_GETNEXTHOP, NexthopMessage(), {}, [("NHA_GROUPS", True)])
    return Question("nexthop groups", query, unsaved_in) if lost else None


def _mpls_routes(reply: Reply, ifindex: int) -> Found:
    _, attributes = _MPLS.read(reply.body)
    legs = attributes.get("RTA_MULTIPATH", b"")
    if number_of(attributes.get("RTA_OIF")) == ifindex or struct.pack("=i", ifindex) in legs:
        label = int.from_bytes(attributes.get("RTA_DST", b"")) >> _LABEL_SHIFT
        yield Unsaved(Kind.MPLS_ROUTE, str(label))


# ---- what knows the netdev by its ifindex

_RTM_GETADDRLABEL: Final = 74


class LabelMessage(nlmsg):  # type: ignore[misc]
    """A message about a label of IPv6 addresses (RFC 6724)."""

    prefix = "IFAL_"
    fields = (
        ("family", "B"),
        ("__reserved", "x"),
        ("prefixlen", "B"),
        ("flags", "B"),
        ("index", "I"),
        ("seq", "I"),
    )
    nla_map = ((1, "IFAL_ADDRESS", "cdata"), (2, "IFAL_LABEL", "uint32"))


_LABEL: Final = Layout(LabelMessage)


def _labels(reply: Reply, ifindex: int) -> Found:
    fields, attributes = _LABEL.read(reply.body)
    if fields["index"] == ifindex:
        prefix = f"{ip_of(attributes.get('IFAL_ADDRESS'))}/{fields['prefixlen']}"
        yield Unsaved(Kind.ADDRESS_LABEL, prefix)
