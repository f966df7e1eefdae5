"""Performs the steps of installations; whenever it is killed, each step is done or not begun.

A file is written under another name, flushed, read back, and renamed only if its hash is right.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, assert_never

from amdcni.core.errors import InstallFailed
from amdcni.core.formats.trees import installed_to_json
from amdcni.core.install.seen import EXECUTABLE, INSIDE, NOTE, UNFINISHED
from amdcni.core.install.steps import (
    Flush,
    KeepAside,
    MakeFolder,
    Note,
    PutFile,
    PutLink,
    Remove,
    RemoveFolder,
    Rename,
    Restore,
    Step,
    Switch,
)
from amdcni.core.install.tree import File, SymbolicLink
from amdcni.effects.installing.look import found_at

_PART_BYTES: Final = 1024 * 1024
_FOLDER_MODE: Final = 0o755
_NOTE_MODE: Final = 0o644
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
_REMEDIES: Final = {
    errno.ENOSPC: "free some space, and repeat the command",
    errno.EDQUOT: "raise the quota, and repeat the command",
    errno.EROFS: "mount the file system writable, and repeat the command",
    errno.EACCES: "run as root",
    errno.EPERM: "run as root, and look for an immutable file (lsattr)",
}
_REMEDY: Final = "look at the disk (dmesg), and repeat the command"


def perform(steps: Iterable[Step], bin_dir: Path, tree: Path | None = None) -> None:
    """Perform steps in a binDir; `tree` is where the files to be put are.

    Raises: InstallFailed at the first step that fails, and the others are not begun.
    """
    for step in steps:
        try:
            _perform(step, bin_dir, tree)
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, _REMEDY)
            raise InstallFailed(
                f"cannot {step.describe()} in {str(bin_dir)!r}: {error.strerror}; {remedy}"
            ) from None


def _perform(step: Step, bin_dir: Path, tree: Path | None) -> None:
    match step:
        case MakeFolder(path):
            _make_folder(bin_dir / path)
        case PutFile(path, source, file):
            assert tree is not None
            _put(tree / source, bin_dir / path, file, bin_dir)
        case PutLink(path, target):
            _put_link(bin_dir / path, target, bin_dir)
        case Flush(folders):
            for folder in folders:
                _flush(bin_dir / folder)
        case Rename(path, to):
            os.rename(bin_dir / path, bin_dir / to)
        case KeepAside(to, content):
            _keep_aside(bin_dir, bin_dir / to, content)
        case Note(installed):
            data = installed_to_json(installed)
            wanted = File(hashlib.sha256(data).hexdigest(), _NOTE_MODE)
            _put_bytes(data, bin_dir / NOTE, wanted, bin_dir)
            _flush(bin_dir / INSIDE)
        case Switch(_, source, file):
            _put(bin_dir / source, bin_dir / EXECUTABLE, file, bin_dir)
            _flush(bin_dir)
        case Restore(kept):
            os.rename(bin_dir / kept, bin_dir / EXECUTABLE)
            _flush(bin_dir)
        case Remove(path):
            _remove(bin_dir / path)
        case RemoveFolder(path):
            _remove_folder(bin_dir / path)
        case _:
            assert_never(step)


def _make_folder(path: Path) -> None:
    with suppress(FileExistsError):
        os.mkdir(path)
    # Whatever the umask of this process is, other users may run the command.
    os.chmod(path, _FOLDER_MODE)


def _put(source: Path, to: Path, wanted: File, bin_dir: Path) -> None:
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        _put_bytes(file.read(), to, wanted, bin_dir)


def _put_bytes(data: bytes, to: Path, wanted: File, bin_dir: Path) -> None:
    if hashlib.sha256(data).hexdigest() != wanted.sha256:
        raise InstallFailed(
            f"what was to become {str(to)!r} differs from its manifest; take the tree anew"
        )
    unfinished = _unfinished(bin_dir)
    try:
        _write(unfinished, data, wanted.mode)
        if found_at(unfinished) != wanted:
            raise InstallFailed(
                f"{str(to)!r} is read back from the disk with another content or mode than was "
                "written; replace the disk"
            )
        os.rename(unfinished, to)
    except BaseException:
        _discard(unfinished)
        raise


def _write(path: Path, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest[:_PART_BYTES]) :]
        os.fchmod(fd, mode)
        os.fsync(fd)
        # Reading it back asks the disk, not the memory in which it still is.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def _put_link(to: Path, target: str, bin_dir: Path) -> None:
    unfinished = _unfinished(bin_dir)
    try:
        os.symlink(target, unfinished)
        os.rename(unfinished, to)
    except BaseException:
        _discard(unfinished)
        raise


def _keep_aside(bin_dir: Path, to: Path, content: File | SymbolicLink) -> None:
    """Give the executable a second name; where there are no hard links, a copy is kept."""
    executable = bin_dir / EXECUTABLE
    if isinstance(content, SymbolicLink):
        _put_link(to, content.target, bin_dir)
        return
    unfinished = _unfinished(bin_dir)
    try:
        os.link(executable, unfinished, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _put(executable, to, content, bin_dir)
        was = os.stat(executable)
        os.chown(to, was.st_uid, was.st_gid)
        shutil.copystat(executable, to)
        return
    os.rename(unfinished, to)


def _unfinished(bin_dir: Path) -> Path:
    """A name that nothing else has: only one process installs at a time, one file at a time."""
    unfinished = bin_dir / f"{UNFINISHED}{os.getpid()}"
    _discard(unfinished)
    return unfinished


def _discard(path: Path) -> None:
    with suppress(OSError):
        os.unlink(path)


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _remove_folder(path: Path) -> None:
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise


def _flush(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
