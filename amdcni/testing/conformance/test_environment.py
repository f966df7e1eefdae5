"""The parameters of a call, which are environment variables (CNI SPEC 1.1 §2, "Parameters")."""

from collections.abc import Mapping
from typing import Any

from amdcni.core.spec import Verb
from amdcni.core.versions import CHECK_SINCE
from amdcni.testing.conformance.clauses import clause, fail, not_applicable, try_each
from amdcni.testing.conformance.stage import Container, Stage

_ID, _NETNS, _IFNAME = "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"
_LONGEST_IFNAME = 15


def _require_each(
    container: Container, verb: Verb, names: list[str], result: Mapping[str, Any] | None = None
) -> None:
    """Require error 4, with the name of the variable, for the lack of each."""
    faults = []
    for name in names:
        outcome = container.call(verb, result=result, unset=[name])
        try:
            outcome.expect_error(4, name)
        except AssertionError as failure:
            faults.append(f"without {name} {failure}")
    fail(faults)


@clause(
    "§2 Parameters, §5 Error",
    says='Error 4: "Invalid necessary environment variables, like CNI_COMMAND"',
)
def test_an_unknown_command_is_error_4(stage: Stage) -> None:
    stage.container().call("FROBNICATE").expect_error(4)


@clause(
    "§2 ADD, §5 Error",
    Verb.ADD,
    says='Error 4: "The error message must contain the names of invalid variables"',
)
def test_add_without_a_required_variable_is_error_4_that_names_it(stage: Stage) -> None:
    _require_each(stage.container().prepared(), Verb.ADD, [_ID, _NETNS, _IFNAME])


@clause("§2 DEL, §5 Error", Verb.DEL, says="`CNI_NETNS` is not among what DEL requires")
def test_del_without_a_required_variable_is_error_4_that_names_it(stage: Stage) -> None:
    _require_each(stage.container(), Verb.DEL, [_ID, _IFNAME])


@clause("§2 CHECK, §5 Error", Verb.CHECK, says="CHECK requires what ADD requires")
def test_check_without_a_required_variable_is_error_4_that_names_it(stage: Stage) -> None:
    container = stage.container().speaking(stage.version_since(CHECK_SINCE))
    result = container.attached()
    _require_each(container, Verb.CHECK, [_ID, _NETNS, _IFNAME], result)


@clause(
    "§2 Parameters, §5 Error",
    Verb.ADD,
    says="A container ID starts with a letter or digit; `_`, `.` and `-` may follow, and no other",
)
def test_a_container_id_that_is_none_is_error_4(stage: Stage) -> None:
    container = stage.container().prepared()
    try_each(
        ["-pod", "a/b", "pod one"],
        lambda id: container.call(Verb.ADD, container_id=id).expect_error(4),
    )


@clause(
    "§2 Parameters",
    Verb.ADD,
    says='"if the plugin is unable to use this interface name it must return an error"',
)
def test_an_interface_name_that_cannot_be_used_is_an_error(stage: Stage) -> None:
    stage.needs_a_maker()
    container = stage.container()
    try_each(
        ["..", "a/b", "a b", "x" * (_LONGEST_IFNAME + 1)],
        lambda name: container.call(Verb.ADD, ifname=name).expect_error(),
    )


@clause("§2 ADD", Verb.ADD, says="Optional are `CNI_ARGS` and `CNI_PATH`")
def test_add_works_without_the_optional_variables(stage: Stage) -> None:
    if stage.subject.delegates_ipam:
        not_applicable("the configuration names an IPAM plugin, which is looked for in CNI_PATH")
    container = stage.container().prepared()
    container.attached()
    container.delete().expect_silence()
    container.add(unset=["CNI_ARGS", "CNI_PATH"]).expect_result()


@clause(
    "§2 ADD",
    Verb.ADD,
    says="There is no container in which the interface could be made or adjusted",
)
def test_a_netns_that_does_not_exist_is_an_error_of_add(stage: Stage) -> None:
    stage.needs_an_interface()
    stage.container().prepared().call(Verb.ADD, netns="/run/netns/nobody").expect_error()
