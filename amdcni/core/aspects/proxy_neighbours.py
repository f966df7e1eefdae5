"""The addresses for which the netdev answers neighbour requests on behalf of others."""

from collections.abc import Iterator
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import Neighbour, Netdev

NOUN: Final = "proxy neighbour"


@attrs.frozen(slots=False, kw_only=True)
class ProxyNeighbours:
    """The proxy neighbours (NTF_PROXY), which have no hardware address."""

    proxy_neighbours: tuple[Neighbour, ...] = ()


@attrs.frozen
class SetProxyNeighbour:
    """A proxy neighbour that is missing."""

    neighbour: Neighbour
    stage = Stage.LAST

    def describe(self) -> str:
        """The difference."""
        return f"proxy neighbour {self.neighbour.address} is missing"


def keep(netdev: Netdev, seen: ProxyNeighbours, *, protocols_reported: bool) -> ProxyNeighbours:
    """All of them."""
    return ProxyNeighbours(proxy_neighbours=seen.proxy_neighbours)


def due(
    kept: ProxyNeighbours, netdev: Netdev, seen: ProxyNeighbours, around: Around
) -> list[SetProxyNeighbour]:
    """Those that are missing."""
    there = set(seen.proxy_neighbours)
    return [SetProxyNeighbour(each) for each in kept.proxy_neighbours if each not in there]


def lines(kept: ProxyNeighbours) -> Iterator[str]:
    """One each."""
    yield from (f"proxy neighbour {each.address}" for each in kept.proxy_neighbours)
