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
    RTM_GETROUTE,
)
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from amdcni.core.host import Netdev
from amdcni.core.unsaved import Kind, Unsaved
from amdcni.effects.messages.common import Layout, ip_of, number_of, u32
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
    if has_mpls:
        query = _MPLS.request(RTM_GETROUTE, {"family": _AF_MPLS}, [("RTA_OIF", u32(ifindex))])
        yield Question("MPLS routes", query, lambda reply: _mpls_routes(reply, ifindex))
    if renumbered:
        query = _LABEL.request(_RTM_GETADDRLABEL, {"family": _AF_INET6})
        yield Question("address labels", query, lambda reply: _labels(reply, ifindex))


# ---- MPLS

_AF_INET6: Final = 10
_AF_MPLS: Final = 28
_LABEL_SHIFT: Final = 12
_MPLS: Final = Layout(rtmsg)


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
