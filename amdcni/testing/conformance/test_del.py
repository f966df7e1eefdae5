"""DEL: everything is given back, whenever and however often it is called (CNI SPEC 1.1 §2, DEL)."""

from amdcni.core.spec import Verb
from amdcni.testing.conformance.answers import require_silence, require_success
from amdcni.testing.conformance.clauses import (
    Level,
    clause,
    not_applicable,
    require,
    require_none,
)
from amdcni.testing.conformance.stage import Container, Stage
from amdcni.testing.conformance.views import changes
from amdcni.testing.dumps import differences
from amdcni.testing.readings import dump

_ROUNDS = 2


def _expect(faults: list[str], of: str) -> None:
    require_none(f"{of} is not as it was before: {fault}" for fault in faults)


def _attached_and_deleted(container: Container) -> None:
    """Attach and detach, without which the clause cannot be tried; it is not about attaching."""
    require_success(container.delete(container.attached()))
    container.detach_before()


def _attach_and_delete_again(container: Container) -> None:
    require_success(container.delete(container.add().expect_result()))
    container.detach_before()


@clause(
    "§2 DEL",
    Verb.DEL,
    says='DEL deletes "the interface defined by CNI_IFNAME", or undoes the modifications',
)
def test_del_undoes_in_the_container_what_add_did(stage: Stage) -> None:
    container = stage.container().prepared()
    before = dump(container.pod)
    result = container.attached()
    require_success(container.delete(result))
    _expect(differences(before, dump(container.pod)), "the container")


@clause(
    "§2 DEL",
    Verb.DEL,
    says='DEL undoes "any modifications applied in the plugin\'s ADD"; what is shared may stay',
)
def test_what_was_on_the_host_before_add_is_there_after_del(stage: Stage) -> None:
    container = stage.container()
    before = dump(stage.node)
    _attached_and_deleted(container)
    _expect(changes(before, dump(stage.node)), "the host")


@clause(
    "§2 DEL",
    Verb.DEL,
    says="A network may have something of its own on the host, but no container leaves anything",
)
def test_nothing_piles_up_on_the_host(stage: Stage) -> None:
    container = stage.container()
    _attached_and_deleted(container)
    before = dump(stage.node)
    _attach_and_delete_again(container)
    _expect(differences(before, dump(stage.node)), "the host")


@clause(
    "§2 DEL",
    Verb.DEL,
    says='"Plugins MUST accept multiple DEL calls" for the same container and interface',
)
def test_del_can_be_repeated(stage: Stage) -> None:
    container = stage.container()
    result = container.attached()
    require_success(container.delete(result))
    require_success(container.delete(result))
    require_success(container.delete())


@clause(
    "§2 DEL, §5",
    Verb.DEL,
    Level.SHOULD,
    says="Only ADD and VERSION have results, so there is nothing to print",
)
def test_a_del_that_succeeds_is_silent(stage: Stage) -> None:
    container = stage.container()
    require_silence(container.delete(container.attached()))


@clause(
    "§2 DEL",
    Verb.DEL,
    says='It returns "success if the interface in question, or any modifications" are missing',
)
def test_del_without_an_add_succeeds(stage: Stage) -> None:
    require_success(stage.container().delete())


@clause("§2 DEL", Verb.DEL, says="`CNI_NETNS` is an optional variable of DEL")
def test_del_succeeds_without_cni_netns(stage: Stage) -> None:
    absent, empty = stage.container(1), stage.container(2)
    require_success(absent.delete(absent.attached(), netns=None))
    require_success(empty.delete(empty.attached(), netns=""))


@clause(
    "§2 DEL",
    Verb.DEL,
    Level.SHOULD,
    says='"Plugins should generally complete a DEL action without error even if" it is missing',
)
def test_del_succeeds_when_the_netns_is_gone(stage: Stage) -> None:
    container = stage.container()
    result = container.attached()
    container.pod.delete()
    require_success(container.delete(result))


@clause(
    "§2 DEL",
    Verb.DEL,
    Level.SHOULD,
    says='"clean up its own resources even if the container network namespace" no longer exists',
)
def test_what_was_on_the_host_is_there_after_the_netns_is_gone_and_del(stage: Stage) -> None:
    container = stage.container()
    before = dump(stage.node)
    result = container.attached()
    container.pod.delete()
    container.delete(result)
    _expect(changes(before, dump(stage.node)), "the host")


@clause(
    "§2 DEL, §3 Deleting an attachment",
    Verb.DEL,
    says="A runtime may have lost it, and versions before 0.4.0 have none",
)
def test_del_succeeds_without_a_previous_result(stage: Stage) -> None:
    container = stage.container()
    container.attached()
    require_success(container.delete())
    if stage.subject.makes_the_interface:
        require(container.ifname not in container.links(), f"{container.ifname} is still there")


@clause(
    "§2 DEL, §3",
    Verb.DEL,
    says='An attachment is "identified by the (CNI_CONTAINERID, CNI_IFNAME) tuple"',
)
def test_del_of_another_container_touches_nothing_of_this_one(stage: Stage) -> None:
    container, other = stage.container(1), stage.container(2)
    container.attached()
    before = dump(container.pod)
    stranger = other.having(**container.config)
    stranger.delete(netns="")
    stranger.delete()
    _expect(differences(before, dump(container.pod)), "the container")


@clause(
    "§2 DEL, §3 Lifecycle",
    Verb.DEL,
    says="DEL releases what ADD took, so that it can be taken again",
)
def test_a_container_can_be_attached_again_after_del(stage: Stage) -> None:
    container = stage.container()
    _attached_and_deleted(container)
    for _ in range(_ROUNDS):
        _attach_and_delete_again(container)


@clause(
    "§2 DEL, §3 Lifecycle",
    Verb.DEL,
    says="Another container can be attached with the same configuration",
)
def test_what_a_container_had_is_free_when_its_netns_is_gone_and_del_has_been(stage: Stage) -> None:
    container = stage.container()
    result = container.attached()
    container.pod.delete()
    outcome = container.delete(result)
    if not outcome.succeeded:
        not_applicable(f"DEL fails already: {outcome}")
    successor = stage.container(2).having(**container.config)
    successor.add().expect_result()


@clause(
    "§3 Adding an attachment, Lifecycle",
    Verb.DEL,
    says='"A delete must still be executed even if the add fails"',
)
def test_del_after_an_add_that_failed_gives_everything_back(stage: Stage) -> None:
    stage.needs_a_maker()
    container = stage.container()
    _attached_and_deleted(container)
    before = dump(stage.node)
    container.pod.ip(f"link add {container.ifname} type veth peer name other")
    failed = container.add()
    if failed.succeeded:
        not_applicable("the ADD that has to fail succeeds")
    container.pod.ip(f"link delete {container.ifname}")
    require_success(container.delete())
    _expect(differences(before, dump(stage.node)), "the host")
