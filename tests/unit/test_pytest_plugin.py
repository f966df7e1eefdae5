"""The pytest plugin: available without an import, and cheap to load."""

import subprocess
import sys
from pathlib import Path

from tests.unit.test_imports import loaded_by, packages_of

FIXTURES = ("cni_node", "cni_nic", "cni_pod")


def run_pytest(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-I", "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_pytest_finds_the_fixtures_without_an_import(tmp_path: Path) -> None:
    listed = run_pytest(tmp_path, "--fixtures").splitlines()
    found = {line.partition(" ")[0] for line in listed}
    assert set(FIXTURES) <= found


def test_pytest_help_lists_the_options_of_the_suite(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "--help")
    for option in ("plugin", "config", "path", "ifname", "timeout"):
        assert f"--cni-{option}=" in said


def test_the_suite_without_a_plugin_is_an_error(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "--pyargs", "amdcni.testing.conformance")
    assert "ERROR: which plugin? name its executable with --cni-plugin PATH" in said


def test_tests_are_skipped_if_the_machine_allows_no_node(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(cni_node): raise AssertionError\n")
    (tmp_path / "conftest.py").write_text(
        "from amdcni.testing import isolation\n"
        "isolation._TOOLS = {'no-such-tool': 'no-such-package'}\n"
    )
    said = run_pytest(tmp_path, "-rs", "test_it.py")
    assert "no-such-tool is not installed (package no-such-package)" in said
    assert "1 skipped" in said


def test_loading_the_plugin_loads_nothing_else() -> None:
    loaded = loaded_by("import amdcni.pytest_plugin")
    assert {module for module in loaded if module.startswith("amdcni.")} == {"amdcni.pytest_plugin"}
    assert packages_of(loaded).isdisjoint({"attrs", "cattrs", "pyroute2", "hypothesis"})
