"""Where the agent serves its metrics."""

import ipaddress
import re
import socket
from typing import Final, Self

import attrs

from amdcni.core.errors import InvalidName

_WRITTEN: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<v4>[^:]+)):(?P<port>[0-9]{1,5})")
_MAX_PORT: Final = 65535


@attrs.frozen
class Address:
    """An IP address and a TCP port; with port 0, the kernel chooses one."""

    host: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `127.0.0.1:9464` or `[::1]:9464`.

        Raises: InvalidName.
        """
        match = _WRITTEN.fullmatch(text)
        try:
            if match is None or int(match["port"]) > _MAX_PORT:
                raise ValueError
            host = ipaddress.IPv6Address(match["v6"]) if match["v6"] else None
            return cls(host or ipaddress.IPv4Address(match["v4"]), int(match["port"]))
        except ValueError:
            raise InvalidName(
                f"{text!r} is not an IP address with a port, such as 127.0.0.1:9464 or [::1]:9464"
            ) from None

    def __str__(self) -> str:
        host = f"[{self.host}]" if self.host.version == 6 else str(self.host)
        return f"{host}:{self.port}"

    def listen(self) -> socket.socket:
        """A socket that listens here and blocks nobody."""
        family = socket.AF_INET6 if self.host.version == 6 else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((str(self.host), self.port))
            listener.listen()
        except BaseException:
            listener.close()
            raise
        return listener


DEFAULT_ADDRESS: Final = Address(ipaddress.IPv4Address("127.0.0.1"), 9464)

OFF: Final = "off"
"""What is written in place of an address if no metrics are served."""
