"""A physical function and its virtual ones are never with two pods at the same time."""

from typing import Any

import pytest

from amdcni.core.errors import DeviceProtected
from amdcni.core.spec import Verb
from tests.unit.fake_machine import Machine
from tests.unit.fake_node import Killed
from tests.unit.fake_runtime import ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD1, A, B, add, delete, heal, process

OTHER = "0000:03:00.0"
REFUSED = {
    A: f"{A} has the virtual function {B}, which container pod2 has as 'net1'; ",
    B: f"{B} belongs to the physical function {A}, which container pod2 has as 'net1'; ",
}
"""What is said when the function is asked for while the other one is lent."""
WHY = "one pod would control what another one has; wait until that attachment is deleted"

both_ways = pytest.mark.parametrize(("first", "second"), [(A, B), (B, A)], ids=["physical", "vf"])


@pytest.fixture(autouse=True)
def _related(machine: Machine) -> None:
    """The second NIC is a virtual function of the first; a third one is another of them."""
    machine.kernel.plug(OTHER, "ens3")
    machine.kernel.functions[B].physfn = A
    machine.kernel.functions[OTHER].physfn = A


def refused(machine: Machine, device: str, **keys: Any) -> None:
    with pytest.raises(DeviceProtected, match=f"; {WHY}$") as refusal:
        add(machine, device, **keys)
    assert refusal.value.message.startswith(REFUSED[device])


@both_ways
def test_of_a_physical_function_and_its_virtual_one_only_the_first_is_lent(
    machine: Machine, keeper: Keeper, other: Keeper, first: str, second: str
) -> None:
    add(machine, first, pod=2)
    refused(machine, second)
    delete(machine, first, pod=2)
    add(machine, second)
    delete(machine, second)
    assert keeper.is_whole()
    assert other.is_whole()
    assert machine.disk.files == {}


@both_ways
def test_one_pod_may_have_both(
    machine: Machine, keeper: Keeper, other: Keeper, first: str, second: str
) -> None:
    add(machine, first)
    ask(machine, Verb.ADD, config_for(second), container="pod1", netns=POD1, ifname="net2")
    delete(machine, first)
    ask(machine, Verb.DEL, config_for(second), container="pod1", netns=POD1, ifname="net2")
    assert keeper.is_whole()
    assert other.is_whole()


def test_virtual_functions_of_the_same_function_are_lent_to_different_pods(
    machine: Machine,
) -> None:
    add(machine, B)
    add(machine, OTHER, pod=2)


def test_a_virtual_function_with_a_userspace_driver_counts(machine: Machine) -> None:
    machine.kernel.remove_link(machine.kernel.functions[B].links.pop())
    machine.kernel.functions[B].driver = "vfio-pci"
    add(machine, B, pod=2)
    refused(machine, A)


@both_ways
def test_what_a_dead_pod_had_is_no_obstacle(
    machine: Machine, keeper: Keeper, first: str, second: str
) -> None:
    add(machine, first, pod=2)
    machine.kernel.destroy_netns(machine.kernel.paths["/run/netns/pod2"])
    add(machine, second)
    assert heal(machine)[first] == ("returned", True)
    delete(machine, second)
    assert keeper.is_whole()


@both_ways
def test_of_two_adds_at_once_never_both_succeed(
    machine: Machine, keeper: Keeper, other: Keeper, first: str, second: str
) -> None:
    """The second begins when the first has already looked, and ends before that goes on."""
    begun: list[str] = []

    def meanwhile(what: str) -> None:
        if what == "before SaveRecord" and not begun:
            begun.append(what)
            interrupted = process(machine)
            add(machine, first, pod=2)
            machine.last = interrupted

    machine.kernel.interrupts.append(meanwhile)
    refused(machine, second)
    assert begun
    delete(machine, first, pod=2)
    assert keeper.is_whole()
    assert other.is_whole()
    assert machine.disk.files == {}


@both_ways
def test_an_add_that_is_killed_at_the_second_look_is_healed(
    machine: Machine, keeper: Keeper, other: Keeper, first: str, second: str
) -> None:
    with pytest.raises(Killed):
        ask(
            machine,
            Verb.ADD,
            config_for(first),
            container="pod2",
            netns="/run/netns/pod2",
            kill_before="before LookAtKin",
        )
    add(machine, second)
    delete(machine, second)
    assert keeper.is_whole()
    assert other.is_whole()
    assert machine.disk.files == {}
