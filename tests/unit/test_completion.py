"""What the shells are told of the command line."""

import argparse
import io
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from amdcni.cli import main
from amdcni.cli.arguments import Shell, parser
from amdcni.cli.completion import COMMANDS, FILES, FOLDERS, LIVE, script
from amdcni.cli.options import Words
from amdcni.cli.parsing import parsers_in

NOTHING = {"ADDRESS", "CONTAINER_ID", "KEY=VALUE", "NAME", "SECONDS", "WORDS"}
"""The metavars of what nobody can guess."""


def values() -> Iterator[argparse.Action]:
    """All arguments with a value that is not one of a few."""
    for command in parsers_in(parser()):
        for action in command._actions:
            if action.nargs != 0 and action.choices is None:
                yield action


def test_it_is_known_of_each_argument_how_its_value_is_completed() -> None:
    known = {*COMMANDS, *FILES, *FOLDERS, *LIVE, *NOTHING}
    assert {str(action.metavar) for action in values()} == known


@pytest.mark.parametrize("shell", Shell)
def test_a_script_has_each_command_and_each_long_option(shell: Shell) -> None:
    text = script(shell)
    for command in parsers_in(parser()):
        assert command.prog.rpartition(" ")[2] in text
        for action in command._actions:
            for option in action.option_strings:
                if option.startswith("--") and shell is not Shell.TCSH:
                    assert (option[2:] if shell is Shell.FISH else option) in text, option


@pytest.mark.parametrize("shell", [Shell.BASH, Shell.ZSH, Shell.FISH])
@pytest.mark.parametrize("kind", Words)
def test_a_script_asks_for_each_kind_of_words(shell: Shell, kind: Words) -> None:
    assert f"_amdcni_words {kind}" in script(shell)


@pytest.mark.parametrize("shell", [each for each in Shell if shutil.which(each)])
def test_a_shell_that_is_here_can_read_its_script(shell: Shell) -> None:
    asked = [shell.value, "-n"]
    done = subprocess.run(asked, input=script(shell), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", Shell)
def test_the_command_prints_the_script(shell: Shell) -> None:
    out, err = io.StringIO(), io.StringIO()
    assert main(["completion", shell], out, err) == 0
    assert (out.getvalue(), err.getvalue()) == (script(shell), "")
