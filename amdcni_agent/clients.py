"""The connections of clients, as the main process has them until a worker has the answer."""

import os
import select
import socket
import struct
import time
from contextlib import suppress
from typing import Final

import attrs

from amdcni_agent import protocol
from amdcni_agent.protocol import Header
from amdcni_shim import client

_PEER: Final = struct.Struct("=iII")  # struct ucred: PID, UID, GID
_GREETING_S: Final = 5.0
"""How long a client may take to send its header once it is connected."""
_HAS_LEFT: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


@attrs.define
class _Connection:
    """The connection to a client; it is a call once its header has been accepted."""

    socket: socket.socket
    came_s: float
    is_call: bool = False


class Clients:
    """The connections by their descriptors, which `epoll` watches."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._connections: dict[int, _Connection] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._connections

    def accept_all(self, door: socket.socket) -> None:
        """Take every connection that has come; others than root and this user are sent away.

        Raises: OSError if the kernel gives no descriptor for another one.
        """
        while True:
            try:
                opened, _ = door.accept()
            except BlockingIOError:
                return
            opened.setblocking(False)
            _, uid, _ = _PEER.unpack(
                opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            )
            number = opened.fileno()
            self._connections[number] = _Connection(opened, time.monotonic())
            if uid in (0, os.geteuid()):
                self._epoll.register(number, select.EPOLLIN | select.EPOLLRDHUP)
            else:
                self.send_away(number)

    def has_left(self, number: int, events: int) -> bool:
        """Whether what epoll says of a connection means that the client has left."""
        # After its header, a client sends nothing before a worker has its call.
        return self._connections[number].is_call or bool(events & _HAS_LEFT)

    def find_header(self, number: int) -> Header | None:
        """The header that a client has sent, which the worker reads again; None if it is none."""
        try:
            data = self._connections[number].socket.recv(client.HEADER_BYTES, socket.MSG_PEEK)
            return protocol.parse_header(data)
        except (OSError, protocol.NotForUs):
            return None

    def accepted(self, number: int) -> None:
        """The call waits for a worker from now on; its client may leave."""
        self._connections[number].is_call = True
        self._epoll.modify(number, select.EPOLLRDHUP)
        self._answer(number, client.ACCEPTED)

    def descriptor_of(self, number: int) -> int:
        """What a worker needs of the connection."""
        return self._connections[number].socket.fileno()

    def send_away(self, number: int) -> None:
        """Let the client do the work itself."""
        self.end(number, client.NOT_MINE)

    def end(self, number: int, answer: bytes = b"") -> None:
        """Give a client its last answer, if any, and hang up."""
        connection = self._connections.get(number)
        if connection is None:
            return
        if answer:
            self._answer(number, answer)
            # What is left unread when a connection is closed is an error at the other end, which
            # could come before the answer.
            with suppress(OSError):
                connection.socket.recv(client.HEADER_BYTES)
        del self._connections[number]
        with suppress(OSError):
            self._epoll.unregister(number)
        connection.socket.close()

    def _answer(self, number: int, data: bytes) -> None:
        """Send a short answer, for which there is always room, unless the client has left."""
        with suppress(OSError):
            self._connections[number].socket.send(data)

    # ---- those that send no header

    def next_time_s(self) -> float | None:
        """When the first of those that have sent no header yet has had its time."""
        times = [c.came_s + _GREETING_S for c in self._connections.values() if not c.is_call]
        return min(times, default=None)

    def hang_up_on_the_silent(self, now_s: float) -> None:
        """Hang up on those that have sent no header in their time."""
        for number, connection in tuple(self._connections.items()):
            if not connection.is_call and now_s >= connection.came_s + _GREETING_S:
                self.end(number)
