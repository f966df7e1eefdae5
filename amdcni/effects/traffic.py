"""Reads the traffic control of a netdev on which somebody has set some."""

import errno
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import attrs
from pyroute2.netlink.rtnl import RTM_GETTCLASS, RTM_GETTFILTER

from amdcni.core.aspects.traffic_control import (
    EGRESS_FILTERS,
    INGRESS_FILTERS,
    TC_H_INGRESS,
    Item,
    TrafficControl,
    own_filters,
    spot_of,
    words_of,
)
from amdcni.core.host import TC_H_ROOT, Chain, Filter, Netdev, Qdisc, TrafficClass
from amdcni.core.names import IfName
from amdcni.core.unsaved import Kind, Unsaved, in_words
from amdcni.effects.messages import links, traffic, traffic_options
from amdcni.effects.messages.traffic import RTM_GETCHAIN, Message
from amdcni.effects.messages.traffic_options import CannotKeep
from amdcni.effects.rtnetlink import Reply, Request, RequestRefused, Rtnetlink

_MAJOR: Final = 0xFFFF0000
_MINOR: Final = 0xFFFF
_WITH_CLASSES: Final = frozenset({"cbq", "drr", "dsmark", "hfsc", "htb", "qfq"})
"""Qdiscs whose classes somebody sets; those of others, such as mq, come with the qdisc."""

_UNKNOWN: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT})
"""How a kernel says that it knows no chains, or that there is nothing at a place."""

_ASKED: Final = {RTM_GETTCLASS: "classes", RTM_GETTFILTER: "filters", RTM_GETCHAIN: "chains"}

_KINDS: Final = {
    Qdisc: Kind.QDISC,
    TrafficClass: Kind.CLASS,
    Chain: Kind.CHAIN,
    Filter: Kind.FILTER,
}


@attrs.frozen
class Place:
    """Where there may be filters: a qdisc or class, or if it is `shared` a block."""

    parent: int
    shared: bool
    is_kept: bool


class Query(Protocol):
    """What makes the request for the chains or the filters at a place."""

    def __call__(self, ifindex: int, parent: int, *, shared: bool) -> Request:
        """The request."""


def read_traffic(
    kernel: Rtnetlink,
    netdev: Netdev,
    kept: TrafficControl | None,
    root: Reply | None,
    ingress: Reply | None,
) -> tuple[TrafficControl, tuple[str, ...]]:
    """Everything that can be put back, and in words what cannot.

    `root` and `ingress` are the qdiscs there.  What was `kept` by an older version is found again.
    """
    return _Reader(kernel, netdev, kept).read(root, ingress)


class _Reader:
    def __init__(self, kernel: Rtnetlink, netdev: Netdev, kept: TrafficControl | None) -> None:
        self._kernel = kernel
        self._netdev = netdev
        self._kept = kept
        self._lost: list[Unsaved] = []
        self._doubts: list[str] = []
        self._ifnames: dict[int, IfName] = {netdev.ifindex: netdev.ifname}

    def read(
        self, root: Reply | None, ingress: Reply | None
    ) -> tuple[TrafficControl, tuple[str, ...]]:
        ends = [Message(each) for each in (root, ingress) if each is not None]
        inner = [] if root is None else self._inner_qdiscs()
        listed = [*ends, *inner]
        qdiscs = self._in_kept_ones([each for each in map(self._qdisc_of, listed) if each])
        there = {each.handle for each in qdiscs}
        classes = [] if root is None else self._classes(there)
        spots = [
            *(place for each in listed for place in _places_in(each, each.handle in there)),
            *(Place(each.handle, shared=False, is_kept=True) for each in classes),
        ]
        places = [
            (place, [Message(each) for each in self._asked_at(place, traffic.query_filters)])
            for place in spots
        ]
        found = TrafficControl(
            qdisc=next((each for each in qdiscs if each.parent == TC_H_ROOT), None),
            qdiscs=tuple(each for each in qdiscs if each.parent != TC_H_ROOT),
            classes=tuple(classes),
            chains=tuple(chain for each in places for chain in self._chains(*each)),
            filters=self._filters(places),
        )
        return found, (*in_words(self._lost), *self._doubts)

    def _lose(self, item: Item, reason: str = "") -> None:
        _, name = words_of(item).split(" ", 1)
        self._lost.append(Unsaved(_KINDS[type(item)], f"{name} ({reason})" if reason else name))

    def _note_estimator(self, message: Message, item: Item) -> None:
        """The kernel shows what an estimator measures, but not how often and how smoothly."""
        if message.is_estimated:
            self._lost.append(Unsaved(Kind.ESTIMATOR, words_of(item)))

    # ---- qdiscs and classes

    def _inner_qdiscs(self) -> list[Message]:
        """The qdiscs within others that somebody has set."""
        ifindex = self._netdev.ifindex
        replies = self._kernel.dump(
            traffic.query_qdiscs(), lambda reply: traffic.is_of(ifindex, reply)
        )
        ends = (TC_H_ROOT, TC_H_INGRESS)
        return [each for each in map(Message, replies) if each.handle and each.parent not in ends]

    def _qdisc_of(self, message: Message) -> Qdisc | None:
        qdisc = Qdisc(message.kind or "", message.handle, parent=message.parent)
        raw = attrs.evolve(qdisc, options=message.options.hex())
        kept = None if self._kept is None else self._kept.qdisc
        try:
            options = traffic_options.cleaned_qdisc(qdisc.kind, message.options)
        except CannotKeep as failure:
            if kept == raw:
                return kept
            self._lose(qdisc, str(failure))
            return None
        qdisc = attrs.evolve(
            qdisc,
            options=options.hex(),
            size_table=self._size_table_of(message, qdisc),
            ingress_block=message.ingress_block,
            egress_block=message.egress_block,
        )
        self._note_estimator(message, qdisc)
        if kept is not None and qdisc == _cleaned(kept):
            return kept
        return qdisc

    def _size_table_of(self, message: Message, qdisc: Qdisc) -> str:
        if traffic_options.is_whole_size_table(message.size_table):
            return message.size_table.hex()
        self._lost.append(Unsaved(Kind.SIZE_TABLE, qdisc.kind))
        return ""

    def _in_kept_ones(self, qdiscs: list[Qdisc]) -> list[Qdisc]:
        """The qdiscs without those that are in one that cannot be kept."""
        while True:
            there = {TC_H_ROOT & _MAJOR, *(each.handle for each in qdiscs)}
            orphans = [each for each in qdiscs if each.parent & _MAJOR not in there]
            if not orphans:
                return qdiscs
            for each in orphans:
                self._lose(each)
            qdiscs = [each for each in qdiscs if each not in orphans]

    def _classes(self, there: set[int]) -> list[TrafficClass]:
        """The classes in those qdiscs that are kept; the root class of hfsc comes with it."""
        classes = []
        for message in map(Message, self._ask(traffic.query_classes(self._netdev.ifindex))):
            kind = message.kind or ""
            if kind not in _WITH_CLASSES or not message.handle & _MINOR:
                continue
            item = TrafficClass(kind, message.handle, message.parent)
            try:
                options = traffic_options.cleaned_class(kind, message.options)
            except CannotKeep as failure:
                self._lose(item, str(failure))
                continue
            if item.handle & _MAJOR not in there:
                self._lose(item)
                continue
            self._note_estimator(message, item)
            classes.append(attrs.evolve(item, options=options.hex()))
        return classes

    # ---- chains and filters

    def _chains(self, place: Place, filters: list[Message]) -> Iterator[Chain]:
        """The chains at a place, whose parent is that of the filters there: ffff: or ffff:fff2."""
        parent = next((each.parent for each in filters), place.parent)
        for message in map(Message, self._asked_at(place, traffic.query_chains)):
            chain = Chain(parent, message.chain, message.kind, shared=place.shared)
            try:
                if chain.kind is not None:
                    options = traffic_options.cleaned_template(chain.kind, message.options)
                    chain = attrs.evolve(chain, options=options.hex())
            except CannotKeep as failure:
                self._lose(chain, str(failure) or "its template")
                continue
            if place.is_kept:
                yield chain

    def _filters(self, places: Iterable[tuple[Place, list[Message]]]) -> tuple[Filter, ...]:
        found = [item for each in places for item in self._filters_at(*each)]
        first = {spot_of(each): each for each in found if each.kind == "u32"}
        roots = {spot: self._root_table_of(each) for spot, each in first.items()}
        return tuple(own_filters(found, roots))

    def _root_table_of(self, filter: Filter) -> int:
        reply = self._kernel.get(traffic.query_root_table(self._netdev, filter))
        return Message(reply).handle

    def _filters_at(self, place: Place, messages: list[Message]) -> Iterator[Filter]:
        """The filters at a place.

        For each priority the kernel shows something without a handle, which comes with the filters;
        if there are none, it is all that somebody has set.
        """
        filled = {(each.chain, each.priority) for each in messages if each.handle}
        for message in messages:
            if not message.handle and (message.chain, message.priority) in filled:
                continue
            item = Filter(
                message.kind or "",
                message.parent,
                message.priority,
                message.protocol,
                message.handle,
                chain=message.chain,
                shared=place.shared,
            )
            if not place.is_kept:
                self._lose(item)
                continue
            try:
                options, targets = traffic_options.cleaned_filter(item.kind, message.options)
                names = tuple(self._ifname_of(ifindex) for ifindex in targets)
            except CannotKeep as failure:
                self._lose(item, str(failure))
                continue
            yield attrs.evolve(item, options=options.hex(), targets=names)

    def _ifname_of(self, ifindex: int) -> IfName:
        if ifindex not in self._ifnames:
            try:
                link = self._kernel.get(links.query_by_index(ifindex))
            except RequestRefused as failure:
                if failure.code != errno.ENODEV:
                    raise
                raise CannotKeep(f"the netdev {ifindex} is gone") from None
            self._ifnames[ifindex] = links.ifname_of(link)
        return self._ifnames[ifindex]

    def _asked_at(self, place: Place, query: Query) -> list[Reply]:
        return self._ask(query(self._netdev.ifindex, place.parent, shared=place.shared))

    def _ask(self, request: Request) -> list[Reply]:
        try:
            return self._kernel.dump(request)
        except RequestRefused as failure:
            if failure.code not in _UNKNOWN:
                what = _ASKED[request.kind]
                self._doubts.append(
                    f"{what}, if there are any: they cannot be read ({failure.said})"
                )
            return []


def _cleaned(kept: Qdisc) -> Qdisc:
    """A root qdisc that an older version may have kept with what the kernel counts."""
    try:
        options = traffic_options.cleaned_qdisc(kept.kind, bytes.fromhex(kept.options))
    except CannotKeep:
        return kept
    return attrs.evolve(kept, options=options.hex())


def _places_in(message: Message, is_kept: bool) -> Iterator[Place]:
    """Where a qdisc itself has filters."""
    blocks = (message.ingress_block, message.egress_block)
    sides = {"clsact": (INGRESS_FILTERS, EGRESS_FILTERS), "ingress": (INGRESS_FILTERS,)}
    parents = sides.get(message.kind or "", (message.handle,))
    for parent, block in zip(parents, blocks, strict=False):
        if block:
            yield Place(block, shared=True, is_kept=is_kept)
        else:
            yield Place(parent, shared=False, is_kept=is_kept)
