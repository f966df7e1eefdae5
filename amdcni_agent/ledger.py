"""What the agent says of itself and of its calls, to the reporting process and to systemd."""

from collections.abc import Mapping
from typing import Any

import attrs

from amdcni.core.condition import Condition
from amdcni.core.errors import TryAgainLater
from amdcni.core.request import LogLevel, Mover
from amdcni.core.spec import Verb
from amdcni.log import Log
from amdcni_agent.events import messages_of
from amdcni_agent.happenings import find_happened
from amdcni_agent.health import HEARTBEAT_S
from amdcni_agent.messages import (
    DROPPED,
    FELL_BACK,
    OK,
    AgentState,
    Attachments,
    CallEnded,
    outcome_of,
)
from amdcni_agent.notify import Notifier
from amdcni_agent.reports import Reporter
from amdcni_shim.edge import code_of


@attrs.frozen
class Doing:
    """What the agent is doing, as it is reported."""

    is_serving: bool = False
    idle_workers: int = 0
    busy_workers: int = 0
    waiting_calls: int = 0

    def __str__(self) -> str:
        role = "serving" if self.is_serving else "not serving"
        return (
            f"{role}; {self.busy_workers} of {self.busy_workers + self.idle_workers} workers at "
            f"work, {self.waiting_calls} calls waiting"
        )


@attrs.define
class _Times:
    came_s: float
    begun_s: float | None = None


class Ledger:
    """Follows each call from its arrival to its end; times are of `time.monotonic`."""

    def __init__(self, log: Log, reporter: Reporter, notifier: Notifier, version: str) -> None:
        self._log = log
        self.begun_calls = 0
        self._reporter = reporter
        self._notifier = notifier
        self._version = version
        self._times: dict[int, _Times] = {}
        self._needs: set[tuple[str, str]] = set()
        self._doing: Doing | None = None
        self._next_state_s = 0.0
        self._next_alive_s = 0.0
        self._next_start_s = 0.0

    # ---- calls

    def came(self, call: int, now_s: float) -> None:
        """A call has been accepted."""
        self._times[call] = _Times(now_s)

    def begun(self, call: int, now_s: float) -> None:
        """A worker has been told to begin it."""
        self.begun_calls += 1
        self._times[call].begun_s = now_s

    def answered(self, call: int, report: Mapping[str, Any], now_s: float) -> None:
        """A worker has its answer."""
        outcome = OK if report["status"] == 0 else outcome_of(report["code"])
        verb = None if report["verb"] is None else Verb(report["verb"])
        mover = None if report["mover"] is None else Mover(report["mover"])
        self._end(call, outcome, now_s, verb=verb, mover=mover)
        for message in messages_of(report):
            self._reporter.send(message)

    def refused(self) -> None:
        """A call was not accepted, because too many wait: the client is told to try again."""
        outcome = outcome_of(code_of(TryAgainLater("")))
        self._reporter.send(CallEnded(None, None, outcome, lasted_s=None, queued_s=0.0))

    def fell_back(self, call: int, now_s: float) -> None:
        """The client has to do the work itself."""
        self._end(call, FELL_BACK, now_s)

    def dropped(self, call: int, now_s: float) -> None:
        """The client has left before it had an answer."""
        self._end(call, DROPPED, now_s)

    def _end(
        self,
        call: int,
        outcome: str,
        now_s: float,
        verb: Verb | None = None,
        mover: Mover | None = None,
    ) -> None:
        times = self._times.pop(call, None)
        if times is None:
            return
        begun_s = times.begun_s
        self._reporter.send(
            CallEnded(
                verb,
                mover,
                outcome,
                lasted_s=None if begun_s is None else max(0.0, now_s - begun_s),
                queued_s=max(0.0, (now_s if begun_s is None else begun_s) - times.came_s),
            )
        )

    # ---- looks, and the agent itself

    def looked(self, report: Mapping[str, Any]) -> None:
        """A worker has looked at all attachments; what needs attention is logged once."""
        needs = {(need["device"], need["found"]): need for need in report["needs"]}
        for each in needs.keys() - self._needs:
            self._log(LogLevel.WARNING, "needs-attention", **needs[each])
            happened = find_happened("needs-attention", needs[each])
            if happened is not None:
                self._reporter.send(happened)
        self._needs = set(needs)
        if report["look"] is not None:
            found = {Condition(name): number for name, number in report["look"].items()}
            self._reporter.send(Attachments(found, report["damaged"]))
        for message in messages_of(report):
            self._reporter.send(message)

    def serving(self, doing: Doing) -> None:
        """The agent serves from now on, or again."""
        self._notifier.ready(str(doing))
        self._next_state_s = 0.0

    def ending(self, doing: Doing) -> None:
        """The agent is ending."""
        self._notifier.stopping(str(doing))
        self._next_state_s = 0.0

    def say(self, doing: Doing, now_s: float) -> None:
        """Say what the agent is doing if that has changed or is due, and that it is alive."""
        if doing != self._doing or now_s >= self._next_state_s:
            if now_s >= self._next_start_s and self._reporter.died():
                # Not at every call, if it ends at once.
                self._next_start_s = now_s + HEARTBEAT_S
                self._reporter.start()
            self._reporter.send(AgentState(version=self._version, **attrs.asdict(doing)))
            if now_s >= self._next_state_s:
                self._notifier.status(str(doing))
            self._doing = doing
            self._next_state_s = now_s + HEARTBEAT_S
        if self._notifier.watchdog_s is not None and now_s >= self._next_alive_s:
            self._notifier.alive()
            self._next_alive_s = now_s + self._notifier.watchdog_s

    def next_time_s(self) -> float:
        """When `say` is due again even if nothing changes."""
        if self._notifier.watchdog_s is None:
            return self._next_state_s
        return min(self._next_state_s, self._next_alive_s)
