"""The main process of the agent: it accepts calls, gives them to workers, and watches the host.

It has one thread and never waits for anything but events.  What is to be done when is decided by
`amdcni_agent.schedule` and `amdcni_agent.watch`.
"""

import gc
import json
import os
import select
import signal
import socket
import time
from contextlib import suppress
from typing import Any, Final, assert_never

from amdcni import __version__
from amdcni.core.errors import StateFailure, TryAgainLater
from amdcni.core.request import LogLevel
from amdcni.effects import netns
from amdcni.log import Log
from amdcni_agent import protocol, worker
from amdcni_agent.clients import Clients
from amdcni_agent.door import Door
from amdcni_agent.ledger import Doing, Ledger
from amdcni_agent.notify import Notifier
from amdcni_agent.protocol import Kind
from amdcni_agent.reports import Reporter
from amdcni_agent.schedule import (
    DEFAULT_LIMITS,
    Action,
    Begin,
    Kill,
    Limits,
    Look,
    Refuse,
    Retire,
    Schedule,
    Start,
)
from amdcni_agent.watch import Links, Pace
from amdcni_agent.workers import Workers
from amdcni_shim import client
from amdcni_shim.edge import error_answer

_CHECK_DOOR_S: Final = 10.0
_REOPEN_S: Final = 1.0
"""How long an agent that is short of descriptors accepts nothing."""
_STANDBY_S: Final = 0.2
"""How often an agent that waits for its turn looks whether the other one has ended."""
_MOST_EVENTS: Final = 64


class Agent:
    """One agent, from its start to its end."""

    def __init__(
        self,
        door: Door,
        log: Log,
        reporter: Reporter,
        notifier: Notifier,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._door = door
        self._log = log
        self._reporter = reporter
        self._ledger = Ledger(log, reporter, notifier, __version__)
        self._schedule = Schedule(limits)
        self._epoll = select.epoll()
        self._workers = Workers(self._epoll, log, reporter.forget)
        self._clients = Clients(self._epoll)
        self._links: Links | None = None
        self._pace = Pace(time.monotonic())
        self._ending = False
        self._some_are_ending = False
        self._check_door_s = 0.0
        self._netns = _netns_of_this_process()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)

    # ---- from start to end

    def run(self) -> None:
        """Serve until a SIGTERM, SIGINT or SIGHUP has come and all calls at work have ended.

        Raises: StateFailure, saying why, if it cannot serve.
        """
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._end)
        # Whoever has started the agent may have ignored it; then nobody can be waited for.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._epoll.register(self._woken, select.EPOLLIN)
        self._reporter.start()
        self._ledger.say(self._doing(), time.monotonic())
        if not self._wait_for_lock():
            self._reporter.stop()
            return
        self._open_door()
        self._links = Links()
        self._epoll.register(self._links.socket, select.EPOLLIN)
        self._ledger.serving(self._doing())
        self._log(LogLevel.INFO, "serving", socket=str(self._door.path), pid=os.getpid())
        while not self._schedule.is_over:
            self._act()
            self._ledger.say(self._doing(), time.monotonic())
            self._wait()
        self._reporter.stop()
        self._workers.close()
        self._log(LogLevel.INFO, "ended", pid=os.getpid())

    def _end(self, *_: object) -> None:
        self._ending = True

    def _wait_for_lock(self) -> bool:
        """Wait while another agent serves; False if this one is to end before that."""
        waits = False
        while not self._door.try_lock():
            if not waits:
                self._log(
                    LogLevel.INFO, "standing-by", socket=str(self._door.path), pid=os.getpid()
                )
            waits = True
            self._ledger.say(self._doing(), time.monotonic())
            time.sleep(_STANDBY_S)
            if self._ending:
                return False
        return True

    def _open_door(self) -> None:
        self._epoll.register(self._door.open(), select.EPOLLIN)
        self._check_door_s = time.monotonic() + _CHECK_DOOR_S

    def _close_door(self) -> None:
        if self._door.socket is not None:
            self._epoll.unregister(self._door.socket)
        self._door.close()

    # ---- what is to be done

    def _act(self) -> None:
        """Do everything that is to be done now."""
        now_s = time.monotonic()
        if self._ending and not self._schedule.is_ending:
            self._stop_accepting()
        if now_s >= self._check_door_s and not self._ending:
            self._check_door(now_s)
        self._clients.hang_up_on_the_silent(now_s)
        if now_s >= self._pace.due_s and not self._ending:
            gc.collect()
            self._pace.begun(now_s)
            self._schedule.want_look()
        while (action := self._schedule.next(now_s)) is not None:
            self._carry_out(action, now_s)
        self._some_are_ending = self._workers.reap()

    def _carry_out(self, action: Action, now_s: float) -> None:
        match action:
            case Start():
                number = self._workers.start()
                if number is None:
                    self._schedule.not_started(now_s)
                else:
                    self._schedule.started(number, now_s)
            case Look(number):
                self._workers.order(number, worker.LOOK)
            case Begin(number, call):
                self._ledger.begun(call, now_s)
                self._workers.order(number, worker.CALL, self._clients.descriptor_of(call))
            case Refuse(call):
                self._ledger.fell_back(call, now_s)
                self._clients.send_away(call)
            case Retire(number):
                self._workers.retire(number)
            case Kill(number):
                self._log(LogLevel.WARNING, "worker-killed", pid=number)
                self._workers.send_signal(number, signal.SIGKILL)
            case _:
                assert_never(action)

    def _stop_accepting(self) -> None:
        """Let another agent serve from now on, and end once the calls at work have ended."""
        if self._door.socket is not None:
            self._accept()
        self._close_door()
        self._door.unlock()
        self._schedule.end()
        self._ledger.ending(self._doing())
        self._log(LogLevel.INFO, "ending", at_work=self._schedule.working)

    def _check_door(self, now_s: float) -> None:
        """Bind anew if the path does not lead to our socket any more, unless another one serves."""
        self._check_door_s = now_s + _CHECK_DOOR_S
        if self._door.is_ours():
            return
        if self._door.socket is not None:
            self._log(LogLevel.WARNING, "socket-lost", socket=str(self._door.path))
            self._close_door()
        try:
            if self._door.is_locked() or self._door.try_lock():
                self._open_door()
            else:
                self._check_door_s = now_s + _STANDBY_S
        except StateFailure as failure:
            self._log(LogLevel.WARNING, "socket-not-opened", reason=str(failure))

    # ---- what has happened

    def _wait(self) -> None:
        """Wait for events, and note what they say."""
        now_s = time.monotonic()
        times = [self._ledger.next_time_s(), self._schedule.next_time_s()]
        times.append(self._clients.next_time_s())
        if not self._ending:
            times += [self._check_door_s, self._pace.due_s]
        until_s = min(each for each in times if each is not None)
        timeout_s = max(0.0, until_s - now_s)
        if self._some_are_ending:
            timeout_s = min(timeout_s, _STANDBY_S)
        door = None if self._door.socket is None else self._door.socket.fileno()
        # The door comes last: a new connection may get the number of one that has just been closed.
        for descriptor, events in sorted(
            self._epoll.poll(timeout_s, _MOST_EVENTS), key=lambda event: event[0] == door
        ):
            self._note(descriptor, events)

    def _note(self, descriptor: int, events: int) -> None:
        if descriptor == self._woken.fileno():
            with suppress(BlockingIOError):
                self._woken.recv(4096)
        elif self._door.socket is not None and descriptor == self._door.socket.fileno():
            self._accept()
        elif self._links is not None and descriptor == self._links.socket.fileno():
            if self._links.has_news():
                self._pace.news(time.monotonic(), at_work=self._schedule.working > 0)
        elif descriptor in self._clients:
            self._note_client(descriptor, events)
        elif (number := self._workers.find(descriptor)) is not None:
            self._note_worker(number)

    def _accept(self) -> None:
        """Take every connection that has come."""
        assert self._door.socket is not None
        try:
            self._clients.accept_all(self._door.socket)
        except OSError as error:
            # No descriptor is left.  Who connects now learns at once that nobody serves.
            self._log(LogLevel.WARNING, "not-accepting", reason=error.strerror)
            self._close_door()
            self._check_door_s = time.monotonic() + _REOPEN_S

    def _note_client(self, number: int, events: int) -> None:
        if self._clients.has_left(number, events):
            self._note_departure(number)
            return
        header, now_s = self._clients.find_header(number), time.monotonic()
        if header is None:
            self._clients.send_away(number)
        elif header.kind is Kind.QUESTION:
            self._clients.end(number, protocol.about(json.dumps(self.about()).encode()))
        elif self._ending or header.netns != self._netns:
            self._clients.send_away(number)
        elif self._schedule.came(number, now_s + header.wait_s):
            self._ledger.came(number, now_s)
            self._clients.accepted(number)
        else:
            self._ledger.refused()
            self._clients.end(number, client.ACCEPTED + _TOO_MANY)

    def _note_departure(self, number: int) -> None:
        """A client has left: what a worker does for it ends, unless the answer is on its way."""
        # What its worker has reported comes first: that may be the answer.
        for each in self._workers.all:
            self._note_worker(each)
        if number not in self._clients:
            return
        now_s = time.monotonic()
        self._ledger.dropped(number, now_s)
        leaving = self._schedule.left(number, now_s)
        if leaving is not None:
            self._workers.send_signal(leaving, signal.SIGTERM)
        self._clients.end(number)

    def _note_worker(self, number: int) -> None:
        """Note all that a worker has reported."""
        for report in self._workers.reports(number):
            if report is None:
                self._note_death(number)
            else:
                self._note_report(number, report, time.monotonic())

    def _note_death(self, number: int) -> None:
        call = self._schedule.died(number)
        if call is not None and call in self._clients:
            self._log(LogLevel.WARNING, "worker-died", pid=number)
            self._ledger.fell_back(call, time.monotonic())
            self._clients.end(call)

    def _note_report(self, number: int, report: dict[str, Any], now_s: float) -> None:
        if "status" in report:
            # The answer is on its way: from now on the client may leave.
            call = self._schedule.answered(number)
            if call is not None:
                self._ledger.answered(call, report, now_s)
                self._clients.end(call)
            self._pace.after_call(now_s)
        elif "idle" in report:
            call = self._schedule.finished(number, now_s)
            if call is not None:
                self._ledger.fell_back(call, now_s)
                self._clients.end(call)
            if report["left_over"]:
                self._log(LogLevel.WARNING, "left-over", pid=number, what=report["left_over"])
            if not report["idle"]:
                self._schedule.died(number)
            elif self._schedule.is_leaving(number):
                self._workers.retire(number)
        else:
            self._ledger.looked(report)
            if report["busy"]:
                self._pace.after_call(now_s)
            if report["again_s"] is not None:
                self._pace.due_at(now_s + report["again_s"])

    def _doing(self) -> Doing:
        schedule = self._schedule
        is_serving = self._door.socket is not None and not self._ending
        return Doing(is_serving, schedule.idle, schedule.working, schedule.waiting)

    def about(self) -> dict[str, Any]:
        """What a question about the agent is answered."""
        schedule = self._schedule
        return {
            "pid": os.getpid(),
            "protocol": client.PROTOCOL,
            "workers": {"idle": schedule.idle, "working": schedule.working},
            "waiting": schedule.waiting,
            "begun": self._ledger.begun_calls,
        }


_TOO_MANY: Final = protocol.end_of(
    1,
    json.dumps(
        error_answer(TryAgainLater("too many calls are waiting for the agent; try again"), b""),
        separators=(",", ":"),
    ).encode()
    + b"\n",
)


def _netns_of_this_process() -> tuple[int, int]:
    own = netns.netns_id(netns.OWN_NETNS)
    return own.dev, own.inode
