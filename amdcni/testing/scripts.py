"""Running the kit's own scripts, in processes that `forking.py` forks."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from attrs import field, frozen

_HERE: Final = Path(__file__).parent
_NUMBER_BYTES: Final = 32


@frozen
class Script:
    """A script of the kit at work."""

    words: tuple[str, ...]
    pid: int
    end: socket.socket = field(repr=False)
    """Where the exit status arrives."""

    def wait(self, timeout_s: float) -> int:
        """Return the exit status when there is one.

        Raises:
            subprocess.TimeoutExpired: it did not end in time, and was killed.
        """
        with self.end:
            self.end.settimeout(timeout_s)
            try:
                return int(self.end.recv(_NUMBER_BYTES))
            except TimeoutError:
                os.kill(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(self.words, timeout_s) from None


def start_script(
    name: str, arguments: Sequence[str], namespaces: Sequence[str], streams: Sequence[int]
) -> Script:
    """Start a function of a script, such as `ping.main`, in the namespaces at these paths.

    The descriptors become its standard input, output and error.
    """
    script, _, function = name.partition(".")
    called = (_HERE / f"{script}.py", function, arguments)
    return Script((name, *arguments), *fork(_server(), called, namespaces, streams))


def fork(
    server: socket.socket,
    called: tuple[Path, str, Sequence[object]],
    namespaces: Sequence[str],
    streams: Sequence[int],
) -> tuple[int, socket.socket]:
    """Have a server call a function of a script, with arguments, in a process of its own.

    Returns the process ID, and where the exit status arrives.
    """
    script, function, arguments = called
    request = {"script": str(script), "function": function, "arguments": arguments}
    end, their_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with their_end, ExitStack() as opened:
        entered = [os.open(path, os.O_RDONLY) for path in namespaces]
        for descriptor in entered:
            opened.callback(os.close, descriptor)
        descriptors = [their_end.fileno(), *streams, *entered]
        socket.send_fds(server, [json.dumps(request).encode()], descriptors)
    return int(end.recv(_NUMBER_BYTES)), end


def run_script(
    name: str, arguments: Sequence[str], namespaces: Sequence[str], timeout_s: float
) -> "subprocess.CompletedProcess[bytes]":
    """Run a script to its end, without standard input; see `start_script`.

    Raises:
        subprocess.TimeoutExpired: it did not end in time, and was killed.
    """
    with open(os.devnull) as stdin, TemporaryFile() as stdout, TemporaryFile() as stderr:
        streams = [file.fileno() for file in (stdin, stdout, stderr)]
        script = start_script(name, arguments, namespaces, streams)
        status = script.wait(timeout_s)
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(script.words, status, stdout.read(), stderr.read())


@cache
def _server() -> socket.socket:
    return start_server("-I", "-S")


def start_server(*options: str, env: Mapping[str, str] | None = None) -> socket.socket:
    """Start `forking.py` with options of the interpreter; it ends with this process.

    Returns the socket for `fork`.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        # A session of its own: an interrupt at the keyboard must not take a node away before the
        # tests have ended.
        started = subprocess.Popen(
            [sys.executable, *options, _HERE / "forking.py"],
            env=env,
            stdin=theirs.fileno(),
            start_new_session=True,
        )
    atexit.register(_stop, started, ours)
    return ours


def _stop(started: "subprocess.Popen[bytes]", asking: socket.socket) -> None:
    asking.close()
    started.wait()
