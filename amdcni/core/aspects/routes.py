"""The routes through the netdev, without those that the kernel makes again by itself."""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage, remaining
from amdcni.core.aspects.nexthops import Nexthops, usable
from amdcni.core.aspects.sysctls import SeenSysctls
from amdcni.core.host import Hop, IpNetwork, Netdev, Route
from amdcni.core.kernel_made import remade_addresses, remakes_route
from amdcni.core.names import IfName

NOUN: Final = "route"


@attrs.frozen(slots=False, kw_only=True)
class Routes:
    """The routes with a hop through the netdev."""

    routes: tuple[Route, ...] = ()


@attrs.frozen(slots=False, kw_only=True)
class WithNexthops(Routes, Nexthops):
    """The routes, and the nexthop objects and groups that some of them use."""


@attrs.frozen(slots=False, kw_only=True)
class Seen(SeenSysctls, WithNexthops):
    """What decides which routes the kernel makes again, and how."""


@attrs.frozen
class SetRoute:
    """A route that is missing, or lacks hops.

    `least` is what is set if the kernel refuses the `whole`: it leaves out hops through netdevs
    that have yet to return, which may be on the host but not ready for their hop.  The change is
    `optional` if only such hops are missing: the last netdev to return sets them.
    """

    whole: "RouteChange"
    least: "RouteChange | None" = None
    optional: bool = False

    @property
    def stage(self) -> Stage:
        """A route that leads straight to its destination comes before those that need it."""
        route = self.whole.route
        indirect = route.nexthop is not None or any(hop.via for hop in route.hops)
        return Stage.ROUTES if indirect else Stage.LAST

    def describe(self) -> str:
        """The difference."""
        return f"{describe(self.whole.route)} is missing"


def keep(netdev: Netdev, seen: Seen, *, protocols_reported: bool) -> Routes:
    """All that the kernel does not make again."""
    sysctls = seen.sysctls
    remade = remade_addresses(netdev, sysctls, protocols_reported=protocols_reported)
    return Routes(
        routes=tuple(
            route for route in seen.routes if not remakes_route(route, netdev, sysctls, remade)
        )
    )


def due(kept: WithNexthops, netdev: Netdev, seen: WithNexthops, around: Around) -> list[SetRoute]:
    """Those that are missing, or lack hops.

    If the ID of its nexthop object means something else now, a route gets hops of its own.
    """
    routes = aged(kept.routes, around.elapsed_s)
    objects = usable(kept, netdev, seen)
    possible = (each if each.nexthop in objects else on_its_own(each) for each in routes)
    there = SeenRoutes(seen.routes)
    return changes_for(
        due_on_host(possible, around.was, netdev, around.others), there, around.awaited
    )


def on_its_own(route: Route) -> Route:
    """The route with hops of its own, not by a nexthop object."""
    return attrs.evolve(route, nexthop=None)


def changes_for(
    routes: Iterable[Route], seen: "SeenRoutes", awaited: Collection[str] = ()
) -> list[SetRoute]:
    """What has to be set for `routes` to be there, hops through `awaited` netdevs being optional.

    Each is planned as if those before it had been set, which `seen` then has too.
    """
    changes = []
    for route in routes:
        whole = missing(route, seen)
        if whole is not None:
            least = without_netdevs(route, awaited)
            if least == route:
                changes.append(SetRoute(whole))
            else:
                left = None if least is None else missing(least, seen)
                changes.append(SetRoute(whole, left, optional=left is None))
            seen.add(whole.route)
    return changes


def has_shared(kept: WithNexthops) -> bool:
    """Whether any of it may lead through other netdevs, too."""
    return bool(kept.nexthop_groups or shared_destinations(kept.routes))


def shared_destinations(routes: Iterable[Route]) -> set[IpNetwork]:
    """The destinations of those routes that have several hops."""
    return {route.destination for route in routes if len(route.hops) > 1}


def lines(kept: Routes) -> Iterator[str]:
    """One each."""
    for route in kept.routes:
        hops = [f"via {hop.via}" if hop.via else f"dev {hop.ifname}" for hop in route.hops]
        yield f"route {route.destination} {', '.join(hops)} table {_table_name(route.table)}"


def _table_name(table: int) -> str:
    """The table as `ip route` calls it."""
    return {253: "default", 254: "main", 255: "local"}.get(table, str(table))


def aged(routes: Iterable[Route], elapsed_s: int) -> tuple[Route, ...]:
    """The routes as they are to be set `elapsed_s` seconds after they were read."""
    return tuple(
        attrs.evolve(route, expires_s=remaining(route.expires_s, elapsed_s))
        for route in routes
        if route.expires_s is None or route.expires_s > elapsed_s
    )


def due_on_host(
    routes: Iterable[Route], was: IfName, ours: Netdev, others: Iterable[Netdev]
) -> tuple[Route, ...]:
    """The captured `routes` as far as possible now, in the order in which they have to be set.

    Our netdev was called `was` and may have another name now.  Hops through netdevs that are not on
    the host have to wait for these.  A route to a network comes before those whose next router is
    found through it.
    """
    there = ifindexes_of([*others, ours])
    renamed = [_renamed(route, was, ours.ifname) for route in routes]
    due = [route for route in (on_netdevs(route, there) for route in renamed) if route.hops]
    return tuple(sorted(due, key=lambda route: any(hop.via for hop in route.hops)))


def ifindexes_of(netdevs: Iterable[Netdev]) -> dict[str, int]:
    """The ifindexes of netdevs by their names."""
    return {netdev.ifname: netdev.ifindex for netdev in netdevs}


def _renamed(route: Route, was: IfName, now: IfName) -> Route:
    hops = [attrs.evolve(hop, ifname=now) if hop.ifname == was else hop for hop in route.hops]
    return attrs.evolve(route, hops=tuple(hops))


def on_netdevs(route: Route, there: Mapping[str, int]) -> Route:
    """The route through those of its hops whose netdev is there, with the current ifindexes.

    `there` is what `ifindexes_of` says of the netdevs.
    """
    hops = [hop for hop in route.hops if hop.ifname in there]
    return _by_way_of(route, [attrs.evolve(hop, ifindex=there[hop.ifname]) for hop in hops])


def _by_way_of(route: Route, hops: list[Hop]) -> Route:
    """The route with only these hops; a single one has no weight."""
    if len(hops) == 1:
        hops = [attrs.evolve(hops[0], weight=1)]
    return attrs.evolve(route, hops=tuple(hops))


@attrs.frozen
class RouteChange:
    """A route to set: in place of the one with its identity, or in addition to what is there."""

    route: Route
    replace: bool = False


class SeenRoutes:
    """Routes that were seen, which finds those like another one at once.

    Routes are alike if they differ in nothing but their hops and when they end.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_likeness: dict[Hashable, list[Route]] = {}
        for route in routes:
            self.add(route)

    @classmethod
    def of(cls, routes: "Iterable[Route] | SeenRoutes") -> "SeenRoutes":
        """The routes as a `SeenRoutes`, which they may be already."""
        return routes if isinstance(routes, SeenRoutes) else cls(routes)

    def add(self, route: Route) -> None:
        """Add a route to those seen."""
        self._by_likeness.setdefault(_likeness(route), []).append(route)

    def alike(self, route: Route) -> Sequence[Route]:
        """The routes that are like this one."""
        return self._by_likeness.get(_likeness(route), ())


_APART: Final = ("hops", "expires_s", "metrics")
_LIKENESS: Final = attrgetter(*(f.name for f in attrs.fields(Route) if f.name not in _APART))


def _likeness(route: Route) -> Hashable:
    return (*_LIKENESS(route), frozenset(route.metrics.items()))


def missing(due: Route, seen: Iterable[Route] | SeenRoutes) -> RouteChange | None:
    """What has to be set for `due` to be there, `seen` being there; None if it is.

    Hops of the same route that somebody has set meanwhile stay.
    """
    alike = SeenRoutes.of(seen).alike(due)
    if due.nexthop is not None:
        return None if alike else RouteChange(due)
    if any(set(due.hops) <= set(route.hops) for route in alike):
        return None
    if len(due.hops) == 1:
        return RouteChange(due)
    own = {(hop.ifname, hop.via, hop.encap) for hop in due.hops}
    seen_hops = (hop for route in alike for hop in route.hops)
    others = [hop for hop in seen_hops if (hop.ifname, hop.via, hop.encap) not in own]
    return RouteChange(attrs.evolve(due, hops=(*due.hops, *others)), replace=True)


def with_shared(
    routes: Iterable[Route], ifname: IfName, shared: Iterable[Route], *, in_transit: bool
) -> tuple[Route, ...]:
    """The routes of a netdev, completed by what another record holds of them.

    A multipath route loses the hop of each netdev that is lent.  The last to come back has to know
    all hops.  While the other netdev is `in_transit`, the route may be missing for a moment.
    """
    known = tuple(routes)
    there = {_likeness(route) for route in known}
    wholes = {
        _likeness(route): route
        for route in shared
        if len(route.hops) > 1 and ifname in [hop.ifname for hop in route.hops]
    }
    mended = tuple(wholes.get(_likeness(route), route) for route in known)
    gone = tuple(route for likeness, route in wholes.items() if likeness not in there)
    return (*mended, *gone) if in_transit else mended


def without_netdevs(route: Route, ifnames: Collection[str]) -> Route | None:
    """What is left of a multipath route when netdevs go; None if there is nothing left.

    The kernel removes the whole IPv4 route when the netdev of any of its hops goes, unless the hops
    are those of a nexthop group.
    """
    if route.nexthop is not None:
        return route
    hops = [hop for hop in route.hops if hop.ifname not in ifnames]
    if len(hops) == len(route.hops):
        return route
    return _by_way_of(route, hops) if hops else None


def describe(route: Route) -> str:
    """The route in the words of `ip route`, as far as they distinguish it from others."""
    hops = " ".join(
        f"via {hop.via} dev {hop.ifname}" if hop.via else f"dev {hop.ifname}" for hop in route.hops
    )
    if route.nexthop is not None:
        hops = f"by the nexthop object {route.nexthop}"
    metric = "" if route.metric is None else f" metric {route.metric}"
    return f"the route to {route.destination} {hops}{metric} in table {_table_name(route.table)}"
