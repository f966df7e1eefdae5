"""An agent on a throwaway node, in a process that has everything loaded; see `warm.py`."""

import math
import os
import select
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from amdcni.testing import Node, Outcome
from amdcni.testing.namespaces import PLAIN_ENVIRONMENT
from amdcni_agent.asking import ask
from tests.netns.command import AMDCNI
from tests.netns.killed import KILLED_AT, killing
from tests.netns.warm import Preparation, WarmCall, start_warm
from tests.patience import is_alive, wait_until

SOCKET = "/run/amdcni/agent.sock"


@frozen
class RunningAgent:
    """An agent at work on a node."""

    node: Node
    call: WarmCall

    @property
    def pid(self) -> int:
        """The main process."""
        return self.call.pid

    def about(self) -> dict[str, Any] | None:
        """Return what it says of itself, if it answers."""
        return ask(str(socket_of(self.node)))

    def serves(self) -> bool:
        """Return whether this very agent answers on the node's socket."""
        about = self.about()
        return about is not None and about["pid"] == self.pid

    def served(self) -> int:
        """Return how many calls it has had a worker begin."""
        about = self.about()
        assert about is not None
        return int(about["begun"])

    def is_idle(self) -> bool:
        """Return whether no worker is at work, and no call waits."""
        about = self.about()
        return about is not None and (about["workers"]["working"], about["waiting"]) == (0, 0)

    def children(self) -> list[int]:
        """Return its processes other than the main one."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(word) for word in path.read_text().split()]

    def catches_signals(self) -> bool:
        """Return whether a SIGTERM would end it in good order, and not just kill it."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (caught,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    def busy_s(self) -> float:
        """Return for how many seconds its main process has used a processor."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> Outcome:
        """End it as systemd does; return what it said."""
        self.call.send_signal(signal.SIGTERM)
        return self.call.wait()

    def kill(self) -> None:
        """Kill the main process."""
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(self.pid), "the agent has ended")

    def has_been_waited_for(self) -> bool:
        """Return whether its outcome is known."""
        return self.call.end.fileno() < 0


def socket_of(node: Node) -> Path:
    """Return the path of the socket as a test sees it."""
    return node.root / SOCKET.lstrip("/")


@contextmanager
def agent_on(
    node: Node,
    *words: str,
    before: Preparation | None = None,
    env: Mapping[str, str] = PLAIN_ENVIRONMENT,
) -> Iterator[RunningAgent]:
    """Run an agent with these words until the end of the `with`; it serves when that begins."""
    running = start_agent(node, *words, before=before, env=env)
    try:
        wait_until(running.serves, "the agent serves")
        yield running
    finally:
        if not running.has_been_waited_for():
            running.call.send_signal(signal.SIGCONT)
            running.end()


def start_agent(
    node: Node,
    *words: str,
    before: Preparation | None = None,
    env: Mapping[str, str] = PLAIN_ENVIRONMENT,
) -> RunningAgent:
    """Start an agent, which may not serve yet or wait for its turn.

    Unless the words say otherwise, it serves no metrics.
    """
    words = words or ("--metrics", "off")
    return RunningAgent(node, start_warm(node, [AMDCNI, "agent", *words], before=before, env=env))


# Preparations: see `Preparation` in `warm.py`.


def preparation(function: Callable[..., None], *arguments: str | int) -> Preparation:
    """Have a function of this module called in the agent's process before it begins."""
    return (__name__, function.__name__, arguments)


def look_only_at_events() -> None:
    """Let the agent look at its start, and then only because of an event."""
    from amdcni_agent.watch import Pace

    Pace.__init__.__defaults__ = (1e9, *(Pace.__init__.__defaults__ or ())[1:])


def serve_only() -> None:
    """Let the agent serve calls and never look, and let a call kill its worker if it says when.

    A call that is killed so says it in the variable `KILLED_AT`; see `killed.py`.
    """
    from amdcni_agent import watch, worker

    watch.Pace.due_s = property(lambda _: math.inf)  # type: ignore[assignment,method-assign]
    vars(worker)["main"] = killable(vars(worker)["main"])


def killable(main: Callable[..., int]) -> Callable[..., int]:
    """Return a `main` of the executable that kills its process at the moment that a call names."""

    def wrapped(environ: Mapping[str, str], *rest: Any) -> int:
        at = environ.get(KILLED_AT)
        if at is None:
            return main(environ, *rest)
        moment, _, number = at.partition(" ")
        with killing(moment, int(number)):
            return main(environ, *rest)

    return wrapped


def have_few_workers(most_workers: int, most_waiting: int) -> None:
    """Let the agent have fewer workers, and fewer calls wait."""
    from amdcni_agent.schedule import Limits
    from amdcni_agent.serving import Agent

    limits = Limits(1, most_workers, most_waiting)
    Agent.__init__.__defaults__ = (limits,)


def kill_soon() -> None:
    """Let the agent kill a worker that has not ended a moment after its client."""
    from amdcni_agent.schedule import Limits
    from amdcni_agent.serving import Agent

    Agent.__init__.__defaults__ = (Limits(undo_s=0.5),)


def check_the_socket_often() -> None:
    """Let the agent look all the time whether the path leads to its socket."""
    from amdcni_agent import serving

    serving._CHECK_DOOR_S = 0.1  # type: ignore[misc]


def speak_another_protocol(number: int) -> None:
    """Let the agent speak the protocol with this number, but not that of the clients."""
    from amdcni_agent import protocol

    protocol.PROTOCOL = number  # type: ignore[misc]


def let_nobody_read_stderr() -> None:
    """Give the agent a stderr that has no room, and never will have."""
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(select.PIPE_BUF))
    os.set_blocking(writing, True)
    os.dup2(writing, 2)
    os.close(writing)


def fail_to_fork(times: int) -> None:
    """Let the kernel refuse the agent its first processes, as when memory or numbers are short."""
    import errno

    fork, left = os.fork, [times]

    def refused() -> int:
        if os.getpid() != agent or left[0] == 0:
            return fork()
        left[0] -= 1
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    agent = os.getpid()
    os.fork = refused


def have_few_descriptors(number: int) -> None:
    """Let the agent's main process and its workers have few files open at once."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def ignore_the_end_of_children() -> None:
    """Begin as a program that is started by one that ignores SIGCHLD."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def stop_before_the_rest() -> None:
    """Let a worker stop when the rest of its first request has come and is not read yet."""
    import select
    import socket

    from amdcni_agent import worker

    receive_rest = worker._receive_rest

    def stop_and_receive(connection: socket.socket, *rest: Any) -> Any:
        worker._receive_rest = receive_rest
        select.select([connection], [], [])
        os.kill(os.getpid(), signal.SIGSTOP)
        return receive_rest(connection, *rest)

    worker._receive_rest = stop_and_receive  # type: ignore[assignment]
