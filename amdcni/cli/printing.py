"""How the subcommands print: JSON for programs, tables for people."""

import json
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, Final

from amdcni.core.condition import Condition

if TYPE_CHECKING:
    from rich.table import Table

FOUND: Final = {
    Condition.HELD: "the pod has it",
    Condition.UNFINISHED: "a call was interrupted",
    Condition.RETURNED: "it is on the host, bare: its pod is gone",
    Condition.ABANDONED: "its pod is gone",
    Condition.OUTDATED: "the node was booted since",
    Condition.MISSING: "it is neither on the host nor in its pod",
    Condition.UNPLUGGED: "it is not in the machine",
}
"""What is found of an attachment, in words."""


def print_json(value: Any, stdout: IO[str]) -> None:
    """Print a value for programs."""
    stdout.write(json.dumps(value, indent=2) + "\n")


def print_line(text: str, stdout: IO[str]) -> None:
    """Print a sentence for people."""
    stdout.write(f"{text}\n")


def make_table(title: str, *headings: str) -> "Table":
    """A table whose first column is never broken."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    first, *others = headings
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, overflow="fold")
    return table


def print_rows(table: "Table", rows: Sequence[Sequence[str]], stdout: IO[str]) -> None:
    """Print a table with rows of plain text."""
    from rich.console import Console
    from rich.text import Text

    for row in rows:
        table.add_row(*map(Text, row))
    Console(file=stdout).print(table)
