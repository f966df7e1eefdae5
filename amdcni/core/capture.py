"""All aspects of a netdev: what a record keeps of it, and what is due when it returns."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import attrs

from amdcni.core import rules
from amdcni.core.aspects import (
    addresses,
    altnames,
    ethtool,
    link,
    multicast,
    neighbours,
    nexthops,
    proxy_neighbours,
    queues,
    routes,
    sysctls,
    token,
    traffic_control,
)
from amdcni.core.aspects.change import Around, Stage, Unsaved
from amdcni.core.host import Netdev, WayOut
from amdcni.core.names import IfName, MacAddress
from amdcni.core.rules import Rule


@attrs.frozen(slots=False)
class Identity:
    """What distinguishes a netdev from others; None where it is not known.

    `carrier` is whether it had a link: nothing to restore, but CHECK tests whether it still has
    one.
    """

    ifname: IfName
    ifindex: int
    permanent_mac: MacAddress | None = None
    parent: str | None = None
    kind: str | None = None
    link_type: int | None = None
    port_name: str | None = None
    port_id: str | None = None
    carrier: bool = False


@attrs.frozen(slots=False)
class Captured(
    ethtool.Ethtool,
    queues.Queues,
    sysctls.Sysctls,
    traffic_control.TrafficControl,
    routes.WithNexthops,
    proxy_neighbours.ProxyNeighbours,
    multicast.MulticastAddresses,
    neighbours.Neighbours,
    addresses.Addresses,
    link.Link,
    altnames.Altnames,
    token.Token,
    rules.Rules,
    Identity,
):
    """A host netdev as it has to come back: its identity, all of its aspects, and its rules."""


@attrs.frozen(slots=False, kw_only=True)
class Details(
    ethtool.SeenEthtool,
    queues.Queues,
    routes.Seen,
    sysctls.SeenSysctls,
    traffic_control.SeenTraffic,
    proxy_neighbours.ProxyNeighbours,
    multicast.MulticastAddresses,
    neighbours.Neighbours,
    Unsaved,
):
    """What is read only of the one netdev that matters, as it is too much to read of all.

    `ways_out` and `rules` are those of the netns, whatever netdev or address they are about.
    """

    ways_out: tuple[WayOut, ...] = ()
    rules: tuple[Rule, ...] = ()


Change = (
    token.SetToken
    | altnames.SetAltname
    | link.SetLink
    | addresses.SetAddress
    | neighbours.SetNeighbour
    | proxy_neighbours.SetProxyNeighbour
    | multicast.SetMulticastAddress
    | nexthops.SetNexthop
    | nexthops.SetNexthopGroup
    | routes.SetRoute
    | traffic_control.SetTraffic
    | traffic_control.DropPlaceholder
    | traffic_control.SetRedirection
    | ethtool.SetEthtool
    | queues.SetQueues
    | sysctls.SetSysctl
)
"""One thing to set on a netdev.

`stage` is when to set it.  `describe()` is the difference that it removes, to be read after the
name of the netdev: `mtu is 1500, was 9000`.
"""


class Aspect(Protocol):
    """A module of `amdcni.core.aspects`."""

    @property
    def NOUN(self) -> str | None:
        """What a summary calls a line when it counts them; None if there is nothing to count."""

    def keep(self, netdev: Netdev, seen: Details, *, protocols_reported: bool) -> Any:
        """What a record keeps: a base of `Captured`."""

    def due(
        self, kept: Captured, netdev: Netdev, seen: Details, around: Around
    ) -> Sequence[Change]:
        """What was kept and is not there, in the order in which it has to be set."""

    def lines(self, kept: Captured) -> Iterator[str]:
        """What was kept, one line each, in the words of `ip`."""


ASPECTS: Final[tuple[Aspect, ...]] = (
    token,
    altnames,
    link,
    addresses,
    neighbours,
    proxy_neighbours,
    multicast,
    nexthops,
    routes,
    traffic_control,
    ethtool,
    queues,
    sysctls,
)
"""In the order in which they are set where their stages leave it open."""

_EARLY: Final[tuple[Aspect, ...]] = (token, altnames, link, addresses, ethtool, sysctls)
"""Those of which something is set before the last stages."""


def capture(netdev: Netdev, details: Details, *, protocols_reported: bool) -> Captured:
    """Everything of `netdev` that a pod may lose or change and that has to be restored.

    `protocols_reported` is `host.reports_protocols` of the host.
    """
    known: dict[str, Any] = {
        field.name: getattr(netdev, field.name) for field in attrs.fields(Identity)
    }
    for aspect in ASPECTS:
        kept = aspect.keep(netdev, details, protocols_reported=protocols_reported)
        known |= attrs.asdict(kept, recurse=False)
    known |= attrs.asdict(rules.keep(netdev, details.rules), recurse=False)
    return Captured(**known)


def due(
    kept: Captured, netdev: Netdev, details: Details, around: Around, *, early: bool = False
) -> list[Change]:
    """Everything that is not yet as it was, in the order in which the kernel accepts it.

    `early` leaves out what is set once the addresses can be used.

    Some of it may be optional: see `is_required`.  Anything extra is not a fault: somebody else has
    set it.  Neither is a different name: a netdev that came back under a free name gets everything
    else (`BringHome`).
    """
    aspects = _EARLY if early else ASPECTS
    changes = [each for aspect in aspects for each in aspect.due(kept, netdev, details, around)]
    if early:
        changes = [change for change in changes if change.stage < Stage.LAST]
    return sorted(changes, key=lambda change: change.stage)


def aspect_of(change: Change) -> str:
    """The name of the aspect that a change belongs to, which is that of its module."""
    return type(change).__module__.rpartition(".")[2]


def is_required(change: Change) -> bool:
    """Whether the netdev is incomplete without it, so that its record has to stay.

    What a driver refuses to set again, it is likely to refuse for ever; the netdev works without.
    """
    match change:
        case routes.SetRoute():
            return not change.optional
        case ethtool.SetEthtool() | queues.SetQueues():
            return False
        case _:
            return True


def is_missed(change: Change) -> bool:
    """Whether somebody has to know if it cannot be set."""
    return not (isinstance(change, routes.SetRoute | ethtool.SetEthtool) and change.optional)


def lines(kept: Captured) -> Iterator[str]:
    """Everything that is kept, one line each."""
    for aspect in ASPECTS:
        yield from aspect.lines(kept)
    yield from rules.lines(kept)


def summary(kept: Captured) -> Iterator[str]:
    """What is kept, in short; addresses are listed, since they are what people miss."""
    yield from (str(address.interface) for address in kept.addresses)
    for aspect in ASPECTS:
        count = len(list(aspect.lines(kept)))
        if aspect.NOUN is not None and count:
            yield counted(count, aspect.NOUN)
    if kept.rules:
        yield counted(len(kept.rules), rules.NOUN)
    yield "its state"


def counted(count: int, noun: str) -> str:
    """The count in words, such as `1 route` or `2 routes`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
