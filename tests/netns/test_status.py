"""`amdcni status` says that all is well only where an ADD works, and otherwise what doctor says."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amdcni.testing import Node
from tests.netns.agents import agent_on
from tests.netns.command import run_amdcni
from tests.netns.policies import POLICY, write_policy
from tests.netns.read_only_folder import read_only
from tests.netns.runtime import DEBIAN, STATE, plugin_folder, state_folder


@pytest.fixture
def bin_dir(tmp_path: Path, plugin: Path) -> Path:
    """A folder with all plugins that a plain definition needs."""
    folder = plugin_folder(tmp_path / "bin")
    (folder / "amd-host-device").symlink_to(plugin)
    return folder


@pytest.fixture
def setup(tmp_path: Path, bin_dir: Path) -> list[str]:
    """The options for a node whose Multus looks into that folder."""
    conf_dir = tmp_path / "net.d"
    conf_dir.mkdir()
    multus = {"name": "multus", "type": "multus", "binDir": str(bin_dir)}
    (conf_dir / "00-multus.conf").write_text(json.dumps(multus))
    return ["--cni-conf-dir", str(conf_dir)]


@pytest.fixture(autouse=True)
def served(node: Node) -> Iterator[None]:
    with agent_on(node):
        yield


def status_of(node: Node, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit status and what needs attention."""
    done = run_amdcni(node, "status", "--json", *options)
    assert done.stderr == b"", done
    needs: list[dict[str, Any]] = json.loads(done.stdout)["needs"]
    return done.returncode, needs


def full_disk(node: Node, _: Path) -> None:
    node.cover("/var/lib/cni", size_bytes=64 * 1024)


def open_folder(node: Node, _: Path) -> None:
    state_folder(node).mkdir(parents=True)
    state_folder(node).chmod(0o777)


def folder_of_another(node: Node, _: Path) -> None:
    state_folder(node).mkdir(parents=True)
    os.chown(state_folder(node), 65534, 65534)


def read_only_folder(node: Node, _: Path) -> None:
    read_only(node)


def another_plugin(_: Node, bin_dir: Path) -> None:
    (bin_dir / "amd-host-device").unlink()
    (bin_dir / "amd-host-device").symlink_to(DEBIAN / "sbr")


def no_plugin_at_all(_: Node, bin_dir: Path) -> None:
    (bin_dir / "amd-host-device").unlink()
    (bin_dir / "amd-host-device").write_text("#!/bin/sh\n")
    (bin_dir / "amd-host-device").chmod(0o755)


def no_executable(_: Node, bin_dir: Path) -> None:
    (bin_dir / "amd-host-device").unlink()


def torn_policy(node: Node, _: Path) -> None:
    write_policy(node, "{")


TROUBLES = {
    full_disk: ("state folder", "has less than 4 MiB free"),
    open_folder: ("state folder", "can be written by everybody"),
    folder_of_another: ("state folder", "cannot be used safely"),
    read_only_folder: ("state folder", f"{STATE} cannot be written"),
    another_plugin: ("plugins", "is it another program of this name?"),
    no_plugin_at_all: ("plugins", "is it another program of this name?"),
    no_executable: ("plugins", "amd-host-device is not in"),
    torn_policy: ("policy", f"{POLICY} cannot be used"),
}


def test_where_nothing_is_wrong_all_is_well(node: Node, setup: list[str]) -> None:
    assert status_of(node, *setup) == (0, [])


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_keeps_every_add_from_working_needs_attention_in_the_words_of_doctor(
    node: Node, setup: list[str], bin_dir: Path, trouble: Callable[[Node, Path], None]
) -> None:
    trouble(node, bin_dir)
    status, (need,) = status_of(node, *setup)
    subject, words = TROUBLES[trouble]
    assert (status, need["subject"], need["device"]) == (1, subject, None)
    assert words in need["words"]
    shown = run_amdcni(node, "status", *setup).stdout.decode()
    assert f"Needs attention:\n  {subject}: {need['words']}\n" in shown
    found = json.loads(run_amdcni(node, "doctor", "--json", *setup).stdout)
    failures = [f"{each['says']}; {each['remedy']}" for each in found if each["remedy"]]
    assert need["words"] in failures


def test_an_executable_that_may_be_in_another_folder_is_not_missed(
    node: Node, tmp_path: Path, bin_dir: Path
) -> None:
    """Only Multus, a tree or the option says where it has to be."""
    nowhere = ["--cni-conf-dir", str(tmp_path)]
    assert status_of(node, *nowhere)[0] == 0
    no_executable(node, bin_dir)
    assert status_of(node, *nowhere)[0] == 0
    assert status_of(node, *nowhere, "--bin-dir", str(bin_dir))[0] == 1
