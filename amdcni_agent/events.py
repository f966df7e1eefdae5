"""What workers say about events, and what becomes of it for the reporting process."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import attrs
import cattrs

from amdcni.core.condition import Condition
from amdcni_agent.happenings import Happened, find_happened
from amdcni_agent.messages import Healed, Message, NotHealed, NotRestored, Reattached, What

Event = tuple[str, str]
"""The name of an event, and the one of its facts that is counted apart, empty if there is none."""

MOST_EVENTS: Final = 200
"""A worker reports no more of one call: nobody needs them, and a report has to be small."""

MOST_HAPPENED: Final = 32
"""The same, for what becomes a Kubernetes event."""


@attrs.define
class Heard:
    """What a worker has heard of one call, or of a look."""

    events: list[Event] = attrs.field(factory=list)
    happened: list[Happened] = attrs.field(factory=list)

    def __call__(self, event: str, facts: Mapping[str, object]) -> None:
        """Hear an event."""
        self.events.append(event_of(event, facts))
        happened = find_happened(event, facts)
        if happened is not None:
            self.happened.append(happened)

    @property
    def report(self) -> dict[str, Any]:
        """What the main process is told of it."""
        return {
            "events": self.events[:MOST_EVENTS],
            "happened": [cattrs.unstructure(each) for each in self.happened[:MOST_HAPPENED]],
        }


def event_of(name: str, facts: Mapping[str, object]) -> Event:
    """The event with these facts, as a worker reports it."""
    return name, str(facts.get("found") or facts.get("aspect") or "")


def messages_of(report: Mapping[str, Any]) -> Iterator[Message]:
    """What the reporting process is told of what a worker has heard; most is only in the log."""
    yield from _counted(map(tuple, report["events"]))
    for each in report["happened"]:
        yield cattrs.structure(each, Happened)


def _counted(events: Iterable[Event]) -> Iterator[Message]:
    for name, fact in events:
        match name:
            case "healed":
                with suppress(ValueError):
                    yield Healed(Condition(fact))
            case "outdated":
                yield Healed(Condition.OUTDATED)
            case "destroyed":
                yield Healed(Condition.DESTROYED)
            case "reattached":
                yield Reattached()
            case "not-healed":
                yield NotHealed()
            case "name-taken":
                yield NotRestored(What.NAME)
            case "renumbered":
                yield NotRestored(What.IFINDEX)
            case "rdma-lost" | "rdma-name-taken":
                yield NotRestored(What.RDMA)
            case "not-restored":
                with suppress(ValueError):
                    yield NotRestored(What(fact))
            case _:
                pass
