"""The workflow for GitHub Actions is one, and its steps do what the page says."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from amdcni.testing import skip_reason

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/how-to/test-your-plugin.md"
FILE = ".github/workflows/conformance.yml"
BRIDGE = Path("/usr/lib/cni/bridge")
CONFIG = '{"cniVersion": "1.0.0", "name": "net", "type": "my-plugin"}'


def workflow() -> dict[Any, Any]:
    (text,) = re.findall(
        rf"^<!-- file: {re.escape(FILE)} -->\n```yaml\n(.*?)^```$", PAGE.read_text(), re.M | re.S
    )
    parsed: dict[Any, Any] = yaml.safe_load(text)
    return parsed


def steps() -> list[dict[str, Any]]:
    (job,) = workflow()["jobs"].values()
    listed: list[dict[str, Any]] = job["steps"]
    return listed


def commands() -> list[str]:
    return [step["run"] for step in steps() if "run" in step]


def test_the_workflow_has_what_github_requires() -> None:
    whole = workflow()
    # YAML 1.1 takes the key `on` for a truth value.
    assert set(whole) == {"name", True, "permissions", "jobs"}
    assert whole[True] == ["push", "pull_request"]
    (job,) = whole["jobs"].values()
    assert set(job) == {"runs-on", "steps"}
    for step in steps():
        assert ("uses" in step) != ("run" in step), step
        assert set(step) <= {"name", "uses", "with", "run", "if"}, step
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/x@v1")), step


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the plugin, its configuration and the wheel, and an empty environment.

    There, what the wheel depends on is present, because no test downloads anything.
    """
    if reason := skip_reason():
        pytest.skip(reason)
    if not BRIDGE.exists():
        pytest.skip(f"{BRIDGE}, which is judged here, is not installed")
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copy(BRIDGE, folder / "my-plugin")
    (folder / "my-plugin.json").write_text(CONFIG)
    asked = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "ci")]
    subprocess.run(asked, cwd=ROOT, check=True, capture_output=True)
    venv.create(tmp_path / "python", with_pip=True)
    (tmp_path / "packages").mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "amdcni" not in package.name and package.suffix != ".pth":
            (tmp_path / "packages" / package.name).symlink_to(package)
    (site,) = (tmp_path / "python/lib").glob("python3*/site-packages")
    (site / "packages.pth").write_text(f"{tmp_path / 'packages'}\n")
    sudo = tmp_path / "python/bin/sudo"
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    return folder


@pytest.mark.thorough
def test_the_steps_judge_a_plugin_and_write_what_the_page_says(repository: Path) -> None:
    environ = {
        "PATH": f"{repository.parent}/python/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "GITHUB_STEP_SUMMARY": str(repository / "summary.md"),
        "PIP_NO_INDEX": "1",
        "LANG": "C.UTF-8",
    }
    install, judge = (["bash", "-e", "-c", command] for command in commands())
    done = subprocess.run(
        install, cwd=repository, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done
    assert "Successfully installed amdcni" in done.stdout
    done = subprocess.run(
        judge, cwd=repository, env=environ, capture_output=True, text=True, check=False
    )
    last = done.stdout.splitlines()[-1]
    (pattern,) = re.findall(r"^grep -E '(.*)' log$", PAGE.read_text(), re.M)
    assert re.search(pattern, last), done
    numbers = r"(\d+) passed, (\d+) failed \(\d+ must\), (\d+) not applicable"
    counts = re.fullmatch(f"my-plugin DOES NOT CONFORM: {numbers}", last)
    assert counts is not None, last
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "\npassed" not in done.stdout
    summary = (repository / "summary.md").read_text()
    assert summary.startswith("# my-plugin: CNI SPEC 1.1\n")
    assert last in (repository / "conformance.html").read_text()
    (suite,) = ElementTree.parse(repository / "conformance.xml").getroot()
    found = [int(each) for each in counts.groups()]
    seen = [int(suite.attrib[name]) for name in ("tests", "failures", "skipped")]
    assert seen == [sum(found), found[1], found[2]]


def test_the_pattern_for_logs_finds_each_verdict_and_nothing_else() -> None:
    (pattern,) = re.findall(r"^grep -E '(.*)' log$", PAGE.read_text(), re.M)
    for verdict in ("CONFORMS", "DOES NOT CONFORM", "NOT JUDGED"):
        assert re.search(pattern, f"my-plugin {verdict}: 1 passed, 0 failed, 0 not applicable")
    assert not re.search(pattern, "FAILED  del can be repeated")
