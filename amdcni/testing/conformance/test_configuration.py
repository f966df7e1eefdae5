"""The configuration on standard input (CNI SPEC 1.1 §1), and the errors that are about it (§5)."""

from amdcni.core.spec import Verb
from amdcni.testing.conformance.clauses import Level, clause, require, try_each
from amdcni.testing.conformance.shapes import RESERVED_CODES
from amdcni.testing.conformance.stage import Stage

_PLUGINS_OWN_CODES = 100


@clause("§5 Error", says='Error 6: "failed to unmarshal network config from bytes"')
def test_a_configuration_that_is_not_json_is_error_6(stage: Stage) -> None:
    container = stage.container()
    try_each(
        [(verb, text) for verb in ("ADD", "DEL") for text in (b"", b"{", b"not JSON")],
        lambda call: container.call(call[0], config=call[1]).expect_error(6),
    )


@clause("§5 Error", says='Error 1: "Incompatible CNI version"')
def test_a_version_that_is_not_supported_is_error_1(stage: Stage) -> None:
    container = stage.container().prepared()
    container.call(Verb.ADD, config={**container.config, "cniVersion": "99.0.0"}).expect_error(1)


@clause(
    "§1 Configuration format, §5 Error",
    says='`name` is required, "unique across all network configurations on a host"',
)
def test_a_configuration_without_a_network_name_is_an_error(stage: Stage) -> None:
    container = stage.container().prepared()
    config = {key: value for key, value in container.config.items() if key != "name"}
    container.call(Verb.ADD, config=config).expect_error(7)


@clause(
    "§5 Error",
    level=Level.SHOULD,
    says='`cniVersion` is "the same value as provided by the configuration"',
)
def test_an_error_says_the_version_of_the_configuration(stage: Stage) -> None:
    stage.needs_an_interface()
    container = stage.container().prepared()
    error = container.call(Verb.ADD, netns="/run/netns/nobody").expect_error()
    said = error.get("cniVersion")
    require(said == container.version, f"cniVersion is {said!r}, not {container.version!r}")


@clause(
    "§5 Error",
    says='"Values of 100+ can be freely used for plugin specific errors"; the others are reserved',
)
def test_the_codes_below_100_are_those_of_the_specification(stage: Stage) -> None:
    stage.needs_an_interface()
    error = stage.container().prepared().call(Verb.ADD, netns="/run/netns/nobody").expect_error()
    code = error["code"]
    require(code in RESERVED_CODES or code >= _PLUGINS_OWN_CODES, f"the code is {code}")
