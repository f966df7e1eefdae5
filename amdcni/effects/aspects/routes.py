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
from amdcni.effects.messages.routes import ToldRoute
from amdcni.effects.rtnetlink import Reply, RequestRefused, Rtnetlink


@attrs.frozen(slots=False, kw_only=True)
class ReadRoutes(Routes, Unsaved):
    """The routes, and what of them no record can hold."""


def read(kernel: Rtnetlink, netdev: Netdev, kept: Captured | None) -> ReadRoutes:
    """All with a hop through the netdev, and what is left of those that had one.

    Of a route with several hops all are read that lead to the same network: it may have lost the
    hop through the netdev.
    """
    wanted = routes.leads_through(netdev.ifindex)
    told = _told(kernel, wanted, netdev.ifindex)
    through = [each for each in told if netdev.ifindex in each.ifindexes]
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
    """Set the whole route, or as much of it as the kernel takes before others are back."""
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
    kernel.do(f"set {describe(change.route)}", routes.put(change), in_vain=errno.EEXIST)


def routes_to(kernel: Rtnetlink, destinations: Collection[IpNetwork]) -> tuple[Route, ...]:
    """The routes to just these networks, of every table."""
    told = _told(kernel, routes.leads_to(destinations)) if destinations else []
    ifnames = _ifnames_in(kernel, told, {})
    found = (routes.route_of(each, ifnames) for each in told)
    return tuple(route for route in found if route is not None)


def ways_out(kernel: Rtnetlink) -> tuple[WayOut, ...]:
    """The hops of the routes of the main table to wide prefixes."""
    return tuple(way for each in _told(kernel, routes.is_wide) for way in each.ways_out)


def _told(
    kernel: Rtnetlink, wanted: Callable[[Reply], bool], ifindex: int | None = None
) -> list[ToldRoute]:
    """Those of both families."""
    return [
        routes.told_by(reply)
        for family in FAMILIES.values()
        for reply in kernel.dump(routes.query(family, ifindex), wanted)
    ]


def _ifnames_in(
    kernel: Rtnetlink, told: Iterable[ToldRoute], known: dict[int, IfName]
) -> dict[int, IfName]:
    """The names of all netdevs that the routes lead through, besides the `known`."""
    ifnames = dict(known)
    for ifindex in {ifindex for each in told for ifindex in each.ifindexes} - known.keys():
        try:
            link = kernel.get(links.query_by_index(ifindex))
        except RequestRefused as failure:
            if failure.code != errno.ENODEV:
                raise
        else:
            ifnames[ifindex] = links.ifname_of(link)
    return ifnames
