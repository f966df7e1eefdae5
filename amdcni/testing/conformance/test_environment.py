"""The parameters of a call, which are environment variables (CNI SPEC 1.1 §2, "Parameters")."""

from collections.abc import Mapping
from typing import Any

from amdcni.core.spec import Verb
from amdcni.testing.conformance.answers import require_code, require_failure
from amdcni.testing.conformance.clauses import (
    Level,
    clause,
    not_applicable,
    require_none,
    try_each,
)
from amdcni.testing.conformance.stage import Container, Stage
from amdcni.testing.dumps import differences
from amdcni.testing.readings import dump

_ID, _NETNS, _IFNAME = "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"
_LONGEST_IFNAME = 15
_NO_IDS = ["-pod", "a/b", "pod one"]


@clause("§2 Errors", says='It must exit with "non-zero on failure", and knows no such command')
def test_an_unknown_command_is_an_error(stage: Stage) -> None:
    require_failure(stage.container().call("FROBNICATE"))


@clause(
    "§2 Parameters, §5 Error",
    level=Level.SHOULD,
    says='Error 4: "Invalid necessary environment variables, like CNI_COMMAND"',
)
def test_an_unknown_command_is_error_4(stage: Stage) -> None:
    require_code(stage.container().call("FROBNICATE"), 4)


@clause(
    "§2 ADD, §5 Error",
    level=Level.SHOULD,
    says='`CNI_COMMAND` is "required", and among the "necessary environment variables" of error 4',
)
def test_a_call_without_a_command_is_an_error(stage: Stage) -> None:
    require_failure(stage.container().call(Verb.ADD, unset=["CNI_COMMAND"]))


@clause(
    "§2 Errors",
    says='The variables are "required", and a plugin must exit with "non-zero on failure"',
)
def test_a_call_without_a_required_variable_is_an_error(stage: Stage) -> None:
    adding, deleting = stage.container().prepared(), stage.container(2)
    lacking = [(adding, Verb.ADD, name) for name in (_ID, _NETNS, _IFNAME)]
    lacking += [(deleting, Verb.DEL, name) for name in (_ID, _IFNAME)]
    require_none(
        f"{verb} succeeds without {name}"
        for container, verb, name in lacking
        if container.call(verb, result=container.previous, unset=[name]).succeeded
    )


def _require_each(
    container: Container, verb: Verb, names: list[str], result: Mapping[str, Any] | None = None
) -> None:
    """Require error 4, with the name of the variable, if it is missing, for each."""
    try_each(
        names,
        lambda name: require_code(
            container.call(verb, result=result, unset=[name]), 4, naming=name
        ),
    )


@clause(
    "§2 ADD, §5 Error",
    Verb.ADD,
    Level.SHOULD,
    says='Error 4: "The error message must contain the names of invalid variables"',
)
def test_add_without_a_required_variable_is_error_4_that_names_it(stage: Stage) -> None:
    _require_each(stage.container().prepared(), Verb.ADD, [_ID, _NETNS, _IFNAME])


@clause("§2 DEL, §5 Error", Verb.DEL, Level.SHOULD, says="DEL does not require CNI_NETNS")
def test_del_without_a_required_variable_is_error_4_that_names_it(stage: Stage) -> None:
    _require_each(stage.container(), Verb.DEL, [_ID, _IFNAME])


@clause("§2 CHECK, §5 Error", Verb.CHECK, Level.SHOULD, says="CHECK requires what ADD requires")
def test_check_without_a_required_variable_is_error_4_that_names_it(stage: Stage) -> None:
    container = stage.container().able_to(Verb.CHECK)
    result = container.attached()
    _require_each(container, Verb.CHECK, [_ID, _NETNS, _IFNAME], result)


@clause(
    "§2 Parameters",
    Verb.ADD,
    says="A container ID is a letter or digit, and then letters, digits, `_`, `.` and `-`",
)
def test_a_container_id_that_is_none_is_an_error(stage: Stage) -> None:
    container = stage.container().prepared()
    try_each(
        _NO_IDS,
        lambda id: require_failure(
            container.call(Verb.ADD, result=container.previous, container_id=id)
        ),
    )


@clause(
    "§2 Parameters, §5 Error",
    Verb.ADD,
    Level.SHOULD,
    says='Error 4: "Invalid necessary environment variables, like" CNI_CONTAINERID',
)
def test_a_container_id_that_is_none_is_error_4(stage: Stage) -> None:
    container = stage.container().prepared()
    try_each(
        _NO_IDS,
        lambda id: require_code(
            container.call(Verb.ADD, result=container.previous, container_id=id), 4
        ),
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
        lambda name: require_failure(container.call(Verb.ADD, ifname=name)),
    )


@clause("§2 ADD", Verb.ADD, says="`CNI_ARGS` and `CNI_PATH` are optional")
def test_add_works_without_the_optional_variables(stage: Stage) -> None:
    if stage.subject.delegates_ipam:
        not_applicable("the configuration names an IPAM plugin, which is looked for in CNI_PATH")
    container = stage.container().prepared()
    container.attached()
    container.delete()
    container.add(unset=["CNI_ARGS", "CNI_PATH"]).expect_result()


@clause(
    "§2 ADD",
    Verb.ADD,
    says="There is no container in which the interface could be made or adjusted",
)
def test_a_netns_that_does_not_exist_is_an_error_of_add(stage: Stage) -> None:
    stage.needs_an_interface()
    container = stage.container().prepared()
    outcome = container.call(Verb.ADD, result=container.previous, netns="/run/netns/nobody")
    if outcome.succeeded and stage.subject.before and _does_nothing_inside(container):
        not_applicable("the plugin does nothing in the container")
    require_failure(outcome)


def _does_nothing_inside(container: Container) -> bool:
    """Whether an ADD that works leaves the container as it was."""
    before = dump(container.pod)
    container.attached()
    return not differences(before, dump(container.pod))
