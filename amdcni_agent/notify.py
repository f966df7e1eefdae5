"""Tells systemd how the agent is, by the protocol of sd_notify(3)."""

import socket
from collections.abc import Mapping
from typing import Final, Self

import attrs

_MICROSECONDS: Final = 1_000_000


@attrs.frozen
class Notifier:
    """Where systemd listens, None if nobody does; and how often it wants a sign of life.

    No method waits: each returns whether systemd has got the message, which it may not have if it
    is very busy, and then the message can be repeated.
    """

    socket: str | None = None
    watchdog_s: float | None = None
    """Half of the time after which systemd ends a service that gives no sign of life."""

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Self:
        """What the environment of the process `pid` says."""
        limit, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
        wanted = limit.isdecimal() and int(limit) > 0 and whose == str(pid)
        path = environ.get("NOTIFY_SOCKET", "")
        return cls(
            socket=path if path.startswith(("/", "@")) else None,
            watchdog_s=int(limit) / _MICROSECONDS / 2 if wanted else None,
        )

    def ready(self, status: str) -> bool:
        """Start-up is finished; `status` is what `systemctl status` shows."""
        return self._tell("READY=1", _status(status))

    def status(self, status: str) -> bool:
        """Change what `systemctl status` shows."""
        return self._tell(_status(status))

    def stopping(self, status: str) -> bool:
        """The service is ending."""
        return self._tell("STOPPING=1", _status(status))

    def alive(self) -> bool:
        """Give the sign of life that is due every `watchdog_s`."""
        return self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> bool:
        if self.socket is None:
            return False
        # A name without a file is written with "@" and begins with a zero byte.
        address = f"\0{self.socket[1:]}" if self.socket.startswith("@") else self.socket
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        with socket.socket(socket.AF_UNIX, kind) as sender:
            try:
                sender.sendto("\n".join(lines).encode(errors="backslashreplace"), address)
            except OSError:
                return False
        return True


def _status(text: str) -> str:
    """The field, on one line: another line would be another field."""
    return f"STATUS={' '.join(text.split())}"
