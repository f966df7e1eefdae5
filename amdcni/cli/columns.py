"""Tables for people as kubectl prints them: a line for each row, in columns that fit the screen."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

import attrs

GAP: Final = 2
"""The spaces between two columns."""

NOTHING: Final = "-"
"""What stands in a cell that would be empty."""

_CUT: Final = "…"


class Tone(StrEnum):
    """What a state means for the reader; the value is its colour (ECMA-48, SGR)."""

    GOOD = "32"
    CHANGING = "33"
    BAD = "1;31"


@attrs.frozen
class State:
    """A cell with one word, which is coloured on a terminal."""

    word: str
    tone: Tone | None = None

    def __str__(self) -> str:
        return self.word


@attrs.frozen
class Column:
    """A column; its cells are never made narrower than `least`.

    One that is `only_wide` is left out where lines have to fit.  What `passes` with time, such as
    an age, is no change of a row.
    """

    heading: str
    least: int
    only_wide: bool = False
    passes: bool = False


@attrs.frozen
class Row:
    """A line of a table, with a cell for each column.

    `name` distinguishes it from the others, and is how the thing can be named to other commands.
    """

    name: str
    cells: tuple[str | State, ...]


def plain(text: str) -> str:
    """The text on one line, without characters that a terminal obeys."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def width_of(text: str) -> int:
    """How many columns of a terminal the text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def shortened(text: str, width: int) -> str:
    """The text in at most `width` columns; what is left out is in the middle.

    The end matters as much as the beginning: it distinguishes the pods of one ReplicaSet.
    """
    if width_of(text) <= width:
        return text
    tail = _head(text[::-1], (width - 1) // 2)[::-1]
    return _head(text, width - 1 - width_of(tail)) + _CUT + tail


def _head(text: str, width: int) -> str:
    end = 0
    while end < len(text) and width_of(text[: end + 1]) <= width:
        end += 1
    return text[:end]


def widths_of(
    columns: Sequence[Column], rows: Iterable[Row], room: int | None, at_least: Sequence[int] = ()
) -> list[int]:
    """How wide each column is; without `room`, as wide as its widest cell.

    None is narrower than in `at_least`, the widths of a table that goes on.
    """
    natural = [
        max(pair)
        for pair in zip(
            [width_of(each.heading) for each in columns],
            at_least or [0] * len(columns),
            strict=True,
        )
    ]
    for row in rows:
        for index, cell in enumerate(row.cells):
            natural[index] = max(natural[index], width_of(_text_of(cell)))
    if room is None:
        return natural
    least = [min(pair) for pair in zip(natural, [each.least for each in columns], strict=True)]
    return narrowed(natural, least, room - GAP * (len(columns) - 1))


def narrowed(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """The widths of columns that share `room`, which takes from the widest first.

    None is wider than its `natural` width or narrower than its `least`, which have to fit together.
    """
    widths = list(natural)
    while sum(widths) > room:
        wide = [index for index, width in enumerate(widths) if width > least[index]]
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def heading_line(columns: Sequence[Column], widths: Sequence[int]) -> str:
    """The headings."""
    return _joined([each.heading.ljust(width) for each, width in zip(columns, widths, strict=True)])


def row_line(row: Row, widths: Sequence[int], *, coloured: bool) -> str:
    """A row, its cells shortened to these widths."""
    return _joined(
        [
            _cell(cell, width, coloured=coloured)
            for cell, width in zip(row.cells, widths, strict=True)
        ]
    )


def _joined(cells: Iterable[str]) -> str:
    return (" " * GAP).join(cells).rstrip()


def _cell(cell: str | State, width: int, *, coloured: bool) -> str:
    text = shortened(_text_of(cell), width)
    padding = " " * (width - width_of(text))
    tone = cell.tone if isinstance(cell, State) else None
    return painted(text, tone if coloured else None) + padding


def _text_of(cell: str | State) -> str:
    return plain(str(cell)) or NOTHING


def painted(text: str, tone: Tone | None) -> str:
    """The text in the colour of its tone, if it has one."""
    return text if tone is None else f"\x1b[{tone}m{text}\x1b[0m"


def chosen(columns: Sequence[Column], rows: Iterable[Row], *, wide: bool) -> Iterator[Row]:
    """The rows with only the cells that are shown; see `shown`."""
    kept = [wide or not each.only_wide for each in columns]
    for row in rows:
        cells = (cell for cell, keep in zip(row.cells, kept, strict=True) if keep)
        yield Row(row.name, tuple(cells))


def shown(columns: Iterable[Column], *, wide: bool) -> tuple[Column, ...]:
    """The columns that are shown."""
    return tuple(each for each in columns if wide or not each.only_wide)
