"""Root qdiscs: RTM_GETQDISC, RTM_NEWQDISC."""

from functools import cache
from typing import Final

from pyroute2.netlink import NLM_F_CREATE, NLM_F_ECHO, NLM_F_REPLACE, nlmsg
from pyroute2.netlink.rtnl import RTM_GETQDISC, RTM_NEWQDISC

from amdcni.core.host import Netdev, Qdisc
from amdcni.effects.messages.common import Layout, request, text_of
from amdcni.effects.rtnetlink import Reply, Request

TC_H_ROOT: Final = 0xFFFFFFFF


class QdiscMessage(nlmsg):  # type: ignore[misc]
    """A message of traffic control, with the options as bytes: each kind has its own."""

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
    """The query for all qdiscs of all links: the kernel does not filter them.

    The answer may lack some if netdevs come and go meanwhile.
    """
    return request(RTM_GETQDISC, QdiscMessage(), {})


def query_root(ifindex: int) -> Request:
    """The query for the root qdisc of one link.

    The kernel answers only with NLM_F_ECHO, some kernels also to those who listen for changes, and
    not at all about a built-in one (net/sched/sch_api.c, tc_get_qdisc).
    """
    fields = {"index": ifindex, "parent": TC_H_ROOT}
    return request(RTM_GETQDISC, QdiscMessage(), fields, flags=NLM_F_ECHO)


_LAYOUT: Final = Layout(QdiscMessage)


def root_qdisc_of(reply: Reply) -> Qdisc | None:
    """The root qdisc in an RTM_NEWQDISC, if somebody set it."""
    fields, attributes = _LAYOUT.read(reply.body)
    if fields["parent"] != TC_H_ROOT or not fields["handle"]:
        return None
    kind = text_of(attributes["TCA_KIND"]) or ""
    return Qdisc(kind, fields["handle"], attributes.get("TCA_OPTIONS", b"").hex())


def put(netdev: Netdev, qdisc: Qdisc) -> Request:
    """The request to make it the root qdisc of a netdev."""
    fields = {"index": netdev.ifindex, "handle": qdisc.handle, "parent": TC_H_ROOT}
    options = bytes.fromhex(qdisc.options) if qdisc.options else None
    attributes = [("TCA_KIND", qdisc.kind), ("TCA_OPTIONS", options)]
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return request(RTM_NEWQDISC, QdiscMessage(), fields, attributes, flags)
