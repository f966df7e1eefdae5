"""How the subcommands print: JSON for programs, tables for people."""

import json
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.table import Table

_FRAME: Final = 3
"""What a column needs beyond its text: a space on each side, and a line."""


def print_json(value: Any, stdout: IO[str]) -> None:
    """Print a value for programs."""
    stdout.write(json.dumps(value, indent=2) + "\n")


def print_line(text: str, stdout: IO[str]) -> None:
    """Print a sentence for people."""
    stdout.write(f"{text}\n")


def make_table(title: str, *headings: str) -> "Table":
    """A table without rows; see `print_whole`."""
    from rich.table import Table

    return Table(*headings, title=title, title_justify="left")


def print_rows(table: "Table", rows: Sequence[Sequence[str]], stdout: IO[str]) -> None:
    """Print a table with rows of plain text."""
    from rich.text import Text

    for row in rows:
        table.add_row(*map(Text, row))
    print_whole(table, stdout)


def print_whole(table: "Table", stdout: IO[str]) -> None:
    """Print a table without breaking words, however narrow the terminal: addresses stay whole."""
    from rich.cells import cell_len
    from rich.console import Console

    console = Console(file=stdout)
    natural, least = [], []
    for column in table.columns:
        texts = [str(column.header), *map(str, column.cells)]
        # Only sentences wrap.
        column.no_wrap = not any(" " in text for text in texts[1:])
        lines = [line for text in texts for line in text.splitlines()]
        whole = lines if column.no_wrap else " ".join(lines).split()
        natural.append(max(map(cell_len, lines), default=0))
        least.append(max(map(cell_len, whole), default=0))
    frame = _FRAME * len(natural) + 1
    console.width = max(console.width, sum(least) + frame)
    widths = narrowed(natural, least, console.width - frame)
    for column, width in zip(table.columns, widths, strict=True):
        # Left to itself, rich cuts off the last columns of a table that it cannot narrow evenly.
        column.width = width
    console.print(table)


def narrowed(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """The widths of columns that share `room`, which takes from the widest first.

    None is wider than its `natural` width or narrower than its `least`, which have to fit together.
    """
    widths = list(natural)
    while sum(widths) > room:
        wide = [index for index, width in enumerate(widths) if width > least[index]]
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths
