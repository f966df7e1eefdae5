"""Encapsulations of routes and nexthops (lightweight tunnels), as the kernel shows them."""

from collections.abc import Iterator
from typing import Final

from amdcni.core.host import Encap
from amdcni.effects.messages.common import number_of
from amdcni.effects.rtnetlink import attribute, attributes_in

_MPLS: Final = 1
_IP: Final = 2
_IP6: Final = 4
_SEG6: Final = 5
_SEG6_LOCAL: Final = 7
_AS_SHOWN: Final = frozenset({_MPLS, _IP, _IP6, _SEG6, _SEG6_LOCAL})
"""The kinds that the kernel accepts as it shows them (LWTUNNEL_ENCAP_*)."""

_SEG6_LOCAL_IIF: Final = 6
_SEG6_LOCAL_OIF: Final = 7
_SEG6_LOCAL_BPF: Final = 9
_SEG6_LOCAL_COUNTERS: Final = 10
_NOT_AGAIN: Final = frozenset({_SEG6_LOCAL_IIF, _SEG6_LOCAL_OIF, _SEG6_LOCAL_BPF})
"""What names another netdev by its number, or a program by its ID instead of a descriptor."""


def encap_of(kind: bytes | None, data: bytes | None) -> Encap | None:
    """The encapsulation; None if there is none, or if it could not be set again."""
    number = number_of(kind)
    if number not in _AS_SHOWN or data is None:
        return None
    if number == _SEG6_LOCAL:
        if any(each in _NOT_AGAIN for each, _ in attributes_in(data, 0)):
            return None
        data = b"".join(_without_counts(data))
    return Encap(number, data.hex())


def _without_counts(data: bytes) -> Iterator[bytes]:
    """The attributes with all counters at zero, as the kernel sets them anyway."""
    for number, value in attributes_in(data, 0):
        if number == _SEG6_LOCAL_COUNTERS:
            counters = attributes_in(value, 0)
            value = b"".join(attribute(each, bytes(len(count))) for each, count in counters)
        yield attribute(number, value)
