"""How the subcommands print: JSON or YAML for programs, lines for people."""

import argparse
import json
import os
import shutil
import textwrap
from importlib import import_module
from typing import IO, Any, Final

from amdcni.cli.columns import plain

LEAST_WIDTH: Final = 80
"""What is made to fit a screen fits this one; on a narrower one, lines wrap."""


def for_programs(options: argparse.Namespace) -> bool:
    """Whether the output is a value, and not text."""
    return options.output in ("json", "yaml")


def load_for(options: argparse.Namespace) -> None:
    """Load what `print_value` will need, for a command that removes its own files."""
    if options.output == "yaml":
        import_module("yaml")


def print_value(value: Any, options: argparse.Namespace, stdout: IO[str]) -> None:
    """Print a value for programs, in the form that the options choose."""
    if options.output == "yaml":
        import yaml

        text = json.dumps(value, ensure_ascii=False)
        # What is the same object twice would be written as a reference, and PyYAML leaves some
        # characters as they are that YAML takes for ends of lines.
        apart, as_it_is = json.loads(text), text.isprintable()
        stdout.write(yaml.safe_dump(apart, sort_keys=False, allow_unicode=as_it_is))
    else:
        stdout.write(json.dumps(value, indent=2) + "\n")


def print_line(text: str, stdout: IO[str]) -> None:
    """Print a sentence for people."""
    stdout.write("\n".join(map(plain, text.split("\n"))) + "\n")


def print_sentence(text: str, stdout: IO[str], *, indent: int = 0) -> None:
    """Print a sentence that a terminal may not break inside a word; later lines are indented.

    What a program reads stays on one line.
    """
    text = plain(text)
    if stdout.isatty():
        text = textwrap.fill(
            text,
            width_of_screen() - indent,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    stdout.write(text + "\n")


def width_of_screen() -> int:
    """How wide what is printed for people may be."""
    return max(LEAST_WIDTH, shutil.get_terminal_size((LEAST_WIDTH, 24)).columns)


def is_coloured(stdout: IO[str]) -> bool:
    """Whether to print in colours: on a terminal that has them, unless NO_COLOR is set."""
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    return stdout.isatty() and not dumb and not os.environ.get("NO_COLOR")
