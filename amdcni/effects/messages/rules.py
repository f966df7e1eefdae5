"""Policy rules of IPv4 and IPv6: RTM_*RULE (include/uapi/linux/fib_rules.h)."""

import struct
from collections.abc import Iterator
from typing import Final

from pyroute2.netlink import NLM_F_CREATE, NLM_F_EXCL

from amdcni.core.errors import KernelRefused
from amdcni.core.host import IpNetwork, Values
from amdcni.core.rules import IIF_DETACHED, OIF_DETACHED, Rule
from amdcni.effects.messages.common import (
    FAMILIES,
    network_of,
    number_of,
    octets_of_text,
    text_of,
    u32,
)
from amdcni.effects.rtnetlink import Reply, Request, attribute, attributes_in

_RTM_NEWRULE: Final = 32
_RTM_DELRULE: Final = 33
_RTM_GETRULE: Final = 34

# struct fib_rule_hdr: family, dst_len, src_len, tos, table, two reserved, action, flags
_HEADER: Final = struct.Struct("=BBBBBxxBI")
_VERSIONS: Final = {family: version for version, family in FAMILIES.items()}
_INVERT: Final = 0x02
_UNSET: Final = 0xFFFFFFFF

_DST, _SRC, _IIFNAME, _PRIORITY, _TABLE, _OIFNAME, _PAD = 1, 2, 3, 6, 15, 17, 18
_SUPPRESS_PREFIXLEN: Final = 14
_PROTOCOL: Final = 21
_NAMING: Final = frozenset({_DST, _SRC, _IIFNAME, _OIFNAME})
_FIELDS: Final = frozenset({_DST, _SRC, _IIFNAME, _PRIORITY, _TABLE, _OIFNAME, _PAD})
_VALUES: Final = {
    4: ("goto", "=I"),
    10: ("fwmark", "=I"),
    11: ("flow", "=I"),
    12: ("tun_id", ">Q"),
    13: ("suppress_ifgroup", "=I"),
    _SUPPRESS_PREFIXLEN: ("suppress_prefixlen", "=I"),
    16: ("fwmask", "=I"),
    19: ("l3mdev", "=B"),
    20: ("uid_range", "=II"),
    _PROTOCOL: ("protocol", "=B"),
    22: ("ip_proto", "=B"),
    23: ("sport_range", "=HH"),
    24: ("dport_range", "=HH"),
    25: ("dscp", "=B"),
    26: ("flowlabel", ">I"),
    27: ("flowlabel_mask", ">I"),
    28: ("sport_mask", "=H"),
    29: ("dport_mask", "=H"),
    30: ("dscp_mask", "=B"),
}
"""The attributes that have a name in `Rule.values`, each with its form."""

_NUMBERS: Final = {name: (number, form) for number, (name, form) in _VALUES.items()}
_AS_IF_ABSENT: Final = {_SUPPRESS_PREFIXLEN: _UNSET, _PROTOCOL: 0}
"""What the kernel shows of a rule without the attribute."""


def query() -> Request:
    """The query for the rules of all families."""
    return Request(_RTM_GETRULE, 0, _HEADER.pack(0, 0, 0, 0, 0, 0, 0))


def rule_of(reply: Reply) -> Rule | None:
    """The rule in an RTM_NEWRULE; None if it names neither a netdev nor an address.

    Nor is one of another family, such as multicast routing, a rule for us.
    """
    family, dst_bits, src_bits, tos, table, action, flags = _HEADER.unpack_from(reply.body)
    attributes = dict(attributes_in(reply.body, _HEADER.size))
    if family not in _VERSIONS or _NAMING.isdisjoint(attributes):
        return None
    wide = number_of(attributes.get(_TABLE))
    return Rule(
        family=_VERSIONS[family],
        priority=number_of(attributes.get(_PRIORITY)) or 0,
        action=action,
        table=table if wide is None else wide,
        inverted=bool(flags & _INVERT),
        source=_network_of(attributes.get(_SRC), src_bits),
        destination=_network_of(attributes.get(_DST), dst_bits),
        tos=tos,
        iif=text_of(attributes.get(_IIFNAME)),
        oif=text_of(attributes.get(_OIFNAME)),
        values=dict(_values_in(attributes)),
        strange=tuple(sorted(attributes.keys() - _FIELDS - _VALUES.keys())),
        detached=flags & (IIF_DETACHED | OIF_DETACHED),
    )


def _network_of(octets: bytes | None, bits: int) -> IpNetwork | None:
    return None if octets is None else network_of(octets, bits)


def _values_in(attributes: dict[int, bytes]) -> Iterator[tuple[str, int | str]]:
    for number in sorted(attributes.keys() & _VALUES.keys()):
        name, form = _VALUES[number]
        numbers = struct.unpack(form, attributes[number])
        if _AS_IF_ABSENT.get(number) not in numbers:
            yield name, numbers[0] if len(numbers) == 1 else "-".join(map(str, numbers))


def add(rule: Rule, *, once_more: bool = False) -> Request:
    """The request to add the rule, which is refused if it is there, unless `once_more`.

    Raises: KernelRefused if no message can say what is in the rule.
    """
    flags = NLM_F_CREATE if once_more else NLM_F_CREATE | NLM_F_EXCL
    return Request(_RTM_NEWRULE, flags, _body(rule))


def drop(rule: Rule) -> Request:
    """The request to remove the rule; of several equal ones, the kernel removes the oldest."""
    return Request(_RTM_DELRULE, 0, _body(rule))


def _body(rule: Rule) -> bytes:
    header = _HEADER.pack(
        FAMILIES[rule.family],
        0 if rule.destination is None else rule.destination.prefixlen,
        0 if rule.source is None else rule.source.prefixlen,
        rule.tos,
        0,
        rule.action,
        _INVERT if rule.inverted else 0,
    )
    return header + b"".join(attribute(*each) for each in _attributes(rule))


def _attributes(rule: Rule) -> Iterator[tuple[int, bytes]]:
    for number, network in ((_DST, rule.destination), (_SRC, rule.source)):
        if network is not None:
            yield number, network.network_address.packed
    for number, name in ((_IIFNAME, rule.iif), (_OIFNAME, rule.oif)):
        if name is not None:
            yield number, octets_of_text(name)
    yield _PRIORITY, u32(rule.priority)
    yield _TABLE, u32(rule.table)
    yield from _packed(rule.values)


def _packed(values: Values) -> Iterator[tuple[int, bytes]]:
    for name, value in values.items():
        try:
            number, form = _NUMBERS[name]
            packed = struct.pack(form, *map(int, str(value).split("-")))
        except (KeyError, ValueError, struct.error):
            # The record may be that of a newer version.
            raise KernelRefused(f"no policy rule has {name!r} {value!r}") from None
        yield number, packed
