"""Follows each lesson to the letter: writes its files, types its commands, compares the output."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from amdcni.testing import skip_reason

LESSONS = Path(__file__).parent / "tutorial"

BLOCK = re.compile(
    r"^(?:<!-- file: (?P<file>\S+) -->\n)?(?:<!-- skip: next -->\n)?"
    r"```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
COMMAND = re.compile(r"^\$ (?P<typed>.*)\n(?P<answer>(?:(?!\$ ).*\n)*)", re.MULTILINE)
END = "=== end of a command ===\n"


# Plugins of pytest that the lessons do not need, and that take half of its start.
NOT_NEEDED = ("hypothesispytest", "pytest_cov", "xdist")

# What needs the answer of a whole conformance suite is left to `make test-all`.
WITHOUT_THE_SUITE = ("conformance", "found.json")


@pytest.mark.parametrize(
    ("lesson", "left_out"),
    [
        pytest.param("small-plugin", (), id="small-plugin"),
        pytest.param("test-a-plugin", WITHOUT_THE_SUITE, id="test-a-plugin, without the suite"),
        pytest.param("test-a-plugin", (), id="test-a-plugin", marks=pytest.mark.thorough),
    ],
)
def test_a_lesson_does_what_it_says(lesson: str, left_out: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "venv").symlink_to(sys.prefix)
    said = write_files(LESSONS / f"{lesson}.md", tmp_path)
    reason = skip_reason()
    if reason is not None:
        needs_a_node = ("try_wire.py", "test_cable.py", "conformance")
        said = [(typed, _) for typed, _ in said if not any(word in typed for word in needs_a_node)]
    said = [(typed, _) for typed, _ in said if not any(word in typed for word in left_out)]
    assert said
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    answers = type_in(tmp_path, [typed for typed, _ in said])
    for (typed, answer), got in zip(said, answers, strict=True):
        assert doctest.OutputChecker().check_output(answer, got, flags), f"$ {typed}\n{got}"
    if reason is not None:
        pytest.skip(f"only what needs a throwaway node was not tried: {reason}")


def write_files(page: Path, folder: Path) -> list[tuple[str, str]]:
    """Write the lesson's files and return its commands with their output."""
    said: list[tuple[str, str]] = []
    for block in BLOCK.finditer(page.read_text()):
        if block["file"] is not None:
            with open(folder / block["file"], "a", encoding="utf-8") as file:
                file.write(block["text"])
        if block["language"] == "console":
            said += [(match["typed"], match["answer"]) for match in COMMAND.finditer(block["text"])]
    return said


def type_in(folder: Path, commands: list[str]) -> list[str]:
    """Return the output of each command, all typed into one shell."""
    shell = subprocess.run(
        ["bash", "--norc"],
        input="".join(f"{command}\necho '{END.strip()}'\n" for command in commands),
        env={
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "PYTEST_ADDOPTS": " ".join(f"-p no:{name}" for name in NOT_NEEDED),
        },
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return shell.stdout.split(END)[:-1]
