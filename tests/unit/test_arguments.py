"""The command line of `amdcni`."""

import io
import re
import shlex

import pytest

from amdcni.cli import main
from amdcni.cli.arguments import EXAMPLES, parser
from amdcni.cli.parsing import parsers_in


def arguments_in(text: str) -> str:
    """The help without its examples."""
    return text.partition("\nexamples:")[0]


PARSERS = {each.prog: each for each in parsers_in(parser())}


@pytest.mark.parametrize("command", PARSERS)
def test_the_help_lists_each_argument_and_command_once(command: str) -> None:
    listed = re.findall(r"^ {2,4}(\S+)", arguments_in(PARSERS[command].format_help()), re.M)
    assert "-h," in listed
    assert len(listed) == len(set(listed))


COMMANDS = {name.removeprefix("amdcni ") for name in PARSERS if name.count(" ") == 1}


def test_every_command_has_examples_at_the_end_of_its_help() -> None:
    assert set(EXAMPLES) == COMMANDS - {"version"}
    for name, examples in EXAMPLES.items():
        shown = PARSERS[f"amdcni {name}"].format_help().partition("\nexamples:\n")[2]
        assert shown.splitlines() == [f"  {each}" for each in examples]


@pytest.mark.parametrize("example", [each for several in EXAMPLES.values() for each in several])
def test_an_example_is_a_command_line(example: str) -> None:
    (typed,) = re.findall(r"(?:^|\| )(amdcni .*?)(?: [|>] |$)", example)
    options = parser().parse_args(shlex.split(typed)[1:])
    assert options.command in COMMANDS


def said(*words: str) -> tuple[int, str, str]:
    """The exit status of a command line, and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr("sys.stdout", out)
        changed.setattr("sys.stderr", err)
        try:
            status = main(words, out, err)
        except SystemExit as exit:
            status = int(str(exit.code))
    return status, out.getvalue(), err.getvalue()


def test_the_help_is_reached_in_every_way() -> None:
    whole = said("--help")
    assert whole[0] == 0
    assert said() == said("help") == whole
    for words in (("heal",), ("attachments", "show")):
        assert said("help", *words) == said(*words, "--help") == (0, said(*words, "-h")[1], "")
    assert said("version") == said("--version")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("atachments", "attachments"),
        ("help hael", "heal or help"),
        ("heal --dry-rn", "--dry-run"),
        ("attachments -o jsn", "json"),
        ("attachments shw eth1", "show"),
        ("check --nmespace ml", "--namespace"),
    ],
)
def test_a_near_miss_is_answered_with_what_may_have_been_meant(words: str, meant: str) -> None:
    status, out, err = said(*words.split())
    assert (status, out) == (2, "")
    assert f"; did you mean {meant}? (see amdcni" in err


def test_a_word_that_is_like_none_is_answered_with_all_that_are_known() -> None:
    assert "choose from 'wide', 'name', 'json', 'yaml'" in said("check", "-o", "qqq")[2]
    assert "did you mean" not in said("check", "--qqqqqq")[2]
