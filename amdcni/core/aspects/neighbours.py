"""The permanent neighbours, which a netdev loses when it leaves its network namespace."""

from collections.abc import Iterator
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import Neighbour, Netdev

NOUN: Final = "neighbour"


@attrs.frozen(slots=False, kw_only=True)
class Neighbours:
    """The permanent neighbours."""

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
    there = set(seen.neighbours)
    return [SetNeighbour(each) for each in kept.neighbours if each not in there]


def lines(kept: Neighbours) -> Iterator[str]:
    """One each."""
    for each in kept.neighbours:
        yield f"neighbour {each.address} {each.mac or ''}".rstrip()
