"""The worker processes, as the main process has them: started, told what to do, listened to."""

import json
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from amdcni.core.request import LogLevel
from amdcni.log import Log
from amdcni_agent import worker


class Workers:
    """The workers by their process numbers; each has a socket that `epoll` watches.

    In each of them, `forget` is called first: it gives up what is the main process's alone.
    """

    def __init__(self, epoll: select.epoll, log: Log, forget: Callable[[], None]) -> None:
        self._epoll = epoll
        self._log = log
        self._forget = forget
        self._controls: dict[int, socket.socket] = {}
        self._dead: set[int] = set()

    def start(self) -> int | None:
        """Start a worker; its number, or None if the kernel refuses."""
        parent = os.getpid()
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pid = os.fork()
        except OSError as error:
            self._log(LogLevel.WARNING, "worker-not-started", reason=error.strerror)
            return None
        if pid == 0:
            signal.set_wakeup_fd(-1)
            self._forget()
            # Nothing of the agent's may stay open in a worker: neither clients nor other workers.
            keep = theirs.fileno()
            os.closerange(3, keep)
            os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
            worker.be_worker(theirs, parent)
        theirs.close()
        ours.setblocking(False)
        self._controls[pid] = ours
        self._epoll.register(ours, select.EPOLLIN)
        return pid

    def order(self, pid: int, order: bytes, *descriptors: int) -> None:
        """Tell a worker what to do; one that has died meanwhile is noticed by its end."""
        with suppress(OSError):
            socket.send_fds(self._controls[pid], [order], descriptors)

    def retire(self, pid: int) -> None:
        """Tell an idle worker to end."""
        with suppress(OSError):
            self._controls[pid].shutdown(socket.SHUT_WR)

    def send_signal(self, pid: int, number: signal.Signals) -> None:
        """Send a worker a signal; its number is its own until it has been waited for."""
        os.kill(pid, number)

    def find(self, descriptor: int) -> int | None:
        """The worker whose socket has this descriptor."""
        for pid, control in self._controls.items():
            if control.fileno() == descriptor:
                return pid
        return None

    @property
    def all(self) -> tuple[int, ...]:
        """The workers that have not ended."""
        return tuple(self._controls)

    def reports(self, pid: int) -> Iterator[dict[str, Any] | None]:
        """What a worker has reported, without waiting for more; None, at last, if it has ended."""
        control = self._controls[pid]
        while True:
            try:
                report = control.recv(worker.MAX_REPORT_BYTES)
            except BlockingIOError:
                return
            except OSError:
                report = b""
            if not report:
                self._epoll.unregister(control)
                control.close()
                del self._controls[pid]
                self._dead.add(pid)
                yield None
                return
            yield json.loads(report)

    def reap(self) -> bool:
        """Wait for those that have ended, as far as they have; whether some have not quite."""
        for pid in tuple(self._dead):
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                self._dead.discard(pid)
        return bool(self._dead)

    def close(self) -> None:
        """Let all workers end."""
        for control in self._controls.values():
            control.close()
