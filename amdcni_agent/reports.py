"""The reporting process, as the main process sees it: it gets messages and is never waited for.

A scraper that is slow, mute or malicious can hold up the reporting process at most: the main
process only puts messages into a socket, and drops them if it is full::

    reporter = Reporter(DEFAULT_ADDRESS, log)
    reporter.start()
    ...
    reporter.send(CallEnded(Verb.ADD, Mover.NATIVE, OK, lasted_s=0.08, queued_s=0.001))
    ...
    # At least every `health.HEARTBEAT_S`, and when it changes:
    if reporter.died():
        reporter.start()
    reporter.send(AgentState(is_serving=True, version="1.0", ...))
    ...
    reporter.stop()
"""

import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, NoReturn

from amdcni.core.request import LogLevel
from amdcni.log import Log
from amdcni_agent.address import Address
from amdcni_agent.cluster import Cluster, ServiceAccount
from amdcni_agent.happenings import Happened
from amdcni_agent.messages import AgentState, Attachments, Lost, Message, encode
from amdcni_agent.parent import die_with

if TYPE_CHECKING:
    from amdcni_agent.posting import Poster


class Reporter:
    """The reporting process: it serves at `address`, and posts events to a cluster.

    With neither there is none to be told anything.
    Used by the main process alone, which must wait for its children only by their process IDs.
    """

    def __init__(self, address: Address | None, log: Log, cluster: Cluster | None = None) -> None:
        self._address = address
        self._log = log
        self._cluster = cluster
        self._channel: socket.socket | None = None
        self._pid: int | None = None
        self._lost = 0
        self._latest: dict[type[Message], Message] = {}
        """What a new process has to be told again: how things are, not what has happened."""

    def start(self) -> None:
        """Start the process, in place of one that runs.

        If it cannot be started, that is logged, and it counts as one that has died.
        """
        self.stop()
        if not self._is_wanted:
            return
        parent = os.getpid()
        try:
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                pid = os.fork()
                if pid == 0:
                    _report(theirs, parent, self._address, self._log, self._cluster)
        except OSError as error:
            self._log(LogLevel.WARNING, "reports-not-started", reason=error.strerror)
            return
        self._pid = pid
        self._channel.setblocking(False)
        for message in self._latest.values():
            self._put(message)

    def send(self, message: Message) -> None:
        """Tell the process, without waiting; a message for which there is no room is dropped."""
        if not self._is_wanted or (isinstance(message, Happened) and self._cluster is None):
            return
        if isinstance(message, AgentState | Attachments):
            self._latest[type(message)] = message
        if self._lost and self._put(Lost(self._lost)):
            self._lost = 0
        if not self._put(message):
            self._lost += 1

    def _put(self, message: Message) -> bool:
        if self._channel is None:
            return False
        try:
            self._channel.send(encode(message), socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def died(self) -> bool:
        """Whether the process should run and does not."""
        if self._pid is not None and _has_ended(self._pid):
            self._pid = None
        return self._is_wanted and self._pid is None

    @property
    def _is_wanted(self) -> bool:
        return self._address is not None or self._cluster is not None

    def stop(self) -> None:
        """End the process, which keeps nothing that would be lost."""
        self.forget()
        if self._pid is not None:
            if not _has_ended(self._pid):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            self._pid = None

    def forget(self) -> None:
        """Close the way to the process: what every other child has to do first."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _report(
    channel: socket.socket,
    parent: int,
    address: Address | None,
    log: Log,
    cluster: Cluster | None,
) -> NoReturn:
    """Be the reporting process."""
    status = 1
    try:
        die_with(parent)
        _leave_behind(channel, None if cluster is None else cluster.account)
        import_lightly()
        from amdcni_agent.scraping import Site

        Site(channel, address, log, _find_poster(cluster, log)).serve()
        status = 0
    except Exception as failure:
        reason = f"{type(failure).__name__}: {failure}"
        with suppress(Exception):
            log(LogLevel.ERROR, "reports-ended", reason=reason)
    finally:
        os._exit(status)


def _find_poster(cluster: Cluster | None, log: Log) -> "Poster | None":
    """Who posts events, if any are posted: only then is memory spent on TLS."""
    if cluster is None:
        return None
    from amdcni_agent.posting import start_posting

    return start_posting(cluster, log)


def _leave_behind(channel: socket.socket, account: ServiceAccount | None) -> None:
    """Give up what is the main process's: its descriptors, signals and memory.

    Signals that end the main process do not end this one: it reports until the last call has
    ended, and then its channel does.
    """
    # A descriptor that belongs to garbage must not be closed by its collection: the number may
    # belong to a connection by then.
    gc.freeze()
    gc.enable()
    signal.set_wakeup_fd(-1)
    for each in signal.valid_signals():
        if callable(signal.getsignal(each)):
            signal.signal(each, signal.SIG_DFL)
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    kept = {0, 1, 2, channel.fileno()} | ({account.folder} if account else set())
    for number in {int(name) for name in os.listdir("/proc/self/fd")} - kept:
        with suppress(OSError):  # the one that the list was read from
            os.close(number)


def import_lightly() -> None:
    """Spare this process what of prometheus_client it does not need.

    Importing any part of it executes its package first, which loads HTTP servers and clients and
    TLS, ten times as much memory as the rest.  A package that is there but was not executed still
    finds its modules.  The variables would let it keep its values in files.
    """
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        os.environ.pop(name, None)
    spec = find_spec("prometheus_client")
    if spec is not None:
        sys.modules["prometheus_client"] = module_from_spec(spec)
