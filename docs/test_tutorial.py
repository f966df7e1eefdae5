"""Follows the tutorial to the letter: writes its files, types its commands, reads the answers."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from amdcni.testing import skip_reason

PAGE = Path(__file__).parent / "tutorial/small-plugin.md"

BLOCK = re.compile(
    r"^(?:<!-- file: (?P<file>\S+) -->\n)?(?:<!-- skip: next -->\n)?"
    r"```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
COMMAND = re.compile(r"^\$ (?P<typed>.*)\n(?P<answer>(?:(?!\$ ).*\n)*)", re.MULTILINE)
END = "=== end of a command ===\n"


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "venv").symlink_to(sys.prefix)
    said = write_files(tmp_path)
    reason = skip_reason()
    if reason is not None:
        said = {typed: answer for typed, answer in said.items() if "try_wire.py" not in typed}
    assert said
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for (typed, answer), got in zip(said.items(), type_in(tmp_path, list(said)), strict=True):
        assert doctest.OutputChecker().check_output(answer, got, flags), f"$ {typed}\n{got}"
    if reason is not None:
        pytest.skip(f"all but the throwaway node: {reason}")


def write_files(folder: Path) -> dict[str, str]:
    """Write the files of the lesson; its commands with their answers."""
    said: dict[str, str] = {}
    for block in BLOCK.finditer(PAGE.read_text()):
        if block["file"] is not None:
            with open(folder / block["file"], "a", encoding="utf-8") as file:
                file.write(block["text"])
        if block["language"] == "console":
            said |= {match["typed"]: match["answer"] for match in COMMAND.finditer(block["text"])}
    return said


def type_in(folder: Path, commands: list[str]) -> list[str]:
    """What comes out of each command, all typed into one shell."""
    shell = subprocess.run(
        ["bash", "--norc"],
        input="".join(f"{command}\necho '{END.strip()}'\n" for command in commands),
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(folder)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return shell.stdout.split(END)[:-1]
