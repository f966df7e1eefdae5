"""What all aspects share: when a change is made, and what it depends on."""

from collections.abc import Collection
from enum import IntEnum

import attrs

from amdcni.core.host import Netdev
from amdcni.core.names import IfName


class Stage(IntEnum):
    """When the kernel accepts a change, in this order.

    DOWN: before the netdev goes up, which makes addresses and routes of its own.
    UP: when it goes up, or down.
    ADDRESSES: once it is up; IPv6 addresses do not survive going down.
    LAST: once the addresses can be used.
    NEXTHOPS: once the routes are there that lead to a router directly.
    ROUTES: once the nexthop objects are there, too.
    """

    DOWN = 1
    UP = 2
    ADDRESSES = 3
    LAST = 4
    NEXTHOPS = 5
    ROUTES = 6


@attrs.frozen
class Around:
    """What decides, together with what was kept and what is seen, what is due.

    `was` is the name that the netdev had when it was captured, `elapsed_s` the seconds since then.
    `others` are the other netdevs of the host.  `awaited` are the names of netdevs that share a
    route with ours and have yet to return: the last to return sets the whole route.
    """

    was: IfName
    others: tuple[Netdev, ...] = ()
    awaited: Collection[str] = ()
    elapsed_s: int = 0


@attrs.frozen(slots=False, kw_only=True)
class Unsaved:
    """In words, what was found that no record can hold."""

    unsaved: tuple[str, ...] = ()


def remaining(lifetime_s: int | None, elapsed_s: int) -> int | None:
    """What is left of a lifetime, in seconds; None means forever."""
    return None if lifetime_s is None else max(0, lifetime_s - elapsed_s)
