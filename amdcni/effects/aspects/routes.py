"""The routes through the netdev, and other routes of its network namespace."""

import errno
from collections.abc import Callable, Collection, Iterable, Iterator

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
from amdcni.effects.aspects.link import ifnames_of
from amdcni.effects.messages import routes
from amdcni.effects.messages.common import FAMILIES
from amdcni.effects.messages.routes import RawRoute
from amdcni.effects.rtnetlink import Reply, Rtnetlink


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
    through = [each for each in raw if netdev.ifindex in each.ifindexes or each.is_abridged]
    known = {netdev.ifindex: netdev.ifname}
    found = list(_named(kernel, through, known))
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
    return tuple(route for route, _ in _named(kernel, raw, {}))


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


def _named(
    kernel: Rtnetlink, raw: Iterable[RawRoute], known: dict[int, IfName]
) -> Iterator[tuple[Route, RawRoute]]:
    """The routes with the names of their netdevs, each with what the kernel shows of it."""
    raw = list(raw)
    ifnames = ifnames_of(kernel, (ifindex for each in raw for ifindex in each.ifindexes), known)
    for each in raw:
        route = routes.route_of(each, ifnames)
        if route is not None and route.nexthop is not None and not route.hops:
            from amdcni.effects.nexthop_objects import hops_of

            route = attrs.evolve(route, hops=hops_of(kernel, route.nexthop, ifnames))
        if route is not None:
            yield route, each
