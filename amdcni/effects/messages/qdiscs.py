"""Root qdiscs: RTM_GETQDISC, RTM_NEWQDISC."""

from functools import cache
from typing import Final

from pyroute2.netlink import NLM_F_CREATE, NLM_F_ECHO, NLM_F_REPLACE, nlmsg
from pyroute2.netlink.rtnl import RTM_GETQDISC, RTM_NEWQDISC

from amdcni.core.host import Netdev, Qdisc
from amdcni.effects.messages.common import Layout, request, text_of
from amdcni.effects.rtnetlink import Reply, Request

_TC_H_ROOT: Final = 0xFFFFFFFF


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
    """For all qdiscs of all links: the kernel does not select.

    It may miss some if netdevs come and go meanwhile.
    """
    return request(RTM_GETQDISC, QdiscMessage(), {})


def query_root(ifindex: int) -> Request:
    """For the root qdisc of one link.

    The kernel tells of it only with NLM_F_ECHO, some also to those who listen for changes, and
    nothing of a built-in one (net/sched/sch_api.c, tc_get_qdisc).
    """
    fields = {"index": ifindex, "parent": _TC_H_ROOT}
    return request(RTM_GETQDISC, QdiscMessage(), fields, flags=NLM_F_ECHO)


_LAYOUT: Final = Layout(QdiscMessage)


def root_qdisc_of(reply: Reply) -> Qdisc | None:
    """The root qdisc that an RTM_NEWQDISC tells of, if somebody set it."""
    fields, told = _LAYOUT.read(reply.body)
    if fields["parent"] != _TC_H_ROOT or not fields["handle"]:
        return None
    kind = text_of(told["TCA_KIND"]) or ""
    return Qdisc(kind, fields["handle"], told.get("TCA_OPTIONS", b"").hex())


def put(netdev: Netdev, qdisc: Qdisc) -> Request:
    """To make it the root qdisc of a netdev."""
    fields = {"index": netdev.ifindex, "handle": qdisc.handle, "parent": _TC_H_ROOT}
    options = bytes.fromhex(qdisc.options) if qdisc.options else None
    attributes = [("TCA_KIND", qdisc.kind), ("TCA_OPTIONS", options)]
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return request(RTM_NEWQDISC, QdiscMessage(), fields, attributes, flags)
