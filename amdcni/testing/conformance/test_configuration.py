"""The configuration on standard input (CNI SPEC 1.1 §1), and the errors that are about it (§5)."""

from amdcni.core.spec import Verb
from amdcni.testing.cni import Outcome, faults_of_error
from amdcni.testing.conformance.answers import error_of, require_code, require_failure
from amdcni.testing.conformance.clauses import (
    Level,
    clause,
    not_applicable,
    require,
    require_none,
    try_each,
)
from amdcni.testing.conformance.shapes import RESERVED_CODES
from amdcni.testing.conformance.stage import Stage

_PLUGINS_OWN_CODES = 100


_NO_JSON = [(verb, text) for verb in ("ADD", "DEL") for text in (b"", b"{", b"not JSON")]


@clause("§2 Errors", says='It must exit with "non-zero on failure", and cannot understand this')
def test_a_configuration_that_is_not_json_is_an_error(stage: Stage) -> None:
    container = stage.container()
    try_each(_NO_JSON, lambda call: require_failure(container.call(call[0], config=call[1])))


@clause(
    "§5 Error",
    level=Level.SHOULD,
    says='Error 6: "failed to unmarshal network config from bytes"; without any, also 5 or 7',
)
def test_a_configuration_that_is_not_json_is_error_6(stage: Stage) -> None:
    container = stage.container()
    try_each(
        _NO_JSON,
        lambda call: require_code(
            container.call(call[0], config=call[1]), *((6,) if call[1] else (5, 6, 7))
        ),
    )


def _in_a_version_of_the_future(stage: Stage) -> Outcome:
    container = stage.container().prepared()
    config = {**container.config, "cniVersion": "99.0.0"}
    return container.call(Verb.ADD, result=container.previous, config=config)


@clause("§2 Errors", says='It must exit with "non-zero on failure", and cannot answer in this')
def test_a_version_that_is_not_supported_is_an_error(stage: Stage) -> None:
    require_failure(_in_a_version_of_the_future(stage))


@clause("§5 Error", level=Level.SHOULD, says='Error 1: "Incompatible CNI version"')
def test_a_version_that_is_not_supported_is_error_1(stage: Stage) -> None:
    require_code(_in_a_version_of_the_future(stage), 1)


@clause(
    "§1 Configuration format, §5 Error",
    level=Level.SHOULD,
    says='`name` is required, "unique across all network configurations on a host"',
)
def test_a_configuration_without_a_network_name_is_an_error(stage: Stage) -> None:
    container = stage.container().prepared()
    config = {key: value for key, value in container.config.items() if key != "name"}
    require_failure(container.call(Verb.ADD, result=container.previous, config=config))


def _in_no_netns(stage: Stage) -> Outcome:
    """The outcome of an ADD that has to fail."""
    stage.needs_an_interface()
    container = stage.container().prepared()
    return container.call(Verb.ADD, result=container.previous, netns="/run/netns/nobody")


@clause(
    "§2 Errors, §5 Error",
    level=Level.SHOULD,
    says='"Plugins should output a JSON object" with `code` and `msg` "if they encounter an error"',
)
def test_an_error_is_told_as_an_object(stage: Stage) -> None:
    container = stage.container()
    calls = [container.call("FROBNICATE"), container.call(Verb.ADD, config=b"{")]
    failed = [outcome for outcome in calls if not outcome.succeeded]
    if not failed:
        not_applicable("the calls that have to fail succeed")
    for outcome in failed:
        error = outcome.answer
        require(isinstance(error, dict), f"standard output has no JSON object: {outcome}")
        require_none(f"{fault}: {outcome}" for fault in faults_of_error(error))


@clause(
    "§5 Error",
    level=Level.SHOULD,
    says='`cniVersion` is "the same value as provided by the configuration"',
)
def test_an_error_says_the_version_of_the_configuration(stage: Stage) -> None:
    said, version = error_of(_in_no_netns(stage)).get("cniVersion"), stage.version
    require(said == version, f"cniVersion is {said!r}, not {version!r}")


@clause(
    "§5 Error",
    level=Level.SHOULD,
    says='"Values of 100+ can be freely used for plugin specific errors"; the others are reserved',
)
def test_the_codes_below_100_are_those_of_the_specification(stage: Stage) -> None:
    code = error_of(_in_no_netns(stage)).get("code")
    if not isinstance(code, int):
        not_applicable(f"the code of the error is {code!r}, not a number")
    require(code in RESERVED_CODES or code >= _PLUGINS_OWN_CODES, f"the code is {code}")
