"""Traffic control is put back in an order that the kernel accepts, and sends to no stranger."""

from collections import Counter

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.aspects.change import Around
from amdcni.core.aspects.traffic_control import (
    EGRESS_FILTERS,
    INGRESS_FILTERS,
    PLACEHOLDER_PROTOCOL,
    TC_H_INGRESS,
    DropPlaceholder,
    Item,
    SeenTraffic,
    SetRedirection,
    SetTraffic,
    TrafficControl,
    due,
    filters_in_order,
    has_traffic,
    in_order,
    keep,
    own_filters,
    spot_of,
)
from amdcni.core.host import TC_H_ROOT, Chain, Filter, Netdev, Qdisc, Redirection, TrafficClass
from amdcni.core.names import IfName
from amdcni.testing import strategies as some

NIC, OTHER = Netdev(7, IfName("ens1")), Netdev(9, IfName("ifb0"))
AROUND = Around(NIC.ifname, (OTHER,))
CLSACT = Qdisc("clsact", 0xFFFF0000, parent=TC_H_INGRESS)
KEY = Filter("u32", INGRESS_FILTERS, 1, 8, 0x80000800, options="00")
NOTHING, BARE = TrafficControl(), SeenTraffic()


def as_seen(kept: TrafficControl, *cut_off: Redirection) -> SeenTraffic:
    return SeenTraffic(**attrs.asdict(kept, recurse=False), cut_off=cut_off)


def due_on(
    kept: TrafficControl, seen: TrafficControl = NOTHING, around: Around = AROUND
) -> list[Item]:
    changes = due(kept, NIC, as_seen(seen), around)
    return [change.item for change in changes if isinstance(change, SetTraffic)]


# ---- order


@given(some.traffic_controls())
def test_each_class_and_qdisc_comes_after_what_it_is_in(kept: TrafficControl) -> None:
    there: set[int] = set()
    for item in in_order(kept):
        match item:
            case Qdisc() | TrafficClass() if item.parent == TC_H_ROOT:
                outer = {item.handle & 0xFFFF0000} if isinstance(item, TrafficClass) else set()
            case Qdisc() | TrafficClass():
                outer = {item.parent, item.parent & 0xFFFF0000}
            case _:
                continue
        assert outer <= there
        there.add(item.handle)


@given(some.traffic_controls())
def test_everything_is_in_the_order_once(kept: TrafficControl) -> None:
    every = (kept.qdisc, *kept.qdiscs, *kept.classes, *kept.chains, *kept.filters)
    assert Counter(in_order(kept)) == Counter(each for each in every if each is not None)


def test_the_qdisc_for_what_comes_in_follows_all_others_and_precedes_its_filters() -> None:
    root, inner = Qdisc("htb", 0x10000), Qdisc("pfifo", 0x20000, parent=0x10001)
    kept = TrafficControl(qdisc=root, qdiscs=(CLSACT, inner), filters=(KEY,))
    assert list(in_order(kept)) == [root, inner, CLSACT, KEY]


def test_a_qdisc_in_itself_is_left_to_the_kernel_to_refuse() -> None:
    absurd = Qdisc("htb", 0x10000, parent=0x10001)
    assert list(in_order(TrafficControl(qdiscs=(absurd,)))) == [absurd]


def u32(
    handle: int, options: str = "00", priority: int = 1, parent: int = INGRESS_FILTERS
) -> Filter:
    return Filter("u32", parent, priority, 8, handle, options=options)


def test_tables_of_u32_are_made_in_the_order_of_their_numbers_and_before_what_is_in_them() -> None:
    late, early = u32(0x80200000, "", 1), u32(0x80000000, "", 9)
    newest, oldest = u32(0x00900000), u32(0x00700000)
    in_table = u32(0x00703800)
    listed = [newest, in_table, oldest, late, early]
    assert list(filters_in_order(listed)) == [early, late, oldest, newest, in_table]


@pytest.mark.parametrize("kind", ["basic", "bpf", "fw", "route"])
def test_filters_that_the_kernel_puts_before_older_ones_are_set_with_the_first_one_last(
    kind: str,
) -> None:
    first, second = (Filter(kind, 0x10000, 1, 8, number, options="00") for number in (2, 1))
    assert list(filters_in_order([first, second])) == [second, first]


# ---- what is shown at several places


def test_u32_filters_that_are_shown_at_several_places_are_kept_once_and_where_they_are() -> None:
    def shown_at(parent: int) -> list[Filter]:
        tables = (0x80100000, 0x80000000, 0x00700000)
        return [u32(table | node, "01", 5, parent) for table in tables for node in (0, 0x800)]

    roots = {
        (False, INGRESS_FILTERS, 0, 5): 0x80000000,
        (False, EGRESS_FILTERS, 0, 5): 0x80100000,
    }
    found = list(own_filters([*shown_at(INGRESS_FILTERS), *shown_at(EGRESS_FILTERS)], roots))
    assert found == [
        u32(0x80000000, "", 5),
        u32(0x80000800, "01", 5),
        u32(0x00700000, "01", 5),
        u32(0x00700800, "01", 5),
        u32(0x80100000, "", 5, EGRESS_FILTERS),
        u32(0x80100800, "01", 5, EGRESS_FILTERS),
    ]


@given(st.lists(some.filters.filter(lambda each: each.kind != "u32"), max_size=4))
def test_other_filters_are_kept_as_they_are_shown(filters: list[Filter]) -> None:
    assert list(own_filters(filters, {})) == filters


@pytest.mark.parametrize(("shared", "parents"), [(False, (0x10000, 0x20000)), (True, (1, 2))])
def test_the_same_number_in_two_qdiscs_or_blocks_means_two_tables(
    shared: bool, parents: tuple[int, int]
) -> None:
    here, there = (
        attrs.evolve(u32(0x80000000, parent=parent), shared=shared) for parent in parents
    )
    roots = {spot_of(each): each.handle for each in (here, there)}
    assert len(list(own_filters([here, there], roots))) == 2


# ---- what is kept


def test_a_chain_is_kept_if_it_would_not_come_with_its_filters() -> None:
    empty, filled = Chain(INGRESS_FILTERS, 5), Chain(INGRESS_FILTERS, 0)
    template = Chain(EGRESS_FILTERS, 0, "flower", "00")
    filters = (KEY, attrs.evolve(KEY, parent=EGRESS_FILTERS))
    seen = TrafficControl(qdiscs=(CLSACT,), chains=(empty, filled, template), filters=filters)
    kept = keep(NIC, as_seen(seen), protocols_reported=True)
    assert kept == attrs.evolve(seen, chains=(empty, template))


# ---- what is due


@given(some.traffic_controls())
def test_nothing_is_due_where_everything_is_there(kept: TrafficControl) -> None:
    assert due_on(kept, kept) == []


@given(some.traffic_controls())
def test_on_a_bare_netdev_everything_is_due(kept: TrafficControl) -> None:
    assert due_on(kept) == list(in_order(kept))


@given(some.traffic_controls(), st.data())
def test_whatever_is_missing_is_due(kept: TrafficControl, data: st.DataObject) -> None:
    own = [each for each in in_order(kept) if not isinstance(each, Qdisc)]
    gone = set(data.draw(st.lists(st.sampled_from(own), max_size=3))) if own else set()
    seen = attrs.evolve(
        kept,
        classes=tuple(each for each in kept.classes if each not in gone),
        chains=tuple(each for each in kept.chains if each not in gone),
        filters=tuple(each for each in kept.filters if each not in gone),
    )
    missing = [each for each in due_on(kept, seen) if not getattr(each, "shared", False)]
    assert set(missing) == {each for each in gone if not getattr(each, "shared", False)}


def sending(*targets: str) -> TrafficControl:
    names = tuple(map(IfName, targets))
    return TrafficControl(qdiscs=(CLSACT,), filters=(attrs.evolve(KEY, targets=names),))


@pytest.mark.parametrize(
    ("targets", "numbers"),
    [((), ()), (("ifb0",), (9,)), (("ens1", "ifb0"), (7, 9)), (("ifb0", "gone"), (9, None))],
)
def test_a_filter_gets_the_numbers_that_its_targets_have_now(
    targets: tuple[str, ...], numbers: tuple[int | None, ...]
) -> None:
    *_, change = due(sending(*targets), NIC, BARE, AROUND)
    assert isinstance(change, SetTraffic)
    assert change.targets == numbers


def test_a_filter_that_sends_to_its_own_netdev_still_does_under_another_name() -> None:
    around = Around(IfName("before"), (OTHER,))
    *_, change = due(sending("before"), NIC, BARE, around)
    assert isinstance(change, SetTraffic)
    assert change.targets == (7,)
    assert due_on(sending("before"), sending("ens1"), around) == []


@pytest.mark.parametrize(("shared", "is_due"), [(True, False), (False, True)])
def test_what_others_have_changed_in_a_block_that_they_share_stays(
    shared: bool, is_due: bool
) -> None:
    kept = TrafficControl(qdiscs=(CLSACT,), filters=(attrs.evolve(KEY, shared=shared),))
    seen = attrs.evolve(kept, filters=(attrs.evolve(KEY, shared=shared, options="01"),))
    assert bool(due_on(kept, seen)) is is_due


def test_what_was_there_only_while_a_table_was_made_is_removed() -> None:
    placeholder = Filter("u32", INGRESS_FILTERS, 0xFFFF, PLACEHOLDER_PROTOCOL, 0x80000000)
    of_that_protocol = Filter("flower", INGRESS_FILTERS, 1, PLACEHOLDER_PROTOCOL, 1)
    kept = TrafficControl(qdiscs=(CLSACT,), filters=(u32(0x80000000, ""), KEY, of_that_protocol))
    seen = attrs.evolve(kept, filters=(*kept.filters, placeholder))
    (change,) = due(kept, NIC, as_seen(seen), AROUND)
    assert change == DropPlaceholder(placeholder)
    assert change.describe() == (
        "filter u32 (priority 65535, chain 0) of clsact ingress is left of an interrupted call"
    )


# ---- redirections

CUT_OFF = Redirection(3, 1000, "05")


@pytest.mark.parametrize(
    ("found", "is_due"),
    [
        (CUT_OFF, True),
        (attrs.evolve(CUT_OFF, since_s=1002), True),
        (attrs.evolve(CUT_OFF, since_s=1003), False),
        (attrs.evolve(CUT_OFF, number=4), False),
        (attrs.evolve(CUT_OFF, parameters="06"), False),
        (None, False),
    ],
)
def test_an_action_sends_to_the_netdev_again_only_if_it_is_the_one_that_did(
    found: Redirection | None, is_due: bool
) -> None:
    seen = as_seen(NOTHING, *([] if found is None else [found]))
    changes = due(TrafficControl(redirections=(CUT_OFF,)), NIC, seen, AROUND)
    assert changes == ([SetRedirection(CUT_OFF)] if is_due else [])
    assert [each.describe() for each in changes] in (
        [],
        ["action mirred 3 sends nowhere, did here"],
    )


@pytest.mark.parametrize(("own", "is_kept"), [(0, True), (1, True), (2, False)])
def test_the_actions_of_its_own_filters_are_not_kept_twice(own: int, is_kept: bool) -> None:
    filters = sending(*["ens1"] * own).filters
    others = tuple(attrs.evolve(CUT_OFF, number=each) for each in range(2))
    seen = SeenTraffic(qdiscs=(CLSACT,), filters=filters, redirections=others)
    kept = keep(NIC, seen, protocols_reported=True)
    assert kept.redirections == (others if is_kept else ())


@given(some.traffic_controls())
def test_whatever_is_set_is_in_a_qdisc(kept: TrafficControl) -> None:
    assert has_traffic(kept)
    assert not has_traffic(NOTHING)
