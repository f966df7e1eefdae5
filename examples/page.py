"""What the output of the demonstration is made of: headings, sentences, checks and listings."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.highlighter import JSONHighlighter, RegexHighlighter
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

_WIDTH: Final = 100
_MARGIN: Final = 2


class Page:
    """The demonstration on a terminal, or as plain text where there is none.

    `failures` are the claims that were checked and do not hold.
    """

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        # Longer lines are hard to read, and without a terminal there is no width to keep to.
        if not self._console.is_terminal or self._console.width > _WIDTH:
            self._console.width = _WIDTH
        self.failures: list[str] = []

    @property
    def width(self) -> int:
        """The characters that a line has without the margin."""
        return self._console.width - _MARGIN

    def title(self, title: str, *paragraphs: str) -> None:
        content = Group(Text(title, style="bold"), *(Text("\n" + words) for words in paragraphs))
        self._print(Panel(content, box=box.HEAVY, border_style="cyan", padding=(1, 3)))

    def heading(self, text: str, flow: str = "") -> None:
        self._print("")
        self._print(Rule(Text(text, style="bold cyan"), align="left", style="cyan"))
        if flow:
            self._indented(Text(flow, style="italic dim"))

    def say(self, text: str) -> None:
        """Print sentences, in which [bold]this[/] is bold."""
        self.show(Text.from_markup(text))

    def show(self, content: RenderableType) -> None:
        self._print("")
        self._indented(content)

    def check(self, *claims: tuple[bool, str]) -> None:
        """Print claims with the verdict on them, and note those that do not hold."""
        grid = Table.grid(padding=(0, 1))
        for holds, claim in claims:
            if holds:
                grid.add_row(Text("✓", style="bold green"), Text(claim))
            else:
                self.failures.append(claim)
                grid.add_row(Text("✗", style="bold red"), Text(claim, style="red"))
        self.show(grid)

    def _print(self, content: RenderableType) -> None:
        if self._console.is_terminal:
            self._console.print(content)
            return
        with self._console.capture() as captured:
            self._console.print(content)
        # Spaces at the ends of lines would disturb anyone who copies from a file.
        lines = [line.rstrip() for line in captured.get().splitlines()]
        self._console.out("\n".join(lines), highlight=False)

    def _indented(self, content: RenderableType) -> None:
        self._print(Padding(content, (0, 0, 0, _MARGIN), expand=False))


def table(*columns: str) -> Table:
    """An empty table whose first column says what a row is about."""
    empty = Table(box=box.ROUNDED, border_style="dim", header_style="bold")
    for number, column in enumerate(columns):
        empty.add_column(column, style="bold" if number == 0 else "", overflow="fold")
    return empty


def facts(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Names, each with what belongs to it on the right."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, content in rows:
        grid.add_row(name, content)
    return grid


class _Yaml(RegexHighlighter):
    highlights = (r"(?m)^[ -]*(?P<key>[\w./-]+):(?= |$)", r"(?P<str>'.*')$")
    base_style = "json."


def yaml(text: str) -> Text:
    return _Yaml()(text)


def variables(environment: Mapping[str, str], width: int) -> Text:
    """Environment variables, one per line; a value that does not fit ends with an ellipsis."""
    lines = [
        Text.assemble((name, "cyan"), "=", _shortened(value, width - len(name) - 1))
        for name, value in environment.items()
    ]
    return Text("\n").join(lines)


def _shortened(value: str, width: int) -> str:
    return value if len(value) <= width else f"{value[: width - 1]}…"


def json_text(value: object, width: int) -> Text:
    """JSON in which everything that fits into a line is in one line."""
    return JSONHighlighter()(_json(value, width))


def _json(value: Any, width: int, key: str = "") -> str:
    flat = key + json.dumps(value)
    if len(flat) < width or not isinstance(value, dict | list):
        return flat
    if isinstance(value, dict):
        braces = "{}"
        members = [_json(value[name], width - 2, f"{json.dumps(name)}: ") for name in value]
    else:
        braces = "[]"
        members = [_json(member, width - 2) for member in value]
    inside = ",\n".join(members).replace("\n", "\n  ")
    return f"{key}{braces[0]}\n  {inside}\n{braces[1]}"
