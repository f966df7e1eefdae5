"""What the main process tells the reporting process, and how it is written: pure.

What is counted has no names of pods, namespaces or devices, because each value of a label is a
time series of its own; the log has them, and so has what becomes a Kubernetes event.
"""

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import attrs
from cattrs import BaseValidationError, Converter
from cattrs.strategies import configure_tagged_union

from amdcni.core.condition import Condition
from amdcni.core.request import Mover
from amdcni.core.spec import Verb
from amdcni_agent.happenings import Happened
from amdcni_shim.edge import CODES, INTERNAL

OK: Final = "ok"
"""The call has succeeded."""

FELL_BACK: Final = "fell-back"
"""The client was told to do the work itself, or has to, because its worker has died."""

DROPPED: Final = "dropped"
"""The client had gone before it had an answer."""

OTHER_ERROR: Final = "error-other"
"""The call has failed with a code that is not ours: that of another plugin."""

OUTCOMES: Final = frozenset(
    {OK, FELL_BACK, DROPPED, OTHER_ERROR, *(f"error-{n}" for n in {*CODES.values(), INTERNAL})}
)
"""Every outcome of a call."""

MAX_BYTES: Final = 4096
"""No message is larger."""


def outcome_of(code: int) -> str:
    """The outcome of a call that has failed with a CNI error code."""
    outcome = f"error-{code}"
    return outcome if outcome in OUTCOMES else OTHER_ERROR


class What(StrEnum):
    """What of a netdev could not be restored.

    Its name, its ifindex, its RDMA devices, its policy rules, the interrupts of its device, or a
    module of `amdcni.core.aspects`.
    """

    NAME = "name"
    IFINDEX = "ifindex"
    RDMA = "rdma"
    TOKEN = "token"
    ALTNAMES = "altnames"
    LINK = "link"
    ADDRESSES = "addresses"
    NEIGHBOURS = "neighbours"
    PROXY_NEIGHBOURS = "proxy_neighbours"
    MULTICAST = "multicast"
    NEXTHOPS = "nexthops"
    ROUTES = "routes"
    TRAFFIC_CONTROL = "traffic_control"
    ETHTOOL = "ethtool"
    QUEUES = "queues"
    INTERRUPTS = "interrupts"
    SYSCTLS = "sysctls"
    RULES = "rules"


_DURATION: Final = (attrs.validators.ge(0.0), attrs.validators.lt(math.inf))
_COUNT: Final = attrs.validators.ge(0)


@attrs.frozen
class CallEnded:
    """A call has ended; its verb and mover are None if they are not known or it has none.

    `lasted_s` is how long a worker was busy with it, None if none began; `queued_s` is how long it
    had waited before.
    """

    verb: Verb | None
    mover: Mover | None
    outcome: str = attrs.field(validator=attrs.validators.in_(OUTCOMES))
    lasted_s: float | None = attrs.field(validator=attrs.validators.optional(_DURATION))
    queued_s: float = attrs.field(validator=_DURATION)


@attrs.frozen
class Attachments:
    """How many attachments are in each condition; in one that is not listed, none are.

    `damaged` is how many records were found damaged and are still there, set aside.
    """

    by_condition: Mapping[Condition, int] = attrs.field(
        validator=attrs.validators.deep_mapping(value_validator=_COUNT)
    )
    damaged: int = attrs.field(default=0, validator=_COUNT)


@attrs.frozen
class Healed:
    """An attachment was healed; `condition` is what it was found in."""

    condition: Condition


@attrs.frozen
class NotHealed:
    """An attempt to heal an attachment has failed."""


@attrs.frozen
class NotRestored:
    """A netdev is on the host again, but not all of it is as it was."""

    what: What


@attrs.frozen
class Reattached:
    """A device that had come back bare was put back into its living pod."""


@attrs.frozen
class AgentState:
    """What the main process is doing; it says so at least every `health.HEARTBEAT_S` seconds.

    `is_serving` is whether this agent holds the lock, answers on the socket, and is not ending.
    """

    is_serving: bool
    version: str
    idle_workers: int = attrs.field(validator=_COUNT)
    busy_workers: int = attrs.field(validator=_COUNT)
    waiting_calls: int = attrs.field(validator=_COUNT)


@attrs.frozen
class Lost:
    """How many messages could not be sent since the last one of this kind."""

    count: int = attrs.field(validator=_COUNT)


Counted = (
    CallEnded | Attachments | Healed | NotHealed | NotRestored | Reattached | AgentState | Lost
)
"""What becomes metrics."""

Message = Counted | Happened

_CONVERTER: Final = Converter()
configure_tagged_union(Message, _CONVERTER, tag_name="kind")


class NotAMessage(ValueError):
    """These bytes are no message."""


def encode(message: Message) -> bytes:
    """The message as compact JSON."""
    fields = _CONVERTER.unstructure(message, unstructure_as=Message)
    return json.dumps(fields, separators=(",", ":")).encode()


def parse_message(data: bytes) -> Message:
    """The message that `encode` has written.

    Raises: NotAMessage.
    """
    try:
        message: Message = _CONVERTER.structure(json.loads(data), Message)  # type: ignore[arg-type]
    except (ValueError, TypeError, KeyError, RecursionError, BaseValidationError) as error:
        raise NotAMessage(f"{data[:80]!r} is no message") from error
    return message
