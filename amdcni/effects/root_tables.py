"""Makes the first hash table of `u32` filters with the number that it had.

The kernel numbers these tables itself, counting up in each qdisc for as long as that has any `u32`
filter.  So it is let count, by making and removing filters that match nothing.
"""

import errno
from typing import Final

import attrs

from amdcni.core.aspects.traffic_control import PLACEHOLDER_PROTOCOL
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Filter, Netdev
from amdcni.effects.messages import traffic
from amdcni.effects.messages.traffic import Message
from amdcni.effects.rtnetlink import RequestRefused, Rtnetlink

_STEP: Final = 1 << 20
_MOST_TABLES: Final = 0x7FF
_LAST_PRIORITY: Final = 0xFFFF


def make_root_table(kernel: Rtnetlink, netdev: Netdev, table: Filter, what: str) -> None:
    """Do it, unless somebody uses one with another number; raises KernelRefused."""
    number = _number_of(kernel, netdev, table)
    if number == table.handle:
        return
    if number is not None:
        if any(number < each.handle < number + _STEP for each in _listed(kernel, netdev, table)):
            raise KernelRefused(f"cannot {what}: other filters have that priority")
        # It is left of a call that was interrupted here.
        kernel.do(what, traffic.drop_filters(netdev, table), done_if=errno.ENOENT)
    before = None
    holder: Filter | None = None
    try:
        for _ in range(_MOST_TABLES):
            kernel.do(what, traffic.put_filter(netdev, table))
            number = _number_of(kernel, netdev, table)
            if number in (None, table.handle):
                return
            kernel.do(what, traffic.drop_filters(netdev, table), done_if=errno.ENOENT)
            if number > table.handle:
                break
            if number == before and holder is None:
                # It began again, as there was no other: one has to stay while it counts.
                holder = _holder(kernel, netdev, table)
                kernel.do(what, traffic.put_filter(netdev, holder))
            before = number
    finally:
        if holder is not None:
            kernel.do(what, traffic.drop_filters(netdev, holder), done_if=errno.ENOENT)
    raise KernelRefused(f"the kernel refused to {what}: it numbers hash tables otherwise")


def _number_of(kernel: Rtnetlink, netdev: Netdev, table: Filter) -> int | None:
    """The number of the first table for the priority; None if there is none."""
    try:
        return Message(kernel.get(traffic.query_root_table(netdev, table))).handle
    except RequestRefused as failure:
        if failure.code in (errno.ENOENT, errno.EINVAL):
            return None
        raise


def _listed(kernel: Rtnetlink, netdev: Netdev, table: Filter) -> list[Message]:
    query = traffic.query_filters(netdev.ifindex, table.parent, shared=table.shared)
    return [Message(reply) for reply in kernel.dump(query)]


def _holder(kernel: Rtnetlink, netdev: Netdev, table: Filter) -> Filter:
    """A filter that matches nothing, of a priority that no other has."""
    used = {each.priority for each in _listed(kernel, netdev, table)}
    free = next(each for each in range(_LAST_PRIORITY, 0, -1) if each not in used)
    return attrs.evolve(table, priority=free, protocol=PLACEHOLDER_PROTOCOL)
