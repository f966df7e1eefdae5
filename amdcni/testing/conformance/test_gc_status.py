"""GC and STATUS, which exist since CNI 1.1.0 (CNI SPEC 1.1 §2)."""

from amdcni.core.spec import Verb
from amdcni.core.versions import GC_AND_STATUS_SINCE
from amdcni.testing.conformance.clauses import Level, clause, require
from amdcni.testing.conformance.stage import Container, Stage, valid_attachments
from amdcni.testing.readings import unchanged


def _container(stage: Stage, number: int = 1) -> Container:
    return stage.container(number).speaking(stage.version_since(GC_AND_STATUS_SINCE))


def _collect(asked: Container, *valid: Container) -> None:
    """Call GC for the network of a container, when only these are valid."""
    asked.having(**valid_attachments(*valid)).call_for_none(Verb.GC).expect_silence()


@clause(
    "§2 STATUS",
    Verb.STATUS,
    says='A plugin "must exit with a zero (success) return code if" it "is ready"',
)
def test_status_succeeds_silently_when_add_would_work(stage: Stage) -> None:
    container = _container(stage)
    result = container.attached()
    container.delete(result).expect_silence()
    container.call_for_none(Verb.STATUS).expect_silence()


@clause("§2 GC", Verb.GC, says='The list tells which attachments "are still valid"')
def test_gc_keeps_what_is_valid(stage: Stage) -> None:
    container = _container(stage)
    container.attached()
    with unchanged(container.pod):
        _collect(container, container)


@clause(
    "§2 GC",
    Verb.GC,
    Level.SHOULD,
    says='It removes resources "related to any attachments" that are not listed',
)
def test_gc_gives_back_what_is_not_valid(stage: Stage) -> None:
    first, second = _container(stage, 1), _container(stage, 2)
    first.attached()
    second.attached()
    with unchanged(second.pod):
        _collect(first, second)
    if stage.subject.makes_the_interface:
        require(first.ifname not in first.links(), f"{first.ifname} is still there")
    stage.container(3).having(**first.config).add().expect_result()


@clause("§2 GC", Verb.GC, says="There is nothing more to do, which is no error")
def test_gc_can_be_repeated(stage: Stage) -> None:
    container = _container(stage)
    container.attached()
    _collect(container)
    _collect(container)
