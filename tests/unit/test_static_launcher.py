"""The launcher in C, as `make launcher` builds it, is the launcher in sh in all but speed."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from amdcni.testing import Node
from tests.unit.clients import ROOT, SANITIZERS, alone, build, folder
from tests.unit.fake_agent import FakeAgent
from tests.unit.test_client_call import Seen

SHELL = ROOT / "launchers/amd-host-device"
MAX_BYTES = 24 * 1024
CALL = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "abc", "CNI_IFNAME": "net1", "LANG": "C.UTF-8"}
CALL |= {"CNI_NETNS": "/no/such/netns", "CNI_PATH": "/no/such/folder"}
CONFIG = b'{"cniVersion": "1.0.0", "name": "fabric", "deviceID": 5}'

# An interpreter that only says how it was started.
FAKE_PYTHON = """#!/bin/sh
printf '<%s>' "$0" "$@"
cat
exit 7
"""


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("static") / "amd-host-device-static"
    build(output)
    return output


@pytest.fixture(params=["sh", "static"])
def launcher(request: pytest.FixtureRequest, static: Path, tmp_path: Path) -> Path:
    """One of the launchers, alone in a folder."""
    target = tmp_path / "bin" / "amd-host-device"
    target.parent.mkdir()
    return Path(shutil.copy(SHELL if request.param == "sh" else static, target))


def run(
    argv: list[str | Path], environ: Mapping[str, str], stdin: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(argv, env=environ, input=stdin, capture_output=True, check=False)


def put_python(launcher: Path, text: str = FAKE_PYTHON) -> Path:
    python = launcher.with_name("python3")
    python.write_text(text)
    python.chmod(0o755)
    return python


@pytest.mark.skipif(shutil.which("musl-gcc") is None, reason="there is no musl-gcc (musl-tools)")
def test_the_static_launcher_is_small_and_needs_no_library(static: Path) -> None:
    assert static.stat().st_size <= MAX_BYTES
    # An ELF program header of type PT_INTERP would name the dynamic linker.
    assert b"ld-linux" not in static.read_bytes()
    assert b"ld-musl" not in static.read_bytes()


def test_version_is_answered_as_the_plugin_answers_it(static: Path) -> None:
    environ = {"CNI_COMMAND": "VERSION"}
    done = run([static], environ)
    assert (done.returncode, done.stdout, done.stderr) == (*alone(environ, b""), b"")


@pytest.mark.parametrize("environ", [CALL, {"CNI_COMMAND": ""}], ids=["ADD", "empty"])
def test_without_an_interpreter_beside_it_a_launcher_says_so(
    launcher: Path, environ: Mapping[str, str]
) -> None:
    done, shell = run([launcher], environ), run([shutil.copy(SHELL, launcher)], environ)
    assert (done.returncode, done.stdout) == (1, shell.stdout)
    error = json.loads(done.stdout)
    assert (error["code"], error["msg"]) == (50, "amd-host-device has no python3 beside it")


def test_both_launchers_start_the_interpreter_with_the_same_program(static: Path) -> None:
    home = static.parent / "both"
    home.mkdir()
    python = put_python(home / "x")
    ours = run([shutil.copy(static, home)], CALL, b"input").stdout
    shells = run([shutil.copy(SHELL, home)], CALL, b"input").stdout
    assert ours == shells.removesuffix(b"input") + b"<--alone>input"
    assert shells.startswith(b"<%b><-I><-S><-c><\nimport sys" % os.fsencode(python))


@pytest.mark.parametrize("environ", [{}, CALL], ids=["no command", "ADD"])
def test_the_interpreters_status_is_the_launchers(
    launcher: Path, environ: Mapping[str, str]
) -> None:
    put_python(launcher)
    done = run([launcher], environ, b"input")
    assert done.returncode == 7
    assert done.stdout.endswith(b">input")


def test_a_link_leads_to_the_interpreter_beside_its_target(launcher: Path, tmp_path: Path) -> None:
    put_python(launcher)
    link = tmp_path / "link"
    link.symlink_to(launcher)
    assert run([link], CALL).returncode == 7


def test_an_interpreter_that_cannot_be_executed_is_an_error_object(
    static: Path, tmp_path: Path
) -> None:
    copied = Path(shutil.copy(static, tmp_path))
    put_python(copied, "no program")
    done = run([copied], CALL)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 50)


# ---- the tree


TREE = "1.2.3-0123456789ab"


@pytest.fixture(scope="module")
def of_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher for a tree."""
    output = tmp_path_factory.mktemp("of-tree") / "amd-host-device"
    build(output, *SANITIZERS, f'-DTREE="{TREE}"')
    return output


def put_tree(binaries: Path, name: str) -> None:
    folder = binaries / ".amdcni" / name / "bin"
    folder.mkdir(parents=True)
    put_python(folder / "x")


def test_the_launcher_of_a_tree_starts_the_python_of_that_tree_alone(
    of_tree: Path, tmp_path: Path
) -> None:
    copied = Path(shutil.copy(of_tree, tmp_path))
    put_tree(tmp_path, f"{TREE}0")
    put_tree(tmp_path, "1.2.3")
    error = json.loads(run([copied], CALL).stdout)
    assert (error["code"], TREE in error["msg"]) == (50, True)
    put_tree(tmp_path, TREE)
    done = run([copied], CALL, b"input")
    assert (done.returncode, done.stdout.endswith(b"<--alone>input")) == (7, True)
    assert done.stdout.startswith(b"<%b/.amdcni/" % os.fsencode(tmp_path))


def test_in_the_tree_itself_it_starts_the_python_beside_it(of_tree: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copy(of_tree, tmp_path))
    python = put_python(copied)
    assert run([copied], CALL).stdout.startswith(b"<%b>" % os.fsencode(python))


def test_a_python3_that_somebody_put_into_the_folder_of_plugins_is_not_started(
    of_tree: Path, tmp_path: Path
) -> None:
    copied = Path(shutil.copy(of_tree, tmp_path))
    put_python(copied)
    put_tree(tmp_path, TREE)
    assert run([copied], CALL).stdout.startswith(b"<%b/.amdcni/" % os.fsencode(tmp_path))


@pytest.mark.skipif(shutil.which("musl-gcc") is None, reason="there is no musl-gcc (musl-tools)")
def test_the_launcher_of_a_tree_is_small_too(tmp_path: Path) -> None:
    build(tmp_path / "launcher", f'-DTREE="{TREE}"')
    assert (tmp_path / "launcher").stat().st_size <= MAX_BYTES


# ---- the real socket and the real times, in a node of their own


@pytest.fixture(scope="module")
def installed(static: Path) -> dict[str, Path]:
    """Both launchers beside an interpreter that finds the plugin."""
    home = folder() / "bin"
    static = Path(shutil.copy(static, home / "amd-host-device-static"))
    return {"sh": Path(shutil.copy(SHELL, home)), "static": static}


@pytest.mark.parametrize("kind", ["sh", "static"])
def test_a_launcher_asks_the_agent_of_its_node(
    cni_node: Node, installed: Mapping[str, Path], kind: str
) -> None:
    run_folder = cni_node.root / "run/amdcni"
    run_folder.mkdir(mode=0o700)
    seen = Seen()
    # Naming another socket in the environment changes nothing.
    environ = {**CALL, "AMDCNI_SOCKET": "/nowhere", "AGENT_SOCKET": "/nowhere"}
    with FakeAgent(run_folder / "agent.sock", seen):
        done = cni_node.run([installed[kind]], env=environ, stdin=CONFIG)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"{}\n", b"said by the agent\n")
    assert seen.fields[3] == 5000
    assert seen.stdin == CONFIG


@pytest.mark.parametrize("kind", ["sh", "static"])
def test_a_launcher_waits_a_second_for_an_agent_that_does_not_accept(
    cni_node: Node, installed: Mapping[str, Path], kind: str
) -> None:
    run_folder = cni_node.root / "run/amdcni"
    run_folder.mkdir(mode=0o700)
    with FakeAgent(
        run_folder / "agent.sock", lambda connection: connection.wait_for_end()
    ) as agent:
        done = cni_node.run([installed[kind]], env=CALL, stdin=CONFIG)
    assert agent.connections == 1
    assert (done.returncode, done.stdout) == alone(CALL, CONFIG)
