"""Follows each lesson to the letter: writes its files, types its commands, compares the output."""

import doctest
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import amdcni
from amdcni.testing import skip_reason

ROOT = Path(__file__).parents[1]
LESSONS = Path(__file__).parent / "tutorial"
NAMES = sorted(path.stem for path in LESSONS.glob("*.md") if path.stem != "index")

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
        pytest.param("forty-lines", (), id="forty-lines"),
        pytest.param("small-plugin", (), id="small-plugin"),
        pytest.param("test-a-plugin", WITHOUT_THE_SUITE, id="test-a-plugin, without the suite"),
        pytest.param("test-a-plugin", (), id="test-a-plugin", marks=pytest.mark.thorough),
    ],
)
def test_a_lesson_does_what_it_says(lesson: str, left_out: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "venv").symlink_to(sys.prefix)
    play(lesson, left_out, tmp_path)


def play(lesson: str, left_out: tuple[str, ...], folder: Path) -> None:
    """Follow a lesson in a folder with an environment."""
    said = write_files(LESSONS / f"{lesson}.md", folder)
    reason = skip_reason()
    if reason is not None:
        needs_a_node = ("try_wire.py", "test_cable.py", "test_mtu.py", "conformance")
        said = [(typed, _) for typed, _ in said if not any(word in typed for word in needs_a_node)]
    said = [(typed, _) for typed, _ in said if not any(word in typed for word in left_out)]
    assert said
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    answers = type_in(folder, [typed for typed, _ in said])
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


# ---- what is installed, without a checkout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment, set up as the tutorial says, from a wheel and an index."""
    folder = tmp_path_factory.mktemp("installed") / "lessons"
    folder.mkdir()
    (folder.parent / "amdcni").symlink_to(ROOT)
    environ = environment_of_setup(folder.parent)
    ask = "python3 -m pip download --no-deps --dest index attrs"
    asked = in_shell(ask, folder.parent, {k: environ[k] for k in environ if k != "PIP_CONSTRAINT"})
    if asked.returncode != 0:
        assert "No matching distribution" in asked.stderr, asked.stderr
        pytest.skip("no package index can be reached")
    for command in (
        *commands_under("index", "Get the wheel"),
        *commands_under(NAMES[0], "Set up"),
    ):
        done = in_shell(command, folder, environ)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return folder


def in_shell(
    command: str, folder: Path, environ: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def environment_of_setup(folder: Path) -> dict[str, str]:
    """The environment of pip: this interpreter as python3, and the tested versions of packages."""
    (folder / "bin").mkdir()
    (folder / "bin/python3").symlink_to(sys._base_executable)
    # A constraint has no extras, such as that of coverage[toml].
    pins = re.compile(r"^([\w.-]+)(?:\[.*?\])?(==\S+)", re.MULTILINE)
    tested = ["".join(pin) for pin in pins.findall((ROOT / "requirements/dev.txt").read_text())]
    (folder / "versions.txt").write_text("\n".join(tested))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return kept | {
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "PIP_CONSTRAINT": str(folder / "versions.txt"),
    }


def commands_under(page: str, heading: str) -> list[str]:
    text = (LESSONS / f"{page}.md").read_text().partition(f"\n## {heading}\n")[2]
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0].splitlines()


@pytest.mark.thorough
@pytest.mark.parametrize("lesson", NAMES)
def test_a_lesson_works_with_nothing_but_the_wheel(lesson: str, installed: Path) -> None:
    program = "import amdcni; print(amdcni.__file__)"
    (where,) = type_in(installed, [f"venv/bin/python -c '{program}'"])
    assert where.startswith(f"{installed}/venv/")
    play(lesson, (), installed)


def test_all_lessons_are_set_up_in_the_same_way() -> None:
    wheel = f"./amdcni-{amdcni.__version__}-py3-none-any.whl"
    for lesson in NAMES:
        assert commands_under(lesson, "Set up") == commands_under(NAMES[0], "Set up")
        assert wheel in commands_under(lesson, "Set up")[-1]


# ---- what a reader sees


@pytest.mark.parametrize("lesson", NAMES)
def test_every_block_that_is_a_file_has_its_name_as_caption(lesson: str) -> None:
    text = (LESSONS / f"{lesson}.md").read_text()
    files = [block["file"] for block in BLOCK.finditer(text) if block["file"] is not None]
    source = [text]
    runpy.run_path(str(ROOT / "docs/conf.py"))["show_file_names"](None, lesson, source)
    captions = re.findall(r"^:caption: (.*)$", source[0], re.MULTILINE)
    assert [caption.removesuffix(", continued") for caption in captions] == files
    assert len({each for each in captions if "," not in each}) == len(set(files))
    without = re.findall(r"^```python\n(.*?)^```$", source[0], re.MULTILINE | re.DOTALL)
    assert [block for block in without if not block.startswith(">>>")] == []


def test_the_shortest_lesson_is_as_short_as_it_says() -> None:
    blocks = BLOCK.finditer((LESSONS / "forty-lines.md").read_text())
    text = {block["file"]: block["text"] for block in blocks if block["file"] is not None}
    lines = {file: [line for line in text[file].splitlines() if line] for file in text}
    assert len(lines["mtu.py"]) <= 30
    assert len(lines["test_mtu.py"]) <= 10
