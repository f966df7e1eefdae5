"""How the netdev's queues are served: what sysfs shows of each, and of all of them."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from amdcni.core.aspects.change import Around, Stage
from amdcni.core.host import Netdev

NOUN: Final = "queue setting"

OF_NETDEV: Final = ("gro_flush_timeout", "napi_defer_hard_irqs", "threaded")
"""Settings of the netdev, by their names in its folder."""

OF_QUEUES: Final[Mapping[str, tuple[str, ...]]] = {
    "rx": ("rps_cpus", "rps_flow_cnt"),
    "tx": (
        *("xps_cpus", "xps_rxqs", "tx_maxrate"),
        *(f"byte_queue_limits/{name}" for name in ("limit_max", "limit_min", "hold_time")),
        "byte_queue_limits/stall_thrs",
    ),
}
"""Settings of a receive and of a transmit queue, by their names in its folder."""

NAPI: Final = "napi"
"""What polls a queue (a NAPI instance) may have settings of its own: `napi-0/threaded`."""

_OF_NAPI: Final = {
    "gro_flush_timeout": "gro_flush_timeout",
    "napi_defer_hard_irqs": "defer_hard_irqs",
    "threaded": "threaded",
}
"""What a poller gets when it is set for the netdev."""

Settings = Mapping[str, str]
"""Settings by their places in the netdev's folder, such as `rx-0/rps_cpus`."""


@attrs.frozen(slots=False, kw_only=True)
class Queues:
    """The settings, those of queues for as many in a row as have the same one: `rx-0-7/rps_cpus`.

    None leaves what is there.  A mask of CPUs or queues has no zeros in front.
    """

    queues: Mapping[str, str] | None = None


@attrs.frozen
class SetQueues:
    """A setting of one netdev or of several queues in a row; `is_now` is None if there is none."""

    where: str
    value: str
    is_now: str | None
    stage = Stage.LAST

    @property
    def places(self) -> tuple[str, ...]:
        """Where to set it."""
        return tuple(_unfolded({self.where: self.value}))

    def describe(self) -> str:
        """The difference."""
        now = "not there" if self.is_now is None else self.is_now
        return f"{_worded(self.where)} is {now}, was {self.value}"


def folded(settings: Settings) -> dict[str, str]:
    """The settings, with one entry for all queues in a row that have the same."""
    rows: dict[str, str] = {}
    by_name: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for place, value in settings.items():
        queue = _QUEUE.fullmatch(place)
        if queue is None:
            rows[place] = value
        else:
            of_name = by_name.setdefault((queue["kind"], queue["name"]), [])
            of_name.append((int(queue["first"]), value))
    for (kind, name), each in by_name.items():
        for first, last, value in _rows(sorted(each)):
            number = f"{first}" if first == last else f"{first}-{last}"
            rows[f"{kind}-{number}/{name}"] = value
    return rows


def _rows(values: list[tuple[int, str]]) -> Iterator[tuple[int, int, str]]:
    """The first and the last of each row of numbers that have the same value."""
    first, (last, value) = values[0][0], values[0]
    for number, other in values[1:]:
        if (number, other) != (last + 1, value):
            yield first, last, value
            first, value = number, other
        last = number
    yield first, last, value


def _unfolded(rows: Settings) -> dict[str, str]:
    """The setting of each queue by its place."""
    settings = {}
    for row, value in rows.items():
        queue = _QUEUE.fullmatch(row)
        if queue is None:
            settings[row] = value
        else:
            for number in range(int(queue["first"]), int(queue["last"] or queue["first"]) + 1):
                settings[f"{queue['kind']}-{number}/{queue['name']}"] = value
    return settings


_QUEUE: Final = re.compile(
    r"(?P<kind>rx|tx|napi)-(?P<first>\d{1,4})(-(?P<last>\d{1,4}))?/(?P<name>.+)"
)
"""A queue, or several in a row.  The kernel has fewer than 10,000 of a kind."""


def plain(text: str) -> str:
    """A value as it is kept: a mask of many CPUs, `00000000,000000ff`, without zeros in front."""
    return _without_zeros(text) if "," in text else text


def _without_zeros(mask: str) -> str:
    """The mask without zeros in front; an empty one is `0`."""
    return mask.lstrip("0,") or "0"


def keep(netdev: Netdev, seen: Queues, *, protocols_reported: bool) -> Queues:
    """All of them: which a new netdev would have is the driver's choice."""
    return Queues(queues=seen.queues)


def due(kept: Queues, netdev: Netdev, seen: Queues, around: Around) -> list[SetQueues]:
    """Those that are not as they were, queues in a row together, after those of the netdev."""
    if kept.queues is None or kept.queues == seen.queues:
        return []
    there = _unfolded(seen.queues or {})
    had = _unfolded(kept.queues)
    for name, of_napi in _OF_NAPI.items():
        if name in had and had[name] != there.get(name):
            # To set it sets it for all of them.
            theirs = [place for place in there if _is_of_napi(place, of_napi)]
            there |= dict.fromkeys(theirs, had[name])
    differing = {
        place: (value, there.get(place))
        for place, value in had.items()
        if value != there.get(place)
    }
    by_change: dict[tuple[str, str | None], dict[str, str]] = {}
    for place, change in differing.items():
        by_change.setdefault(change, {})[place] = change[0]
    changes = [
        SetQueues(where, value, is_now)
        for (value, is_now), places in by_change.items()
        for where in folded(places)
    ]
    return sorted(changes, key=lambda change: "/" in change.where)


def _is_of_napi(place: str, name: str) -> bool:
    return place.startswith(f"{NAPI}-") and place.endswith(f"/{name}")


_USUAL: Final = {
    "byte_queue_limits/limit_max": "1879048192",
    "byte_queue_limits/hold_time": "1000",
}
"""What a new queue has, if that is not 0 (lib/dynamic_queue_limits.c)."""


def lines(kept: Queues) -> Iterator[str]:
    """One for each that is not the usual one, for all queues in a row that have it."""
    for where, value in (kept.queues or {}).items():
        # The kernel writes an empty mask of eight CPUs as 00.
        if _without_zeros(value) != _USUAL.get(where.partition("/")[2], "0"):
            yield f"{_worded(where)} {value}"


def _worded(where: str) -> str:
    queues, slash, name = where.partition("/")
    return f"{name} of {queues}" if slash else where
