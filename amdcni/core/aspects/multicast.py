"""The hardware multicast addresses that somebody has set on the netdev (`ip maddress add`)."""

from collections.abc import Iterator
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import Netdev
from amdcni.core.names import MacAddress

NOUN: Final = "multicast address"


@attrs.frozen(slots=False, kw_only=True)
class MulticastAddresses:
    """The static ones, not those of groups that the kernel has joined for a program or itself."""

    multicast_addresses: tuple[MacAddress, ...] = ()


@attrs.frozen
class SetMulticastAddress:
    """A multicast address that is missing."""

    address: MacAddress
    stage = Stage.LAST

    def describe(self) -> str:
        """The difference."""
        return f"multicast address {self.address} is missing"


def keep(
    netdev: Netdev, seen: MulticastAddresses, *, protocols_reported: bool
) -> MulticastAddresses:
    """All of them."""
    return MulticastAddresses(multicast_addresses=seen.multicast_addresses)


def due(
    kept: MulticastAddresses, netdev: Netdev, seen: MulticastAddresses, around: Around
) -> list[SetMulticastAddress]:
    """Those that are missing."""
    there = seen.multicast_addresses
    return [SetMulticastAddress(each) for each in kept.multicast_addresses if each not in there]


def lines(kept: MulticastAddresses) -> Iterator[str]:
    """One each."""
    yield from (f"multicast address {each}" for each in kept.multicast_addresses)
