"""Which call goes to which worker, as a pure state machine.

The agent says what has happened (a call has come, a worker has died) and carries out what `next`
asks for, until that is None.  A call is a number that the agent gives to a connection, and a worker
is the number of its process; times are in seconds, of any clock that only goes forward.
"""

from collections import OrderedDict
from typing import Final

import attrs


@attrs.frozen
class Limits:
    """How many workers there are, in idle times and at most, and how many calls may wait.

    A worker that has been idle for `idle_s` seconds ends, if it is not needed in idle times.
    """

    spare_workers: int = 2
    most_workers: int = 16
    most_waiting: int = 256
    idle_s: float = 30.0


DEFAULT_LIMITS: Final = Limits()


@attrs.frozen
class Begin:
    """The worker begins the call."""

    worker: int
    call: int


@attrs.frozen
class Look:
    """The worker begins a look at all attachments."""

    worker: int


@attrs.frozen
class Refuse:
    """The client of a waiting call is told to do the work itself."""

    call: int


@attrs.frozen
class Start:
    """A worker is started; the agent says its number by `started`."""


@attrs.frozen
class Retire:
    """An idle worker is told to end."""

    worker: int


Action = Begin | Look | Refuse | Start | Retire


@attrs.define
class Schedule:
    """Calls that wait, workers that are idle or at work; `next` says what is to be done now.

    Every call that is accepted is begun once, refused once, or dropped because its client has left.
    A look, of which at most one is at work, is begun when no call waits for the worker.
    """

    limits: Limits = DEFAULT_LIMITS
    _waiting: "OrderedDict[int, float]" = attrs.field(factory=OrderedDict, init=False)
    _working: dict[int, int | None] = attrs.field(factory=dict, init=False)
    _idle: "OrderedDict[int, float]" = attrs.field(factory=OrderedDict, init=False)
    _tidying: set[int] = attrs.field(factory=set, init=False)
    _leaving: set[int] = attrs.field(factory=set, init=False)
    _look_wanted: bool = attrs.field(default=False, init=False)
    _ending: bool = attrs.field(default=False, init=False)

    # ---- what has happened

    def came(self, call: int, until_s: float) -> bool:
        """A call that may wait for a worker until `until_s`; False if too many are waiting."""
        if len(self._waiting) >= self.limits.most_waiting:
            return False
        self._waiting[call] = until_s
        return True

    def left(self, call: int) -> int | None:
        """The client of a call has left: the worker that has to end what it is doing, if any."""
        if self._waiting.pop(call, None) is not None:
            return None
        for worker, at in self._working.items():
            if at == call and worker not in self._leaving:
                self._leaving.add(worker)
                return worker
        return None

    def want_look(self) -> None:
        """A look at all attachments is due."""
        self._look_wanted = True

    def started(self, worker: int, now_s: float) -> None:
        """A worker has been started."""
        self._idle[worker] = now_s

    def answered(self, worker: int) -> int | None:
        """A worker has the answer to its call, which is returned, and only tidies up after it."""
        call = self._working.pop(worker, None)
        if call is not None:
            self._tidying.add(worker)
        return call

    def finished(self, worker: int, now_s: float) -> int | None:
        """A worker has done its work: the call if it was not answered, None for a look."""
        if worker not in self._working and worker not in self._tidying:
            return None
        self._tidying.discard(worker)
        call = self._working.pop(worker, None)
        if worker not in self._leaving:
            self._idle[worker] = now_s
        return call

    def is_leaving(self, worker: int) -> bool:
        """Whether the worker gets no further work."""
        return worker in self._leaving

    def died(self, worker: int) -> int | None:
        """A worker has ended: the call that it was serving, if any."""
        self._idle.pop(worker, None)
        self._tidying.discard(worker)
        self._leaving.discard(worker)
        return self._working.pop(worker, None)

    def end(self) -> None:
        """The agent is to end: what waits is refused, what is at work goes on."""
        self._ending = True
        self._look_wanted = False

    # ---- what is to be done

    def next(self, now_s: float) -> Action | None:
        """What is to be done now, one thing at a time; None if nothing is."""
        for call, until_s in self._waiting.items():
            if self._ending or now_s >= until_s:
                del self._waiting[call]
                return Refuse(call)
        if self._idle and (self._waiting or self._may_look):
            # The one that was idle last: the others can end.
            worker, _ = self._idle.popitem()
            if self._waiting:
                call, _ = self._waiting.popitem(last=False)
                self._working[worker] = call
                return Begin(worker, call)
            self._look_wanted = False
            self._working[worker] = None
            return Look(worker)
        if self._ending:
            return self._retire(0.0, now_s, keep=0)
        wanted = self.limits.most_workers if self._waiting else self.limits.spare_workers
        if self._workers < wanted:
            return Start()
        return self._retire(self.limits.idle_s, now_s, keep=self.limits.spare_workers)

    @property
    def _may_look(self) -> bool:
        return self._look_wanted and None not in self._working.values()

    def _retire(self, after_s: float, now_s: float, *, keep: int) -> Retire | None:
        if self._workers <= keep:
            return None
        for worker, since_s in self._idle.items():
            if now_s >= since_s + after_s:
                del self._idle[worker]
                self._leaving.add(worker)
                return Retire(worker)
        return None

    @property
    def _workers(self) -> int:
        return len(self._idle) + self.working

    def next_time_s(self) -> float | None:
        """When `next` has to be asked again even if nothing happens; None if it need not be."""
        times = list(self._waiting.values())
        if self._workers > self.limits.spare_workers:
            times += [since_s + self.limits.idle_s for since_s in self._idle.values()]
        return min(times, default=None)

    # ---- what is to be shown

    @property
    def is_over(self) -> bool:
        """Whether nothing is at work or waiting any more, for an agent that is to end."""
        return self._ending and not self.working and not self._waiting

    @property
    def idle(self) -> int:
        """How many workers are idle."""
        return len(self._idle)

    @property
    def working(self) -> int:
        """How many workers are at work, or tidying up after it."""
        return len(self._working) + len(self._tidying)

    @property
    def waiting(self) -> int:
        """How many calls are waiting for a worker."""
        return len(self._waiting)
