"""The client of the node's agent: forwards a call and returns the answer, if the agent serves it.

It imports only what is built into the interpreter or, for `_socket`, costs nothing, because its
start is nearly all that a call costs.  The protocol is described in
`docs/reference/agent-protocol.md`; its constants are here, for both ends.
"""

import _socket
import posix
import sys
import time

SOCKET_PATH = b"/run/amdcni/agent.sock"
"""Where the agent listens."""

MAGIC = b"amdcni\r\n"
"""The first bytes of every header."""

PROTOCOL = 1
"""The number of the protocol."""

HEADER_BYTES = 56
"""The length of a header."""

CALL = 1
"""The kind of request that is a call of the plugin."""

QUESTION = 2
"""The kind of request that is a question about the agent."""

HAS_NETNS = 1
"""The flag of a call whose descriptors include the network namespace of `CNI_NETNS`."""

MAX_ENVIRONMENT_BYTES = 1024 * 1024
"""A call with a larger environment is not forwarded."""

MAX_STDIN_BYTES = 1024 * 1024 + 1
"""How much of standard input is read: one byte more than a configuration may have."""

MAX_OUTPUT_BYTES = 16 * 1024 * 1024
"""A client that is announced a larger output does the work itself."""

ACCEPTED = b"A"
"""The agent has the call, which waits for a worker."""

NOT_MINE = b"N"
"""The agent does not serve the call; the client does."""

BEGUN = b"B"
"""A worker begins and needs the rest of the request."""

ANSWER = b"S"
"""The answer to a call: status, length and output follow."""

ABOUT = b"I"
"""The answer to a question: length and JSON follow."""

ACCEPT_S = 1.0
"""How long a client waits for `ACCEPTED`."""

BEGIN_S = 5.0
"""How long a call may wait for a worker."""

BEGIN_MARGIN_S = 1.0
"""How much longer a client waits for `BEGUN`, so that the agent can say that nobody began."""

ANSWER_S = 240.0
"""How long a client takes at most to send the rest of a request and receive its answer."""

OWN_NETNS = b"/proc/self/ns/net"
"""The network namespace of the process itself."""

_STDIN, _STDERR = 0, 2
LENGTH_BYTES = 4
_CHUNK_BYTES = 1 << 16
_UCRED_BYTES = 12


def header(
    *,
    kind: int = CALL,
    wait_ms: int = 0,
    umask: int = 0,
    netns_device: int = 0,
    netns_inode: int = 0,
    environment_bytes: int = 0,
    stdin_bytes: int = 0,
    flags: int = 0,
    protocol: int = PROTOCOL,
) -> bytes:
    """The header of a request; `netns_*` tell the client's own network namespace.

    Raises: OverflowError for a value that does not fit.
    """
    values = (protocol, kind, wait_ms, umask)
    parts = [value.to_bytes(4, "little") for value in values]
    parts += [value.to_bytes(8, "little") for value in (netns_device, netns_inode)]
    rest = (environment_bytes, stdin_bytes, flags, 0)
    parts += [value.to_bytes(4, "little") for value in rest]
    return MAGIC + b"".join(parts)


def read_stdin() -> bytes:
    """What standard input has, at most `MAX_STDIN_BYTES`.

    Raises: OSError.
    """
    data = bytearray()
    while len(data) < MAX_STDIN_BYTES:
        chunk = posix.read(_STDIN, min(_CHUNK_BYTES, MAX_STDIN_BYTES - len(data)))
        if not chunk:
            break
        data += chunk
    return bytes(data)


def forward(
    environ: dict[bytes, bytes],
    stdin: bytes,
    path: bytes = SOCKET_PATH,
    accept_s: float = ACCEPT_S,
    begin_s: float = BEGIN_S,
    answer_s: float = ANSWER_S,
) -> tuple[int, bytes] | None:
    """The exit status and output that the agent at `path` answers, or None if it does not.

    The agent also gets this process's standard error, folder, umask and network namespace, so they
    have to be the call's.
    """
    environment = b"".join(b"%b=%b\0" % variable for variable in environ.items())
    if len(environment) > MAX_ENVIRONMENT_BYTES or len(stdin) > MAX_STDIN_BYTES:
        return None
    kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
    opened: list[int] = []
    try:
        agent = _socket.socket(_socket.AF_UNIX, kind)
        try:
            # Does not wait if too many wait already, because the socket is non-blocking.
            agent.connect(path)
            if not is_trusted(agent):
                return None
            own, umask = posix.stat(OWN_NETNS), _umask()
            opened.append(posix.open(b".", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC))
            netns = _open_netns(environ.get(b"CNI_NETNS", b""), own.st_dev)
            if netns is not None:
                opened.append(netns)
            first = header(
                wait_ms=round(begin_s * 1000),
                umask=umask,
                netns_device=own.st_dev,
                netns_inode=own.st_ino,
                environment_bytes=len(environment),
                stdin_bytes=len(stdin),
                flags=0 if netns is None else HAS_NETNS,
            )
            _send(agent, first, time.monotonic() + accept_s)
            if _receive(agent, 1, time.monotonic() + accept_s) != ACCEPTED:
                return None
            said = _receive(agent, 1, time.monotonic() + begin_s + BEGIN_MARGIN_S)
            deadline = time.monotonic() + answer_s
            if said == BEGUN:
                _send(agent, environment + stdin, deadline, _STDERR, *opened)
                said = _receive(agent, 1, deadline)
            return _receive_answer(agent, deadline) if said == ANSWER else None
        finally:
            agent.close()
    except OSError:
        return None
    finally:
        for fd in opened:
            posix.close(fd)


def is_trusted(agent: _socket.socket) -> bool:
    """Whether the other end belongs to root or to this process's user."""
    credentials = agent.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED_BYTES)
    uid = int.from_bytes(credentials[4:8], sys.byteorder)
    return uid in (0, posix.geteuid())


def _umask() -> int:
    umask = posix.umask(0o077)
    posix.umask(umask)
    return umask


def _open_netns(path: bytes, nsfs: int) -> int | None:
    """A descriptor of the namespace at `path`, or None if there is none that could be opened.

    `nsfs` is the device number of all namespaces: opening anything else might do something.
    """
    try:
        if posix.stat(path).st_dev != nsfs:
            return None
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return None


def _receive_answer(agent: _socket.socket, deadline: float) -> tuple[int, bytes] | None:
    status = _receive(agent, 1, deadline)
    length = int.from_bytes(_receive(agent, LENGTH_BYTES, deadline), "little")
    if length > MAX_OUTPUT_BYTES:
        return None
    return status[0], _receive(agent, length, deadline)


def _receive(agent: _socket.socket, length: int, deadline: float) -> bytes:
    """Exactly so many bytes; raises OSError at the deadline, and ConnectionError at an end."""
    data = bytearray()
    while len(data) < length:
        agent.settimeout(_left(deadline))
        chunk = agent.recv(min(_CHUNK_BYTES, length - len(data)))
        if not chunk:
            raise ConnectionError("the agent has closed the connection")
        data += chunk
    return bytes(data)


def _send(agent: _socket.socket, data: bytes, deadline: float, *fds: int) -> None:
    """Send everything, the descriptors with the first byte."""
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
    agent.settimeout(_left(deadline))
    sent = agent.sendmsg([data], ancillary, _socket.MSG_NOSIGNAL)
    if sent < len(data):
        agent.settimeout(_left(deadline))
        agent.sendall(memoryview(data)[sent:], _socket.MSG_NOSIGNAL)


def _left(deadline: float) -> float:
    """How many seconds are left, which is never 0: that would mean not to wait at all."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
