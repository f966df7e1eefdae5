"""The socket at which clients find the agent that serves, and the lock that decides which one does.

    <folder>/agent.lock     locked by the agent that serves; stays, and is empty
    <folder>/agent.sock     its socket

The socket is bound under a name of its own and renamed over the path, which is never removed: a
client finds the old one or the new one, and a dead one refuses at once.
"""

import fcntl
import os
import secrets
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from amdcni.core.errors import StateFailure

_LOCK: Final = "agent.lock"
_BACKLOG: Final = 512
_OTHERS: Final = 0o077


class Door:
    """The lock and the listening socket of one agent; raises StateFailure, saying why."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.socket: socket.socket | None = None
        self._lock: int | None = None
        self._own: tuple[int, int] | None = None

    def __enter__(self) -> "Door":
        return self

    def __exit__(self, *_: object) -> None:
        self.unlock()

    def try_lock(self) -> bool:
        """Become the agent that serves; False if another one already is."""
        folder = self._require_folder()
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(folder / _LOCK, flags, 0o600)
        except OSError as error:
            raise StateFailure(f"cannot open {str(folder / _LOCK)!r}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def is_locked(self) -> bool:
        """Whether this is still the agent that serves; not if the lock file has been replaced."""
        if self._lock is None:
            return False
        ours = os.fstat(self._lock)
        try:
            seen = self.path.with_name(_LOCK).lstat()
        except OSError:
            seen = None
        if seen is not None and (seen.st_dev, seen.st_ino) == (ours.st_dev, ours.st_ino):
            return True
        self.unlock()
        return False

    def _require_folder(self) -> Path:
        """The folder, made if it is missing, which nobody else can look into from now on.

        Something else may have made it with the usual mode, such as a volume of the kubelet.
        """
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            seen = folder.lstat()
        except OSError as error:
            raise StateFailure(f"cannot make {str(folder)!r}: {error.strerror}") from None
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid():
            raise StateFailure(f"{str(folder)!r} is not a folder of this user; remove it")
        if seen.st_mode & _OTHERS:
            # The path is that of a folder and not of a link, in a folder that is root's.
            folder.chmod(0o700)
        return folder

    def open(self) -> socket.socket:
        """Listen at the path, in place of whatever is there now."""
        self.close()
        unique = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise StateFailure(f"cannot make a socket: {error.strerror}") from None
        try:
            opened.bind(str(unique))
            unique.chmod(0o600)
            opened.listen(_BACKLOG)
            seen = unique.lstat()
            unique.rename(self.path)
        except OSError as error:
            opened.close()
            with suppress(OSError):
                unique.unlink()
            raise StateFailure(
                f"cannot listen at {str(self.path)!r}: {error.strerror or error}"
            ) from None
        self.socket, self._own = opened, (seen.st_dev, seen.st_ino)
        return opened

    def is_ours(self) -> bool:
        """Whether this listens, and the path still leads to our socket."""
        if self.socket is None:
            return False
        try:
            seen = self.path.lstat()
        except OSError:
            return False
        return (seen.st_dev, seen.st_ino) == self._own

    def close(self) -> None:
        """Stop listening; clients that were not accepted yet do the work themselves."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def unlock(self) -> None:
        """Let another agent serve."""
        self.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
