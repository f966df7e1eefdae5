"""How a plugin calls the IPAM plugin that its configuration names (CNI SPEC 1.1 §4)."""

from pathlib import Path

import pytest

from amdcni.core.spec import Verb
from amdcni.core.versions import CHECK_SINCE, GC_AND_STATUS_SINCE
from amdcni.testing.conformance import delegates
from amdcni.testing.conformance.clauses import Level, clause, not_applicable, require
from amdcni.testing.conformance.delegates import Recorder
from amdcni.testing.conformance.stage import Container, Stage, valid_attachments

Dirs = list[str | Path]


@pytest.fixture
def container(stage: Stage, recorder: Recorder) -> Container:
    """One whose addresses the suite's own IPAM plugin gives."""
    if not stage.subject.delegates_ipam:
        not_applicable("the configuration names no IPAM plugin")
    return stage.container().having(ipam={"type": delegates.NAME})


@pytest.fixture
def path(stage: Stage, recorder: Recorder) -> Dirs:
    """CNI_PATH with the suite's plugin at its end."""
    return [*stage.subject.dirs, recorder.folder]


@clause(
    "§4 Execution procedure",
    Verb.ADD,
    says='It "must receive all the same environment variables that were passed in"',
)
def test_the_delegate_gets_the_same_variables(
    container: Container, path: Dirs, recorder: Recorder
) -> None:
    container.add(path=path, args="IgnoreUnknown=true;K8S_POD_NAME=pod").expect_result()
    (call,) = (call for call in recorder.calls if call.verb == Verb.ADD)
    wanted = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": container.id,
        "CNI_NETNS": container.pod.netns,
        "CNI_IFNAME": container.ifname,
        "CNI_ARGS": "IgnoreUnknown=true;K8S_POD_NAME=pod",
    }
    got = {key: call.environ.get(key) for key in wanted}
    require(got == wanted, f"it got {got}, not {wanted}")
    # Other folders may follow, where a plugin looks by itself.
    folders = ":".join(map(str, path))
    said = call.environ.get("CNI_PATH", "")
    require(said.startswith(folders), f"it got CNI_PATH {said!r}, not {folders!r}")


@clause(
    "§4 Delegated plugin protocol",
    Verb.ADD,
    says='"the complete network configuration passed to the upper plugin", not only `ipam`',
)
def test_the_delegate_gets_the_complete_configuration(
    container: Container, path: Dirs, recorder: Recorder
) -> None:
    container.add(path=path).expect_result()
    (call,) = (call for call in recorder.calls if call.verb == Verb.ADD)
    # A plugin may speak another version with it than with the runtime.
    sent = {key: value for key, value in container.config.items() if key != "cniVersion"}
    got = {key: call.config.get(key) for key in sent}
    require(got == sent, f"it got {got}, not {sent}")


@clause(
    "§4 Execution procedure",
    Verb.ADD,
    Level.SHOULD,
    says="\"Ensure that the delegated plugin's stderr is output to the calling plugin's stderr\"",
)
def test_what_the_delegate_logs_is_passed_on(
    container: Container, path: Dirs, recorder: Recorder
) -> None:
    outcome = container.add(path=path)
    outcome.expect_result()
    require(delegates.STDERR in outcome.stderr, f"stderr is {outcome.stderr!r}")


@clause(
    "§4 Execution procedure",
    Verb.ADD,
    Level.SHOULD,
    says='The upper plugin executes it "again with DEL before returning failure"',
)
def test_a_delegate_that_fails_on_add_gets_a_del_and_add_fails(
    container: Container, path: Dirs, recorder: Recorder
) -> None:
    recorder.fail(Verb.ADD)
    container.add(path=path).expect_error()
    recorder.expect("ADD", "DEL")


@clause(
    "§4 Execution procedure",
    Verb.DEL,
    says='With DEL the plugin "must also execute any delegated plugins"',
)
def test_del_executes_the_delegate(container: Container, path: Dirs, recorder: Recorder) -> None:
    result = container.add(path=path).expect_result()
    container.delete(result, path=path).expect_silence()
    recorder.expect("DEL")


@clause(
    "§2 DEL, §4",
    Verb.DEL,
    says='"delegate the DEL action to the IPAM plugin" "even if" the netns does not exist',
)
def test_del_executes_the_delegate_when_the_netns_is_gone(
    container: Container, path: Dirs, recorder: Recorder
) -> None:
    result = container.add(path=path).expect_result()
    container.pod.delete()
    container.delete(result, path=path)
    recorder.expect("DEL")


@clause(
    "§4 Execution procedure",
    Verb.DEL,
    says='"If any of the delegated plugins return error, error should be returned"',
)
def test_an_error_of_the_delegate_on_del_is_an_error(
    container: Container, path: Dirs, recorder: Recorder
) -> None:
    result = container.add(path=path).expect_result()
    recorder.fail(Verb.DEL)
    container.delete(result, path=path).expect_error()


@clause(
    "§2 CHECK, §4",
    Verb.CHECK,
    says='It should "call CHECK on any delegated (e.g. IPAM) plugins and pass any errors on"',
)
def test_check_executes_the_delegate_and_passes_its_error_on(
    container: Container, path: Dirs, recorder: Recorder
) -> None:
    checked = container.speaking(container.stage.version_since(CHECK_SINCE))
    result = checked.add(path=path).expect_result()
    checked.call(Verb.CHECK, result=result, path=path).expect_silence()
    recorder.expect("CHECK")
    recorder.fail(Verb.CHECK)
    checked.call(Verb.CHECK, result=result, path=path).expect_error()


@clause(
    "§2 STATUS, §4",
    Verb.STATUS,
    says="A plugin that relies on a delegate answers for that one, too",
)
def test_status_executes_the_delegate_and_passes_its_error_on(
    container: Container, path: Dirs, recorder: Recorder
) -> None:
    asked = container.speaking(container.stage.version_since(GC_AND_STATUS_SINCE))
    asked.call_for_none(Verb.STATUS, path=path).expect_silence()
    recorder.expect("STATUS")
    recorder.fail(Verb.STATUS)
    asked.call_for_none(Verb.STATUS, path=path).expect_error()


@clause("§2 GC, §4", Verb.GC, says='A plugin "must execute any delegated plugins" with GC')
def test_gc_executes_the_delegate(container: Container, path: Dirs, recorder: Recorder) -> None:
    asked = container.speaking(container.stage.version_since(GC_AND_STATUS_SINCE))
    asked.having(**valid_attachments()).call_for_none(Verb.GC, path=path).expect_silence()
    recorder.expect("GC")
