"""A worker: a process that serves one call at a time, by the very code of the executable.

It is told what to do over a socket, together with the connection to the client, and reports there
what has become of it.  After each call it compares itself with what it was before; if something was
left over, a descriptor, a child or a handler, it ends and another one takes its place.
"""

import gc
import io
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any, Final, NoReturn

import attrs

from amdcni.core.errors import TryAgainLater
from amdcni.core.request import Mover, pod_named_in, pod_uid_in
from amdcni.core.spec import Verb
from amdcni_agent import looks, protocol
from amdcni_agent.events import Heard
from amdcni_agent.parent import die_with
from amdcni_agent.protocol import Header
from amdcni_shim import client, process
from amdcni_shim.__main__ import main

LOOK: Final = b"look"
CALL: Final = b"call"
MAX_REPORT_BYTES: Final = 1 << 17

_MOST_CALLS: Final = 5000
"""After so many calls a worker ends, so that memory that they have fragmented is given back."""

_STALL_S: Final = 10.0
"""How long a client may take to send what it has said it would, or to read the answer."""

_MAX_DESCRIPTORS: Final = 3
_STDERR: Final = 2


class ClientLeft(Exception):
    """The client has not sent its whole request, or does not wait for an answer any more."""


def be_worker(control: socket.socket, parent: int) -> NoReturn:
    """Serve what comes over `control`, until the agent `parent` closes it or ends."""
    status = 1
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # If the agent is killed, a call at work ends in good order.
        die_with(parent, signal.SIGTERM)
        _serve(control)
        status = 0
    except TryAgainLater:
        pass  # A signal came when nothing was at work any more.
    except BaseException as failure:
        # The agent sees that this worker has ended, and starts another one.
        with suppress(OSError):
            print(f"a worker failed: {failure!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _serve(control: socket.socket) -> None:
    before = State.now()
    for left in reversed(range(_MOST_CALLS)):
        order, descriptors, _, _ = socket.recv_fds(control, len(CALL), 1)
        if not order:
            return
        process.fail_when_asked_to_end()
        if order == LOOK:
            _say(control, looks.look())
        else:
            _serve_client(socket.socket(fileno=descriptors[0]), control)
        ended = State.asked_to_end()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        gc.collect()
        left_over = before.left_over()
        goes_on = left > 0 and not ended and not left_over
        _say(control, {"idle": goes_on, "left_over": left_over})
        if not goes_on:
            return


def _say(control: socket.socket, report: dict[str, Any]) -> None:
    """Report something to the main process; if that has ended, so will this one."""
    with suppress(OSError):
        control.send(json.dumps(report).encode())


@attrs.frozen
class State:
    """What a worker must be again after each call."""

    descriptors: frozenset[str]
    netns: tuple[int, int]

    @classmethod
    def now(cls) -> "State":
        """The present state."""
        status = os.stat("/proc/thread-self/ns/net")
        return cls(frozenset(os.listdir("/proc/self/fd")), (status.st_dev, status.st_ino))

    def left_over(self) -> str:
        """In words, what is not as it was; empty if everything is."""
        now, found = State.now(), []
        if now.descriptors != self.descriptors:
            found.append(f"descriptors {sorted(now.descriptors ^ self.descriptors)}")
        if now.netns != self.netns:
            found.append("another network namespace")
        try:
            os.waitpid(-1, os.WNOHANG)
            found.append("a child")
        except ChildProcessError:
            pass
        return ", ".join(found)

    @staticmethod
    def asked_to_end() -> bool:
        """Whether a signal has ended the call, after which further ones are ignored."""
        return signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def _serve_client(connection: socket.socket, control: socket.socket) -> None:
    """Serve the call of a client.

    The main process hears of the answer before the client does, and so before the client can leave:
    one that leaves earlier is not there any more, and its call is ended.
    """
    with connection, ExitStack() as opened:
        connection.settimeout(_STALL_S)
        try:
            header = protocol.parse_header(_receive(connection, client.HEADER_BYTES))
            connection.sendall(client.BEGUN)
            rest, descriptors = _receive_rest(connection, header, opened)
        except (OSError, ClientLeft, protocol.NotForUs):
            return
        environ, stdin = _environ_in(rest[: header.environ_bytes]), rest[header.environ_bytes :]
        heard = Heard()
        status, stdout = _call(header, descriptors, environ, stdin, heard)
        if State.asked_to_end():
            # Whoever wanted that, a client that is still there does the work itself.
            return
        _say(control, _report(status, stdout, environ, stdin, heard))
        with suppress(OSError):
            connection.sendall(protocol.end_of(status, stdout))


def _environ_in(data: bytes) -> dict[str, str]:
    """The variables that a client has sent, as Python has those of its own process."""
    variables = protocol.parse_environ(data)
    return {os.fsdecode(name): os.fsdecode(value) for name, value in variables.items()}


def _report(
    status: int, stdout: bytes, environ: Mapping[str, str], stdin: bytes, heard: Heard
) -> dict[str, Any]:
    """What the main process is told of a call that has its answer."""
    said = environ.get("CNI_COMMAND")
    verb = said if said in tuple(Verb) else None
    mover = _member(stdin, "mover") if verb in (Verb.ADD, Verb.DEL) else None
    return {
        "status": status,
        "code": None if status == 0 else _member(stdout, "code"),
        "verb": verb,
        "mover": mover if mover in tuple(Mover) else None,
        **heard.report,
    }


def _about(environ: Mapping[str, str]) -> dict[str, object]:
    """What a call is, by its environment, which may be wrong."""
    args = environ.get("CNI_ARGS", "")
    return {
        "verb": environ.get("CNI_COMMAND"),
        "holder": f"{environ.get('CNI_CONTAINERID', '')}/{environ.get('CNI_IFNAME', '')}",
        "pod": pod_named_in(args),
        "pod_uid": pod_uid_in(args),
    }


def _member(data: bytes, name: str) -> Any:
    """A member of a JSON object, if it is one and has it."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str | int) else None


def _receive_rest(
    connection: socket.socket, header: Header, opened: ExitStack
) -> tuple[bytes, list[int]]:
    """The environment and the input of a call, and the descriptors that come with them."""
    length = header.environ_bytes + header.stdin_bytes
    data, descriptors, _, _ = socket.recv_fds(
        connection, min(length, 1 << 16), _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
    )
    for descriptor in descriptors:
        opened.callback(os.close, descriptor)
    if not data or len(descriptors) != 2 + header.has_netns:
        raise ClientLeft
    data += _receive(connection, length - len(data))
    if _has_left(connection):
        # While the agent was stopped: whoever has left may have done the work, and undone it.
        raise ClientLeft
    return data, descriptors


def _has_left(connection: socket.socket) -> bool:
    waiting = select.poll()
    waiting.register(connection, select.POLLRDHUP)
    return bool(waiting.poll(0))


def _receive(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = connection.recv(min(length - len(data), 1 << 16))
        if not part:
            raise ClientLeft
        data += part
    return bytes(data)


def _call(
    header: Header,
    descriptors: list[int],
    environ: Mapping[str, str],
    stdin: bytes,
    heard: Heard,
) -> tuple[int, bytes]:
    """Serve a call as the executable does, with the surroundings of the client.

    `heard` hears what is reported, and how the call has failed, together with what it was.
    """

    def hear(event: str, facts: Mapping[str, object]) -> None:
        heard(event, {**facts, **_about(environ)} if event == "failed" else facts)

    path = environ.get("CNI_NETNS")
    opened = {path: descriptors[2] if header.has_netns else None} if path else {}
    own_stderr, own_umask = os.dup(_STDERR), os.umask(header.umask)
    os.dup2(descriptors[0], _STDERR)
    stdout = io.StringIO()
    try:
        with suppress(OSError):
            os.fchdir(descriptors[1])
        stderr = os.fdopen(
            _STDERR, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1
        )
        try:
            status = main(environ, io.BytesIO(stdin), stdout, stderr, opened, hear)
        finally:
            with suppress(OSError):  # nobody reads it, or the disk is full
                stderr.close()
    finally:
        os.dup2(own_stderr, _STDERR)
        os.close(own_stderr)
        os.umask(own_umask)
        os.chdir("/")
    return status, stdout.getvalue().encode()
