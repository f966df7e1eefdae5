"""The routes through the netdev, and other routes of its network namespace."""

import errno
from collections.abc import Callable, Collection, Iterable

import attrs

from amdcni.core.aspects.change import Unsaved
from amdcni.core.aspects.routes import (
    RouteChange,
    Routes,
    SetRoute,
    describe,
    shared_destinations,
)
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused
from amdcni.core.host import IpNetwork, Netdev, Route, WayOut
from amdcni.core.names import IfName
from amdcni.effects.messages import links, routes
from amdcni.effects.messages.common import FAMILIES
from amdcni.effects.messages.routes import RawRoute
from amdcni.effects.rtnetlink import Reply, RequestRefused, Rtnetlink


@attrs.frozen(slots=False, kw_only=True)
class ReadRoutes(Routes, Unsaved):
    """The routes, and what of them no record can hold, in words."""


def read(kernel: Rtnetlink, netdev: Netdev, kept: Captured | None) -> ReadRoutes:
    """All with a hop through the netdev, and what is left of those that had one.

    For a kept route with several hops, all routes to the same network are read: it may have lost
    the hop through the netdev.
    """
    wanted = routes.leads_through(netdev.ifindex)
    raw = _dumped(kernel, wanted, netdev.ifindex)
    through = [each for each in raw if netdev.ifindex in each.ifindexes]
    ifnames = _ifnames_in(kernel, through, {netdev.ifindex: netdev.ifname})
    named = [(routes.route_of(each, ifnames), each) for each in through]
    found = [(route, each) for route, each in named if route is not None]
    asked = set() if kept is None else shared_destinations(kept.routes)
    own = [route for route, _ in found if route.destination not in asked]
    return ReadRoutes(
        routes=(*own, *routes_to(kernel, asked)),
        unsaved=tuple(
            f"{what} of {describe(route)}" for route, each in found for what in each.unsaved
        ),
    )


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetRoute) -> None:
    """Set it."""
    put(kernel, change)


def put(kernel: Rtnetlink, change: SetRoute) -> None:
    """Set the whole route, or as much of it as the kernel accepts before other netdevs are back."""
    try:
        _put(kernel, change.whole)
    except KernelRefused as failure:
        if change.least is None:
            raise
        try:
            _put(kernel, change.least)
        except KernelRefused:
            raise failure from None


def _put(kernel: Rtnetlink, change: RouteChange) -> None:
    kernel.do(f"set {describe(change.route)}", routes.put(change), done_if=errno.EEXIST)


def routes_to(kernel: Rtnetlink, destinations: Collection[IpNetwork]) -> tuple[Route, ...]:
    """The routes to exactly these networks, in every table."""
    raw = _dumped(kernel, routes.leads_to(destinations)) if destinations else []
    ifnames = _ifnames_in(kernel, raw, {})
    found = (routes.route_of(each, ifnames) for each in raw)
    return tuple(route for route in found if route is not None)


def ways_out(kernel: Rtnetlink) -> tuple[WayOut, ...]:
    """The hops of the routes in the main table to wide prefixes."""
    return tuple(way for each in _dumped(kernel, routes.is_wide) for way in each.ways_out)


def _dumped(
    kernel: Rtnetlink, wanted: Callable[[Reply], bool], ifindex: int | None = None
) -> list[RawRoute]:
    """The routes of both families."""
    return [
        routes.raw_route_of(reply)
        for family in FAMILIES.values()
        for reply in kernel.dump(routes.query(family, ifindex), wanted)
    ]


def _ifnames_in(
    kernel: Rtnetlink, raw: Iterable[RawRoute], known: dict[int, IfName]
) -> dict[int, IfName]:
    """The names of all netdevs that the routes lead through, and the `known` ones."""
    ifnames = dict(known)
    for ifindex in {ifindex for each in raw for ifindex in each.ifindexes} - known.keys():
        try:
            link = kernel.get(links.query_by_index(ifindex))
        except RequestRefused as failure:
            if failure.code != errno.ENODEV:
                raise
        else:
            ifnames[ifindex] = links.ifname_of(link)
    return ifnames
