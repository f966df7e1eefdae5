"""The root qdisc of the netdev."""

import errno

from amdcni.core.aspects.qdisc import RootQdisc, SetQdisc
from amdcni.core.capture import Captured
from amdcni.core.host import Netdev
from amdcni.effects.messages import qdiscs
from amdcni.effects.rtnetlink import RequestRefused, Rtnetlink


def read(kernel: Rtnetlink, netdev: Netdev, kept: Captured | None) -> RootQdisc:
    """The one that somebody has set."""
    try:
        replies = kernel.answers(qdiscs.query_root(netdev.ifindex))
    except RequestRefused as failure:
        if failure.code == errno.ENOENT:
            return RootQdisc()
        raise
    return RootQdisc(qdisc=next(filter(None, map(qdiscs.root_qdisc_of, replies)), None))


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetQdisc) -> None:
    """Set it."""
    what = f"set the qdisc {change.qdisc.kind} of {netdev.ifname}"
    kernel.do(what, qdiscs.put(netdev, change.qdisc), done_if=errno.EEXIST)
