"""The root qdisc, if somebody has set one."""

from collections.abc import Iterator
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import Netdev, Qdisc

NOUN: Final = None


@attrs.frozen(slots=False, kw_only=True)
class RootQdisc:
    """The root qdisc; None if it was the kernel's own, which leaves one that is there."""

    qdisc: Qdisc | None = None


@attrs.frozen
class SetQdisc:
    """A qdisc that is not there, or has other options."""

    qdisc: Qdisc
    stage = Stage.LAST

    def describe(self) -> str:
        """The difference."""
        return f"qdisc {self.qdisc.kind} is missing"


def keep(netdev: Netdev, seen: RootQdisc, *, protocols_reported: bool) -> RootQdisc:
    """Whatever it is."""
    return RootQdisc(qdisc=seen.qdisc)


def due(kept: RootQdisc, netdev: Netdev, seen: RootQdisc, around: Around) -> list[SetQdisc]:
    """The qdisc, if there was one and it is not there."""
    return [] if kept.qdisc in (None, seen.qdisc) else [SetQdisc(kept.qdisc)]


def lines(kept: RootQdisc) -> Iterator[str]:
    """Its kind."""
    if kept.qdisc is not None:
        yield f"qdisc {kept.qdisc.kind}"
