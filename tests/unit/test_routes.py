"""Which routes are kept, and what has to be set to restore them."""

import ipaddress
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.aspects.routes import (
    Routes,
    SeenRoutes,
    WithNexthops,
    aged,
    changes_for,
    describe,
    due_on_host,
    has_shared,
    ifindexes_of,
    lines,
    missing,
    on_netdevs,
    with_shared,
    without_netdevs,
)
from amdcni.core.host import Hop, Netdev, Nexthop, NexthopGroup, Route
from amdcni.core.names import IfName
from amdcni.testing import strategies as some

ENS1, ENS2, ENS3 = IfName("ens1"), IfName("ens2"), IfName("ens3")


def to(destination: str, *hops: Hop, **attributes: Any) -> Route:
    values: dict[str, Any] = {
        "destination": ipaddress.ip_network(destination),
        "hops": hops or (Hop(ENS1),),
        **attributes,
    }
    return Route(**values)


def ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)


# ---- what is due -------------------------------------------------------------------------------


def netdev(ifindex: int, ifname: IfName) -> Netdev:
    return Netdev(ifindex, ifname)


def test_a_due_route_has_the_present_name_and_ifindex_of_our_netdev() -> None:
    route = to("10.9.0.0/24", Hop(ENS1, 7, ip("10.0.0.1")))
    (due,) = due_on_host([route], ENS1, netdev(12, IfName("ens1_1")), [netdev(3, ENS1)])
    (hop,) = due.hops
    assert (hop.ifname, hop.ifindex, hop.via) == ("ens1_1", 12, ip("10.0.0.1"))


def test_hops_through_lent_netdevs_are_left_out_and_a_single_hop_has_no_weight() -> None:
    route = to("10.9.0.0/24", Hop(ENS1, weight=3), Hop(ENS2, weight=5))
    (alone,) = due_on_host([route], ENS1, netdev(12, ENS1), [])
    assert [(hop.ifname, hop.weight) for hop in alone.hops] == [(ENS1, 1)]
    (both,) = due_on_host([route], ENS1, netdev(12, ENS1), [netdev(3, ENS2)])
    assert [(hop.ifindex, hop.weight) for hop in both.hops] == [(12, 3), (3, 5)]


@given(st.lists(some.kernel_routes, max_size=5))
def test_routes_without_a_router_come_before_routes_with_one(routes: list[Route]) -> None:
    through = [attrs.evolve(r, hops=(attrs.evolve(r.hops[0], ifname=ENS1),)) for r in routes]
    due = due_on_host(through, ENS1, netdev(12, ENS1), [])
    assert len(due) == len(routes)
    by_router = [due_route.hops[0].via is not None for due_route in due]
    assert by_router == sorted(by_router)


def test_a_route_through_no_present_netdev_is_not_due() -> None:
    assert due_on_host([to("10.9.0.0/24", Hop(ENS2))], ENS1, netdev(12, ENS1), []) == ()


# ---- what is missing ---------------------------------------------------------------------------


@given(some.kernel_routes, st.integers(0, 9))
def test_a_present_route_is_not_missing(route: Route, age_s: int) -> None:
    seen = attrs.evolve(route, expires_s=None if route.expires_s is None else age_s)
    assert missing(route, [seen]) is None


@given(some.kernel_routes, st.lists(some.kernel_routes, max_size=3))
def test_a_route_is_no_longer_missing_once_it_is_set(route: Route, seen: list[Route]) -> None:
    change = missing(route, seen)
    if change is not None:
        assert missing(route, [change.route]) is None


def test_a_single_hop_is_set_in_addition_to_what_is_there() -> None:
    theirs = to("10.9.0.0/24", Hop(ENS2))
    change = missing(to("10.9.0.0/24", Hop(ENS1)), [theirs])
    assert change is not None
    assert (change.route.hops, change.replace) == ((Hop(ENS1),), False)


def test_several_hops_replace_the_rest_of_their_route_and_keep_foreign_hops() -> None:
    whole = to("10.9.0.0/24", Hop(ENS1, weight=3), Hop(ENS2, weight=5))
    left = [to("10.9.0.0/24", Hop(ENS2)), to("10.9.0.0/24", Hop(ENS3)), to("10.8.0.0/24")]
    change = missing(whole, left)
    assert change is not None
    assert change.route.hops == (Hop(ENS1, weight=3), Hop(ENS2, weight=5), Hop(ENS3))
    assert change.replace


# ---- multipath routes of several lent netdevs --------------------------------------------------


def test_a_route_is_kept_complete_if_another_record_has_more_of_it() -> None:
    whole = to("10.9.0.0/24", Hop(ENS1, weight=3), Hop(ENS2, weight=5))
    left, other = to("10.9.0.0/24", Hop(ENS2)), to("10.8.0.0/24", Hop(ENS2))
    for in_transit in (False, True):
        assert with_shared([left, other], ENS2, [whole], in_transit=in_transit) == (whole, other)
    assert with_shared([left], ENS3, [whole], in_transit=True) == (left,)
    assert with_shared([left], ENS2, [to("10.9.0.0/24", Hop(ENS2))], in_transit=True) == (left,)


@pytest.mark.parametrize(
    ("kept", "shares"),
    [
        (WithNexthops(), False),
        (WithNexthops(routes=(to("10.9.0.0/24"),), nexthops=(Nexthop(1),)), False),
        (WithNexthops(routes=(to("10.9.0.0/24", Hop(ENS1), Hop(ENS2)),)), True),
        (WithNexthops(nexthop_groups=(NexthopGroup(3),)), True),
    ],
)
def test_netdevs_share_routes_with_several_hops_and_nexthop_groups(
    kept: WithNexthops, shares: bool
) -> None:
    assert has_shared(kept) is shares


def test_a_route_that_is_gone_for_a_moment_is_kept_too() -> None:
    whole = to("10.9.0.0/24", Hop(ENS1), Hop(ENS2))
    assert with_shared([], ENS2, [whole], in_transit=True) == (whole,)
    assert with_shared([], ENS2, [whole], in_transit=False) == ()


def test_a_route_with_one_hop_is_not_shared_even_with_a_netdev_of_the_same_name() -> None:
    assert with_shared([], ENS2, [to("10.9.0.0/24", Hop(ENS2))], in_transit=True) == ()


def test_without_one_netdev_the_other_hops_remain() -> None:
    whole = to("10.9.0.0/24", Hop(ENS1), Hop(ENS2))
    left = without_netdevs(whole, [ENS1])
    assert left is not None
    assert left.hops == (Hop(ENS2),)
    assert without_netdevs(left, [ENS2]) is None


def test_hops_through_awaited_netdevs_are_not_missing() -> None:
    whole = to("10.9.0.0/24", Hop(ENS1, weight=3), Hop(ENS2, weight=5))
    ours, theirs = to("10.9.0.0/24", Hop(ENS1)), to("10.9.0.0/24", Hop(ENS2))
    for seen, awaited, lacking in [
        ([], [], True),
        ([], [ENS2], True),
        ([ours], [], True),
        ([ours], [ENS2], False),
        ([theirs], [ENS2], True),
        ([theirs], [ENS1, ENS2], False),
        ([whole], [], False),
        ([whole], [ENS2], False),
    ]:
        changes = changes_for([whole], SeenRoutes(seen), awaited)
        assert any(not change.optional for change in changes) is lacking
        assert bool(changes) is (seen != [whole])


def test_what_is_set_if_the_kernel_refuses_the_whole_leaves_out_awaited_netdevs() -> None:
    whole = to("10.9.0.0/24", Hop(ENS1), Hop(ENS2))
    (change,) = changes_for([whole], SeenRoutes([]), [ENS2])
    assert change.least is not None
    assert (change.whole.route.hops, change.least.route.hops) == (whole.hops, (Hop(ENS1),))
    (change,) = changes_for([whole], SeenRoutes([]), [ENS1, ENS2])
    assert (change.least, change.optional) == (None, True)


def test_hops_get_the_ifindexes_of_their_netdevs() -> None:
    route = to("10.9.0.0/24", Hop(ENS1), Hop(ENS2))
    there = on_netdevs(route, ifindexes_of([netdev(7, ENS1), netdev(8, ENS2)]))
    assert [hop.ifindex for hop in there.hops] == [7, 8]


# ---- time and words ----------------------------------------------------------------------------


@given(st.lists(some.kernel_routes, max_size=4), st.integers(0, 2**31))
def test_an_expiring_route_keeps_the_remaining_time_and_is_gone_at_its_end(
    routes: list[Route], elapsed_s: int
) -> None:
    kept = aged(routes, elapsed_s)
    alive = [r for r in routes if r.expires_s is None or r.expires_s > elapsed_s]
    assert len(kept) == len(alive)
    for before, now in zip(alive, kept, strict=True):
        expected = None if before.expires_s is None else before.expires_s - elapsed_s
        assert now == attrs.evolve(before, expires_s=expected)


def test_a_route_is_gone_in_the_second_it_expires() -> None:
    route = to("fd00::/64", expires_s=9)
    assert aged([route], 8) == (attrs.evolve(route, expires_s=1),)
    assert aged([route], 9) == ()


def test_a_table_with_a_name_is_listed_by_that() -> None:
    kept = Routes(routes=tuple(to("10.9.0.0/24", table=table) for table in (253, 254, 255, 7)))
    assert [line.split(" table ")[1] for line in lines(kept)] == ["default", "main", "local", "7"]


def test_a_route_is_described_in_words() -> None:
    route = to("10.9.0.0/24", Hop(ENS1, 7, ip("10.0.0.1")), metric=5, table=100)
    assert describe(route) == "the route to 10.9.0.0/24 via 10.0.0.1 dev ens1 metric 5 in table 100"
    twice = to("10.9.0.0/24", Hop(ENS1, 7, ip("10.0.0.1")), Hop(ENS1, 7, ip("10.0.0.3")))
    hops = "via 10.0.0.1 dev ens1 via 10.0.0.3 dev ens1"
    assert describe(twice) == f"the route to 10.9.0.0/24 {hops} in table main"
    assert describe(to("fd00::/64")) == "the route to fd00::/64 dev ens1 in table main"
    assert to("fd00::/64").family == 6
    assert route.identity != to("10.9.0.0/24").identity
