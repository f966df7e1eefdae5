"""Everything that can be configured in a network namespace, as values that compare.

`readings.dump` makes them.  A dump has the ifindex of each netdev, and otherwise only names.  It
does not depend on what is not configuration: carrier, counters, the peer of a veth, addresses on
their way through duplicate address detection.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum

from attrs import field, frozen

_LIFETIME_TOLERANCE_S = 5
_SHOWN_ATTRIBUTES = 8


class Section(StrEnum):
    """The kinds of thing in a dump, in the order in which differences are listed."""

    NETDEV = "netdev"
    ADDRESS = "address"
    ADDRESS_ORDER = "address order"
    ROUTE = "route"
    RULE = "rule"
    NEXTHOP = "nexthop"
    NEIGHBOUR = "neighbour"
    MULTICAST = "multicast address"
    QDISC = "qdisc"
    TRAFFIC_CLASS = "traffic class"
    CHAIN = "chain"
    FILTER = "filter"
    QUEUES = "queues"
    SYSCTL = "sysctl"
    ETHTOOL = "ethtool"


@frozen(eq=False)
class Expiry:
    """When something with a lifetime ends; equal to another if that is within a few seconds."""

    at_s: float
    """On the clock of `time.monotonic`."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expiry) and abs(self.at_s - other.at_s) <= _LIFETIME_TOLERANCE_S

    # What is only approximately equal cannot have a hash.
    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"{self.at_s - time.monotonic():.0f} s from now"


Value = str | tuple[str, ...] | Expiry


@frozen(order=True)
class Subject:
    """A thing whose attributes a dump holds, such as `address 10.0.0.0/31 on eth1`."""

    section: Section
    name: str

    def __str__(self) -> str:
        return f"{self.section} {self.name}"


@frozen
class Dump:
    """The configuration of a network namespace: the attributes of each subject."""

    subjects: Mapping[Subject, Mapping[str, Value]] = field(repr=False)

    def names(self, section: Section) -> list[str]:
        """Return the names of the subjects of a section."""
        return [subject.name for subject in self.subjects if subject.section is section]


def differences(
    before: Dump, after: Dump, *, sections: Collection[Section] = tuple(Section)
) -> list[str]:
    """Return a line for each thing that is gone, new or has another attribute; none if equal."""
    lines: list[str] = []
    subjects = sorted({*before.subjects, *after.subjects})
    for section in Section:
        for subject in subjects:
            if subject.section is section and section in sections:
                old, new = before.subjects.get(subject), after.subjects.get(subject)
                lines += _differences_of(subject, old, new)
    return lines


def _differences_of(
    subject: Subject, old: Mapping[str, Value] | None, new: Mapping[str, Value] | None
) -> Iterator[str]:
    if old is None or new is None:
        what, attributes = ("gone", old) if new is None else ("new", new)
        yield from _one_sided(subject, what, attributes or {})
        return
    for name in sorted({*old, *new}):
        was, now = old.get(name), new.get(name)
        if isinstance(was, tuple) and isinstance(now, tuple):
            # What came or went is listed elsewhere; this is about the order of what is in both.
            was = tuple(entry for entry in was if entry in now)
            now = tuple(entry for entry in now if entry in was)
        if was != now:
            yield f"{subject}: {name} was {_shown(was)}, is {_shown(now)}"


def _shown(value: Value | None) -> str:
    match value:
        case None:
            return "absent"
        case tuple():
            return ", ".join(value)
        case _:
            return str(value)


def _one_sided(subject: Subject, what: str, attributes: Mapping[str, Value]) -> Iterator[str]:
    match subject.section:
        case Section.ADDRESS_ORDER:
            return
        case Section.SYSCTL | Section.QUEUES:
            yield f"{subject} is {what}"
        case _:
            shown = [f"{name} {_shown(value)}" for name, value in attributes.items()]
            if len(shown) > _SHOWN_ATTRIBUTES:
                shown = [*shown[:_SHOWN_ATTRIBUTES], "..."]
            yield f"{subject} is {what}" + (f" ({', '.join(shown)})" if shown else "")
