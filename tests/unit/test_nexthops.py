"""Nexthop objects come back under their IDs, and groups with the members that are there."""

import ipaddress

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.aspects.change import Around
from amdcni.core.aspects.nexthops import (
    Nexthops,
    SetNexthop,
    SetNexthopGroup,
    due,
    usable,
    with_shared,
)
from amdcni.core.aspects.routes import WithNexthops
from amdcni.core.aspects.routes import due as routes_due
from amdcni.core.capture import Captured
from amdcni.core.host import Buckets, Hop, Member, Netdev, Nexthop, NexthopGroup, Route
from amdcni.core.names import IfName
from amdcni.testing import strategies as some

ENS1, ENS2 = IfName("ens1"), IfName("ens2")
NETDEV = Netdev(11, IfName("ens1_1"))
OTHER = Netdev(12, ENS2)
AROUND = Around(ENS1, (OTHER,))
OWN_HOP = Hop(ENS1, 7, ipaddress.ip_address("10.0.0.9"))
OWN = Nexthop(1, OWN_HOP)
ITS = Nexthop(2, Hop(ENS2, 12))
HERE = attrs.evolve(OWN, hop=attrs.evolve(OWN_HOP, ifname=NETDEV.ifname))
GROUP = NexthopGroup(3, (Member(1, 3), Member(2, 5)))
KEPT = Nexthops(nexthops=(OWN,), nexthop_groups=(GROUP,), other_nexthops=(ITS,))


def of(*members: int) -> NexthopGroup:
    """The group with some of its members."""
    return attrs.evolve(GROUP, members=tuple(m for m in GROUP.members if m.id in members))


def seen(*things: Nexthop | NexthopGroup) -> Nexthops:
    return Nexthops(
        nexthops=tuple(each for each in things if isinstance(each, Nexthop)),
        nexthop_groups=tuple(each for each in things if isinstance(each, NexthopGroup)),
    )


def due_for(*things: Nexthop | NexthopGroup) -> list[Nexthop | NexthopGroup]:
    """What is due if that is there."""
    changes = due(KEPT, NETDEV, seen(*things), AROUND)
    return [
        change.nexthop if isinstance(change, SetNexthop) else change.group for change in changes
    ]


def test_an_object_is_made_through_the_netdev_as_it_is_called_and_numbered_now() -> None:
    (change, _) = due(KEPT, NETDEV, Nexthops(), AROUND)
    assert isinstance(change, SetNexthop)
    assert change.nexthop == HERE
    assert change.nexthop.hop is not None
    assert change.nexthop.hop.ifindex == NETDEV.ifindex


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ((), [HERE, of(1)]),
        ((ITS,), [HERE, GROUP]),
        ((ITS, of(2)), [HERE, GROUP]),
        ((HERE, ITS, GROUP), []),
        ((HERE, ITS, of(1)), [GROUP]),
        ((HERE, of(1)), []),
    ],
    ids=str,
)
def test_a_group_has_those_members_that_are_there(
    there: tuple[Nexthop | NexthopGroup, ...], missing: list[Nexthop | NexthopGroup]
) -> None:
    assert due_for(*there) == missing


def test_what_somebody_has_changed_of_a_group_meanwhile_stays() -> None:
    now = attrs.evolve(GROUP, members=(Member(9), Member(2, 77)), protocol=186)
    whole = attrs.evolve(now, members=(Member(1, 3), Member(2, 77), Member(9)))
    assert due_for(ITS, Nexthop(9), now) == [HERE, whole]
    rerouted = attrs.evolve(ITS, hop=Hop(ENS2, 12, ipaddress.ip_address("10.2.0.9")))
    assert due_for(rerouted, of(2)) == [HERE, GROUP]


ELSEWHERE = Hop(IfName("ens3"), 13)


@pytest.mark.parametrize(
    ("taken", "missing", "still"),
    [
        ([attrs.evolve(OWN, hop=ELSEWHERE)], [], set()),
        ([NexthopGroup(1, (Member(9),))], [], set()),
        ([Nexthop(3)], [HERE], {1}),
        ([NexthopGroup(3, (Member(9),))], [HERE], {1}),
        ([ITS, attrs.evolve(of(2), buckets=Buckets(8))], [HERE], {1}),
        ([attrs.evolve(ITS, hop=ELSEWHERE)], [HERE, of(1)], {1, 3}),
        ([Nexthop(2)], [HERE, of(1)], {1, 3}),
    ],
    ids=str,
)
def test_an_id_that_means_something_else_now_is_left_alone(
    taken: list[Nexthop | NexthopGroup],
    missing: list[Nexthop | NexthopGroup],
    still: set[int],
) -> None:
    assert due_for(*taken) == missing
    assert usable(KEPT, NETDEV, seen(*taken)) == still


def test_what_leads_through_no_netdev_is_compared_as_it_is() -> None:
    nowhere = Nexthop(2)
    kept = attrs.evolve(KEPT, nexthops=(OWN, Nexthop(4)), other_nexthops=(nowhere,))
    made = due(kept, NETDEV, seen(nowhere), AROUND)
    assert [each.group for each in made if isinstance(each, SetNexthopGroup)] == [GROUP]


@pytest.mark.parametrize("taken", [False, True])
def test_a_route_gets_hops_of_its_own_only_if_the_id_means_something_else_now(
    taken: bool,
) -> None:
    route = Route(ipaddress.ip_network("10.9.0.0/24"), (Hop(ENS1, 7), Hop(ENS2, 12)), nexthop=3)
    kept = WithNexthops(
        routes=(route,), nexthops=(OWN,), nexthop_groups=(GROUP,), other_nexthops=(ITS,)
    )
    here = WithNexthops(nexthops=(ITS,), nexthop_groups=(of(2),))
    if taken:
        here = WithNexthops(nexthops=(ITS, Nexthop(3)))
    (change,) = routes_due(kept, NETDEV, here, AROUND)
    assert change.whole.route.nexthop == (None if taken else 3)
    again = attrs.evolve(here, routes=(change.whole.route,))
    assert routes_due(kept, NETDEV, again, AROUND) == []


# ---- what another record knows of a group


def test_a_group_is_completed_by_the_members_that_are_lent() -> None:
    left = Nexthops(nexthops=(ITS,), nexthop_groups=(of(2),))
    mended = with_shared(left, KEPT)
    assert mended == Nexthops(nexthops=(ITS,), nexthop_groups=(GROUP,), other_nexthops=(OWN,))
    assert with_shared(mended, KEPT) == mended


def test_a_group_that_is_completed_keeps_the_weights_that_its_members_have_now() -> None:
    now = attrs.evolve(GROUP, members=(Member(2, 77),))
    left = Nexthops(nexthops=(ITS,), nexthop_groups=(now,))
    whole = attrs.evolve(GROUP, members=(Member(1, 3), Member(2, 77)))
    assert with_shared(left, KEPT).nexthop_groups == (whole,)


def test_a_group_is_not_completed_by_what_is_not_lent_or_by_another_group() -> None:
    third = Nexthop(4, ELSEWHERE)
    whole = attrs.evolve(GROUP, members=(*GROUP.members, Member(4)))
    shared = attrs.evolve(KEPT, nexthop_groups=(whole,), other_nexthops=(ITS, third))
    left = Nexthops(nexthops=(ITS,), nexthop_groups=(of(2),))
    assert with_shared(left, shared).nexthop_groups == (GROUP,)
    for group in (NexthopGroup(3, (Member(8),)), NexthopGroup(9, (Member(2),))):
        alone = Nexthops(nexthops=(ITS,), nexthop_groups=(group,))
        assert with_shared(alone, shared) == alone


@given(some.whole_captures, st.data())
def test_what_is_due_makes_everything_possible_that_was_kept(
    captured: Captured, data: st.DataObject
) -> None:
    """Whatever others have made meanwhile; afterwards, nothing is due."""
    netdev = attrs.evolve(NETDEV, ifname=captured.ifname)
    others = data.draw(st.lists(some.nexthops, max_size=3, unique_by=lambda each: each.id))
    groups = data.draw(st.lists(some.nexthop_groups, max_size=2, unique_by=lambda each: each.id))
    there = {each.id: each for each in (*captured.other_nexthops, *others)}
    now = Nexthops(nexthops=tuple(there.values()), nexthop_groups=tuple(groups))
    changes = due(captured, netdev, now, AROUND)
    made = {each.nexthop.id: each.nexthop for each in changes if isinstance(each, SetNexthop)}
    assert not made.keys() & there.keys()
    grouped = {each.id: each for each in groups}
    for change in changes:
        if isinstance(change, SetNexthopGroup):
            assert {member.id for member in change.group.members} <= {
                *there,
                *made,
                *(m.id for group in groups for m in group.members),
            }
            grouped[change.group.id] = change.group
    after = Nexthops(
        nexthops=(*there.values(), *made.values()), nexthop_groups=tuple(grouped.values())
    )
    assert due(captured, netdev, after, AROUND) == []
    assert usable(captured, netdev, after) == usable(captured, netdev, now)
