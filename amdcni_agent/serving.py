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
import struct
import time
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Final

import attrs

from amdcni.core.errors import StateFailure, TryAgainLater
from amdcni.core.request import LogLevel
from amdcni.effects import netns
from amdcni.log import Log
from amdcni_agent import protocol, worker
from amdcni_agent.door import Door
from amdcni_agent.ledger import Doing, Ledger
from amdcni_agent.notify import Notifier
from amdcni_agent.protocol import Kind
from amdcni_agent.reports import Reporter
from amdcni_agent.schedule import (
    DEFAULT_LIMITS,
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
from amdcni_shim import client
from amdcni_shim.edge import error_answer

_PEER: Final = struct.Struct("=iII")  # struct ucred: PID, UID, GID
_GREETING_S: Final = 5.0
"""How long a client may take to send its header once it is connected."""
_CHECK_DOOR_S: Final = 10.0
_REOPEN_S: Final = 1.0
"""How long an agent that is short of descriptors accepts nothing."""
_STANDBY_S: Final = 0.2
"""How often an agent that waits for its turn looks whether the other one has ended."""
_MOST_EVENTS: Final = 64
_HAS_LEFT: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


@attrs.define
class _Worker:
    """A worker process, and the socket over which it is told what to do."""

    pid: int
    control: socket.socket


@attrs.define
class _Connection:
    """The connection to a client; it is a call once its header has come."""

    socket: socket.socket
    came_s: float
    is_call: bool = False


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
        self._ledger = Ledger(log, reporter, notifier, version("amdcni"))
        self._schedule = Schedule(limits)
        self._epoll = select.epoll()
        self._workers: dict[int, _Worker] = {}
        self._connections: dict[int, _Connection] = {}
        self._dead: set[int] = set()
        self._links: Links | None = None
        self._pace = Pace(time.monotonic())
        self._ending = False
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
        for each in tuple(self._workers.values()):
            each.control.close()
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
        for number, connection in tuple(self._connections.items()):
            if not connection.is_call and now_s >= connection.came_s + _GREETING_S:
                self._hang_up(number)
        if now_s >= self._pace.due_s and not self._ending:
            gc.collect()
            self._pace.begun(now_s)
            self._schedule.want_look()
        while (action := self._schedule.next(now_s)) is not None:
            match action:
                case Start():
                    self._start_worker(now_s)
                case Look(number):
                    self._order(number, worker.LOOK, [])
                case Begin(number, call):
                    self._ledger.begun(call, now_s)
                    self._order(number, worker.CALL, [self._connections[call].socket.fileno()])
                case Refuse(call):
                    self._ledger.fell_back(call, now_s)
                    self._answer(call, client.NOT_MINE)
                    self._hang_up(call)
                case Retire(number):
                    self._workers[number].control.shutdown(socket.SHUT_WR)
                case Kill(number):
                    self._log(LogLevel.WARNING, "worker-killed", pid=number)
                    os.kill(number, signal.SIGKILL)
        for pid in tuple(self._dead):
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                self._dead.discard(pid)

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

    def _start_worker(self, now_s: float) -> None:
        parent = os.getpid()
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pid = os.fork()
        except OSError as error:
            self._log(LogLevel.WARNING, "worker-not-started", reason=error.strerror)
            self._schedule.not_started(now_s)
            return
        if pid == 0:
            signal.set_wakeup_fd(-1)
            self._reporter.forget()
            # Nothing of the agent's may stay open in a worker: neither clients nor other workers.
            keep = theirs.fileno()
            os.closerange(3, keep)
            os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
            worker.be_worker(theirs, parent)
        theirs.close()
        ours.setblocking(False)
        self._workers[pid] = _Worker(pid, ours)
        self._epoll.register(ours, select.EPOLLIN)
        self._schedule.started(pid, now_s)

    def _order(self, number: int, order: bytes, descriptors: list[int]) -> None:
        """Tell a worker what to do; one that has died meanwhile is noticed by its end."""
        with suppress(OSError):
            socket.send_fds(self._workers[number].control, [order], descriptors)

    # ---- what has happened

    def _wait(self) -> None:
        """Wait for events, and note what they say."""
        now_s = time.monotonic()
        times = [self._ledger.next_time_s(), self._schedule.next_time_s()]
        if not self._ending:
            times += [self._check_door_s, self._pace.due_s]
        times += [c.came_s + _GREETING_S for c in self._connections.values() if not c.is_call]
        until_s = min(each for each in times if each is not None)
        timeout_s = max(0.0, until_s - now_s)
        if self._dead:
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
        elif descriptor in self._connections:
            self._note_client(descriptor, events)
        else:
            for each in tuple(self._workers.values()):
                if each.control.fileno() == descriptor:
                    self._note_worker(each)

    def _accept(self) -> None:
        """Take every connection that has come."""
        assert self._door.socket is not None
        while True:
            try:
                opened, _ = self._door.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # No descriptor is left.  Who connects now learns at once that nobody serves.
                self._log(LogLevel.WARNING, "not-accepting", reason=error.strerror)
                self._close_door()
                self._check_door_s = time.monotonic() + _REOPEN_S
                return
            opened.setblocking(False)
            _, uid, _ = _PEER.unpack(
                opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            )
            number = opened.fileno()
            self._connections[number] = _Connection(opened, time.monotonic())
            if uid not in (0, os.geteuid()):
                self._answer(number, client.NOT_MINE)
                self._hang_up(number)
            else:
                self._epoll.register(number, select.EPOLLIN | select.EPOLLRDHUP)

    def _note_client(self, number: int, events: int) -> None:
        connection = self._connections[number]
        if connection.is_call or events & _HAS_LEFT:
            # What its worker has reported comes first: that the answer is on its way.
            for each in tuple(self._workers.values()):
                self._note_worker(each)
            if number not in self._connections:
                return
            now_s = time.monotonic()
            self._ledger.dropped(number, now_s)
            leaving = self._schedule.left(number, now_s)
            if leaving is not None:
                os.kill(leaving, signal.SIGTERM)
            self._hang_up(number)
            return
        try:
            # The worker reads it, with the descriptors that came along.
            header = protocol.parse_header(
                connection.socket.recv(client.HEADER_BYTES, socket.MSG_PEEK)
            )
        except (OSError, protocol.NotForUs):
            self._answer(number, client.NOT_MINE)
            self._hang_up(number)
            return
        if header.kind is Kind.QUESTION:
            # What is left unread when a connection is closed is an error at the other end.
            connection.socket.recv(client.HEADER_BYTES)
            self._answer(number, protocol.about(json.dumps(self.about()).encode()))
            self._hang_up(number)
        elif self._ending or header.netns != self._netns:
            self._answer(number, client.NOT_MINE)
            self._hang_up(number)
        elif self._schedule.came(number, time.monotonic() + header.wait_s):
            connection.is_call = True
            self._ledger.came(number, time.monotonic())
            self._epoll.modify(number, select.EPOLLRDHUP)
            self._answer(number, client.ACCEPTED)
        else:
            self._ledger.refused()
            self._answer(number, client.ACCEPTED + _TOO_MANY)
            self._hang_up(number)

    def _note_worker(self, each: _Worker) -> None:
        """Note all that a worker has reported."""
        while True:
            try:
                report = each.control.recv(worker.MAX_REPORT_BYTES)
            except BlockingIOError:
                return
            except OSError:
                report = b""
            if not report:
                self._note_death(each)
                return
            self._note_report(each, json.loads(report), time.monotonic())

    def _note_death(self, each: _Worker) -> None:
        call = self._schedule.died(each.pid)
        if call is not None and call in self._connections:
            self._log(LogLevel.WARNING, "worker-died", pid=each.pid)
            self._ledger.fell_back(call, time.monotonic())
            self._hang_up(call)
        self._epoll.unregister(each.control)
        each.control.close()
        del self._workers[each.pid]
        self._dead.add(each.pid)

    def _note_report(self, each: _Worker, report: dict[str, Any], now_s: float) -> None:
        if "status" in report:
            # The answer is on its way: from now on the client may leave.
            call = self._schedule.answered(each.pid)
            if call is not None:
                self._ledger.answered(call, report, now_s)
                self._hang_up(call)
            self._pace.after_call(now_s)
        elif "idle" in report:
            call = self._schedule.finished(each.pid, now_s)
            if call is not None:
                self._ledger.fell_back(call, now_s)
                self._hang_up(call)
            if report["left_over"]:
                self._log(LogLevel.WARNING, "left-over", pid=each.pid, what=report["left_over"])
            if not report["idle"]:
                self._schedule.died(each.pid)
            elif self._schedule.is_leaving(each.pid):
                each.control.shutdown(socket.SHUT_WR)
        else:
            self._ledger.looked(report)
            if report["busy"]:
                self._pace.after_call(now_s)

    def _answer(self, number: int, data: bytes) -> None:
        """Send a short answer, for which there is always room, unless the client has left."""
        with suppress(OSError):
            self._connections[number].socket.send(data)

    def _hang_up(self, number: int) -> None:
        connection = self._connections.pop(number, None)
        if connection is not None:
            with suppress(OSError):
                self._epoll.unregister(number)
            connection.socket.close()

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
