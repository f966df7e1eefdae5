"""The command line of `amdcni`."""

import argparse
import re
from collections.abc import Iterator

import pytest

from amdcni.cli.arguments import parser


def parsers_in(whole: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser itself, and those of its commands."""
    yield whole
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers_in(command)


PARSERS = {each.prog: each for each in parsers_in(parser())}


@pytest.mark.parametrize("command", PARSERS)
def test_the_help_lists_each_argument_and_command_once(command: str) -> None:
    listed = re.findall(r"^ {2,4}(\S+)", PARSERS[command].format_help(), re.M)
    assert "-h," in listed
    assert len(listed) == len(set(listed))
