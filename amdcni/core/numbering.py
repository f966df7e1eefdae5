"""The ifindex that a netdev had on the host, by which nftables, MPTCP, IPsec and others know it."""

import re
from collections.abc import Iterable

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.host import Netdev


def is_since(release: str, version: tuple[int, int]) -> bool:
    """Whether a kernel of that release, such as `6.1.0-13-amd64`, is of that version or newer.

    One whose release is not of this form is taken for a new one.
    """
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return numbers is None or (int(numbers[1]), int(numbers[2])) >= version


def free_ifindex(captured: Captured, others: Iterable[Netdev]) -> int | None:
    """The number that the netdev had; None if another netdev of the host has that now."""
    taken = {other.ifindex for other in others}
    return None if captured.ifindex in taken else captured.ifindex


def ifindex_to_give(captured: Captured, netdev: Netdev, others: Iterable[Netdev]) -> int | None:
    """The number that a netdev on the host should get; None if it has it, or cannot have it.

    The kernel gives a number only with a move into another network namespace, which loses whatever
    somebody has set on the netdev since it came back.  So it has to be bare.
    """
    others = tuple(others)
    if netdev.ifindex == captured.ifindex or not _is_bare(netdev, others):
        return None
    return free_ifindex(captured, others)


def in_order_of_return(records: Iterable[Attachment]) -> tuple[Attachment, ...]:
    """The records so that no netdev is in the way of another one's ifindex, if that can be.

    A netdev that comes home with its dead pod keeps the number that it had there, if that is free:
    it may be that of a netdev that is still away.
    """
    # Several state folders may each have a record of one device: its key does not distinguish them.
    waiting = dict(enumerate(records))
    with_number = {record.pod_ifindex: number for number, record in waiting.items()}
    ordered: list[Attachment] = []
    for first in tuple(waiting):
        chain: list[Attachment] = []
        number: int | None = first
        while number in waiting:
            record = waiting.pop(number)
            chain.append(record)
            # It waits for the one that has its number.
            number = None if record.captured is None else with_number.get(record.captured.ifindex)
        ordered += reversed(chain)
    return tuple(ordered)


def in_the_way_of(record: Attachment, records: Iterable[Attachment]) -> tuple[Attachment, ...]:
    """Those of `records` that have to return before `record`, in that order.

    The last of them had in its pod the ifindex that the netdev of `record` had on the host, the one
    before it that of the last, and so on.
    """
    others = [each for each in records if each.key != record.key]
    with_number = {each.pod_ifindex: each for each in others}
    chain, last = list[Attachment](), record
    while last.captured is not None and last.captured.ifindex in with_number:
        last = with_number.pop(last.captured.ifindex)
        chain.append(last)
    return tuple(reversed(chain))


def _is_bare(netdev: Netdev, others: Iterable[Netdev]) -> bool:
    """Whether it came back and nothing has been done with it."""
    if netdev.up or netdev.addresses or netdev.master is not None:
        return False
    return not any(_rests_on(other, netdev.ifindex) for other in others)


def _rests_on(upper: Netdev, ifindex: int) -> bool:
    return upper.lower == ifindex or ifindex in upper.below.links
