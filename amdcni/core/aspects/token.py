"""The IPv6 token, from which the kernel makes addresses instead of the hardware address."""

from collections.abc import Iterator
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import IpAddress, Netdev

NOUN: Final = None


@attrs.frozen(slots=False, kw_only=True)
class Token:
    """The token; None if it had none, which leaves one that is there."""

    token: IpAddress | None = None


@attrs.frozen
class SetToken:
    """A token that `is_now` another one."""

    token: IpAddress
    is_now: IpAddress | None
    stage = Stage.DOWN

    def describe(self) -> str:
        """The difference."""
        return f"token is {self.is_now or 'none'}, was {self.token}"


def keep(netdev: Netdev, seen: object, *, protocols_reported: bool) -> Token:
    """Whatever it is."""
    return Token(token=netdev.token)


def due(kept: Token, netdev: Netdev, seen: object, around: Around) -> list[SetToken]:
    """The token, if there was one and it is not there."""
    if kept.token in (None, netdev.token):
        return []
    assert kept.token is not None
    return [SetToken(kept.token, netdev.token)]


def lines(kept: Token) -> Iterator[str]:
    """The token."""
    if kept.token is not None:
        yield f"token {kept.token}"
