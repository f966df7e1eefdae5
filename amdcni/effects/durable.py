"""Files that are there in whole or not at all, also after a power failure."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amdcni.core.errors import StateFailure


def write_file(path: Path, data: bytes, *, modified_ns: int | None = None) -> None:
    """Write the file, mode 0600, in place of what is there, with a time of change if one is given.

    Writers of one path exclude each other, so that the next takes over what a killed one left.

    Raises: OSError; then the file is what it was.
    """
    temporary = temporary_of(path)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(temporary, flags, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if modified_ns is not None:
                os.utime(fd, ns=(modified_ns, modified_ns))
            os.fsync(fd)
        os.rename(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def temporary_of(path: Path) -> Path:
    """The file that is written before it gets the name `path`."""
    return path.with_name(f".{path.name}.tmp")


def make_folder(folder: Path) -> None:
    """Make the folder and those that it lies in, each so that it survives a crash."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make durable which names the folder has."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def failing_to(what: str) -> Iterator[None]:
    """Turn an OSError into a StateFailure that says what could not be done."""
    try:
        yield
    except OSError as error:
        raise StateFailure(f"cannot {what}: {error.strerror or error}") from None
