"""Files of /proc and /sys, which are small and many."""

import os
from typing import Final

_PAGE_BYTES: Final = 4096


def text_in(path: str, folder: int | None = None) -> str | None:
    """The text of a file, without white space around it; None if it cannot be read.

    A relative path starts at the open `folder`.  The kernel may show less than a page at a time.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        data = b""
        while part := os.read(fd, _PAGE_BYTES):
            data += part
    except OSError:  # such as stable_secret, before it is set
        return None
    finally:
        os.close(fd)
    return data.decode(errors="replace").strip()


def write(path: str, text: str, folder: int | None = None) -> None:
    """Write a short text to a file that is there, at once; raises OSError.  See `text_in`."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
