"""How a command line is read, and what is said about a wrong one."""

import argparse
import re
import textwrap
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from typing import Any, Final, NoReturn

_LIKE: Final = 0.6


class Parser(argparse.ArgumentParser):
    """A parser that says what may have been meant by a word that it does not know."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2; the message gets the known words that are like the wrong one."""
        found = re.search(r"invalid choice: '(.*?)'|unrecognized arguments: (\S+)", message)
        wrong = "" if found is None else found[1] or found[2]
        known = [*self._option_string_actions]
        for action in self._actions:
            known += map(str, action.choices or ())
        near = _nearest(wrong, known)
        if near:
            message = f"{message.partition(' (choose from')[0]}; did you mean {' or '.join(near)}?"
        super().error(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What `argparse` does, but a command refuses what it does not know by itself.

        Otherwise it would be left to the parser above, which knows other words.
        """
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown


def _nearest(wrong: str, known: Iterable[str]) -> list[str]:
    """The words that are most like a wrong one, if any is like it at all."""
    likeness = {word: SequenceMatcher(None, word, wrong).ratio() for word in sorted(known)}
    most = max(likeness.values(), default=0)
    return [word for word, each in likeness.items() if each == most >= _LIKE]


def parsers_in(whole: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser itself, and those of its commands."""
    yield whole
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers_in(command)


def add_examples(command: argparse.ArgumentParser, examples: Iterable[str]) -> None:
    """Add the examples to the end of the help, on lines of their own."""
    before = f"{textwrap.fill(command.epilog, 79)}\n\n" if command.epilog else ""
    command.epilog = before + "\n".join(("examples:", *(f"  {each}" for each in examples)))
    command.formatter_class = _WithExamples


class _WithExamples(argparse.HelpFormatter):
    """A formatter that leaves the lines of examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "examples:\n" in text:
            return text
        return super()._fill_text(text, width, indent)
