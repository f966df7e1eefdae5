"""The agent's side of the protocol: what a header says, and what is answered to it.

The bytes are described in docs/reference/agent-protocol.md; the numbers are the client's.
"""

import struct
from enum import IntEnum
from typing import Final

import attrs

from amdcni_shim import client

_HEADER: Final = struct.Struct("<8sIIIIQQIIII")
_LENGTH: Final = struct.Struct("<I")


PROTOCOL: Final = client.PROTOCOL
"""The number of the protocol that this agent speaks."""


class Kind(IntEnum):
    """What a request is about."""

    CALL = client.CALL
    QUESTION = client.QUESTION


@attrs.frozen
class Header:
    """The header of a request.

    `wait_s` is how long the call may wait for a worker.  `netns` is the device and the inode of the
    client's own network namespace.  `has_netns` is whether the network namespace of CNI_NETNS is
    among the descriptors.
    """

    kind: Kind
    wait_s: float
    umask: int
    netns: tuple[int, int]
    environ_bytes: int
    stdin_bytes: int
    has_netns: bool


class NotForUs(ValueError):
    """What came is of another protocol, or asks for more than this one allows."""


def parse_header(data: bytes) -> Header:
    """The header in `data`; raises NotForUs."""
    if len(data) != client.HEADER_BYTES:
        raise NotForUs("another length")
    magic, protocol, kind, wait_ms, umask, device, inode, environ, stdin, flags, rest = (
        _HEADER.unpack(data)
    )
    if magic != client.MAGIC or protocol != PROTOCOL:
        raise NotForUs("another protocol")
    if kind not in tuple(Kind) or flags & ~client.HAS_NETNS or rest or umask & ~0o777:
        raise NotForUs("unknown kind, flags or umask")
    if environ > client.MAX_ENVIRONMENT_BYTES or stdin > client.MAX_STDIN_BYTES:
        raise NotForUs("too long")
    return Header(
        kind=Kind(kind),
        wait_s=wait_ms / 1000,
        umask=umask,
        netns=(device, inode),
        environ_bytes=environ,
        stdin_bytes=stdin,
        has_netns=bool(flags & client.HAS_NETNS),
    )


def parse_environ(data: bytes) -> dict[bytes, bytes]:
    """The environment as a client sends it; of several values for a name the first one counts.

    Python does the same with its own environment.
    """
    found: dict[bytes, bytes] = {}
    for entry in data.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals:
            found.setdefault(name, value)
    return found


def end_of(status: int, stdout: bytes) -> bytes:
    """The answer that ends a call."""
    return client.ANSWER + bytes([status]) + _LENGTH.pack(len(stdout)) + stdout


def about(data: bytes) -> bytes:
    """The answer to a question; `data` is a JSON object."""
    return client.ABOUT + _LENGTH.pack(len(data)) + data
