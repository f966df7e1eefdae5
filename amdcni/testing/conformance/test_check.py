"""CHECK: whether all is as ADD said (CNI SPEC 1.1 §2, CHECK)."""

from collections.abc import Mapping
from typing import Any

from amdcni.core.spec import Verb
from amdcni.core.versions import CHECK_SINCE
from amdcni.testing.conformance.clauses import Level, clause, not_applicable
from amdcni.testing.conformance.stage import Container, Stage


def _attached(stage: Stage) -> tuple[Container, Mapping[str, Any]]:
    """A container that is attached in a version that has CHECK, and the result."""
    container = stage.container().speaking(stage.version_since(CHECK_SINCE))
    return container, container.attached()


@clause(
    "§2 CHECK",
    Verb.CHECK,
    says='It "must return either nothing or an error", also "immediately after an ADD"',
)
def test_check_succeeds_silently_right_after_add(stage: Stage) -> None:
    container, result = _attached(stage)
    container.call(Verb.CHECK, result=result).expect_silence()


@clause(
    "§2 CHECK",
    Verb.CHECK,
    Level.SHOULD,
    says='A resource that the plugin created, in `prevResult`, is "missing or in an invalid state"',
)
def test_check_fails_if_the_interface_is_missing(stage: Stage) -> None:
    stage.needs_a_maker()
    container, result = _attached(stage)
    container.pod.ip_batch(
        [f"link set {container.ifname} down", f"link set {container.ifname} name x0"]
    )
    container.call(Verb.CHECK, result=result).expect_error()


@clause(
    "§2 CHECK",
    Verb.CHECK,
    Level.SHOULD,
    says='An address is among the resources "included in the CNI Result type"',
)
def test_check_fails_if_an_address_is_missing(stage: Stage) -> None:
    stage.needs_a_maker()
    container, result = _attached(stage)
    if not result.get("ips"):
        not_applicable("the result has no address")
    container.pod.ip(f"address flush dev {container.ifname} scope global")
    container.call(Verb.CHECK, result=result).expect_error()


@clause(
    "§2 CHECK",
    Verb.CHECK,
    says='It "must allow for a later chained plugin to have modified networking resources"',
)
def test_check_allows_for_what_a_later_plugin_has_changed(stage: Stage) -> None:
    stage.needs_an_interface()
    container, result = _attached(stage)
    container.pod.ip("route add unreachable 203.0.113.0/24 table 77")
    container.pod.ip("rule add from 203.0.113.0/24 table 77")
    container.call(Verb.CHECK, result=result).expect_silence()
