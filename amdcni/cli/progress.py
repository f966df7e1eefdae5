"""How far long work has come: one line on a terminal that is written again and again."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Final, TypeVar

from amdcni.cli.columns import plain, shortened
from amdcni.cli.printing import width_of_screen

T = TypeVar("T")

_ERASE: Final = "\r\x1b[K"
"""Back to the beginning of the line, which is then empty (ECMA-48, EL)."""

Tell = Callable[[str], None]
"""Called with what is being done now."""


@contextmanager
def progress_on(stderr: IO[str]) -> Iterator[Tell]:
    """Give a function that shows what is being done, in place of what it has shown before.

    In the end nothing of it is left.  Nothing is written to what is no terminal.  It loads nothing
    late: a command may remove its own files meanwhile.
    """
    if not _is_shown_on(stderr):
        yield lambda _: None
        return
    width, told = width_of_screen() - 1, False

    def tell(words: str) -> None:
        nonlocal told
        told = True
        stderr.write(_ERASE + shortened(plain(words), width))
        stderr.flush()

    try:
        yield tell
    finally:
        if told:
            erase_on(stderr)


def erase_on(stderr: IO[str]) -> None:
    """Make room for a line of something else."""
    if _is_shown_on(stderr):
        stderr.write(_ERASE)
        stderr.flush()


def _is_shown_on(stderr: IO[str]) -> bool:
    return stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def counted(doing: str, things: Sequence[T], tell: Tell) -> Iterable[T]:
    """The things one after the other, each told with its number before it is given."""
    for number, each in enumerate(things, 1):
        tell(f"{doing} ... {number}/{len(things)}")
        yield each
