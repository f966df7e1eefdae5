"""What has to be set for the captured routes of a netdev to be there again."""

from collections.abc import Collection, Iterable

import attrs

from amdcni.core.host import Hop, Netdev, Route
from amdcni.core.names import IfName


def due_on_host(
    routes: Iterable[Route], was: IfName, ours: Netdev, others: Iterable[Netdev]
) -> tuple[Route, ...]:
    """The captured `routes` as they can be had now, in the order in which they have to be set.

    Our netdev was called `was` and may have another name now.  Hops through netdevs that are not
    on the host have to wait for those.  A route to a network comes before those whose next router
    is found through it.
    """
    netdevs = [*others, ours]
    renamed = [_renamed(route, was, ours.ifname) for route in routes]
    due = [route for route in (on_netdevs(route, netdevs) for route in renamed) if route.hops]
    return tuple(sorted(due, key=lambda route: any(hop.via for hop in route.hops)))


def _renamed(route: Route, was: IfName, now: IfName) -> Route:
    hops = [attrs.evolve(hop, ifname=now) if hop.ifname == was else hop for hop in route.hops]
    return attrs.evolve(route, hops=tuple(hops))


def on_netdevs(route: Route, netdevs: Iterable[Netdev]) -> Route:
    """The route through those of its hops whose netdev is there, with the ifindexes of now."""
    there = {netdev.ifname: netdev.ifindex for netdev in netdevs}
    hops = [hop for hop in route.hops if hop.ifname in there]
    return _by_way_of(route, [attrs.evolve(hop, ifindex=there[hop.ifname]) for hop in hops])


def _by_way_of(route: Route, hops: list[Hop]) -> Route:
    """The route with only these hops; a single one has no weight."""
    if len(hops) == 1:
        hops = [attrs.evolve(hops[0], weight=1)]
    return attrs.evolve(route, hops=tuple(hops))


@attrs.frozen
class RouteChange:
    """A route to be set: in place of the one with its identity, or besides what is there."""

    route: Route
    replace: bool = False


def missing(due: Route, seen: Iterable[Route]) -> RouteChange | None:
    """What has to be set for `due` to be there, `seen` being there; None if it is.

    Hops of the same route that somebody has set meanwhile stay.
    """
    alike = [route for route in seen if _is_alike(route, due)]
    if any(set(due.hops) <= set(route.hops) for route in alike):
        return None
    if len(due.hops) == 1:
        return RouteChange(due)
    own = {(hop.ifname, hop.via) for hop in due.hops}
    others = [hop for route in alike for hop in route.hops if (hop.ifname, hop.via) not in own]
    return RouteChange(attrs.evolve(due, hops=(*due.hops, *others)), replace=True)


def _is_alike(one: Route, other: Route) -> bool:
    """Whether the routes differ in nothing but their hops and when they end."""
    return attrs.evolve(one, hops=other.hops, expires_s=other.expires_s) == other


def with_shared(
    routes: Iterable[Route], ifname: IfName, shared: Iterable[Route], *, in_transit: bool
) -> tuple[Route, ...]:
    """The routes of a netdev, made whole by those that another record holds of them.

    A multipath route loses the hop of each netdev that is lent.  Whichever comes back last has to
    know of all.  While the other netdev is `in_transit`, the route may be missing for a moment.
    """
    mended = list(routes)
    for whole in shared:
        if len(whole.hops) < 2 or ifname not in [hop.ifname for hop in whole.hops]:
            continue
        partial = [route for route in mended if _is_alike(route, whole)]
        mended = [whole if route in partial else route for route in mended]
        if in_transit and not partial:
            mended.append(whole)
    return tuple(mended)


def without_netdevs(route: Route, ifnames: Collection[str]) -> Route | None:
    """What is left of a multipath route when netdevs go; None if there is nothing left.

    The kernel takes away the whole IPv4 route with the netdev of any of its hops.
    """
    hops = [hop for hop in route.hops if hop.ifname not in ifnames]
    if len(hops) == len(route.hops):
        return route
    return _by_way_of(route, hops) if hops else None


def is_lacking(route: Route, seen: Iterable[Route], awaited: Collection[str]) -> bool:
    """Whether more of `route` is missing than its hops through netdevs that are `awaited`.

    These are yet to be given back.  Whoever does that knows the whole route and sets it.
    """
    seen = tuple(seen)
    least = without_netdevs(route, awaited)
    return all(due is not None and missing(due, seen) is not None for due in (route, least))


def describe(route: Route) -> str:
    """The route in the words of `ip route`, as far as they tell it from others."""
    hops = " ".join(
        f"via {hop.via} dev {hop.ifname}" if hop.via else f"dev {hop.ifname}" for hop in route.hops
    )
    metric = "" if route.metric is None else f" metric {route.metric}"
    return f"the route to {route.destination} {hops}{metric} in table {route.table}"
