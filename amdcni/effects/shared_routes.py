"""Routes and nexthop groups that several netdevs share: set by one call at a time."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from amdcni.core.aspects.routes import has_shared
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.host import Netdev
from amdcni.core.identity import may_be
from amdcni.ports import Machine

_ROUTES_WAIT_S: Final = 10.0


def awaited(
    node: Machine, record: Attachment, captured: Captured, host: Iterable[Netdev]
) -> frozenset[str]:
    """The netdevs that share a route with ours and are recorded as lent, or not yet restored.

    If a stranger on the host has the name of one, that name means the stranger.
    """
    if not shares_routes(captured):
        return frozenset()
    by_name = {netdev.ifname: netdev for netdev in host}
    names = set()
    for other in node.multipath_records():
        name = other.host_ifname
        there = None if name is None else by_name.get(name)
        if other.key == record.key or other.boot_id != record.boot_id or name is None:
            continue
        if there is None or may_be(other, there):
            names.add(name)
    return frozenset(names)


def shares_routes(captured: Captured) -> bool:
    """Whether any captured route or nexthop group may lead through other netdevs, too."""
    return has_shared(captured)


@contextmanager
def alone_with_shared_routes(node: Machine, captured: Captured) -> Iterator[None]:
    """Exclude other calls that set what netdevs share: each has to see what others set."""
    if shares_routes(captured):
        with node.lock("routes", wait_s=_ROUTES_WAIT_S):
            yield
    else:
        yield
