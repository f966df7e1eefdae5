"""Log lines that never wait for their reader: the process that writes them serves a whole node."""

import os
import select
from typing import Final

_MOST_AT_ONCE: Final = select.PIPE_BUF
"""A pipe that can be written to has room for so many bytes."""


class Lines:
    """A stream for `print`: a line for which its reader leaves no room is lost, and counted.

    The next line that finds room follows one that says how many were lost.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._text = ""
        self._begun = b""
        self._lost = 0

    def write(self, text: str) -> int:
        """Keep `text` until `flush`."""
        self._text += text
        return len(text)

    def flush(self) -> None:
        """Write what is kept as far as there is room, and never wait.

        Raises: OSError if the descriptor cannot be written to at all.
        """
        line, self._text = self._text, ""
        self._begun = self._without_written(self._begun)
        if not self._begun and self._lost and self._begin(f"log lines lost: {self._lost}\n"):
            self._lost = 0
        if self._begun or not self._begin(line):
            self._lost += 1

    def _begin(self, line: str) -> bool:
        """Whether at least the beginning of a line was written; its rest goes before the next."""
        data = line.encode(errors="backslashreplace")
        rest = self._without_written(data)
        if rest == data:
            return False
        self._begun = rest
        return True

    def _without_written(self, data: bytes) -> bytes:
        """Write what there is room for, and return the rest."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while data and poll.poll(0):
            data = data[os.write(self._fd, data[:_MOST_AT_ONCE]) :]
        return data
