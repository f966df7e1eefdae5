"""The attributes of the netdev itself, and whether it is up."""

from collections.abc import Iterator
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import Netdev
from amdcni.core.names import MacAddress

NOUN: Final = None


@attrs.frozen(slots=False, kw_only=True)
class Link:
    """None leaves what is there, but an `alias` of None means that it had none."""

    mac: MacAddress | None = None
    up: bool = False
    alias: str | None = None
    mtu: int | None = None
    txqlen: int | None = None
    group: int | None = None
    flags: int | None = None
    gso_max_size: int | None = None
    gso_max_segs: int | None = None
    gso_ipv4_max_size: int | None = None
    gro_max_size: int | None = None
    gro_ipv4_max_size: int | None = None


@attrs.frozen
class SetLink:
    """An attribute of the netdev, by its name in `Netdev`, that `is_now` another one."""

    name: str
    value: object
    is_now: object

    @property
    def stage(self) -> Stage:
        """Up and down have a stage of their own."""
        return Stage.UP if self.name == "up" else Stage.DOWN

    def describe(self) -> str:
        """The difference."""
        if self.name == "up":
            return "is up, was down" if self.is_now else "is down, was up"
        return f"{self.name} is {_plain(self.is_now)}, was {_plain(self.value)}"


def _plain(value: object) -> str:
    return "none" if value in (None, "") else str(value)


def keep(netdev: Netdev, seen: object, *, protocols_reported: bool) -> Link:
    """All of them."""
    return Link(
        mac=netdev.mac,
        up=netdev.up,
        alias=netdev.alias,
        mtu=netdev.mtu,
        txqlen=netdev.txqlen,
        group=netdev.group,
        flags=netdev.flags,
        gso_max_size=netdev.gso_max_size,
        gso_max_segs=netdev.gso_max_segs,
        gso_ipv4_max_size=netdev.gso_ipv4_max_size,
        gro_max_size=netdev.gro_max_size,
        gro_ipv4_max_size=netdev.gro_ipv4_max_size,
    )


def due(kept: Link, netdev: Netdev, seen: object, around: Around) -> list[SetLink]:
    """The attributes that are not as they were.

    A hardware address of other than 48 bits is the hardware's own and cannot be set.
    """
    changes = []
    if (netdev.alias or None) != kept.alias:
        changes.append(SetLink("alias", kept.alias, netdev.alias))
    for name in ("mtu", "txqlen", "group", "flags"):
        had, has = getattr(kept, name), getattr(netdev, name)
        if had not in (None, has):
            changes.append(SetLink(name, had, has))
    changes += _offload_limits_due(kept, netdev)
    if kept.mac is not None and len(kept.mac) == _MAC_LENGTH and netdev.mac != kept.mac:
        changes.append(SetLink("mac", kept.mac, netdev.mac))
    if netdev.up != kept.up:
        changes.append(SetLink("up", kept.up, netdev.up))
    return changes


def _offload_limits_due(kept: Link, netdev: Netdev) -> Iterator[SetLink]:
    """The limits of offloads that are not as they were."""
    had, has = kept.gso_max_segs, netdev.gso_max_segs
    if had not in (None, has):
        yield SetLink("gso_max_segs", had, has)
    for name in ("gso_max_size", "gro_max_size"):
        of_ipv4 = name.replace("_", "_ipv4_", 1)
        had, has = getattr(kept, name), getattr(netdev, name)
        had_ipv4, has_ipv4 = getattr(kept, of_ipv4), getattr(netdev, of_ipv4)
        if had is not None and had != has:
            yield SetLink(name, had, has)
            if had <= LEGACY_MAX_SIZE:
                has_ipv4 = had
        if had_ipv4 not in (None, has_ipv4):
            yield SetLink(of_ipv4, had_ipv4, has_ipv4)


LEGACY_MAX_SIZE: Final = 65536
"""Up to this size, which is that of a whole IPv4 packet, the kernel sets the limit for IPv4, too.

It is GSO_LEGACY_MAX_SIZE and GRO_LEGACY_MAX_SIZE of include/linux/netdevice.h.
"""

_MAC_LENGTH: Final = len("02:00:00:00:00:00")


def lines(kept: Link) -> Iterator[str]:
    """What is known of it."""
    yield "up" if kept.up else "down"
    for name in ("mtu", "mac", "alias", "txqlen", "group"):
        value = getattr(kept, name)
        if value is not None:
            yield f"{name} {value}"
