"""What root may rely on: files and folders that nobody but root can exchange or write.

A check by path is safe exactly if every folder on the way is root's: then nobody else can change
what the path leads to afterwards.  Where that is not required, files are opened part by part.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from amdcni.core.names import FilePath
from amdcni.core.places import Place

_NOT_A_LINK: Final = os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL: Final = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV})
"""What opening says of a link, of a FIFO that nobody reads, of a socket, of an absent device."""
_WRITABLE_BY_GROUP: Final = stat.S_IWGRP
_WRITABLE_BY_OTHERS: Final = stat.S_IWOTH
_LOG_MODE: Final = 0o640


class NotTrusted(OSError):
    """This is no regular file, or another user could have written it."""


def fault_of_folder(place: Place) -> str | None:
    """Why root should not write below `place`, as far as it exists; None if it may.

    In a sticky folder, such as /tmp, nobody can exchange what is root's, but anybody can make what
    is missing.
    """
    base = os.path.realpath(place.base)
    parts = [p for p in place.path[len(place.base) :].split("/") if p]
    above = [*reversed(Path(base).parents), Path(base)]
    below = [Path(base, *parts[: n + 1]) for n in range(len(parts))]
    sticky: str | None = None
    for path in (*above, *below):
        try:
            seen = os.lstat(path)
        except FileNotFoundError:
            return sticky
        except OSError as error:
            return f"{str(path)!r} cannot be looked at: {error.strerror}"
        fault = _fault(seen, wanted=stat.S_ISDIR, kind="folder", writable=0)
        exposed = _fault(seen, wanted=stat.S_ISDIR, kind="folder")
        sticky = f"{str(path)!r} {exposed}" if exposed and seen.st_mode & stat.S_ISVTX else None
        if fault is not None or (exposed is not None and sticky is None):
            return f"{str(path)!r} {fault or exposed}"
    return sticky


def is_roots_folder(path: str) -> bool:
    """Whether `path` leads to a folder of root's, even if others may write there."""
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        return False
    return _fault(seen, wanted=stat.S_ISDIR, kind="folder", writable=0) is None


def is_private(folder: str) -> bool:
    """Whether only root can have made or exchanged what is in a folder."""
    try:
        seen = os.stat(folder)
    except OSError:
        return True
    return _fault(seen, wanted=stat.S_ISDIR, kind="folder") is None


def open_to_read(path: "str | os.PathLike[str]", *, in_private: bool = False) -> int:
    """Open a file that only root can have written; nothing is waited for.

    In a private folder, owner and mode of the file say nothing more, and do not matter.

    Raises: OSError, also for any other kind of file.
    """
    fd = _open(path, os.O_RDONLY)
    if not in_private:
        return _checked(fd, path)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _not_trusted(path, "is not a regular file")
    return fd


def open_folder(path: "str | os.PathLike[str]") -> int:
    """Open a folder that is no symbolic link; raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NOT_A_LINK)


def open_to_write(name: str, folder: int, *, emptied: bool = False) -> int:
    """Open a file in the open `folder`, which is made if it is missing; nothing is waited for.

    Raises: OSError, also for any other kind of file, and for one that has another name, too.
    """
    fd = _open(name, os.O_RDWR | os.O_CREAT, dir_fd=folder)
    _alone(_checked(fd, name), name)
    if emptied:  # O_TRUNC would have done so before anything was known about the file.
        try:
            os.ftruncate(fd, 0)
        except OSError:
            os.close(fd)
            raise
    return fd


def open_anew(path: "str | os.PathLike[str]") -> int:
    """Open a new file in place of whatever has this name; raises OSError, also for a folder."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOT_A_LINK, 0o600)


def open_to_append(place: Place) -> int:
    """Open a log file, which is made if it is missing; its folders have to be there.

    Raises: OSError if a part below the base is a symbolic link, if a folder could be exchanged by
    others than root, or if the file is of another kind, another owner's, or has another name, too.
    """
    *folders, name = [p for p in place.path[len(place.base) :].split("/") if p]
    base = os.path.realpath(place.base)
    fault = fault_of_folder(Place("/", FilePath(os.path.dirname(base))))
    if fault is not None:
        raise NotTrusted(errno.EPERM, fault)
    folder = os.open(base, os.O_PATH | os.O_DIRECTORY | _NOT_A_LINK)
    try:
        # Some distributions let a group write to /var/log itself, but not what is below it.
        _require(folder, base, stat.S_ISDIR, "folder", _WRITABLE_BY_OTHERS)
        for part in folders:
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | _NOT_A_LINK, dir_fd=folder)
            os.close(folder)
            folder = inner
            _require(folder, part, stat.S_ISDIR, "folder")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        fd = _open(name, flags, _LOG_MODE, dir_fd=folder)
    finally:
        os.close(folder)
    return _alone(_checked(fd, place.path), place.path)


def _open(
    path: "str | os.PathLike[str]", flags: int, mode: int = 0o600, dir_fd: int | None = None
) -> int:
    flags |= os.O_NONBLOCK | os.O_NOCTTY | _NOT_A_LINK
    try:
        return os.open(path, flags, mode, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in _SPECIAL or error.errno == errno.EISDIR:
            raise _not_trusted(path, "is not a regular file") from None
        raise


def _alone(fd: int, path: "str | os.PathLike[str]") -> int:
    if os.fstat(fd).st_nlink > 1:
        os.close(fd)
        raise _not_trusted(path, "has another name, too")
    return fd


def _checked(fd: int, path: "str | os.PathLike[str]") -> int:
    try:
        _require(fd, path, stat.S_ISREG, "regular file")
    except OSError:
        os.close(fd)
        raise
    return fd


def _require(
    fd: int,
    path: "str | os.PathLike[str]",
    wanted: Callable[[int], bool],
    kind: str,
    writable: int = _WRITABLE_BY_GROUP | _WRITABLE_BY_OTHERS,
) -> None:
    fault = _fault(os.fstat(fd), wanted=wanted, kind=kind, writable=writable)
    if fault is not None:
        raise _not_trusted(path, fault)


def _not_trusted(path: "str | os.PathLike[str]", fault: str) -> NotTrusted:
    return NotTrusted(errno.EPERM, f"{os.fspath(path)!r} {fault}")


def _fault(
    seen: os.stat_result,
    *,
    wanted: Callable[[int], bool],
    kind: str,
    writable: int = _WRITABLE_BY_GROUP | _WRITABLE_BY_OTHERS,
) -> str | None:
    if not wanted(seen.st_mode):
        return f"is not a {kind}"
    if seen.st_uid not in _trusted():
        return "does not belong to root"
    if seen.st_mode & writable & _WRITABLE_BY_OTHERS:
        return "can be written by everybody"
    if seen.st_mode & writable & _WRITABLE_BY_GROUP and seen.st_gid not in _trusted():
        return "can be written by a group"
    return None


@cache
def _trusted() -> frozenset[int]:
    """Root, and whom this process depends on anyway: itself, and the owner of `/`.

    In a user namespace, the machine's root has the number of somebody unknown.
    """
    return frozenset({0, os.geteuid(), os.stat("/").st_uid})
