"""The conformance suite finds what is wrong with a plugin, and only that."""

import ast
import contextlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Unpack

import pytest

from amdcni.core.spec import Json, Verb
from amdcni.testing import CallOptions, Node, skip_reason
from amdcni.testing.cni import environment_of
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
    test_ipam,
    test_result,
    test_version,
)
from amdcni.testing.conformance.clauses import MARK
from amdcni.testing.conformance.delegates import Recorder
from amdcni.testing.conformance.stage import NICS, Stage, build
from amdcni.testing.conformance.subject import Subject
from amdcni.testing.conformance.well_known import CONFIGURATIONS
from amdcni.testing.namespaces import StrPath
from tests.netns import model_ipam, model_plugin
from tests.netns.documented_verdicts import (
    DEBIAN_12,
    DOCUMENTED,
    configuration_of,
    verdicts_of_others,
    verdicts_on,
)
from tests.netns.model_faults import FAULTS, FAULTS_OF_IPAM
from tests.netns.model_variants import RIGHT
from tests.netns.runtime import DEBIAN
from tests.netns.warm import AnyCall, start_warm

MODULES: list[ModuleType] = [
    *(test_add, test_at_once, test_check, test_configuration, test_del),
    *(test_delegation, test_environment, test_gc_status, test_ipam, test_result, test_version),
]
Clause = Callable[..., None]
Failed = pytest.fail.Exception
Skipped = pytest.skip.Exception

IPAM = "model-ipam"
AT_ONCE = {"different_containers_can_be_attached_and_detached_at_once"}
WITHOUT_IPAM = {"add_works_without_the_optional_variables"}


class WarmNode(Node):
    """A node on which calls of the model plugins are processes that were forked; see `warm.py`."""

    def start_cni(  # type: ignore[override]  # What it returns has the methods of a Call.
        self, command: str, plugin: StrPath, config: Json | bytes, **options: Unpack[CallOptions]
    ) -> AnyCall:
        if "through" in options or not Path(plugin).read_bytes().startswith(b"#!"):
            return super().start_cni(command, plugin, config, **options)
        stdin = config if isinstance(config, bytes) else json.dumps(config).encode()
        return start_warm(self, [plugin], stdin=stdin, env=environment_of(command, options))


@pytest.fixture
def node(node: Node) -> Node:
    return WarmNode(
        node.entry,
        isolation=node.isolation,
        sysfs=node.sysfs,
        duplicate_address_detection=node.duplicate_address_detection,
    )


def clauses() -> dict[str, Clause]:
    """Return the tests of the suite by the name of their clause."""
    return {
        name.removeprefix("test_"): function
        for module in MODULES
        for name, function in vars(module).items()
        if any(mark.name == MARK for mark in getattr(function, "pytestmark", []))
    }


Change = tuple[str, ...]


def changed(model: ModuleType, change: Change = ()) -> str:
    """Return the text of a model with some parts replaced."""
    text = inspect.getsource(model)
    for right, wrong in zip(change[::2], change[1::2], strict=True):
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    return text


def try_clause(name: str, node: Node, folder: Path, text: str) -> None:
    """Run the test of a clause on the plugin whose script is `text`."""
    config: dict[str, Any] = {"cniVersion": "1.1.0", "name": "net", "type": "model"}
    if name in FAULTS_OF_IPAM:
        config["ipam"] = {"type": IPAM}
    elif name not in WITHOUT_IPAM:
        config["ipam"] = {"type": delegates.NAME, "routes": [delegates.ROUTE]}
    try_with(name, node, folder, text, config)


def pass_clause(name: str, node: Node, folder: Path, text: str) -> None:
    """Do the same and require a pass: a clause that is not applicable has tried nothing."""
    try:
        try_clause(name, node, folder, text)
    except Skipped as reason:
        pytest.fail(f"not applicable: {reason}")


def try_with(name: str, node: Node, folder: Path, text: str, config: Mapping[str, Any]) -> None:
    """Do the same with a configuration."""
    versions = tuple(ast.literal_eval(re.findall(r"^VERSIONS = (.*)$", text, re.MULTILINE)[0]))
    listed = versions if '"supportedVersions": VERSIONS' in text else ()
    executable = folder / (IPAM if name in FAULTS_OF_IPAM else "model")
    executable.write_text(f"#!{sys.executable} -IS\n{text}")
    executable.chmod(0o755)
    subject = Subject(executable, config, dirs=(str(folder / "ipam"),))
    # Most clauses have no more than two containers.
    stage = build(node, subject, listed, nics=NICS if name in AT_ONCE else 2)
    recorder = delegates.install(folder / "ipam", stage.spoken)
    run(clauses()[name], stage, recorder, folder)


def run(clause: Clause, stage: Stage, recorder: Recorder, folder: Path) -> None:
    """Call a test of the suite with the fixtures that it asks for, as pytest does."""
    offered: dict[str, object] = {
        "stage": stage,
        "recorder": recorder,
        "tmp_path": folder,
    }
    wanted = inspect.signature(clause).parameters
    if "container" in wanted:
        offered["container"] = recorder.serving(stage.container())
    clause(**{key: offered[key] for key in wanted})


MODEL_OF = {
    name: model
    for model, found in ((model_plugin, FAULTS), (model_ipam, FAULTS_OF_IPAM))
    for name in found
}


def first_of_its_kind(kinds: Sequence[object]) -> list[Sequence[pytest.MarkDecorator]]:
    """Return the marks that leave all but the first of each kind to `make test-all`."""
    return [
        [pytest.mark.thorough] if kind in kinds[:place] else [] for place, kind in enumerate(kinds)
    ]


ALL_FAULTS = [(name, fault) for name in MODEL_OF for fault in {**FAULTS, **FAULTS_OF_IPAM}[name]]
VARIANTS = [(name, change) for name, changes in RIGHT.items() for change in changes]


def test_every_clause_has_a_fault_that_it_finds() -> None:
    assert set(MODEL_OF) == set(clauses())


@pytest.mark.parametrize("name", MODEL_OF)
def test_a_correct_plugin_passes(name: str, node: Node, tmp_path: Path) -> None:
    pass_clause(name, node, tmp_path, changed(MODEL_OF[name]))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param(*variant, marks=marks)
        for variant, marks in zip(
            VARIANTS, first_of_its_kind([change for _, change in VARIANTS]), strict=True
        )
    ],
)
def test_a_plugin_that_is_correct_in_another_way_passes(
    name: str, change: Change, node: Node, tmp_path: Path
) -> None:
    pass_clause(name, node, tmp_path, changed(model_plugin, change))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(*fault, marks=marks)
        for fault, marks in zip(
            ALL_FAULTS, first_of_its_kind([name for name, _ in ALL_FAULTS]), strict=True
        )
    ],
)
def test_a_fault_is_found(name: str, fault: Change, node: Node, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, Failed, Skipped)) as found:
        try_clause(name, node, tmp_path, changed(MODEL_OF[name], fault))
    assert not isinstance(found.value, Skipped), found.value


OLD = ('VERSIONS = ["0.3.1", ', 'VERSIONS = ["0.2.0", "0.3.1", ')


@pytest.mark.parametrize(("code", "fault"), [(100, False), (1, True)])
def test_a_result_that_a_version_cannot_express_may_be_refused_but_not_the_version(
    code: int, fault: bool, node: Node, tmp_path: Path
) -> None:
    refusing = (
        '    name = config.get("ipam"',
        f'    if version == "0.2.0": fail({code}, "no address")\n    name = config.get("ipam"',
    )
    text = changed(model_plugin, (*OLD, *refusing))
    config = {"name": "net", "type": "model"}
    with pytest.raises(Failed) if fault else contextlib.nullcontext():
        try_with("the_result_is_as_each_version_has_it", node, tmp_path, text, config)


@pytest.mark.parametrize(
    "name",
    [
        "del_gives_everything_back_after_an_add_that_was_killed",
        "different_containers_can_be_attached_and_detached_at_once",
    ],
)
def test_a_chained_plugin_is_called_after_the_others(name: str, node: Node, tmp_path: Path) -> None:
    common = {"cniVersion": "1.0.0", "name": "net"}
    ipam = {"type": "host-local", "subnet": "10.9.0.0/24"}
    subject = Subject(
        DEBIAN / "tuning",
        {**common, "type": "tuning", "mtu": 1400},
        before=({**common, "type": "ptp", "ipam": ipam},),
        dirs=(str(DEBIAN),),
    )
    stage = build(node, subject, ("1.0.0",))
    run(clauses()[name], stage, delegates.install(tmp_path / "ipam", ("1.0.0",)), tmp_path)


ANSWER = """
import json, os, sys
result = json.load(sys.stdin)["prevResult"]
print(json.dumps(result))
"""
ADJUST = """
import subprocess
inside = ["nsenter", f"--net={os.environ['CNI_NETNS']}", "ip", "link", "set", "net1", "mtu", "1400"]
subprocess.run(inside, stderr=subprocess.DEVNULL)
"""


@pytest.mark.parametrize(("script", "outcome"), [(ANSWER, Skipped), (ANSWER + ADJUST, Failed)])
def test_only_a_chained_plugin_that_adjusts_a_container_has_to_miss_one(
    script: str, outcome: type[BaseException], node: Node, tmp_path: Path
) -> None:
    (tmp_path / "last").write_text(f"#!{sys.executable} -IS\n{script}")
    (tmp_path / "last").chmod(0o755)
    common = {"cniVersion": "1.0.0", "name": "net"}
    first = {**common, "type": "ptp", "ipam": {"type": "host-local", "subnet": "10.9.0.0/29"}}
    config = {**common, "type": "last"}
    subject = Subject(tmp_path / "last", config, before=(first,), dirs=(str(DEBIAN),))
    stage = build(node, subject, ("1.0.0",))
    with pytest.raises(outcome):
        clauses()["a_netns_that_does_not_exist_is_an_error_of_add"](stage)


def test_a_plugin_gets_the_keys_that_a_runtime_passes_on(node: Node) -> None:
    config = {"type": "model", "key": 1, "capabilities": {"ips": True}, "prevResult": {}}
    forbidding = {"disableCheck": True, "disableGC": True}
    stage = build(node, Subject(Path("model"), {**config, **forbidding}), ("1.1.0",))
    container = stage.container()
    assert container.config == {"type": "model", "key": 1, "cniVersion": "1.1.0"}
    assert container.find_able_to(Verb.CHECK) is None
    assert container.find_able_to(Verb.GC) is None
    assert container.find_able_to(Verb.STATUS) is not None


@pytest.mark.thorough
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_verdicts_match_the_documentation(name: str, plugin: Path, tmp_path: Path) -> None:
    reason = skip_reason()
    if reason is not None:
        pytest.skip(reason)
    executable = plugin if name == plugin.name else DEBIAN / name
    if executable.parent == DEBIAN and debian_version() != DEBIAN_12:
        pytest.skip(f"these are not the plugins {DEBIAN_12}")
    config = tmp_path / "config.json"
    config.write_text(json.dumps(configuration_of(name)))
    command: list[str | Path] = [plugin.with_name("amdcni"), "conformance", "--json"]
    command += ["--plugin", executable, "--config", config]
    command += ["--ifname", "lo" if name == "loopback" else "net1"]
    done = subprocess.run(command, capture_output=True, check=False)
    found = json.loads(done.stdout)
    documented = verdicts_on(name)
    wrong = [
        f"{finding['clause']}: {finding['verdict']}: {finding['evidence']}"
        for finding in found
        if documented.get(finding["clause"]) != finding["verdict"]
    ]
    assert wrong == []
    assert {finding["clause"] for finding in found} == set(documented)
    failed = [each["level"] for each in found if each["verdict"] == "failed"]
    assert done.returncode == ("must" in failed)


def test_each_of_debians_plugins_has_a_configuration_and_documented_verdicts() -> None:
    debian = {path.name for path in DEBIAN.iterdir()}
    assert debian - {*CONFIGURATIONS, "loopback"} == set()
    assert debian - {*verdicts_of_others(), *DOCUMENTED} == set()


@pytest.mark.parametrize("name", [each for each in DOCUMENTED if each != "loopback"])
def test_the_documented_configurations_are_those_that_are_built_in(name: str) -> None:
    documented = configuration_of(name)
    built_in = {"type": name, **CONFIGURATIONS[name]}
    assert {**documented, "name": "conformance"} == {
        "cniVersion": documented["cniVersion"],
        **built_in,
    }


@pytest.mark.thorough
@pytest.mark.parametrize("name", verdicts_of_others())
def test_a_well_known_plugin_fails_what_is_documented(name: str, plugin: Path) -> None:
    reason = skip_reason()
    if reason is not None:
        pytest.skip(reason)
    if debian_version() != DEBIAN_12:
        pytest.skip(f"these are not the plugins {DEBIAN_12}")
    documented = verdicts_of_others()[name]
    command: list[str | Path] = [plugin.with_name("amdcni"), "conformance", "--json"]
    done = subprocess.run(
        [*command, "--plugin", DEBIAN / name], capture_output=True, text=True, check=False
    )
    was_judged = done.returncode != 2
    unjudged = [why for level, why in documented if level == "not judged"]
    if was_judged and unjudged:
        pytest.skip(f"no verdicts on {name} are documented, because elsewhere {unjudged[0]}")
    if not was_judged and not unjudged and "operation not supported" in done.stderr:
        pytest.skip(f"this kernel lacks what {name} needs")
    if unjudged:
        assert done.stderr.startswith("amdcni: No ADD has worked, so the plugin is not judged. ")
        assert unjudged[0] in done.stderr
        return
    failed = [each for each in json.loads(done.stdout) if each["verdict"] == "failed"]
    evidence = {each["clause"]: each["evidence"] for each in failed}
    assert {(each["level"], each["clause"]) for each in failed} == documented, evidence
    assert done.returncode == any(level == "must" for level, _ in documented)


def debian_version() -> str:
    """Return the upstream version of the installed plugins, according to dpkg."""
    query = ["dpkg-query", "--show", "--showformat=${Version}", "containernetworking-plugins"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.partition("+")[0].partition("-")[0]
