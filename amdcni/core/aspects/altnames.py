"""The alternative names of the netdev, except for our own mark."""

from collections.abc import Iterator
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import Netdev, names_of
from amdcni.core.names import is_mark

NOUN: Final = None


@attrs.frozen(slots=False, kw_only=True)
class Altnames:
    """The alternative names; None if they are not known, which leaves those that are there."""

    altnames: tuple[str, ...] | None = None


@attrs.frozen
class SetAltname:
    """An alternative name that is missing, or one that has to go."""

    altname: str
    present: bool
    stage = Stage.DOWN

    def describe(self) -> str:
        """The difference."""
        return f"altname {self.altname} is {'missing' if self.present else 'extra'}"


def keep(netdev: Netdev, seen: object, *, protocols_reported: bool) -> Altnames:
    """All but marks."""
    return Altnames(altnames=tuple(name for name in netdev.altnames if not is_mark(name)))


def due(kept: Altnames, netdev: Netdev, seen: object, around: Around) -> list[SetAltname]:
    """First those that have to go; a name that another netdev has now cannot come back.

    The netdev itself may have one of them as its name.
    """
    if kept.altnames is None:
        return []
    taken = names_of(around.others) | {netdev.ifname} | set(netdev.altnames)
    had = set(kept.altnames)
    extra = [name for name in netdev.altnames if name not in had and not is_mark(name)]
    return [
        *(SetAltname(name, present=False) for name in extra),
        *(SetAltname(name, present=True) for name in kept.altnames if name not in taken),
    ]


def lines(kept: Altnames) -> Iterator[str]:
    """All on one line."""
    if kept.altnames:
        yield f"altnames {' '.join(kept.altnames)}"
