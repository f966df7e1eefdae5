"""Asks the agent of this node about itself."""

import json
import socket
import struct
from contextlib import suppress
from typing import Any, Final

from amdcni.core.errors import NotAvailable
from amdcni_shim import client

_PATIENCE_S: Final = 2.0
_MAX_BYTES: Final = 1 << 16
_UCRED: Final = struct.Struct("iII")  # struct ucred: process, user, group


def find_listener(path: str) -> int | None:
    """The trusted process that listens at `path`, whether or not it answers; None if none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(path)
        except OSError:
            return None
        if not client.is_trusted(asking):
            return None
        peer = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    process, _, _ = _UCRED.unpack(peer)
    return process or None


def ask(path: str) -> dict[str, Any] | None:
    """What the agent that listens at `path` says of itself; None if none answers in two seconds.

    Raises: NotAvailable if this user may not ask.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(_PATIENCE_S)
        try:
            asking.connect(path)
        except PermissionError:
            raise NotAvailable(f"only root can ask the agent at {path!r}; run as root") from None
        except OSError:
            return None
        with suppress(OSError, ValueError):
            if not client.is_trusted(asking):
                return None
            asking.sendall(client.header(kind=client.QUESTION))
            answer = b""
            while len(answer) < _MAX_BYTES and (part := asking.recv(_MAX_BYTES)):
                answer += part
            if answer[:1] == client.ABOUT:
                found = json.loads(answer[1 + client.LENGTH_BYTES :])
                return found if isinstance(found, dict) else None
    return None
