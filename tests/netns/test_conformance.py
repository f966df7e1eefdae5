"""The conformance suite: it finds what is wrong with a plugin, and nothing that is not."""

import functools
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from amdcni.testing import Node, skip_reason
from amdcni.testing.conformance import (
    delegates,
    test_add,
    test_at_once,
    test_check,
    test_configuration,
    test_del,
    test_delegation,
    test_environment,
    test_gc_status,
    test_version,
)
from amdcni.testing.conformance.clauses import MARK
from amdcni.testing.conformance.delegates import Recorder
from amdcni.testing.conformance.stage import Container, Stage, build
from amdcni.testing.conformance.subject import Subject
from tests.netns import model_plugin
from tests.netns.model_faults import FAULTS
from tests.netns.runtime import DEBIAN

MODULES: list[ModuleType] = [
    *(test_add, test_at_once, test_check, test_configuration, test_del),
    *(test_delegation, test_environment, test_gc_status, test_version),
]
Clause = Callable[..., None]
Failed = pytest.fail.Exception
Skipped = pytest.skip.Exception

NEVER_OF_THE_MODEL = {"the_result_of_an_ipam_plugin_is_abbreviated"}
WITHOUT_IPAM = {"add_works_without_the_optional_variables"}


def clauses() -> dict[str, Clause]:
    """The tests of the suite by the name of their clause."""
    return {
        name.removeprefix("test_"): function
        for module in MODULES
        for name, function in vars(module).items()
        if any(mark.name == MARK for mark in getattr(function, "pytestmark", []))
    }


@functools.cache
def source() -> str:
    return inspect.getsource(model_plugin)


def try_clause(name: str, node: Node, folder: Path, text: str) -> None:
    """Run the test of a clause on the plugin that is the script `text`."""
    recorder = delegates.install(folder / "ipam", tuple(model_plugin.VERSIONS))
    executable = folder / "model"
    executable.write_text(f"#!{sys.executable} -IS\n{text}")
    executable.chmod(0o755)
    config: dict[str, Any] = {"cniVersion": "1.1.0", "name": "net", "type": "model"}
    if name not in WITHOUT_IPAM:
        config["ipam"] = {"type": delegates.NAME}
    subject = Subject(executable, config, dirs=(str(recorder.folder),))
    stage = build(node, subject, tuple(model_plugin.VERSIONS))
    run(clauses()[name], stage, recorder, folder)


def run(clause: Clause, stage: Stage, recorder: Recorder, folder: Path) -> None:
    """Give a test of the suite what it asks for, as pytest does."""
    offered: dict[str, object] = {
        "stage": stage,
        "recorder": recorder,
        "tmp_path": folder,
        "path": [recorder.folder],
    }
    wanted = inspect.signature(clause).parameters
    if "container" in wanted:
        offered["container"] = Container(
            stage, "container-1", "net1", stage.node.add_pod("pod1"), stage.subject.config
        )
    clause(**{key: offered[key] for key in wanted})


def test_every_clause_has_a_fault_that_it_finds() -> None:
    assert set(FAULTS) == set(clauses()) - NEVER_OF_THE_MODEL


@pytest.mark.parametrize("name", FAULTS)
def test_a_plugin_that_does_what_it_has_to_passes(name: str, node: Node, tmp_path: Path) -> None:
    try_clause(name, node, tmp_path, source())


def spoiled(fault: tuple[str, ...]) -> str:
    """The model plugin with a fault."""
    text = source()
    for right, wrong in zip(fault[::2], fault[1::2], strict=True):
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    return text


@pytest.mark.parametrize(
    ("name", "fault"), [(name, fault) for name, faults in FAULTS.items() for fault in faults]
)
def test_a_fault_is_found(name: str, fault: tuple[str, ...], node: Node, tmp_path: Path) -> None:
    text = spoiled(fault)
    with pytest.raises((AssertionError, Failed, Skipped)) as found:
        try_clause(name, node, tmp_path, text)
    assert not isinstance(found.value, Skipped), found.value


PAGE = Path(__file__).parents[2] / "docs/explanation/conformance.md"
SIGNS = {"passed": "✓", "failed": "✗", "not applicable": "n/a"}
DOCUMENTED = ("amd-host-device", "host-device", "bridge", "ptp", "loopback")
DEBIAN_12 = "1.1.1"


def table_after(heading: str) -> list[list[str]]:
    """The rows of the first table below a line of the page."""
    rows = []
    for line in PAGE.read_text().partition(f"\n{heading}")[2].splitlines()[2:]:
        if not line.startswith("| "):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split(" | ")])
    return rows


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_verdicts_are_those_of_the_documentation(
    name: str, plugin: Path, tmp_path: Path
) -> None:
    reason = skip_reason()
    if reason is not None:
        pytest.skip(reason)
    executable = plugin if name == plugin.name else DEBIAN / name
    if executable.parent == DEBIAN and debian_version() != DEBIAN_12:
        pytest.skip(f"these are not the plugins {DEBIAN_12}")
    config = tmp_path / "config.json"
    config.write_text(dict(table_after("| plugin |"))[name])
    command: list[str | Path] = [plugin.with_name("amdcni"), "conformance", "--json"]
    command += ["--plugin", executable, "--config", config]
    command += ["--ifname", "lo" if name == "loopback" else "net1"]
    done = subprocess.run(command, capture_output=True, check=False)
    found = json.loads(done.stdout)
    column = 2 + DOCUMENTED.index(name)
    documented = {row[0]: row[column] for row in table_after("| clause |")}
    wrong = [
        f"{finding['clause']}: {finding['verdict']}: {finding['evidence']}"
        for finding in found
        if documented.get(finding["clause"]) != SIGNS[finding["verdict"]]
    ]
    assert wrong == []
    assert {finding["clause"] for finding in found} == set(documented)
    assert done.returncode == ("✗" in documented.values())


def debian_version() -> str:
    """The upstream version of the installed plugins, as the package manager knows it."""
    query = ["dpkg-query", "--show", "--showformat=${Version}", "containernetworking-plugins"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.partition("+")[0].partition("-")[0]
