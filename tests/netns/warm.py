"""Calls in processes that have everything loaded, for starting Python costs more than the call.

`warmed.py` has imported the plugin and the command before the kit's `forking.py` forks for a call.
What the executables do before they import anything is the business of `test_startup.py` and of all
tests that execute them: the conformance suite, the virtual machine, the demonstration.
"""

import os
import select
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from io import FileIO
from pathlib import Path

from attrs import frozen

from amdcni.testing import Call, Namespace, Outcome
from amdcni.testing.namespaces import PATIENCE_S, PLAIN_ENVIRONMENT, StrPath, namespaces_of
from amdcni.testing.scripts import fork, start_server

ROOT = Path(__file__).parents[2]
CALLS = Path(__file__).with_name("warmed.py")
CHUNK_BYTES = 1 << 16

Moment = tuple[str, int]
"""`before` or `after` the step with this number, or before the `change` with this number."""

Preparation = tuple[str, str, tuple[str | int, ...]]
"""A function that the process calls before it becomes the executable: module, name, arguments."""


def to_die(at: Moment) -> Preparation:
    """Have the process killed at a moment, unless it ends before; see `killed.py`."""
    return ("tests.netns.killed", "kill", at)


@frozen
class WarmCall:
    """A call at work in a process that was forked; like `amdcni.testing.Call`."""

    argv: tuple[str, ...]
    pid: int
    end: socket.socket
    """Where the exit status of the process arrives."""
    stdout: FileIO
    stderr: FileIO

    def wait(self, timeout_s: float = PATIENCE_S) -> Outcome:
        """Return the outcome when there is one.

        Raises:
            subprocess.TimeoutExpired: the call did not end in time, and was killed.
        """
        deadline = time.monotonic() + timeout_s
        with self.end, self.stdout, self.stderr, selectors.DefaultSelector() as waiting:
            stdout, stderr, end = bytearray(), bytearray(), bytearray()
            waiting.register(self.stdout, selectors.EVENT_READ, stdout)
            waiting.register(self.stderr, selectors.EVENT_READ, stderr)
            waiting.register(self.end, selectors.EVENT_READ, end)
            while waiting.get_map():
                ready = waiting.select(max(0, deadline - time.monotonic()))
                if not ready:
                    os.killpg(self.pid, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(self.argv, timeout_s)
                for key, _ in ready:
                    if chunk := os.read(key.fd, CHUNK_BYTES):
                        key.data.extend(chunk)
                    else:
                        waiting.unregister(key.fileobj)
        return Outcome(int(end), bytes(stdout), stderr.decode(errors="replace"))

    def kill(self) -> Outcome:
        """Kill the process and its children, and return what there is of an outcome."""
        if not self._has_ended():
            os.killpg(self.pid, signal.SIGKILL)
        return self.wait()

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, unless it has ended."""
        if not self._has_ended():
            os.kill(self.pid, number)

    def _has_ended(self) -> bool:
        return bool(select.select([self.end], [], [], 0)[0])


AnyCall = Call | WarmCall


def start_warm(
    where: Namespace,
    argv: Sequence[StrPath],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] = PLAIN_ENVIRONMENT,
    before: Preparation | None = None,
) -> WarmCall:
    """Start one of the two executables or a script in a namespace, as `Namespace.start` does."""
    words = tuple(os.fspath(word) for word in argv)
    called = (CALLS, "become", (words, dict(env), before))
    stdout, their_stdout = os.pipe()
    stderr, their_stderr = os.pipe()
    with tempfile.TemporaryFile() as file:
        file.write(stdin)
        file.seek(0)
        streams = [file.fileno(), their_stdout, their_stderr]
        pid, end = fork(server(), called, namespaces_of(where.entry), streams)
    os.close(their_stdout)
    os.close(their_stderr)
    return WarmCall(
        words, pid, end, open(stdout, "rb", buffering=0), open(stderr, "rb", buffering=0)
    )


@cache
def server() -> socket.socket:
    """Return the socket of this process's own server, which ends with this process."""
    return start_server("-P", env={**PLAIN_ENVIRONMENT, "PYTHONPATH": str(ROOT)})
