"""Nexthop objects and their groups: RTM_GETNEXTHOP, RTM_NEWNEXTHOP."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pyroute2.netlink import NLA_F_NESTED, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE

from amdcni.core.host import Buckets, Hop, Member, Nexthop, NexthopGroup
from amdcni.core.names import IfName
from amdcni.effects.messages.common import FAMILIES, ip_of, number_of, u16, u32
from amdcni.effects.messages.encaps import encap_of
from amdcni.effects.rtnetlink import Reply, Request, attribute, attributes_in

_RTM_NEWNEXTHOP: Final = 104
_RTM_GETNEXTHOP: Final = 106
_RTNH_F_ONLINK: Final = 4
_PROTOCOL_OFFSET: Final = 2

_NHA_ID: Final = 1
_NHA_GROUP: Final = 2
_NHA_GROUP_TYPE: Final = 3
_NHA_OIF: Final = 5
_NHA_GATEWAY: Final = 6
_NHA_ENCAP_TYPE: Final = 7
_NHA_ENCAP: Final = 8
_NHA_GROUPS: Final = 9
_NHA_RES_GROUP: Final = 12
_RESILIENT: Final = 1  # NEXTHOP_GRP_TYPE_RES
_RES_BUCKETS: Final = 1
_RES_IDLE_TIMER: Final = 2
_RES_UNBALANCED_TIMER: Final = 3
_MEMBER: Final = struct.Struct("=IBBH")  # struct nexthop_grp: ID, weight, its high part
_VERSIONS: Final = {number: version for version, number in FAMILIES.items()}
_HEADER: Final = struct.Struct("=BBBBI")  # struct nhmsg: family, scope, protocol, 0, flags


def query_groups() -> Request:
    """The query for all groups."""
    return _query((_NHA_GROUPS, b""))


def query_by_id(number: int) -> Request:
    """The query for one nexthop object or group."""
    return _query((_NHA_ID, u32(number)))


def _query(asked: tuple[int, bytes]) -> Request:
    return _request(_RTM_GETNEXTHOP, 0, [asked])


def _request(
    kind: int,
    flags: int,
    attributes: Iterable[tuple[int, bytes]],
    *,
    family: int = 0,
    protocol: int = 0,
    nexthop_flags: int = 0,
) -> Request:
    header = _HEADER.pack(family, 0, protocol, 0, nexthop_flags)
    return Request(kind, flags, header + b"".join(attribute(*each) for each in attributes))


def _attributes_of(reply: Reply) -> dict[int, bytes]:
    return dict(attributes_in(reply.body, _HEADER.size))


def _protocol_of(reply: Reply) -> int:
    return reply.body[_PROTOCOL_OFFSET]


def group_of(reply: Reply) -> NexthopGroup | None:
    """The group in an RTM_NEWNEXTHOP; None if it is an object."""
    attributes = _attributes_of(reply)
    if _NHA_GROUP not in attributes:
        return None
    resilient = dict(attributes_in(attributes.get(_NHA_RES_GROUP, b""), 0))
    return NexthopGroup(
        id=id_of(reply),
        members=tuple(
            Member(number, (high << 8 | low) + 1)
            for number, low, high, _ in _MEMBER.iter_unpack(attributes[_NHA_GROUP])
        ),
        protocol=_protocol_of(reply),
        buckets=Buckets(
            number_of(resilient[_RES_BUCKETS]) or 0,
            number_of(resilient.get(_RES_IDLE_TIMER)) or 0,
            number_of(resilient.get(_RES_UNBALANCED_TIMER)) or 0,
        )
        if resilient
        else None,
    )


def id_of(reply: Reply) -> int:
    """The ID of the nexthop object or group in an RTM_NEWNEXTHOP."""
    return number_of(_attributes_of(reply).get(_NHA_ID)) or 0


def ifindex_of(reply: Reply) -> int | None:
    """The netdev that the nexthop object in an RTM_NEWNEXTHOP leads through, if any."""
    return number_of(_attributes_of(reply).get(_NHA_OIF))


def nexthop_of(reply: Reply, ifnames: Mapping[int, IfName]) -> Nexthop:
    """The nexthop object in an RTM_NEWNEXTHOP; `ifnames` are those of the namespace."""
    attributes = _attributes_of(reply)
    family, _, _, _, flags = _HEADER.unpack_from(reply.body)
    ifindex = number_of(attributes.get(_NHA_OIF))
    return Nexthop(
        id=id_of(reply),
        hop=None
        if ifindex is None
        else Hop(
            ifname=ifnames.get(ifindex, IfName(f"if{ifindex}")),
            ifindex=ifindex,
            via=ip_of(attributes.get(_NHA_GATEWAY)),
            onlink=bool(flags & _RTNH_F_ONLINK),
            encap=encap_of(attributes.get(_NHA_ENCAP_TYPE), attributes.get(_NHA_ENCAP)),
        ),
        family=_VERSIONS.get(family, 4),
        protocol=_protocol_of(reply),
    )


def loses_encap(reply: Reply) -> bool:
    """Whether the nexthop object has an encapsulation that no record can hold."""
    attributes = _attributes_of(reply)
    kind, data = attributes.get(_NHA_ENCAP_TYPE), attributes.get(_NHA_ENCAP)
    return kind is not None and encap_of(kind, data) is None


def put(nexthop: Nexthop) -> Request:
    """The request to make the nexthop object, whose hop has an ifindex."""
    return _request(
        _RTM_NEWNEXTHOP,
        NLM_F_CREATE | NLM_F_EXCL,
        _object(nexthop.id, nexthop.hop),
        family=FAMILIES[nexthop.family],
        protocol=nexthop.protocol,
        nexthop_flags=_RTNH_F_ONLINK if nexthop.hop and nexthop.hop.onlink else 0,
    )


def _object(number: int, hop: Hop | None) -> Iterator[tuple[int, bytes]]:
    yield _NHA_ID, u32(number)
    if hop is None:
        return
    yield _NHA_OIF, u32(hop.ifindex)
    if hop.via is not None:
        yield _NHA_GATEWAY, hop.via.packed
    if hop.encap is not None:
        yield _NHA_ENCAP_TYPE, u16(hop.encap.kind)
        yield _NHA_ENCAP | NLA_F_NESTED, bytes.fromhex(hop.encap.data)


def put_group(group: NexthopGroup) -> Request:
    """The request to make the group, or to give it these members."""
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return _request(_RTM_NEWNEXTHOP, flags, _group(group), protocol=group.protocol)


def _group(group: NexthopGroup) -> Iterator[tuple[int, bytes]]:
    yield _NHA_ID, u32(group.id)
    yield _NHA_GROUP, b"".join(map(_member, group.members))
    if group.buckets is not None:
        timers = (group.buckets.idle_timer, group.buckets.unbalanced_timer)
        named = zip((_RES_IDLE_TIMER, _RES_UNBALANCED_TIMER), timers, strict=True)
        buckets = attribute(_RES_BUCKETS, u16(group.buckets.count))
        yield _NHA_GROUP_TYPE, u16(_RESILIENT)
        yield (
            _NHA_RES_GROUP | NLA_F_NESTED,
            buckets + b"".join(attribute(number, u32(timer)) for number, timer in named),
        )


def _member(member: Member) -> bytes:
    high, low = divmod(member.weight - 1, 1 << 8)
    return _MEMBER.pack(member.id, low, high, 0)
