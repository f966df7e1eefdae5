"""ADD: what it does in the container (CNI SPEC 1.1 §2); `test_result` has what it answers."""

from amdcni.core.spec import Verb
from amdcni.testing.conformance.answers import require_failure, require_success
from amdcni.testing.conformance.clauses import Level, clause, not_applicable, require, require_none
from amdcni.testing.conformance.stage import Stage
from amdcni.testing.conformance.views import changes
from amdcni.testing.readings import dump


@clause(
    "§2 ADD",
    Verb.ADD,
    says='ADD creates "the interface defined by CNI_IFNAME" in the container, or adjusts it',
)
def test_add_makes_or_adjusts_the_interface(stage: Stage) -> None:
    container = stage.container()
    container.add().expect_result()
    if not stage.subject.is_ipam:
        names = sorted(container.links())
        require(container.ifname in names, f"the pod has {', '.join(names)}")


@clause(
    "§2 ADD",
    Verb.ADD,
    says='"If an interface of the requested name already exists", ADD "MUST return with an error"',
)
def test_an_interface_of_the_name_that_is_there_already_is_an_error(stage: Stage) -> None:
    stage.needs_a_maker()
    container = stage.container()
    container.pod.ip(f"link add {container.ifname} type veth peer name other")
    before = dump(container.pod)
    require_failure(container.add())
    require_none(changes(before, dump(container.pod)))


@clause(
    "§2 ADD, §3 Attachment Parameters",
    Verb.ADD,
    Level.SHOULD,
    says='More than one attachment needs "a different interface name" each, and no more than that',
)
def test_a_container_can_be_attached_twice_by_different_interfaces(stage: Stage) -> None:
    if stage.subject.before or stage.subject.ifname == "lo":
        not_applicable("the plugin adjusts the one interface that it is given")
    first = stage.container()
    first.attached()
    second = stage.second_of(first, "net7")
    second.add().expect_result()
    if not stage.subject.is_ipam:
        names = first.links()
        require({first.ifname, second.ifname} <= set(names), f"the pod has {', '.join(names)}")
    require_success(second.delete())
    if not stage.subject.is_ipam:
        require(first.ifname in first.links(), f"the DEL of the second removed {first.ifname}")
