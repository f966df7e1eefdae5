"""The conformance suite as a command: it never reports success without having judged anything."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.netns.runtime import DEBIAN
from tests.patience import PATIENCE_S, wait_until

ONE = ("--only", "DEL can be repeated")

pytestmark = pytest.mark.usefixtures("allowed")


@pytest.fixture
def bridge(plugin: Path, tmp_path: Path) -> list[str]:
    """The command that judges Debian's bridge."""
    return judging(plugin, tmp_path, {"type": "bridge"})


def judging(plugin: Path, folder: Path, *plugins: dict[str, Any], **keys: str) -> list[str]:
    """The command that judges the last plugin of a list."""
    config = folder / "config.json"
    config.write_text(json.dumps({"name": "lab", "plugins": plugins, **keys}))
    judged = DEBIAN / str(plugins[-1]["type"])
    said = ["conformance", "--plugin", str(judged), "--config", str(config)]
    return [str(plugin.with_name("amdcni")), *said]


def run(command: Sequence[str | Path], **environ: str) -> "subprocess.CompletedProcess[str]":
    everything = {**os.environ, **environ}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=everything)


def test_if_an_earlier_plugin_fails_nothing_is_judged_and_the_status_is_2(
    plugin: Path, tmp_path: Path
) -> None:
    behind = judging(plugin, tmp_path, {"type": "ptp", "ipam": {"type": "none"}}, {"type": "sbr"})
    done = run([*behind, *ONE])
    assert (done.returncode, done.stdout) == (2, "")
    assert "amdcni: a plugin before this one fails: " in done.stderr
    assert "'none'" in done.stderr or '"none"' in done.stderr


def test_a_version_that_the_plugin_does_not_list_is_refused(plugin: Path, tmp_path: Path) -> None:
    done = run([*judging(plugin, tmp_path, {"type": "bridge"}, cniVersion="1.1.0"), *ONE])
    assert (done.returncode, done.stdout) == (2, "")
    assert "the configuration is for CNI 1.1.0, but the plugin lists 0.1.0, " in done.stderr


PASSES_ON = f"""#!{sys.executable} -IS
import json, os, sys
config = json.load(sys.stdin)
match os.environ["CNI_COMMAND"]:
    case "VERSION":
        print(json.dumps({{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}}))
    case "ADD":
        print(json.dumps(config["prevResult"]))
"""
"""A chained plugin that does nothing, and speaks a newer version than Debian's ptp."""


def test_behind_an_older_plugin_the_clauses_of_newer_versions_do_not_apply(
    plugin: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "newer"
    newer.write_text(PASSES_ON)
    newer.chmod(0o755)
    ipam = {"type": "host-local", "subnet": "10.9.0.0/24"}
    command = judging(plugin, tmp_path, {"type": "ptp", "ipam": ipam}, {"type": "newer"})
    command[command.index("--plugin") + 1] = str(newer)
    path = ("--path", f"{DEBIAN}:{tmp_path}")
    done = run([*command, "--json", *path, "--only", "STATUS", "--only", "each version"])
    verdicts = {each["clause"]: each["verdict"] for each in json.loads(done.stdout)}
    assert verdicts["the result is as each version has it"] == "passed"
    assert {v for name, v in verdicts.items() if "status" in name} == {"not applicable"}
    assert done.returncode == 0


def test_behind_a_plugin_that_lends_a_nic_each_container_has_another_nic(
    plugin: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "newer"
    newer.write_text(PASSES_ON)
    newer.chmod(0o755)
    lends = {"type": plugin.name, "deviceID": "0000:c1:00.0", "mover": "native"}
    command = judging(plugin, tmp_path, lends, {"type": "newer"})
    command[command.index("--plugin") + 1] = str(newer)
    only = ("--only", "different containers", "--only", "gc of a network keeps")
    done = run([*command, "--json", "--path", f"{plugin.parent}:{tmp_path}", *only])
    verdicts = [each["verdict"] for each in json.loads(done.stdout)]
    assert verdicts == ["passed"] * 2, done


def test_settings_of_pytest_change_nothing(bridge: list[str]) -> None:
    command = [*bridge, "--json", *ONE]
    done = run(command, PYTEST_ADDOPTS="--collect-only -k nothing", PYTEST_PLUGINS="no_such_module")
    (finding,) = json.loads(done.stdout)
    assert (done.returncode, finding["verdict"]) == (0, "passed")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--only", "no such clause"), "no clause has these words"),
        ((*ONE, "--skip", "repeated"), "no clause has these words"),
        ((*ONE, "--junit", "/no/such/folder/file.xml"), "cannot be written: No such file"),
        ((*ONE, "--junit", "/"), "cannot be written: Is a directory"),
    ],
)
def test_a_run_that_cannot_start_ends_with_status_2(
    bridge: list[str], options: tuple[str, ...], words: str
) -> None:
    done = run([*bridge, *options])
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_if_nothing_can_be_judged_no_page_is_left(bridge: list[str], tmp_path: Path) -> None:
    page = tmp_path / "found.html"
    assert run([*bridge, "--only", "no such clause", "--html", str(page)]).returncode == 2
    assert not page.exists()
    page.write_text("of yesterday")
    run([*bridge, "--only", "no such clause", "--html", str(page)])
    assert page.read_text() == "of yesterday"
    link = tmp_path / "link.html"
    link.symlink_to(tmp_path / "elsewhere.html")
    run([*bridge, "--only", "no such clause", "--html", str(link)])
    assert link.is_symlink()


def test_words_select_clauses_and_leave_others_out(bridge: list[str], tmp_path: Path) -> None:
    junit = tmp_path / "found.xml"
    words = ["--only", "del_can", "--only", "VERSION needs", "--skip", "GC", "--junit", str(junit)]
    done = run([*bridge, "--json", *words])
    clauses = [finding["clause"] for finding in json.loads(done.stdout)]
    assert clauses == ["del can be repeated", "version needs no variable but the command"]
    assert 'testsuite name="pytest" errors="0" failures="0" skipped="0" tests="2"' in (
        junit.read_text()
    )


UNABLE = """#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD) echo '{"cniVersion": "1.0.0", "code": 999, "msg": "operation not supported"}'; exit 1 ;;
esac
"""


@pytest.fixture
def unable(plugin: Path, tmp_path: Path) -> list[str | Path]:
    """The command that judges a plugin whose ADD never works."""
    judged = tmp_path / "unable"
    judged.write_text(UNABLE)
    judged.chmod(0o755)
    return [plugin.with_name("amdcni"), "conformance", "--plugin", judged]


def test_a_plugin_whose_add_never_works_is_not_judged_and_told_why_first(
    unable: list[str | Path],
) -> None:
    done = run([*unable, *ONE])
    told = " ".join(done.stdout.split())
    assert told.startswith("Warning: No ADD has worked, so the plugin is not judged. ")
    assert '"msg": "operation not supported"' in told
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(
        r"unable NOT JUDGED: 0 passed, 0 failed, 1 not applicable, \d+ not tried", last
    )
    assert (done.returncode, done.stderr) == (2, "")
    done = run([*unable, *ONE, "--json"])
    assert [each["verdict"] for each in json.loads(done.stdout)] == ["not applicable"]
    assert done.returncode == 2
    assert done.stderr.startswith("amdcni: No ADD has worked, so the plugin is not judged. ")


def test_clauses_without_an_add_are_judged_even_if_no_add_works(unable: list[str | Path]) -> None:
    done = run([*unable, "--only", "version needs no variable"])
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        "passed          version needs no variable but the command\n"
        "\nunable CONFORMS: 1 passed, 0 failed, 0 not applicable, \\d+ not tried\n",
        done.stdout,
    )


def test_an_add_that_is_refused_on_purpose_is_no_add_that_does_not_work(bridge: list[str]) -> None:
    done = run([*bridge, "--only", "a container id that is none is an error"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("bridge CONFORMS: 1 passed, ")


def test_an_interrupted_run_prints_what_was_found_so_far(plugin: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    called = tmp_path / "called"
    slow.write_text(f"#!/bin/sh\ntouch {called}\nexec sleep 1000\n")
    slow.chmod(0o755)
    process = subprocess.Popen(
        [plugin.with_name("amdcni"), "conformance", "--json", "--plugin", slow],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        # What a shell starts in the background ignores interrupts, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        wait_until(lambda: called.exists() or process.poll() is not None, "the plugin is called")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert json.loads(stdout) == []
    assert stderr == b"amdcni: interrupted; the other clauses were not tried\n"
    assert list(tmp_path.glob("amdcni-conformance-*")) == []


def test_pytest_shows_the_calls_of_a_clause(plugin: Path) -> None:
    options = ["-p", "no:cacheprovider", "-rA", "--pyargs", "amdcni.testing.conformance"]
    judged = ["-k", "repeated", "--cni-plugin", str(DEBIAN / "bridge")]
    done = run([str(plugin.with_name("python")), "-m", "pytest", *options, *judged])
    assert "DEL: exit status 0" in done.stdout
