"""Traffic control: RTM_*QDISC, RTM_*TCLASS, RTM_*CHAIN, RTM_*TFILTER."""

import struct
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from pyroute2.netlink import NLA_F_NESTED, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE
from pyroute2.netlink.rtnl import (
    RTM_DELTFILTER,
    RTM_GETQDISC,
    RTM_GETTCLASS,
    RTM_GETTFILTER,
    RTM_NEWQDISC,
    RTM_NEWTCLASS,
    RTM_NEWTFILTER,
)

from amdcni.core.host import Chain, Filter, Netdev, Qdisc, Redirection, TrafficClass
from amdcni.effects.messages.common import number_of, octets_of_text, packed, text_of
from amdcni.effects.rtnetlink import Reply, Request, attribute, attributes_in, nested

_RTM_NEWCHAIN: Final = 100
RTM_GETCHAIN: Final = 102

_FIXED: Final = struct.Struct("=B3xiIII")  # struct tcmsg: family, ifindex, handle, parent, info
_SHARED: Final = -1  # TCM_IFINDEX_MAGIC_BLOCK: the parent is the number of a block

_KIND: Final = 1
_OPTIONS: Final = 2
_STATISTICS: Final = 7
_SIZE_TABLE: Final = 8
_CHAIN: Final = 11
_INGRESS_BLOCK: Final = 13
_EGRESS_BLOCK: Final = 14
_ROOT_TABLE: Final = 0xFFF00000  # TC_U32_ROOT
_ESTIMATES: Final = frozenset({2, 5})  # TCA_STATS_RATE_EST, TCA_STATS_RATE_EST64


def _request(
    kind: int,
    ifindex: int,
    *,
    handle: int = 0,
    parent: int = 0,
    info: int = 0,
    attributes: Iterable[tuple[int, bytes | None]] = (),
    flags: int = 0,
) -> Request:
    """A request with those of the attributes that are not None."""
    given = [attribute(number, value) for number, value in attributes if value is not None]
    return Request(kind, flags, _FIXED.pack(0, ifindex, handle, parent, info) + b"".join(given))


# ---- queries


def query_at(ifindex: int, parent: int) -> Request:
    """The query for the qdisc at the root or at the ingress of one link.

    The kernel answers only with NLM_F_ECHO, some kernels also to those who listen for changes, and
    not at all about a built-in one (net/sched/sch_api.c, tc_get_qdisc).
    """
    return _request(RTM_GETQDISC, ifindex, parent=parent, flags=NLM_F_ECHO)


def query_qdiscs() -> Request:
    """The query for all qdiscs of all links: the kernel does not filter them.

    The answer may lack some if netdevs come and go meanwhile.
    """
    return _request(RTM_GETQDISC, 0)


def query_classes(ifindex: int) -> Request:
    """The query for the classes in all qdiscs of one link."""
    return _request(RTM_GETTCLASS, ifindex)


def query_chains(ifindex: int, parent: int, *, shared: bool) -> Request:
    """The query for the chains of a qdisc or class, or of a block that is shared."""
    return _request(RTM_GETCHAIN, _SHARED if shared else ifindex, parent=parent)


def query_filters(ifindex: int, parent: int, *, shared: bool) -> Request:
    """The query for the filters of a qdisc or class, or of a block that is shared."""
    return _request(RTM_GETTFILTER, _SHARED if shared else ifindex, parent=parent)


def query_root_table(netdev: Netdev, item: Filter) -> Request:
    """The query for the first hash table of the `u32` filters of a priority."""
    return _about_filter(RTM_GETTFILTER, netdev, item, handle=_ROOT_TABLE)


# ---- replies


class Message:
    """What a reply says of a qdisc, a class, a chain or a filter."""

    def __init__(self, reply: Reply) -> None:
        self.handle: int
        self.parent: int
        self.info: int
        _, _, self.handle, self.parent, self.info = _FIXED.unpack_from(reply.body)
        found = dict(attributes_in(reply.body, _FIXED.size))
        self.kind = text_of(found.get(_KIND))
        self.options = found.get(_OPTIONS, b"")
        self.size_table = found.get(_SIZE_TABLE, b"")
        self.chain = number_of(found.get(_CHAIN)) or 0
        self.ingress_block = number_of(found.get(_INGRESS_BLOCK))
        self.egress_block = number_of(found.get(_EGRESS_BLOCK))
        statistics = attributes_in(found.get(_STATISTICS, b""), 0)
        self.is_estimated = any(number in _ESTIMATES for number, _ in statistics)

    @property
    def priority(self) -> int:
        """The priority of a filter."""
        return self.info >> 16

    @property
    def protocol(self) -> int:
        """The protocol of a filter, in network byte order."""
        return self.info & 0xFFFF


def is_of(ifindex: int, reply: Reply) -> bool:
    """Whether a reply is about this link."""
    return bool(_FIXED.unpack_from(reply.body)[1] == ifindex)


# ---- redirections

_RTM_NEWACTION: Final = 48
_RTM_GETACTION: Final = 50
_ACTION_HEADER: Final = bytes(4)  # struct tcamsg
_ACTIONS: Final = 1
_MIRRED: Final = b"mirred\0"
_MIRRED_TIMES: Final = 1
_MIRRED_PARAMETERS: Final = 2
_PARAMETERS: Final = struct.Struct("=I8s8x4sI")  # struct tc_mirred; 8x is how often it is used
_AGE: Final = struct.Struct("=Q")  # the first member of struct tcf_t
_TICKS: Final = 100  # of user space, in a second


@cache
def query_redirections() -> Request:
    """The query for all actions of the kind mirred, whatever netdev they are for."""
    action = attribute(1, attribute(_KIND, _MIRRED))
    return Request(_RTM_GETACTION, 0, _ACTION_HEADER + attribute(_ACTIONS, action))


def redirections_in(reply: Reply, now_s: float) -> Iterator[tuple[int, Redirection]]:
    """The redirections, each after the ifindex of its target, which is 0 if that is gone."""
    found = attributes_in(reply.body, len(_ACTION_HEADER))
    actions = [each for number, each in found if number == _ACTIONS]
    for _, action in (each for several in actions for each in attributes_in(several, 0)):
        options = dict(attributes_in(dict(attributes_in(action, 0)).get(_OPTIONS, b""), 0))
        if options.keys() >= {_MIRRED_TIMES, _MIRRED_PARAMETERS}:
            number, start, what, target = _PARAMETERS.unpack(options[_MIRRED_PARAMETERS])
            (age,) = _AGE.unpack_from(options[_MIRRED_TIMES])
            since_s = round(now_s - age / _TICKS)
            parameters = _PARAMETERS.pack(0, start, what, 0)
            yield target, Redirection(number, since_s, parameters.hex())


def put_redirection(netdev: Netdev, redirection: Redirection) -> Request:
    """The request to have an action send to a netdev."""
    _, start, what, _ = _PARAMETERS.unpack(bytes.fromhex(redirection.parameters))
    parameters = _PARAMETERS.pack(redirection.number, start, what, netdev.ifindex)
    options = nested(_OPTIONS, attribute(_MIRRED_PARAMETERS, parameters))
    action = attribute(1, attribute(_KIND, _MIRRED) + options)
    body = _ACTION_HEADER + nested(_ACTIONS, action)
    return Request(_RTM_NEWACTION, NLM_F_REPLACE, body)


# ---- changes

_SET: Final = NLM_F_CREATE | NLM_F_REPLACE


def put_qdisc(netdev: Netdev, qdisc: Qdisc) -> Request:
    """The request to set a qdisc, in place of another one that may be there."""
    from amdcni.effects.messages import traffic_options

    options = traffic_options.fitted_qdisc(qdisc.kind, bytes.fromhex(qdisc.options))
    number = _OPTIONS | NLA_F_NESTED if traffic_options.is_nest(qdisc.kind) else _OPTIONS
    return _request(
        RTM_NEWQDISC,
        netdev.ifindex,
        handle=qdisc.handle,
        parent=qdisc.parent,
        attributes=[
            (_KIND, octets_of_text(qdisc.kind)),
            (number, options or None),
            (_SIZE_TABLE, bytes.fromhex(qdisc.size_table) or None),
            (_INGRESS_BLOCK, packed(qdisc.ingress_block)),
            (_EGRESS_BLOCK, packed(qdisc.egress_block)),
        ],
        flags=_SET,
    )


def put_class(netdev: Netdev, item: TrafficClass) -> Request:
    """The request to set a class."""
    return _request(
        RTM_NEWTCLASS,
        netdev.ifindex,
        handle=item.handle,
        parent=item.parent,
        attributes=[
            (_KIND, octets_of_text(item.kind)),
            (_OPTIONS | NLA_F_NESTED, bytes.fromhex(item.options)),
        ],
        flags=_SET,
    )


def put_chain(netdev: Netdev, chain: Chain) -> Request:
    """The request to make a chain."""
    kind = None if chain.kind is None else octets_of_text(chain.kind)
    return _request(
        _RTM_NEWCHAIN,
        _SHARED if chain.shared else netdev.ifindex,
        parent=chain.parent,
        attributes=[
            (_KIND, kind),
            (_CHAIN, packed(chain.number)),
            (_OPTIONS | NLA_F_NESTED, bytes.fromhex(chain.options) or None),
        ],
        flags=_SET,
    )


def put_filter(netdev: Netdev, item: Filter, targets: Iterable[int] = ()) -> Request:
    """The request to set a filter, in place of one that may be there, unless others share that.

    Without options, it makes all that the kernel makes for a first filter.
    """
    from amdcni.effects.messages import traffic_options

    options = bytes.fromhex(item.options)
    fitted = traffic_options.fitted_filter(item.kind, options, targets, item.protocol)
    return _about_filter(
        RTM_NEWTFILTER,
        netdev,
        item,
        handle=item.handle if options else 0,
        options=fitted or None,
        flags=NLM_F_CREATE | (NLM_F_EXCL if item.shared and options else 0),
    )


def drop_filters(netdev: Netdev, item: Filter) -> Request:
    """The request to remove all filters of a priority."""
    return _about_filter(RTM_DELTFILTER, netdev, item)


def _about_filter(
    kind: int,
    netdev: Netdev,
    item: Filter,
    *,
    handle: int = 0,
    options: bytes | None = None,
    flags: int = 0,
) -> Request:
    return _request(
        kind,
        _SHARED if item.shared else netdev.ifindex,
        handle=handle,
        parent=item.parent,
        info=item.priority << 16 | item.protocol,
        attributes=[
            (_KIND, octets_of_text(item.kind)),
            (_CHAIN, packed(item.chain)),
            (_OPTIONS | NLA_F_NESTED, options),
        ],
        flags=flags,
    )
