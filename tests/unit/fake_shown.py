"""What a kernel in memory shows of its netdevs, and what an administrator has configured there."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import itemgetter
from typing import Any, TypeVar

import attrs

from amdcni.core.aspects.queues import folded
from amdcni.core.capture import Details
from amdcni.core.host import (
    TC_H_ROOT,
    Chain,
    Filter,
    Netdev,
    Nexthop,
    NexthopGroup,
    Qdisc,
    Route,
    TrafficClass,
    WayOut,
)
from amdcni.core.names import IfName
from amdcni.core.rules import Rule
from tests.unit.fake_netdevs import (
    ATTRIBUTES,
    SYSCTL_DEFAULTS,
    Configuration,
    Link,
    Space,
    is_link_local,
)
from tests.unit.fake_rdma import RdmaSubsystem

T = TypeVar("T")
U = TypeVar("U")


@attrs.define(eq=False)
class Shown:
    """What there is to see of a node."""

    host: Space = attrs.field(init=False)
    rdma: RdmaSubsystem = attrs.field(init=False)
    ways_out: tuple[WayOut, ...] = ()
    now_s: int = 1000
    _known_routes: dict[tuple[int, int], tuple[str, Route, Route]] = attrs.field(factory=dict)
    _made: dict[tuple[Any, int], tuple[Any, Any]] = attrs.field(factory=dict)

    def configuration_of(self, link: Link) -> Configuration:
        """What an administrator has configured, as seen now."""
        set_by_hand = [own.address for own in link.addresses if not own.by_kernel]
        addresses = tuple(
            (own.address, own.valid_until_s, own.preferred_until_s)
            for own in link.addresses
            if not own.by_kernel or any(map(is_link_local, set_by_hand))
        )
        altnames = tuple(sorted(link.altnames))
        return Configuration(
            ifname=link.name,
            up=link.up,
            alias=link.alias,
            link=(*(getattr(link, name) for name in ATTRIBUTES), altnames),
            addresses=addresses,
            routes=self._own_routes(link),
            nexthops=tuple(self._known(_as_own, each) for each in _nexthops_through(link)),
            nexthop_groups=tuple(_own_groups(link)),
            neighbours=self._sorted(link.neighbours),
            proxy_neighbours=self._sorted(link.proxy_neighbours),
            multicast=tuple(sorted(link.multicast)),
            sysctls=tuple(sorted(link.sysctls.items())),
            queues=tuple(sorted(link.queues.items())),
            token=link.token,
            traffic=frozenset(link.traffic),
            redirections=frozenset(link.redirections),
            rules=self._own_rules(link),
            rdma=self.rdma.configured(link),
            ethtool=tuple(sorted(link.ethtool.items())),
        ).at(self.now_s)

    def _own_rules(self, link: Link) -> tuple[tuple[Rule, int], ...]:
        if not link.rules:
            return ()
        found = [rule for rule in self.host.rules if rule in link.rules]
        return tuple((rule, rule.detached) for rule in self._sorted(found))

    def _sorted(self, values: Iterable[T]) -> tuple[T, ...]:
        return tuple(sorted(values, key=partial(self._known, str)))

    def _known(self, make: Callable[[T], U], value: T) -> U:
        """What `make` makes of a frozen value: watchers ask for the same at every moment."""
        known = self._made.get((make, id(value)))
        if known is None or known[0] is not value:
            # The `id` may have been that of another value before.
            known = self._made[make, id(value)] = (value, make(value))
        made: U = known[1]
        return made

    def netdevs(self, space: Space) -> tuple[Netdev, ...]:
        return tuple(link.seen(self.now_s) for link in space.links)

    def routes(self, space: Space) -> tuple[Route, ...]:
        """The routes, with the present names of their netdevs."""
        names = {link.ifindex: IfName(link.name) for link in space.links}
        return tuple(_with_names(route, names) for route in space.routes)

    def routes_through(self, link: Link) -> list[Route]:
        """The routes with a hop through the netdev."""
        return [
            route
            for route in self.routes(link.space)
            if link.ifindex in [hop.ifindex for hop in route.hops]
        ]

    def _own_routes(self, link: Link) -> tuple[Route, ...]:
        """The routes reduced to their hops through the netdev, whatever its name.

        Every watcher asks for them at every moment, and they are nearly always the same.
        """
        found = []
        for route in link.space.routes:
            known = self._known_routes.get((id(route), link.ifindex))
            if known is None or known[2] is not route:
                own = _with_own_hops(route, link)
                # The `id` may have been that of another route before.
                known = self._known_routes[id(route), link.ifindex] = (str(own), own, route)
            if known[1].hops:
                found.append(known[:2])
        return tuple(own for _, own in sorted(found, key=itemgetter(0)))

    def details(self, link: Link) -> Details:
        return Details(
            routes=tuple(self.routes_through(link)),
            **_nexthops_of(link),
            neighbours=tuple(link.neighbours),
            proxy_neighbours=tuple(link.proxy_neighbours),
            multicast_addresses=tuple(link.multicast),
            sysctls={**SYSCTL_DEFAULTS, "ipv6/conf/mtu": str(link.mtu), **link.sysctls},
            sysctl_defaults=SYSCTL_DEFAULTS,
            **traffic_of(link),
            queues=folded(link.queues),
            ethtool=dict(link.ethtool),
            ways_out=self.ways_out,
            rules=tuple(self.host.rules),
        )


def traffic_of(link: Link) -> dict[str, Any]:
    """The traffic control of a netdev, by the names in `Details`."""
    items = link.traffic
    qdiscs = [each for each in items if isinstance(each, Qdisc)]
    return {
        "qdisc": next((each for each in qdiscs if each.parent == TC_H_ROOT), None),
        "qdiscs": tuple(each for each in qdiscs if each.parent != TC_H_ROOT),
        "classes": tuple(each for each in items if isinstance(each, TrafficClass)),
        "chains": tuple(each for each in items if isinstance(each, Chain)),
        "filters": tuple(each for each in items if isinstance(each, Filter)),
        "redirections": tuple(link.redirections),
        "cut_off": tuple(link.cut_off),
    }


def _with_names(route: Route, names: dict[int, IfName]) -> Route:
    if all(hop.ifname == names[hop.ifindex] for hop in route.hops):
        return route
    return attrs.evolve(
        route, hops=tuple(attrs.evolve(hop, ifname=names[hop.ifindex]) for hop in route.hops)
    )


def _with_own_hops(route: Route, link: Link) -> Route:
    hops = [hop for hop in route.hops if hop.ifindex == link.ifindex]
    return attrs.evolve(
        route, hops=tuple(attrs.evolve(hop, ifname=IfName("own"), ifindex=0) for hop in hops)
    )


def _nexthops_through(link: Link) -> list[Nexthop]:
    found = link.space.nexthops.values()
    return [each for each in found if each.hop is not None and each.hop.ifindex == link.ifindex]


def _as_own(nexthop: Nexthop) -> Nexthop:
    assert nexthop.hop is not None
    return attrs.evolve(nexthop, hop=attrs.evolve(nexthop.hop, ifname=IfName("own"), ifindex=0))


def _own_groups(link: Link) -> Iterator[NexthopGroup]:
    """The groups with a member through the netdev, reduced to these."""
    own = {each.id for each in _nexthops_through(link)}
    for group in link.space.nexthop_groups.values():
        members = tuple(member for member in group.members if member.id in own)
        if members:
            whole = len(members) == len(group.members)
            yield group if whole else attrs.evolve(group, members=members)


def nexthops_with_names(space: Space) -> list[Nexthop]:
    """All nexthop objects, with the present names of their netdevs."""
    names = {link.ifindex: IfName(link.name) for link in space.links}
    return [
        each
        if each.hop is None
        else attrs.evolve(each, hop=attrs.evolve(each.hop, ifname=names[each.hop.ifindex]))
        for each in space.nexthops.values()
    ]


def _nexthops_of(link: Link) -> dict[str, Any]:
    """The objects through the netdev, the groups with one of these, and their other members."""
    own = {each.id for each in _nexthops_through(link)}
    groups = [
        group
        for group in link.space.nexthop_groups.values()
        if own & {member.id for member in group.members}
    ]
    members = {member.id for group in groups for member in group.members}
    everything = nexthops_with_names(link.space)
    return {
        "nexthops": tuple(each for each in everything if each.id in own),
        "nexthop_groups": tuple(groups),
        "other_nexthops": tuple(each for each in everything if each.id in members - own),
    }
