"""Which Kubernetes event is posted when, as a pure state machine with bounded memory.

As client-go does it, an event that happens again is counted in the one that is there, and there is
a limit for each object; it does not combine similar events, since each names another NIC::

    outbox = Outbox("node-1")
    outbox.happened(something, now)
    while (request := outbox.next(now)) is not None:
        complaint = outbox.answered(answer_to(request), now)
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, assert_never

import attrs

from amdcni_agent.happenings import Happened, Pod
from amdcni_agent.kube_events import (
    Answer,
    Event,
    Exists,
    Forbidden,
    Gone,
    Later,
    Posted,
    Refused,
    Told,
    changed,
    created,
    events_of,
    name_of,
)

K = TypeVar("K")
V = TypeVar("V")


@attrs.frozen
class Moment:
    """A moment by a clock that only goes forward, and by the calendar."""

    steady_s: float
    unix_s: float


@attrs.frozen
class Limits:
    """How much is posted, and kept.

    Each object may have `object_burst` events at once, and one more every `object_refill_s`; the
    API server gets `burst` requests at once, and one more every `refill_s`.  At most `waiting`
    events wait for it, and so many are `known`, to be counted if they happen again.  After failures
    it is left alone for `retry_s`, then ever longer, up to `most_retry_s`; and for `forbidden_s` a
    namespace in which this agent may not post.
    """

    object_burst: int = 25
    object_refill_s: float = 300.0
    burst: int = 50
    refill_s: float = 1.0
    waiting: int = 200
    known: int = 500
    retry_s: float = 1.0
    most_retry_s: float = 300.0
    forbidden_s: float = 600.0


DEFAULT_LIMITS: Final = Limits()


@attrs.frozen
class Request:
    """A request to the API server: the event `told` is new, or else its count has changed."""

    told: Told
    is_new: bool

    @property
    def body(self) -> dict[str, Any]:
        """What is sent, as JSON."""
        return created(self.told) if self.is_new else changed(self.told)


@attrs.define
class _Bucket:
    """Tokens, of which there are at most `burst`, and one more every `refill_s`."""

    burst: int
    refill_s: float
    tokens: float
    at_s: float

    def take(self, now_s: float) -> bool:
        """Take a token, if there is one."""
        gained = max(0.0, now_s - self.at_s) / self.refill_s
        self.tokens, self.at_s = min(self.burst, self.tokens + gained), now_s
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    @property
    def due_s(self) -> float:
        """When there is a token, as far as is known now."""
        return self.at_s + max(0.0, 1 - self.tokens) * self.refill_s


@attrs.define
class _Latest(Generic[K, V]):
    """A mapping that keeps what was set last: `most` entries."""

    most: int
    entries: "OrderedDict[K, V]" = attrs.field(factory=OrderedDict)

    def find(self, key: K) -> V | None:
        return self.entries.get(key)

    def set(self, key: K, value: V) -> None:
        self.entries[key] = value
        self.entries.move_to_end(key)
        if len(self.entries) > self.most:
            self.entries.popitem(last=False)

    def forget(self, key: K) -> None:
        self.entries.pop(key, None)


_Place = tuple[str, bool]
"""A namespace, and whether events are new there: either may be forbidden."""


class Outbox:
    """What is to be posted; `posted` requests were taken, `dropped` happenings never will be.

    `jitter` gives numbers from 0 to 1, so that not all nodes ask again at once.
    """

    def __init__(
        self,
        node: str,
        limits: Limits = DEFAULT_LIMITS,
        jitter: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._node = node
        self._limits = limits
        self._jitter = jitter
        self._told: _Latest[Event, Told] = _Latest(limits.known)
        self._there: _Latest[Event, str] = _Latest(limits.known)
        """The names of events that the API server has."""
        self._objects: _Latest[Pod | None, _Bucket] = _Latest(limits.known)
        self._forbidden: _Latest[_Place, float] = _Latest(limits.known)
        self._requests: _Bucket | None = None
        self._waiting: OrderedDict[Event, Told] = OrderedDict()
        self._asked: Request | None = None
        self._not_before_s = -math.inf
        self._failures = 0
        self._complaint: str | None = None
        self._last_number = 0
        self.posted = 0
        self.dropped = 0

    # ---- what has happened

    def happened(self, happened: Happened, now: Moment) -> None:
        """Note something that has happened."""
        for event in events_of(happened):
            told = self._counted(event, happened.words, now)
            if self._may_have(event.pod, now):
                self._waiting[event] = told
                self._drop_oldest()
            elif self._is_new(told):
                self.dropped += 1

    def _may_have(self, pod: Pod | None, now: Moment) -> bool:
        """Whether the object may have one more event."""
        burst, refill_s = self._limits.object_burst, self._limits.object_refill_s
        bucket = self._objects.find(pod) or _Bucket(burst, refill_s, burst, now.steady_s)
        self._objects.set(pod, bucket)
        return bucket.take(now.steady_s)

    def _counted(self, event: Event, words: str, now: Moment) -> Told:
        known = self._told.find(event)
        if known is None:
            name = name_of(event, self._node, self._next_number(now))
            told = Told(event, self._node, name, words, 1, now.unix_s, now.unix_s)
        else:
            told = known.again(words, now.unix_s)
        self._told.set(event, told)
        return told

    def _is_new(self, told: Told) -> bool:
        """Whether the API server does not have the event under its name."""
        return self._there.find(told.event) != told.name

    def _drop_oldest(self) -> None:
        if len(self._waiting) > self._limits.waiting:
            self._waiting.popitem(last=False)
            self.dropped += 1

    def _next_number(self, now: Moment) -> int:
        """The nanosecond, or if that is taken, the next free one."""
        self._last_number = max(self._last_number + 1, int(now.unix_s * 1e9))
        return self._last_number

    # ---- what is to be done

    def next(self, now: Moment) -> Request | None:
        """The request to be made now, whose answer is told before another one is asked for."""
        self._drop_forbidden(now)
        if not self._waiting or now.steady_s < self._not_before_s:
            return None
        burst, refill_s = self._limits.burst, self._limits.refill_s
        self._requests = self._requests or _Bucket(burst, refill_s, burst, now.steady_s)
        if not self._requests.take(now.steady_s):
            self._not_before_s = self._requests.due_s
            return None
        _, told = self._waiting.popitem(last=False)
        self._asked = Request(told, self._is_new(told))
        return self._asked

    def _drop_forbidden(self, now: Moment) -> None:
        while self._waiting:
            event, told = next(iter(self._waiting.items()))
            until_s = self._forbidden.find((event.namespace, self._is_new(told)))
            if until_s is None or until_s <= now.steady_s:
                return
            del self._waiting[event]
            self.dropped += 1

    def next_time_s(self) -> float | None:
        """When `next` has to be asked again even if nothing happens; None if it need not be."""
        return self._not_before_s if self._waiting else None

    # ---- what has become of it

    def answered(self, answer: Answer, now: Moment) -> str | None:
        """Note the answer to the last request; what there is to complain of, if that is new."""
        request, self._asked = self._asked, None
        assert request is not None
        event = request.told.event
        place = (event.namespace, request.is_new)
        if isinstance(answer, Later):
            self._wait_after(answer, request, now)
            return self._new(answer.reason)
        self._failures = 0
        match answer:
            case Posted():
                self._there.set(event, request.told.name)
                self._forbidden.forget(place)
                self._complaint = None
                self.posted += 1
            case Exists():
                # Perhaps with a smaller count, which a patch corrects.
                self._there.set(event, request.told.name)
                self._again_first(request)
            case Gone():
                self._note_absence(request)
            case Forbidden(reason):
                is_new = self._forbidden.find(place) is None
                self._forbidden.set(place, now.steady_s + self._limits.forbidden_s)
                self.dropped += 1
                return reason if is_new else None
            case Refused(reason):
                self.dropped += 1
                return self._new(reason)
            case _:
                assert_never(answer)
        return None

    def _new(self, complaint: str) -> str | None:
        """The complaint, unless it was the last one, too."""
        last, self._complaint = self._complaint, complaint
        return None if complaint == last else complaint

    def _note_absence(self, request: Request) -> None:
        """The event has expired, and is made anew; or its namespace has gone, and with it all."""
        event = request.told.event
        self._there.forget(event)
        if request.is_new:
            self._told.forget(event)
            self.dropped += 1
        else:
            self._again_first(request)

    def _wait_after(self, answer: Later, request: Request, now: Moment) -> None:
        limits = self._limits
        wait_s = min(limits.most_retry_s, limits.retry_s * 2.0 ** min(self._failures, 30))
        wait_s = max(wait_s, min(answer.after_s or 0.0, limits.most_retry_s))
        self._failures += 1
        self._not_before_s = now.steady_s + wait_s * (1 + self._jitter() / 2)
        self._again_first(request)

    def _again_first(self, request: Request) -> None:
        """Let a request be made again, unless more of it waits already."""
        event = request.told.event
        self._waiting.setdefault(event, request.told)
        self._waiting.move_to_end(event, last=False)
        self._drop_oldest()
