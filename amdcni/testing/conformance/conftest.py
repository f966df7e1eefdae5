"""The fixtures of the suite, and what is kept of each clause for reports and JUnit."""

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from amdcni.testing.conformance import delegates
from amdcni.testing.conformance.clauses import find_clause
from amdcni.testing.conformance.findings import Adds, adds_of, evidence_of, properties_of
from amdcni.testing.conformance.shapes import faults_of_versions
from amdcni.testing.conformance.stage import Stage, build
from amdcni.testing.conformance.subject import CannotJudge, Subject, read_subject
from amdcni.testing.isolation import skip_reason
from amdcni.testing.node import Node, throwaway_node

_STAGE = pytest.StashKey[Stage]()
_REHEARSED = pytest.StashKey[Adds]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if any(find_clause(item) for item in items):
        _subject(config)


def _subject(config: pytest.Config) -> Subject:
    plugin = config.getoption("cni_plugin")
    if plugin is None:
        raise pytest.UsageError("which plugin? name its executable with --cni-plugin PATH")
    names = ("config", "path", "ifname", "timeout")
    try:
        return read_subject(plugin, *(config.getoption(f"cni_{name}") for name in names))
    except CannotJudge as fault:
        raise pytest.UsageError(str(fault)) from None


@pytest.fixture(scope="session")
def subject(pytestconfig: pytest.Config) -> Subject:
    """The plugin that is judged."""
    return _subject(pytestconfig)


@pytest.fixture(scope="session")
def supported(subject: Subject, pytestconfig: pytest.Config) -> tuple[str, ...]:
    """The versions that the plugin says it speaks, and with it all that come before it in a list.

    None if it cannot say.
    """
    reason = skip_reason()
    if reason is not None:
        pytest.skip(reason)
    with throwaway_node() as node:
        found = _versions_of_all(node, subject)
        try:
            rehearsal = build(node, subject, found)
            rehearsal.rehearse()
        except CannotJudge as fault:
            pytest.exit(str(fault), pytest.ExitCode.USAGE_ERROR)
    pytestconfig.stash[_REHEARSED] = adds_of(rehearsal.transcript)
    return found


def _versions_of_all(node: Node, subject: Subject) -> tuple[str, ...]:
    found = _versions(node, subject, subject.executable)
    for other in subject.executables_before:
        spoken = _versions(node, subject, other)
        found = tuple(version for version in found if version in spoken) or found
    return found


def _versions(node: Node, subject: Subject, executable: Path) -> tuple[str, ...]:
    config = {"cniVersion": subject.config.get("cniVersion", "1.0.0")}
    call = node.start_cni("VERSION", executable, config, path=subject.dirs)
    try:
        answer = call.wait(subject.timeout_s).answer
    except subprocess.TimeoutExpired:
        return ()
    if not isinstance(answer, dict) or any(faults_of_versions(answer)):
        return ()
    return tuple(answer["supportedVersions"])


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, cni_node: Node, subject: Subject, supported: tuple[str, ...]
) -> Stage:
    """A node on which the plugin is called."""
    made = build(cni_node, subject, supported)
    request.node.stash[_STAGE] = made
    return made


@pytest.fixture
def recorder(stage: Stage, tmp_path: Path) -> delegates.Recorder:
    """An IPAM plugin that records how it is called."""
    return delegates.install(tmp_path / "ipam", stage.spoken)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    clause = find_clause(item)
    if clause is not None and (call.when == "call" or not report.passed):
        stage = item.stash.get(_STAGE, None)
        calls = [] if stage is None else stage.transcript
        properties = properties_of(clause, evidence_of(report, call.excinfo, calls))
        adds = adds_of(calls).after(item.config.stash.get(_REHEARSED, Adds()))
        report.user_properties += [*properties, ("adds", adds)]
        if calls and call.when == "call":
            report.sections.append(("Calls of the plugin", "\n".join(map(str, calls))))
        # JUnit files are made of the teardown's report, which has the properties of the item.
        item.user_properties += properties
    return report
