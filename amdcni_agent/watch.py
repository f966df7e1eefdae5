"""What the kernel says of netdevs that appear on the host, and when it is time to look at all.

A look finds out what has become of every attachment.  An event only says that it is time for one:
what is lost or misread costs time, and nothing else.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Final

import attrs

from amdcni.effects.rtnetlink import attributes_in

_RTMGRP_LINK: Final = 1  # include/uapi/linux/rtnetlink.h
_NEWLINK: Final = 16
_DELLINK: Final = 17
_IFLA_IFNAME: Final = 3
_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_LINK: Final = struct.Struct("=BxHiII")  # struct ifinfomsg
_BUFFER_BYTES: Final = 1 << 20
_DATAGRAM_BYTES: Final = 1 << 16
_KERNEL_PORT: Final = 0


class Links:
    """A socket on which the kernel says of each change to a netdev of this network namespace."""

    def __init__(self) -> None:
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self.socket.bind((0, _RTMGRP_LINK))
        self._known: dict[int, str] = {}

    def has_news(self) -> bool:
        """Read what has come; whether a netdev has appeared, under a new number or name.

        If the kernel says that it had to drop something, there may be one.
        """
        news = False
        while True:
            try:
                data, (port, _) = self.socket.recvfrom(_DATAGRAM_BYTES)
            except BlockingIOError:
                return news
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._known.clear()
                news = True
                continue
            if port == _KERNEL_PORT:
                for kind, number, name in _links_in(data):
                    news |= self._is_news(kind, number, name)

    def _is_news(self, kind: int, number: int, name: str) -> bool:
        if kind == _DELLINK:
            self._known.pop(number, None)
            return False
        known = self._known.get(number)
        self._known[number] = name
        return known != name

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def _links_in(data: bytes) -> Iterator[tuple[int, int, str]]:
    """The kind, the number and the name of each netdev that a datagram is about."""
    offset = 0
    while offset + _HEADER.size + _LINK.size <= len(data):
        size, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if size < _HEADER.size:
            return
        if kind in (_NEWLINK, _DELLINK):
            body = data[offset + _HEADER.size : offset + size]
            _, _, number, _, _ = _LINK.unpack_from(body)
            yield kind, number, _name_in(body)
        offset += (size + 3) & ~3


def _name_in(body: bytes) -> str:
    for kind, value in attributes_in(body, _LINK.size):
        if kind == _IFLA_IFNAME:
            return value.rstrip(b"\0").decode(errors="surrogateescape")
    return ""


@attrs.define
class Pace:
    """When the next look is due; times are in seconds of a clock that only goes forward.

    One is due every `every_s` seconds; after news at once, but not before `least_s` seconds have
    passed since the last one began, and a while later if a call is at work, which may be what the
    news is about; a while after a call that has changed something; and when what has failed may be
    tried again.
    """

    now_s: float
    every_s: float = 60.0
    least_s: float = 0.1
    after_call_s: float = 1.0
    _due_s: float = attrs.field(init=False)
    _last_s: float = attrs.field(init=False, default=float("-inf"))

    def __attrs_post_init__(self) -> None:
        self._due_s = self.now_s

    @property
    def due_s(self) -> float:
        """When the next look is due."""
        return self._due_s

    def news(self, now_s: float, *, at_work: bool) -> None:
        """A netdev has appeared, perhaps because of a call that is at work."""
        soon_s = max(now_s, self._last_s + self.least_s)
        self._due_s = min(self._due_s, soon_s + self.least_s if at_work else soon_s)

    def after_call(self, now_s: float) -> None:
        """A call that may have changed something has ended."""
        self._due_s = min(self._due_s, now_s + self.after_call_s)

    def due_at(self, time_s: float) -> None:
        """What has failed may be tried again at that time."""
        self._due_s = min(self._due_s, time_s)

    def begun(self, now_s: float) -> None:
        """A look has been begun, or asked for."""
        self._last_s = now_s
        self._due_s = now_s + self.every_s
