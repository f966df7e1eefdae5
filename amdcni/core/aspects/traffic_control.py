"""Traffic control: the qdiscs, classes, chains and filters that somebody has set."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, assert_never

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import TC_H_ROOT, Chain, Filter, Netdev, Qdisc, Redirection, TrafficClass
from amdcni.core.names import IfName

NOUN: Final = None

Item = Qdisc | TrafficClass | Chain | Filter

TC_H_INGRESS: Final = 0xFFFFFFF1
INGRESS_FILTERS: Final = 0xFFFFFFF2
EGRESS_FILTERS: Final = 0xFFFFFFF3
"""Where the qdiscs `clsact` and `ingress` are, and where the filters of `clsact` are."""

_NEWEST_FIRST: Final = frozenset({"basic", "bpf", "fw", "route"})
"""Filters that the kernel tries, and lists, in the reverse order of their making."""

PLACEHOLDER_PROTOCOL: Final = 0xFFFF
"""No packet has it: a filter `u32` of it is there only while the hash table of another is made."""

_MAJOR: Final = 0xFFFF0000
_TABLE: Final = 0xFFF00000


@attrs.frozen(slots=False, kw_only=True)
class TrafficControl:
    """What somebody has set; what the kernel made itself has no handle, and is not listed.

    `qdisc` is the root qdisc, and `qdiscs` are all others.  `redirections` send to the netdev: the
    kernel has them send nowhere from the moment when the netdev leaves.
    """

    qdisc: Qdisc | None = None
    qdiscs: tuple[Qdisc, ...] = ()
    classes: tuple[TrafficClass, ...] = ()
    chains: tuple[Chain, ...] = ()
    filters: tuple[Filter, ...] = ()
    redirections: tuple[Redirection, ...] = ()


@attrs.frozen(slots=False, kw_only=True)
class SeenTraffic(TrafficControl):
    """What decides what is due: also the redirections that send nowhere."""

    cut_off: tuple[Redirection, ...] = ()


@attrs.frozen
class SetTraffic:
    """An item that is not there, or has other options.

    `targets` are the ifindexes of the netdevs to which a filter sends; None for one that is gone.
    """

    item: Item
    targets: tuple[int | None, ...] = ()
    stage = Stage.LAST

    def describe(self) -> str:
        """The difference."""
        return f"{words_of(self.item)} is missing"


@attrs.frozen
class DropPlaceholder:
    """A filter that was there only for a moment, and stayed as a call was killed."""

    filter: Filter
    stage = Stage.LAST

    def describe(self) -> str:
        """The difference."""
        return f"{words_of(self.filter)} is left of an interrupted call"


@attrs.frozen
class SetRedirection:
    """An action that sends nowhere, and has sent to the netdev."""

    redirection: Redirection
    stage = Stage.LAST

    def describe(self) -> str:
        """The difference."""
        return f"{words_of_redirection(self.redirection)} sends nowhere, did here"


def has_traffic(kept: TrafficControl) -> bool:
    """Whether anything is set: everything is in a qdisc."""
    return bool(kept.qdisc or kept.qdiscs)


def keep(netdev: Netdev, seen: SeenTraffic, *, protocols_reported: bool) -> TrafficControl:
    """All of it, but of the chains only those that would not come with their filters."""
    own = sum(each.targets.count(netdev.ifname) for each in seen.filters)
    filled = {(each.shared, each.parent, each.chain) for each in seen.filters}
    return TrafficControl(
        qdisc=seen.qdisc,
        qdiscs=seen.qdiscs,
        classes=seen.classes,
        chains=tuple(
            each
            for each in seen.chains
            if each.kind is not None or (each.shared, each.parent, each.number) not in filled
        ),
        filters=seen.filters,
        # Those of its own filters are made anew with these.
        redirections=seen.redirections if len(seen.redirections) > own else (),
    )


def due(
    kept: TrafficControl, netdev: Netdev, seen: SeenTraffic, around: Around
) -> list[SetTraffic | DropPlaceholder | SetRedirection]:
    """What is missing, each after what it is in."""
    own = filters_of_renamed(kept.filters, around.was, netdev.ifname)
    there: set[object] = {*_tree(seen), *seen.chains, *seen.filters}
    shared = {_identity(each) for each in seen.filters if each.shared}
    ifindexes = {each.ifname: each.ifindex for each in (*around.others, netdev)}
    changes: list[SetTraffic | DropPlaceholder | SetRedirection] = []
    for item in in_order(attrs.evolve(kept, filters=own)):
        if item in there:
            continue
        if not isinstance(item, Filter):
            changes.append(SetTraffic(item))
        elif _identity(item) not in shared:
            # What is in a shared block may have been changed by others, who use it, too.
            changes.append(SetTraffic(item, tuple(map(ifindexes.get, item.targets))))
    changes += [DropPlaceholder(each) for each in seen.filters if is_placeholder(each)]
    for kept_one in kept.redirections:
        if any(_is_same(kept_one, each) for each in seen.cut_off):
            changes.append(SetRedirection(kept_one))
    return changes


_TOLERANCE_S: Final = 2


def _is_same(one: Redirection, other: Redirection) -> bool:
    same = (one.number, one.parameters) == (other.number, other.parameters)
    return same and abs(one.since_s - other.since_s) <= _TOLERANCE_S


def lines(kept: TrafficControl) -> Iterator[str]:
    """One each."""
    yield from map(words_of, in_order(kept))
    yield from map(words_of_redirection, kept.redirections)


# ---- order


def in_order(kept: TrafficControl) -> Iterator[Item]:
    """Everything, in the order in which the kernel accepts it."""
    yield from _tree(kept)
    yield from kept.chains
    yield from filters_in_order(kept.filters)


def _tree(kept: TrafficControl) -> Iterator[Qdisc | TrafficClass]:
    """The qdiscs and classes, each after those that it is in; ingress comes last."""
    if kept.qdisc is not None:
        yield kept.qdisc
    inner = [each for each in kept.qdiscs if each.parent != TC_H_INGRESS]
    waiting: list[Qdisc | TrafficClass] = [*kept.classes, *inner]
    while waiting:
        awaited = {each.handle for each in waiting}
        ready = [each for each in waiting if not awaited.intersection(_places_of(each))]
        # What is in itself is left to the kernel to refuse.
        ready = ready or waiting
        yield from ready
        done = {each.handle for each in ready}
        waiting = [each for each in waiting if each.handle not in done]
    yield from (each for each in kept.qdiscs if each.parent == TC_H_INGRESS)


def _places_of(item: Qdisc | TrafficClass) -> Iterator[int]:
    """The handles of the class and the qdisc that an item is in."""
    if item.parent != TC_H_ROOT:
        yield item.parent
        yield item.parent & _MAJOR
    if isinstance(item, TrafficClass):
        yield item.handle & _MAJOR


def filters_in_order(filters: Iterable[Filter]) -> Iterator[Filter]:
    """The filters in an order in which the kernel lists them again as it did.

    It puts the newest filter of some kinds first, and the newest table of `u32`.  It numbers the
    first tables of `u32` in a qdisc itself, in the order in which they are made.
    """
    listed = list(filters)
    tables = [each for each in listed if _is_table(each)]
    first = [each for each in tables if is_root_table(each)]
    yield from sorted(first, key=lambda each: each.handle)
    yield from reversed([each for each in tables if not is_root_table(each)])
    yield from reversed([each for each in listed if each.kind in _NEWEST_FIRST])
    yield from (each for each in listed if not _is_table(each) and each.kind not in _NEWEST_FIRST)


def _is_table(filter: Filter) -> bool:
    """Whether it is a hash table of `u32`, and not an entry of one."""
    return filter.kind == "u32" and not filter.handle & ~_TABLE


def is_root_table(filter: Filter) -> bool:
    """Whether it is the table that the kernel makes together with the first `u32` filter.

    It has no options: see `own_filters`.
    """
    return filter.kind == "u32" and not filter.options


def is_placeholder(filter: Filter) -> bool:
    """Whether it is there only for a moment; see `PLACEHOLDER_PROTOCOL`."""
    return is_root_table(filter) and filter.protocol == PLACEHOLDER_PROTOCOL


Spot = tuple[bool, int, int, int]
"""Where filters of one priority are: whether in a shared block, the parent, chain and priority."""


def spot_of(filter: Filter) -> Spot:
    """Where a filter is."""
    return (filter.shared, filter.parent, filter.chain, filter.priority)


def own_filters(filters: Iterable[Filter], roots: Mapping[Spot, int]) -> Iterator[Filter]:
    """The filters as read, each once, and the root tables of `u32` without options.

    At each place in a qdisc, the kernel shows the `u32` filters of the same priority from all of
    them.  `roots` has the number of the root table for each place and priority.
    """
    spots = {(_scope(spot), number): spot for spot, number in roots.items()}
    shown = set()
    for each in filters:
        if each.kind != "u32" or not each.handle:
            yield each
            continue
        spot, table = spot_of(each), each.handle & _TABLE
        its_own = spots.get((_scope(spot), table))
        copy = (_scope(spot), each.priority, each.handle)
        if its_own not in (None, spot) or copy in shown:
            continue
        shown.add(copy)
        yield attrs.evolve(each, options="") if its_own and each.handle == table else each


def _scope(spot: Spot) -> tuple[bool, int]:
    """The block or the qdisc that something is in."""
    shared, parent, *_ = spot
    return (shared, parent if shared else parent & _MAJOR)


# ---- filters


def _identity(filter: Filter) -> tuple[object, ...]:
    """What distinguishes two filters for the kernel."""
    return (*spot_of(filter), filter.kind, filter.protocol, filter.handle)


def filters_of_renamed(filters: Iterable[Filter], was: IfName, now: IfName) -> tuple[Filter, ...]:
    """The filters, some of which may send to their own netdev, when that has another name."""
    return tuple(
        attrs.evolve(each, targets=tuple(now if t == was else t for t in each.targets))
        if was in each.targets
        else each
        for each in filters
    )


# ---- words


def words_of(item: Item) -> str:
    """What it is called, in the words of `tc`."""
    match item:
        case Qdisc():
            place = f" {handle(item.handle)} in class {handle(item.parent)}"
            return f"qdisc {item.kind}{'' if item.parent in (TC_H_ROOT, TC_H_INGRESS) else place}"
        case TrafficClass():
            return f"class {handle(item.handle)} of qdisc {item.kind}"
        case Chain():
            return f"chain {item.number} of {_place(item)}"
        case Filter():
            which = f"priority {item.priority}, chain {item.chain}"
            return f"filter {item.kind} ({which}) of {_place(item)}"
        case _:
            assert_never(item)


def words_of_redirection(redirection: Redirection) -> str:
    """What it is called, in the words of `tc`."""
    return f"action mirred {redirection.number}"


def _place(item: Chain | Filter) -> str:
    if item.shared:
        return f"block {item.parent}"
    if item.parent in _SIDES:
        return _SIDES[item.parent]
    return f"{'class' if item.parent & ~_MAJOR else 'qdisc'} {handle(item.parent)}"


_SIDES: Final = {INGRESS_FILTERS: "clsact ingress", EGRESS_FILTERS: "clsact egress"}


def handle(number: int) -> str:
    """A handle as `tc` writes it, such as `1:` or `1:10`."""
    major, minor = number >> 16, number & 0xFFFF
    return f"{major:x}:{minor:x}" if minor else f"{major:x}:"
