"""The traffic control of the netdev: what somebody has set of it."""

import errno
import time
from typing import Any, assert_never

import attrs

from amdcni.core.aspects import change
from amdcni.core.aspects.traffic_control import (
    TC_H_INGRESS,
    DropPlaceholder,
    Item,
    SeenTraffic,
    SetRedirection,
    SetTraffic,
    has_traffic,
    is_root_table,
    words_of,
    words_of_redirection,
)
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused
from amdcni.core.host import TC_H_ROOT, Chain, Filter, Netdev, Qdisc, TrafficClass
from amdcni.effects.messages import traffic
from amdcni.effects.rtnetlink import Reply, Request, RequestRefused, Rtnetlink


@attrs.frozen(slots=False, kw_only=True)
class ReadTraffic(SeenTraffic, change.Unsaved):
    """The traffic control, and what of it no record can hold, in words."""


def read(kernel: Rtnetlink, netdev: Netdev, kept: Captured | None) -> ReadTraffic:
    """All that somebody has set, or of what was kept only the kinds of it."""
    found: dict[str, Any] = {}
    if kept is None or has_traffic(kept):
        root, ingress = (_qdisc_at(kernel, netdev, each) for each in (TC_H_ROOT, TC_H_INGRESS))
        if root is not None or ingress is not None:
            from amdcni.effects.traffic import read_traffic

            tree, unsaved = read_traffic(kernel, netdev, kept, root, ingress)
            found = {**attrs.asdict(tree, recurse=False), "unsaved": unsaved}
    if kept is None or kept.redirections:
        now_s = time.monotonic()
        listed = [
            each
            for reply in _dumped(kernel, traffic.query_redirections())
            for each in traffic.redirections_in(reply, now_s)
        ]
        found["redirections"] = tuple(each for to, each in listed if to == netdev.ifindex)
        found["cut_off"] = tuple(each for to, each in listed if not to)
    return ReadTraffic(**found)


def _dumped(kernel: Rtnetlink, query: Request) -> list[Reply]:
    """The answer, which is empty if the kernel has no actions."""
    try:
        return kernel.dump(query)
    except RequestRefused as failure:
        if failure.code in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT):
            return []
        raise


def _qdisc_at(kernel: Rtnetlink, netdev: Netdev, place: int) -> Reply | None:
    """The qdisc at the root or at the ingress, if somebody has set it."""
    try:
        replies = kernel.answers(traffic.query_at(netdev.ifindex, place))
    except RequestRefused as failure:
        if failure.code == errno.ENOENT:
            return None
        raise
    return next((each for each in replies if traffic.Message(each).handle), None)


def apply(
    kernel: Rtnetlink, netdev: Netdev, change: SetTraffic | DropPlaceholder | SetRedirection
) -> None:
    """Set or remove it."""
    match change:
        case SetTraffic(item, targets):
            _put(kernel, netdev, item, targets)
        case DropPlaceholder(placeholder):
            what = f"remove the {words_of(placeholder)} from {netdev.ifname}"
            kernel.do(what, traffic.drop_filters(netdev, placeholder), done_if=errno.ENOENT)
        case SetRedirection(redirection):
            what = f"have the {words_of_redirection(redirection)} send to {netdev.ifname}"
            kernel.do(what, traffic.put_redirection(netdev, redirection))
        case _:
            assert_never(change)


def _put(kernel: Rtnetlink, netdev: Netdev, item: Item, targets: tuple[int | None, ...]) -> None:
    what = f"set the {words_of(item)} on {netdev.ifname}"
    match item:
        case Qdisc():
            kernel.do(what, traffic.put_qdisc(netdev, item))
        case TrafficClass():
            kernel.do(what, traffic.put_class(netdev, item))
        case Chain():
            kernel.do(what, traffic.put_chain(netdev, item), done_if=errno.EEXIST)
        case Filter() if is_root_table(item):
            from amdcni.effects.root_tables import make_root_table

            make_root_table(kernel, netdev, item, what)
        case Filter():
            there = [ifindex for ifindex in targets if ifindex is not None]
            if len(there) < len(targets):
                gone = item.targets[targets.index(None)]
                raise KernelRefused(f"cannot {what}: it sends to {gone}, which is not on the host")
            request = traffic.put_filter(netdev, item, there)
            kernel.do(what, request, done_if=errno.EEXIST if item.shared else None)
        case _:
            assert_never(item)
