"""GC and STATUS, which exist since CNI 1.1.0 (CNI SPEC 1.1 §2)."""

from amdcni.core.spec import Verb
from amdcni.testing.cni import Outcome
from amdcni.testing.conformance.answers import require_silence, require_success
from amdcni.testing.conformance.clauses import Level, clause, not_applicable, require_none
from amdcni.testing.conformance.stage import Container, Stage, valid_attachments
from amdcni.testing.dumps import differences
from amdcni.testing.readings import dump, unchanged


def _container(stage: Stage, number: int = 1) -> Container:
    return stage.container(number).able_to(Verb.GC)


def _collect(asked: Container, *valid: Container) -> Outcome:
    """The outcome of GC for the network of a container, when only these are valid."""
    return asked.having(**valid_attachments(*valid)).call_for_none(Verb.GC)


@clause(
    "§2 STATUS",
    Verb.STATUS,
    says='A plugin "must exit with a zero (success) return code if" it "is ready"',
)
def test_status_succeeds_when_add_would_work(stage: Stage) -> None:
    container = stage.container().able_to(Verb.STATUS)
    container.delete(container.attached())
    require_success(container.call_for_none(Verb.STATUS))


@clause(
    "§2 STATUS, §5",
    Verb.STATUS,
    Level.SHOULD,
    says="Only ADD and VERSION have results, so there is nothing to print",
)
def test_a_status_that_succeeds_is_silent(stage: Stage) -> None:
    require_silence(stage.container().able_to(Verb.STATUS).call_for_none(Verb.STATUS))


@clause("§2 GC", Verb.GC, says='The list says which attachments "are still valid"')
def test_gc_keeps_what_is_valid(stage: Stage) -> None:
    container = _container(stage)
    container.attached()
    with unchanged(container.pod):
        require_success(_collect(container, container))


@clause(
    "§2 GC",
    Verb.GC,
    says='It "must only remove stale resources known to belong to the network provided"',
)
def test_gc_of_a_network_keeps_what_is_of_another(stage: Stage) -> None:
    container, second = _container(stage, 1), _container(stage, 2)
    container.attached()
    other = second.having(name=f"{second.config['name']}-other")
    other.attached()
    with unchanged(other.pod), unchanged(stage.node):
        require_success(_collect(container, container))


@clause(
    "§2 GC",
    Verb.GC,
    Level.SHOULD,
    says='"A plugin should remove as many stale resources as possible"; the netns may be gone',
)
def test_gc_gives_back_what_is_not_valid(stage: Stage) -> None:
    valid, stale = _container(stage, 2), _container(stage, 1)
    valid.attached()
    before = dump(stage.node)
    stale.attached()
    stale.pod.delete()
    with unchanged(valid.pod):
        require_success(_collect(valid, valid))
    require_none(differences(before, dump(stage.node)))
    stage.container(3).having(**stale.config).add().expect_result()


@clause(
    "§2 GC, §3",
    Verb.GC,
    Level.SHOULD,
    says='An attachment is "identified by the (CNI_CONTAINERID, CNI_IFNAME) tuple"',
)
def test_gc_tells_two_attachments_of_a_container_apart(stage: Stage) -> None:
    if stage.subject.before or stage.subject.ifname == "lo":
        not_applicable("the plugin adjusts the one interface that it is given")
    valid = _container(stage)
    bare = dump(stage.node)
    valid.attached()
    attached = dump(stage.node)
    stale = stage.second_of(valid, "net7")
    stale.attached()
    valid.pod.delete()
    require_success(_collect(valid, valid))
    known = bare.subjects.keys() | attached.subjects.keys()
    left = dump(stage.node).subjects.keys() - known
    require_none(f"{subject} is left" for subject in sorted(left))
    stage.container(3).having(**stale.config).add().expect_result()


def _stale(stage: Stage) -> Container:
    """A container that was attached and whose netns is gone, which is when GC comes."""
    container = _container(stage)
    container.attached()
    container.pod.delete()
    return container


@clause(
    "§2 GC",
    Verb.GC,
    Level.SHOULD,
    says='"Plugins should generally complete a GC action without error"; nothing is left to do',
)
def test_gc_can_be_repeated(stage: Stage) -> None:
    container = _stale(stage)
    require_success(_collect(container))
    require_success(_collect(container))


@clause("§2 GC", Verb.GC, Level.SHOULD, says='There is "no output on success"')
def test_a_gc_that_succeeds_is_silent(stage: Stage) -> None:
    require_silence(_collect(_stale(stage)))
