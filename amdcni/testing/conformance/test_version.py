"""VERSION: which versions of the specification a plugin speaks."""

from amdcni.core.spec import Verb
from amdcni.testing.conformance.clauses import clause, require, require_none
from amdcni.testing.conformance.shapes import faults_of_versions
from amdcni.testing.conformance.stage import Stage


@clause(
    "§5 Version",
    Verb.VERSION,
    says='"Plugins must output a JSON object" with `cniVersion` and `supportedVersions`',
)
def test_version_answers_with_the_supported_versions(stage: Stage) -> None:
    answer = stage.call(Verb.VERSION, {"cniVersion": stage.version}).expect_result()
    require_none(faults_of_versions(answer))


@clause("§2 VERSION", Verb.VERSION, says="Only `CNI_COMMAND` is required in the environment")
def test_version_needs_no_variable_but_the_command(stage: Stage) -> None:
    unset = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH", "PATH"]
    outcome = stage.call(Verb.VERSION, {"cniVersion": stage.version}, unset=unset)
    require_none(faults_of_versions(outcome.expect_result()))


@clause(
    "§5 Version",
    Verb.VERSION,
    says='`cniVersion` is "the value of cniVersion specified on input"; a listed one will also do',
)
def test_version_answers_in_a_version_that_it_supports(stage: Stage) -> None:
    answer = stage.call(Verb.VERSION, {"cniVersion": stage.version}).expect_result()
    said, supported = answer.get("cniVersion"), answer.get("supportedVersions", [])
    require(
        said in (stage.version, *supported),
        f"cniVersion is {said!r}, neither {stage.version!r} nor one of {supported!r}",
    )
