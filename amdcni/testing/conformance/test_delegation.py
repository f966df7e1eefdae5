"""How a plugin calls the IPAM plugin that its configuration names (CNI SPEC 1.1 §4)."""

from collections.abc import Iterator

import pytest

from amdcni.core.spec import Verb
from amdcni.core.versions import INTERFACES_SINCE
from amdcni.testing.cni import CallOptions
from amdcni.testing.conformance import delegates
from amdcni.testing.conformance.answers import require_failure, require_success
from amdcni.testing.conformance.clauses import (
    Level,
    clause,
    not_applicable,
    require,
    require_none,
)
from amdcni.testing.conformance.delegates import DelegateCall, Recorder
from amdcni.testing.conformance.shapes import entries_of
from amdcni.testing.conformance.stage import Container, Spoken, Stage, valid_attachments
from amdcni.testing.conformance.views import addresses_on, missing_among, routes_in
from amdcni.testing.namespaces import PLAIN_ENVIRONMENT


@pytest.fixture
def container(stage: Stage, recorder: Recorder) -> Container:
    """A container that gets its addresses from the suite's own IPAM plugin."""
    if not stage.subject.delegates_ipam:
        not_applicable("the configuration names no IPAM plugin")
    return recorder.serving(stage.container())


@clause(
    "§4 Delegated plugin protocol",
    says='It "must receive all the same environment variables that were passed in"',
)
def test_the_delegate_gets_the_same_variables(container: Container, recorder: Recorder) -> None:
    for call, delegated in _calls(container, recorder):
        wrong = [name for name in call.environ if not _is_passed_on(name, call, delegated)]
        got = {name: delegated.environ.get(name) for name in wrong}
        require(not got, f"for {call.verb} it got {got}")


def _is_passed_on(name: str, call: Spoken, delegated: DelegateCall) -> bool:
    given, got = call.environ[name], delegated.environ.get(name)
    if name == "CNI_PATH":
        # Other folders may follow, where a plugin looks by itself.
        return got is not None and got.startswith(given)
    return got == given


@clause(
    "§4 Delegated plugin protocol",
    says='"the complete network configuration passed to the upper plugin", not only `ipam`',
)
def test_the_delegate_gets_the_complete_configuration(
    container: Container, recorder: Recorder
) -> None:
    for call, delegated in _calls(container, recorder):
        assert not isinstance(call.config, bytes)
        given, got = dict(call.config), delegated.config
        # A plugin may speak another version with it than with the runtime, even in the result.
        del given["cniVersion"]
        if "prevResult" in given and "prevResult" in got:
            del given["prevResult"]
        wrong = {key: got.get(key) for key in given if got.get(key) != given[key]}
        require(not wrong, f"for {call.verb} it got {wrong} of {given}")


def _calls(container: Container, recorder: Recorder) -> Iterator[tuple[Spoken, DelegateCall]]:
    """Call the plugin for each verb that it speaks; return its calls with those of the delegate.

    Other clauses are about the verbs for which the delegate has to be called.
    """
    for_none: CallOptions = {"env": {**PLAIN_ENVIRONMENT, "CONFORMANCE": "is passed on"}}
    options: CallOptions = {**for_none, "args": "IgnoreUnknown=true;K8S_POD_NAME=pod"}
    attaching = container.find_able_to(Verb.CHECK) or container
    result = attaching.attached(**options)
    recorder.expect(Verb.ADD)
    if checking := container.find_able_to(Verb.CHECK):
        checking.call(Verb.CHECK, result=result, **options)
    if asking := container.find_able_to(Verb.STATUS):
        asking.call_for_none(Verb.STATUS, **for_none)
    if collecting := container.find_able_to(Verb.GC):
        valid = valid_attachments(container)
        collecting.having(**valid).call_for_none(Verb.GC, **for_none)
    attaching.delete(result, **options)
    for call in container.stage.transcript:
        for delegated in recorder.calls:
            if delegated.verb == call.verb:
                yield call, delegated


@clause(
    "§4",
    Verb.ADD,
    says='The IPAM plugin determines "IP/subnet, Gateway and Routes", the main plugin applies them',
)
def test_what_the_delegate_gives_is_applied_and_told(
    container: Container, recorder: Recorder
) -> None:
    speaking = container.speaking(container.stage.version_since(INTERFACES_SINCE))
    result = speaking.attached()
    recorder.expect(Verb.ADD)
    given = recorder.given[-1]
    addresses = addresses_on(container.links()[container.ifname])
    require(given in addresses, f"{given} is not on {container.ifname}")
    require_none(missing_among(routes_in(container.pod), [delegates.ROUTE]))
    for key, name, wanted in (("ips", "address", given), ("routes", "dst", delegates.ROUTE["dst"])):
        got = [entry.get(name) for entry in entries_of(result, key)]
        require(wanted in got, f"{key} of the result has {got}, but not {wanted}")


@clause(
    "§4 Execution procedure",
    Verb.ADD,
    Level.SHOULD,
    says="\"Ensure that the delegated plugin's stderr is output to the calling plugin's stderr\"",
)
def test_what_the_delegate_logs_is_passed_on(container: Container, recorder: Recorder) -> None:
    container.attached()
    said = container.stage.transcript[-1].outcome.stderr
    require(delegates.STDERR in said, f"stderr is {said!r}")


@clause(
    "§4 Execution procedure",
    Verb.ADD,
    Level.SHOULD,
    says='The upper plugin executes it "again with DEL before returning failure"',
)
def test_a_delegate_that_fails_on_add_gets_a_del_and_add_fails(
    container: Container, recorder: Recorder
) -> None:
    recorder.fail(Verb.ADD)
    require_failure(container.add())
    recorder.expect("ADD", "DEL")


@clause(
    "§4 Execution procedure",
    Verb.DEL,
    says='With DEL the plugin "must also execute any delegated plugins"',
)
def test_del_executes_the_delegate(container: Container, recorder: Recorder) -> None:
    result = container.attached()
    require_success(container.delete(result))
    recorder.expect("DEL")


@clause(
    "§2 DEL, §4",
    Verb.DEL,
    says='"delegate the DEL action to the IPAM plugin" "even if" the netns does not exist',
)
def test_del_executes_the_delegate_when_the_netns_is_gone(
    container: Container, recorder: Recorder
) -> None:
    result = container.attached()
    container.pod.delete()
    container.delete(result)
    recorder.expect("DEL")


@clause(
    "§4 Execution procedure",
    Verb.DEL,
    says='"If any of the delegated plugins return error, error should be returned"',
)
def test_an_error_of_the_delegate_on_del_is_an_error(
    container: Container, recorder: Recorder
) -> None:
    result = container.attached()
    recorder.fail(Verb.DEL)
    require_failure(container.delete(result))


@clause(
    "§2 CHECK, §4",
    Verb.CHECK,
    says='It should "call CHECK on any delegated (e.g. IPAM) plugins and pass any errors on"',
)
def test_check_executes_the_delegate_and_passes_its_error_on(
    container: Container, recorder: Recorder
) -> None:
    checked = container.able_to(Verb.CHECK)
    result = checked.attached()
    require_success(checked.call(Verb.CHECK, result=result))
    recorder.expect("CHECK")
    recorder.fail(Verb.CHECK)
    require_failure(checked.call(Verb.CHECK, result=result))


@clause(
    "§2 STATUS, §4",
    Verb.STATUS,
    says="A plugin that relies on a delegate answers for that one, too",
)
def test_status_executes_the_delegate_and_passes_its_error_on(
    container: Container, recorder: Recorder
) -> None:
    asked = container.able_to(Verb.STATUS)
    require_success(asked.call_for_none(Verb.STATUS))
    recorder.expect("STATUS")
    recorder.fail(Verb.STATUS)
    require_failure(asked.call_for_none(Verb.STATUS))


@clause("§2 GC, §4", Verb.GC, says='A plugin "must execute any delegated plugins" with GC')
def test_gc_executes_the_delegate(container: Container, recorder: Recorder) -> None:
    asked = container.able_to(Verb.GC)
    require_success(asked.having(**valid_attachments()).call_for_none(Verb.GC))
    recorder.expect("GC")
