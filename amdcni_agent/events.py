"""What workers say about events, and what becomes of it for the reporting process."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from amdcni.core.condition import Condition
from amdcni_agent.messages import Healed, Message, NotHealed, NotRestored, Reattached, What

Event = tuple[str, str]
"""The name of an event, and the one of its facts that is counted apart, empty if there is none."""

MOST_EVENTS = 200
"""A worker reports no more of one call: nobody needs them, and a report has to be small."""


def event_of(name: str, facts: Mapping[str, object]) -> Event:
    """The event with these facts, as a worker reports it."""
    return name, str(facts.get("found") or facts.get("aspect") or "")


def messages_of(events: Iterable[Event]) -> Iterator[Message]:
    """What the reporting process is told of events; most are only in the log."""
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
            case "not-restored":
                with suppress(ValueError):
                    yield NotRestored(What(fact))
            case _:
                pass
