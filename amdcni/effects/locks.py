"""Locks between processes, which can be looked at without taking them.

A lock belongs to an open file and lasts as long as any process has that open (flock).  Its holder
also sets a lock of open file descriptions on the same file.  That one excludes nobody, but the
kernel says whether it is set (F_OFD_GETLK), whatever PID namespace the holder is in; a flock it
shows only in /proc/locks, and not in a container.
"""

import errno
import fcntl
import os
import stat
import struct
import time
from contextlib import suppress
from typing import Final

from amdcni.core.errors import DeviceBusy

_POLL_S: Final = 0.01
_FLOCK: Final = "hhqqi"
"""struct flock with 64-bit offsets: type, whence, start, length, PID."""


def acquire(fd: int, device: str, wait_s: float) -> None:
    """Lock the open file `fd` for `device`; raises DeviceBusy after `wait_s` seconds."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise DeviceBusy(
                    f"another call has been working on {device} for {wait_s:g} s; try again"
                ) from None
            time.sleep(_POLL_S)
    with suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_RDLCK))


def release(fd: int) -> None:
    """Unlock the file, even if a plugin has left a daemon behind that has our descriptor."""
    with suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_UNLCK))
    fcntl.flock(fd, fcntl.LOCK_UN)


def is_held(path: str) -> bool | None:
    """Whether a process has the file locked now; None if there is no file to lock.

    Nothing is locked, made or waited for.  If the kernel cannot be asked, it counts as not held.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        return None if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) else False
    if not stat.S_ISREG(os.fstat(fd).st_mode) and not stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_WRLCK))
    except OSError:
        return False
    finally:
        os.close(fd)
    found: int = struct.unpack(_FLOCK, answer)[0]
    return found != fcntl.F_UNLCK


def _whole_file(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)
