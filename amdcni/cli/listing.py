"""What commands list: printed for people or for programs, once or whenever it changes."""

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any, Final

import attrs

from amdcni.cli.columns import (
    Column,
    Row,
    State,
    Tone,
    chosen,
    heading_line,
    row_line,
    shown,
    widths_of,
)
from amdcni.cli.printing import (
    is_coloured,
    print_line,
    print_sentence,
    print_value,
    width_of_screen,
)

POLL_S: Final = 1.0
"""How often a watch looks; what it looks at has no event for all that may change."""

_HANGING: Final = 2
"""How far the second line of a sentence is indented."""


@attrs.frozen
class Listing:
    """What a command lists: a table, and `notes`, sentences below it.

    `value` is the same for programs, and `status` the exit status of the command.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    value: Any = None
    status: int = 0


def serve_listing(
    look: Callable[[], Listing],
    options: argparse.Namespace,
    stdout: IO[str],
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Print what is listed, and with `watch` what changes, until an interrupt; the exit status."""
    if not options.watch:
        listing = look()
        print_listing(listing, options, stdout)
        return listing.status
    try:
        watch = Watch(options, stdout)
        while True:
            watch.show(look())
            pause(POLL_S)
    except KeyboardInterrupt:
        return 0


def print_listing(listing: Listing, options: argparse.Namespace, stdout: IO[str]) -> None:
    """Print what is listed in the chosen form."""
    if options.output in ("json", "yaml"):
        print_value(listing.value, options, stdout)
    elif options.output == "name":
        for row in listing.rows:
            print_line(row.name, stdout)
    else:
        Watch(options, stdout).show(listing)


class Watch:
    """A table that goes on: at first all rows, and then those that have changed."""

    def __init__(self, options: argparse.Namespace, stdout: IO[str]) -> None:
        """A table in the form that the options choose, of which nothing has been printed."""
        self._options = options
        self._stdout = stdout
        self._wide = options.output == "wide"
        self._widths: Sequence[int] = ()
        self._before: Listing | None = None

    def show(self, listing: Listing) -> None:
        """Print what differs from what was printed before."""
        before, self._before = self._before, listing
        if self._options.output in ("json", "yaml", "name"):
            if before is None or before.value != listing.value:
                print_listing(listing, self._options, self._stdout)
        else:
            self._show_rows(listing, before)
        self._stdout.flush()

    def _show_rows(self, listing: Listing, before: Listing | None) -> None:
        columns = shown(listing.columns, wide=self._wide)
        rows = tuple(chosen(listing.columns, listing.rows, wide=self._wide))
        if before is not None:
            known = tuple(chosen(listing.columns, before.rows, wide=self._wide))
            rows = tuple(changed_rows(columns, known, rows))
        room = None if self._wide else width_of_screen()
        if rows:
            first = not self._widths
            self._widths = widths_of(columns, rows, room, self._widths)
            if first and not self._options.no_headers:
                print_line(heading_line(columns, self._widths), self._stdout)
        coloured = is_coloured(self._stdout)
        for row in rows:
            # The cells are plain already, and colours are not.
            self._stdout.write(row_line(row, self._widths, coloured=coloured) + "\n")
        if not self._options.no_headers and (before is None or before.notes != listing.notes):
            self._show_notes(listing.notes, apart=bool(rows))

    def _show_notes(self, notes: Iterable[str], *, apart: bool) -> None:
        for number, note in enumerate(notes):
            if apart and number == 0:
                self._stdout.write("\n")
            print_sentence(note, self._stdout, indent=_HANGING)


GONE: Final = State("gone", Tone.CHANGING)
"""The state of a row that is listed no more."""


def changed_rows(
    columns: Sequence[Column], before: Iterable[Row], now: Iterable[Row]
) -> Iterable[Row]:
    """The rows that are new or not as they were, and those that are no more, which are `GONE`."""
    known: Mapping[str, Row] = {row.name: row for row in before}
    there = set()
    for row in now:
        there.add(row.name)
        if row.name not in known or _lasting(columns, known[row.name]) != _lasting(columns, row):
            yield row
    for name, row in known.items():
        if name not in there:
            cells = (GONE if isinstance(cell, State) else cell for cell in row.cells)
            yield Row(name, tuple(cells))


def _lasting(columns: Sequence[Column], row: Row) -> list[str | State]:
    pairs = zip(columns, row.cells, strict=True)
    return [cell for column, cell in pairs if not column.passes]
