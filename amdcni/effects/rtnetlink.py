"""The route netlink protocol: one socket, one request at a time, messages as bytes.

pyroute2's own sockets serve many requests and events at once, by an event loop; a call that asks
one thing after the other pays for that at each request, and for the loop's modules at its start.
What the bytes mean is in `amdcni.effects.messages`.
"""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Final

import attrs
from pyroute2.netlink import (
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
)

from amdcni.core.errors import KernelRefused

_SO_NETNS_COOKIE: Final = 71  # include/uapi/asm-generic/socket.h
_COOKIE: Final = struct.Struct("=Q")
_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_NETLINK_GET_STRICT_CHK: Final = 12

_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
HEADER_BYTES: Final = _HEADER.size
_ATTRIBUTE: Final = struct.Struct("=HH")  # struct nlattr: length, kind
_KIND_MASK: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_CODE: Final = struct.Struct("=i")
_NLMSGERR_ATTR_MSG: Final = 1
_BUFFER_BYTES: Final = 1 << 16
_PEEK: Final = int(socket.MSG_PEEK | socket.MSG_TRUNC)
_TRUNC: Final = int(socket.MSG_TRUNC)
_LONGEST_BYTES: Final = 1 << 24
_KERNEL_PORT: Final = 0

_PATIENCE_S: Final = 10.0
"""How long all dumps of a socket together wait for others to stop making changes."""

_FIRST_PAUSE_S: Final = 0.001
_LONGEST_PAUSE_S: Final = 0.25


class RequestRefused(KernelRefused):
    """The kernel answered with an error number: `code`, and `said`, what it said in words."""

    def __init__(self, code: int, said: str | None = None) -> None:
        self.code = code
        self.said = said or os.strerror(code)
        super().__init__(f"the kernel refused a request: {self.said}")


@attrs.frozen
class Request:
    """A message to send: its kind, its flags, and what follows the header."""

    kind: int
    flags: int
    body: bytes


@attrs.frozen
class Reply:
    """One message of an answer; `body` is what follows the header."""

    kind: int
    flags: int
    body: bytes

    def raise_failure(self) -> None:
        """Raise RequestRefused if it is a message of that kind and the code is not 0."""
        if self.kind not in (NLMSG_ERROR, NLMSG_DONE) or len(self.body) < _CODE.size:
            return
        (code,) = _CODE.unpack_from(self.body)
        if code:
            # An NLMSG_ERROR repeats the header of the request (NETLINK_CAP_ACK).
            repeated = HEADER_BYTES if self.kind == NLMSG_ERROR else 0
            attributes = dict(attributes_in(self.body, _CODE.size + repeated))
            said = attributes.get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
            raise RequestRefused(-code, said or None)


def attributes_in(data: bytes, offset: int) -> list[tuple[int, bytes]]:
    """The attributes from `offset` on (struct nlattr), each by its number."""
    found: list[tuple[int, bytes]] = []
    header_bytes, header_at = _ATTRIBUTE.size, _ATTRIBUTE.unpack_from
    last = len(data) - header_bytes
    while offset <= last:
        length, kind = header_at(data, offset)
        found.append((kind & _KIND_MASK, data[offset + header_bytes : offset + length]))
        offset += (length + 3) & ~3 if length > header_bytes else header_bytes
    return found


def attribute(number: int, value: bytes) -> bytes:
    """The attribute (struct nlattr) with its padding."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), number) + value + bytes(-len(value) % 4)


def nested(number: int, *attributes: bytes) -> bytes:
    """The attribute that consists of others."""
    return attribute(number | NLA_F_NESTED, b"".join(attributes))


NETLINK_GENERIC: Final = 16


def _opened(protocol: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    try:
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            opened.setsockopt(_SOL_NETLINK, option, 1)
    except OSError as error:
        opened.close()
        raise KernelRefused(f"the netlink of this kernel is too old: {error.strerror}") from None
    return opened


class Rtnetlink:
    """A netlink socket in the network namespace that this thread is in now.

    Its protocol is NETLINK_ROUTE unless another is given.
    """

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = _opened(protocol)
        self._buffer = bytearray(_BUFFER_BYTES)
        self._peeked = bytearray(1)
        self._sequence = 0
        self._dump_is_open = False
        self._patience_s = _PATIENCE_S

    def netns_cookie(self) -> int | None:
        """A number that no other network namespace ever has; None before Linux 5.14."""
        try:
            packed = self._socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, _COOKIE.size)
        except OSError:
            return None
        (cookie,) = _COOKIE.unpack(packed)
        return int(cookie)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ask(self, request: Request) -> None:
        """Have something done.

        Raises: RequestRefused.
        """
        for reply in self._replies(self._send(request, NLM_F_ACK)):
            reply.raise_failure()
            if reply.kind == NLMSG_ERROR:
                return

    def do(self, what: str, request: Request, done_if: int | None = None) -> None:
        """Have `what` done; the error number `done_if` says that it is so already.

        Raises: KernelRefused.
        """
        try:
            self.ask(request)
        except RequestRefused as failure:
            if failure.code != done_if:
                raise KernelRefused(f"the kernel refused to {what}: {failure.said}") from None

    def get(self, request: Request) -> Reply:
        """The only message of the answer.

        Raises: RequestRefused.
        """
        reply = next(self._replies(self._send(request, 0)))
        reply.raise_failure()
        return reply

    def answers(self, request: Request) -> list[Reply]:
        """All messages that come before the kernel says that it is done; there may be none.

        Raises: RequestRefused.
        """
        replies = []
        for reply in self._replies(self._send(request, NLM_F_ACK)):
            reply.raise_failure()
            if reply.kind == NLMSG_ERROR:
                break
            replies.append(reply)
        return replies

    def dump(
        self, request: Request, wanted: Callable[[Reply], bool] = lambda _: True
    ) -> list[Reply]:
        """All messages of the answer that are `wanted`.

        A dump that others disturb is read again, after growing pauses.

        Raises: RequestRefused; KernelRefused if it is disturbed until patience runs out.
        """
        for _ in self.attempts():
            replies, whole = self.dump_once(request, wanted)
            if whole:
                break
        return replies

    def attempts(self) -> Iterator[None]:
        """One item for each attempt to read what others disturb, with a pause before the next.

        Raises: KernelRefused when patience runs out.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            began_s = time.monotonic()
            yield
            if self._patience_s <= 0:
                raise KernelRefused("the network changes faster than it can be read; try again")
            time.sleep(pause_s)
            self._patience_s -= time.monotonic() - began_s
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def dump_once(
        self, request: Request, wanted: Callable[[Reply], bool] = lambda _: True
    ) -> tuple[list[Reply], bool]:
        """All messages of the answer that are `wanted`, and whether the answer is complete.

        It may not be if somebody changed what is dumped meanwhile, which any of the messages may
        say.  Each message by itself is sound.

        Raises: RequestRefused.
        """
        replies, disturbed = [], False
        for reply in self._replies(self._send(request, NLM_F_DUMP)):
            disturbed |= bool(reply.flags & NLM_F_DUMP_INTR)
            if reply.kind in (NLMSG_DONE, NLMSG_ERROR):
                self._dump_is_open = False
                reply.raise_failure()
                break
            if wanted(reply):
                replies.append(reply)
        return replies, not disturbed

    def _send(self, request: Request, flags: int) -> int:
        """Send the request; return its sequence number."""
        self._end_dump()
        self._sequence += 1
        length, flags = HEADER_BYTES + len(request.body), NLM_F_REQUEST | request.flags | flags
        header = _HEADER.pack(length, request.kind, flags, self._sequence, 0)
        # A signal may come before `send` returns, when the kernel has begun already.
        self._dump_is_open = flags & NLM_F_DUMP == NLM_F_DUMP
        try:
            self._socket.send(header + request.body)
        except OSError as error:
            raise KernelRefused(f"the kernel accepts no request: {error.strerror}") from None
        return self._sequence

    def _end_dump(self) -> None:
        """Read to its end a dump that a signal has interrupted: the kernel makes one at a time.

        It makes the next part when the one before is read, so there is nothing to wait for.
        """
        while self._dump_is_open:
            try:
                self._socket.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
            except OSError:
                self._dump_is_open = False

    def _replies(self, sequence: int) -> Iterator[Reply]:
        """The kernel's answers to that request; what is left of earlier ones is dropped.

        So is what a process sends: unlike the kernel, it has a port of its own.
        """
        while True:
            length, port = self._receive()
            if port != _KERNEL_PORT:
                continue
            data, offset = bytes(memoryview(self._buffer)[:length]), 0
            while offset + HEADER_BYTES <= length:
                size, kind, flags, answered, _ = _HEADER.unpack_from(data, offset)
                if answered == sequence:
                    yield Reply(kind, flags, data[offset + HEADER_BYTES : offset + size])
                offset += (max(size, HEADER_BYTES) + 3) & ~3

    def _receive(self) -> tuple[int, int]:
        """The length of the next datagram, which is then in the buffer, and the sender's port.

        A message may be of any length: that of a link has all of its alternative names.
        """
        try:
            coming, _ = self._socket.recvfrom_into(self._peeked, 0, _PEEK)
            if len(self._buffer) < coming <= _LONGEST_BYTES:
                self._buffer = bytearray(coming)
            length, (port, _) = self._socket.recvfrom_into(self._buffer, 0, _TRUNC)
        except OSError as error:
            raise KernelRefused(f"the kernel does not answer: {error.strerror}") from None
        if length > len(self._buffer):
            raise KernelRefused(f"the kernel's answer has {length} bytes, which is too long")
        return length, port
