"""A takeover that is killed, or whose delegate fails, loses nothing."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from amdcni.core.errors import DeviceHeld
from amdcni.core.spec import Verb
from tests.unit.copies import copies_of
from tests.unit.fake_machine import Machine
from tests.unit.fake_node import Killed
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import ask, config_for
from tests.unit.go_plugin import OTHERS, add, delete, is_over, lend, mappings, new_node, watched
from tests.unit.two_nics import POD1, A, B, pod_of


def delete_it(machine: Machine) -> None:
    delete(machine)


def delete_it_after_the_death_of_the_netns(machine: Machine) -> None:
    if POD1 in machine.kernel.paths:
        machine.kernel.destroy_netns(pod_of(machine))
    delete(machine, netns=None)


def delete_another_nic(machine: Machine) -> None:
    ask(machine, Verb.DEL, config_for(B), container="somebody", netns=None)


def add_elsewhere(machine: Machine) -> None:
    add(machine, pod=2)


def heal(machine: Machine) -> None:
    """The calls that come sooner or later."""
    delete(machine)
    delete(machine, pod=2)


SEQUELS: list[Callable[[Machine], None]] = [
    delete_it,
    delete_it_after_the_death_of_the_netns,
    delete_another_nic,
    add_elsewhere,
]
KILLED = {
    "DEL in the pod": (Verb.DEL, False),
    "DEL on the host": (Verb.DEL, True),
    "ADD on the host": (Verb.ADD, True),
}


def each_with_every_sequel() -> Iterator[Any]:
    """Each killed call with each next call; `make test` tries each of both at least once."""
    for number, (name, (verb, fallen)) in enumerate(KILLED.items()):
        for place, then in enumerate(SEQUELS):
            marks = [] if place in (number, number + 1) else [pytest.mark.thorough]
            yield pytest.param(verb, fallen, then, id=f"{name}-{then.__name__}", marks=marks)


@pytest.mark.parametrize(("verb", "fallen", "then"), list(each_with_every_sequel()))
def test_a_takeover_killed_at_any_moment_is_repaired_by_the_next_call(
    verb: Verb, fallen: bool, then: Callable[[Machine], None]
) -> None:
    node = new_node()
    watching = watched(node)
    lend(node)
    if fallen:
        node.kernel.destroy_netns(pod_of(node))
    node_again = copies_of((node, watching))
    killed, at, begun = True, 0, 0
    while killed:
        machine, keeper = node_again()
        number = 1 if verb is Verb.DEL else 2
        pod = {"container": f"pod{number}", "netns": f"/run/netns/pod{number}"}
        try:
            ask(machine, verb, config_for(A), kill_at=at, **pod)
            killed = False
        except Killed:
            pass
        at += 1
        where = f"killed before: {machine.kernel.moments[-1]}"
        begun += bool(machine.disk.files)
        outlived = keeper.is_whole() and A in mappings(machine) and not machine.disk.files
        assert not outlived, where
        phase = machine.disk.records().get(A, {}).get("phase")
        try:
            then(machine)
        except DeviceHeld:
            # It was killed before it had begun, and its pod still has the NIC.
            assert (then, fallen, phase) == (add_elsewhere, False, None), where
        if then is delete_another_nic and phase in ("attaching", "detaching"):
            assert keeper.is_whole(), where
        heal(machine)
        assert keeper.is_whole(), where
        assert is_over(machine), where
        assert mappings(machine) == OTHERS, where
        assert machine.kernel.violations == [], where
    assert at > 15
    assert begun > 5


@pytest.mark.parametrize("plugin", ["host-device"])
@pytest.mark.parametrize("at", range(12))
@pytest.mark.parametrize("how", ["fails", "dies"])
def test_a_failing_delegate_does_not_prevent_a_takeover(
    plugin: str, at: int, how: Literal["fails", "dies"]
) -> None:
    machine = new_node()
    keeper = watched(machine)
    lend(machine)
    machine.plugins.troubles.append(Trouble(plugin, Verb.DEL, at, how))
    delete(machine)
    assert keeper.is_whole()
    assert is_over(machine)
    assert machine.kernel.violations == []
