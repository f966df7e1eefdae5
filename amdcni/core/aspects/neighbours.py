"""The neighbours that somebody has set, which a netdev loses when it leaves its namespace."""

from collections.abc import Iterator
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import Neighbour, Netdev

NOUN: Final = "neighbour"

_FIXED: Final = frozenset({0x40, 0x80})
"""NUD_NOARP and NUD_PERMANENT, which no packet changes."""


@attrs.frozen(slots=False, kw_only=True)
class Neighbours:
    """Those that are permanent, managed, externally learnt, or set without ARP."""

    neighbours: tuple[Neighbour, ...] = ()


@attrs.frozen
class SetNeighbour:
    """A neighbour that is missing, or has another hardware address."""

    neighbour: Neighbour
    stage = Stage.LAST

    def describe(self) -> str:
        """The difference."""
        return f"neighbour {self.neighbour.address} is missing"


def keep(netdev: Netdev, seen: Neighbours, *, protocols_reported: bool) -> Neighbours:
    """All of them."""
    return Neighbours(neighbours=seen.neighbours)


def due(kept: Neighbours, netdev: Netdev, seen: Neighbours, around: Around) -> list[SetNeighbour]:
    """Those that are missing."""
    there = set(map(_lasting, seen.neighbours))
    return [SetNeighbour(each) for each in kept.neighbours if _lasting(each) not in there]


def _lasting(neighbour: Neighbour) -> Neighbour:
    """The neighbour without what the kernel finds out, or others learn, as time goes by."""
    if neighbour.state in _FIXED:
        return neighbour
    return attrs.evolve(neighbour, mac=None, state=0)


def lines(kept: Neighbours) -> Iterator[str]:
    """One each."""
    for each in kept.neighbours:
        yield f"neighbour {each.address} {each.mac or ''}".rstrip()
