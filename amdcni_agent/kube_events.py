"""Kubernetes events as the API server wants them (core/v1), and what it answers: pure."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import attrs

from amdcni_agent.happenings import Happened, Happening, Pod

COMPONENT: Final = "amdcni"
_NODE_NAMESPACE: Final = "default"
"""Where events about what has no namespace are."""

_MAX_NAME: Final = 253


class Severity(StrEnum):
    """The type of an event: whether somebody may have to act."""

    NORMAL = "Normal"
    WARNING = "Warning"


@attrs.frozen
class About:
    """How a happening is posted: on the pod if it is known, and with `on_node` on the node, too.

    What is not about a known pod is always posted on the node.  With `is_retried`, it happens again
    and again with changing words, which then are those of the last time.
    """

    reason: str
    severity: Severity = Severity.WARNING
    on_node: bool = True
    is_retried: bool = False


ABOUT: Final[Mapping[Happening, About]] = {
    Happening.REFUSED: About("NICAttachRefused", on_node=False, is_retried=True),
    Happening.HEALED: About("NICHealed", Severity.NORMAL),
    Happening.REATTACHED: About("NICReattached"),
    Happening.NOT_HEALED: About("NICNotHealed", is_retried=True),
    Happening.LOST: About("NICLost"),
    Happening.UNPLUGGED: About("NICUnplugged"),
    Happening.DESTROYED: About("NICDestroyed"),
    Happening.NAME_TAKEN: About("NICNameTaken"),
    Happening.NOT_RESTORED: About("NICNotRestored"),
    Happening.NOT_SAVED: About("NICNotSaved"),
    Happening.SALVAGED: About("NICSalvaged"),
    Happening.RECORD_DAMAGED: About("NICRecordDamaged"),
}


@attrs.frozen
class Event:
    """What an event says, on one object: the pod or, if that is None, the node.

    Two that are equal are one event that has happened twice.  `subject` and `words` tell apart what
    is otherwise alike; `words` is empty if they change all the time.
    """

    what: Happening
    pod: Pod | None
    subject: str
    words: str

    @property
    def namespace(self) -> str:
        """The namespace in which the event is."""
        return _NODE_NAMESPACE if self.pod is None else self.pod.namespace


def events_of(happened: Happened) -> Iterator[Event]:
    """The events that tell of something that has happened."""
    about = ABOUT[happened.what]
    words = "" if about.is_retried else happened.words
    if happened.pod is not None:
        yield Event(happened.what, happened.pod, happened.subject, words)
    if happened.pod is None or about.on_node:
        yield Event(happened.what, None, happened.subject, words)


@attrs.frozen
class Told:
    """An event as it is told now: how often and when it has happened, times being Unix time."""

    event: Event
    node: str
    name: str
    words: str
    count: int
    first_s: float
    last_s: float

    def again(self, words: str, now_s: float) -> "Told":
        """The event once it has happened again."""
        return attrs.evolve(self, words=words, count=self.count + 1, last_s=now_s)


def name_of(event: Event, node: str, number: int) -> str:
    """The name of a new event: that of its object, as client-go does, with a unique number."""
    name = node if event.pod is None else event.pod.name
    suffix = f".{number:x}"
    return name[: _MAX_NAME - len(suffix)].rstrip("-.") + suffix


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(int(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _object_of(event: Event, node: str) -> dict[str, str]:
    """What the event is about.

    The UID of a node is its name, as the kubelet has it: `kubectl describe node` looks for both.
    """
    if event.pod is None:
        return {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node}
    pod = event.pod
    known = {"namespace": pod.namespace, "name": pod.name}
    uid = {} if pod.uid is None else {"uid": pod.uid}
    return {"apiVersion": "v1", "kind": "Pod", **known, **uid}


def created(told: Told) -> dict[str, Any]:
    """The object that is posted for a new event."""
    about = ABOUT[told.event.what]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": told.name, "namespace": told.event.namespace},
        "involvedObject": _object_of(told.event, told.node),
        "type": about.severity.value,
        "reason": about.reason,
        "firstTimestamp": _time(told.first_s),
        "source": {"component": COMPONENT, "host": told.node},
        "reportingComponent": COMPONENT,
        "reportingInstance": told.node[:128],
        **changed(told),
    }


def changed(told: Told) -> dict[str, Any]:
    """What is patched in an event that has happened again."""
    return {"message": told.words, "count": told.count, "lastTimestamp": _time(told.last_s)}


# ---- what the API server answers


@attrs.frozen
class Posted:
    """It has the event now."""


@attrs.frozen
class Exists:
    """It has an event of this name: this very one, if the answer to the first try got lost."""


@attrs.frozen
class Gone:
    """The namespace or the event is not there any more."""


@attrs.frozen
class Forbidden:
    """This agent may not do that in this namespace."""

    reason: str


@attrs.frozen
class Refused:
    """It does not take this event, and never will."""

    reason: str


@attrs.frozen
class Later:
    """It cannot be asked now; `after_s` is what it wants to be waited for, if it said that."""

    reason: str
    after_s: float | None = None


Answer = Posted | Exists | Gone | Forbidden | Refused | Later

_SUCCESS: Final = range(200, 300)
_MOST_WORDS: Final = 300


def answer_of(status: int, retry_after: str | None, body: bytes) -> Answer:
    """What an HTTP response of the API server means; `retry_after` is the header, in seconds."""
    said = _said_in(body)
    reason = f"{status} {said.get('message') or ''}".strip()[:_MOST_WORDS]
    match status:
        case _ if status in _SUCCESS:
            return Posted()
        case 404 | 410:
            return Gone()
        case 409 if said.get("reason") == "AlreadyExists":
            return Exists()
        case 403:
            return Gone() if _is_terminating(said) else Forbidden(reason)
        case 400 | 405 | 406 | 413 | 415 | 422:
            return Refused(reason)
        case _:
            wanted = retry_after or ""
            return Later(reason, float(wanted) if wanted.isdecimal() else None)


def _said_in(body: bytes) -> dict[str, Any]:
    """The `Status` object in a response, empty if there is none."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _is_terminating(said: Mapping[str, Any]) -> bool:
    """Whether something is forbidden because its namespace is being deleted."""
    details = said.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    found = [each for each in causes if isinstance(each, dict)] if isinstance(causes, list) else []
    return any(cause.get("reason") == "NamespaceTerminating" for cause in found)
