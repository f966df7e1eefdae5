"""Root qdiscs: RTM_GETQDISC, RTM_NEWQDISC."""

import struct
from functools import cache
from typing import Final

from pyroute2.netlink import NLM_F_CREATE, NLM_F_REPLACE, nlmsg
from pyroute2.netlink.rtnl import RTM_GETQDISC, RTM_NEWQDISC

from amdcni.core.host import Netdev, Qdisc
from amdcni.effects.messages.common import names_of, request, text_of, told_in
from amdcni.effects.rtnetlink import Reply, Request

_TC_H_ROOT: Final = 0xFFFFFFFF
_TCMSG: Final = struct.Struct("=B3xiIII")  # family, ifindex, handle, parent, info


class QdiscMessage(nlmsg):  # type: ignore[misc]
    """A message of traffic control whose options are bytes: each kind has others."""

    prefix = "TCA_"
    fields = (
        ("family", "B"),
        ("pad1", "B"),
        ("pad2", "H"),
        ("index", "i"),
        ("handle", "I"),
        ("parent", "I"),
        ("info", "I"),
    )
    nla_map = ((1, "TCA_KIND", "asciiz"), (2, "TCA_OPTIONS", "cdata"))


@cache
def query() -> Request:
    """For all qdiscs of all links: the kernel does not select."""
    return request(RTM_GETQDISC, QdiscMessage(), {})


_NAMES: Final = names_of(QdiscMessage)


def root_qdisc_of(reply: Reply, ifindex: int) -> Qdisc | None:
    """The qdisc that an RTM_NEWQDISC tells of, if it is that link's root, and somebody set it."""
    _, where, handle, parent, _ = _TCMSG.unpack_from(reply.body)
    if (where, parent) != (ifindex, _TC_H_ROOT) or not handle:
        return None
    told = told_in(reply.body, _TCMSG.size, _NAMES)
    return Qdisc(text_of(told["TCA_KIND"]) or "", handle, told.get("TCA_OPTIONS", b"").hex())


def put(netdev: Netdev, qdisc: Qdisc) -> Request:
    """To make it the root qdisc of a netdev."""
    fields = {"index": netdev.ifindex, "handle": qdisc.handle, "parent": _TC_H_ROOT}
    options = bytes.fromhex(qdisc.options) if qdisc.options else None
    attributes = [("TCA_KIND", qdisc.kind), ("TCA_OPTIONS", options)]
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return request(RTM_NEWQDISC, QdiscMessage(), fields, attributes, flags)
