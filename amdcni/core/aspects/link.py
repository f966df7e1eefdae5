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
    if kept.mac is not None and len(kept.mac) == _MAC_LENGTH and netdev.mac != kept.mac:
        changes.append(SetLink("mac", kept.mac, netdev.mac))
    if netdev.up != kept.up:
        changes.append(SetLink("up", kept.up, netdev.up))
    return changes


_MAC_LENGTH: Final = len("02:00:00:00:00:00")


def lines(kept: Link) -> Iterator[str]:
    """What is known of it."""
    yield "up" if kept.up else "down"
    for name in ("mtu", "mac", "alias", "txqlen", "group"):
        value = getattr(kept, name)
        if value is not None:
            yield f"{name} {value}"
