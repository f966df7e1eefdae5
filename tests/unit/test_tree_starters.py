"""The executables of the self-contained tree, which start its Python wherever it lies."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.clients import BUILD, SANITIZERS

# What stands for the dynamic linker says how it was started.
FAKE_LINKER = """#!/bin/sh
printf '<%s>' "$@"
cat
exit 7
"""

OPTIONS = {"python3": [], "amdcni": ['-DNAME="amdcni"', "-DCOMMAND"]}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both executables, built with the sanitizers of the compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler (package gcc)")
    folder = tmp_path_factory.mktemp("starters")
    environ = {**os.environ, "CC": compiler, "SOURCE": "launchers/tree-python.c"}
    for name, options in OPTIONS.items():
        subprocess.run([BUILD, folder / name, *SANITIZERS, *options], env=environ, check=True)
    return folder


@pytest.fixture(params=list(OPTIONS))
def starter(request: pytest.FixtureRequest, built: Path, tmp_path: Path) -> Path:
    """One of the executables, in a tree."""
    tree = tmp_path / "a folder with a tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "lib/start").mkdir(parents=True)
    linker = tree / "lib/start" / request.param
    linker.write_text(FAKE_LINKER)
    linker.chmod(0o755)
    return Path(shutil.copy(built / request.param, tree / "bin"))


def run(
    starter: Path, *words: str, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    done = subprocess.run(
        [starter, *words], env=environ or {}, input=b"input", capture_output=True, check=False
    )
    for trouble in (b"Sanitizer", b"runtime error"):
        assert trouble not in done.stderr, done.stderr.decode()
    return done


def test_the_trees_linker_gets_the_trees_interpreter_and_all_arguments(starter: Path) -> None:
    tree = starter.parents[1]
    words = ["-c", "", "a b", *map(str, range(3000))]
    done = run(starter, *words)
    said = done.stdout.decode()
    first = f"<--argv0><{tree}/bin/python3><--inhibit-cache><--library-path><{tree}/lib>"
    assert said.startswith(f"{first}<{tree}/lib/python3>")
    assert said.endswith("".join(f"<{word}>" for word in words) + "input")
    assert done.returncode == 7


def test_only_the_command_is_isolated(starter: Path) -> None:
    said = run(starter, "-c", "pass").stdout.decode()
    isolated = "<-I><-S><-c><import sys\nsys.path.append("
    assert (isolated in said) == (starter.name == "amdcni")


def test_a_link_leads_to_the_tree(starter: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(starter)
    assert run(link).returncode == 7


def test_a_tree_without_linker_is_a_failure_in_words(starter: Path) -> None:
    shutil.rmtree(starter.parents[1] / "lib")
    done = run(starter)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(starter.name.encode() + b": the tree of amdcni")


def test_a_runtime_gets_that_failure_as_an_error_object(starter: Path) -> None:
    shutil.rmtree(starter.parents[1] / "lib")
    done = run(starter, environ={"CNI_COMMAND": "ADD"})
    assert (done.returncode, done.stderr) == (1, b"")
    assert json.loads(done.stdout)["code"] == 50
