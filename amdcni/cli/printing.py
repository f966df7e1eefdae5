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
    from rich.console import Console

    console = Console(file=stdout)
    needed = 1
    for column in table.columns:
        heading, *cells = (str(column.header), *map(str, column.cells))
        # Only sentences wrap.
        column.no_wrap = not any(" " in text for text in cells)
        whole = [heading, *cells] if column.no_wrap else " ".join((heading, *cells)).split()
        column.min_width = max(len(line) for text in whole for line in text.splitlines() or [""])
        needed += column.min_width + _FRAME
    console.width = max(console.width, needed)
    console.print(table)
