"""A call that was killed at any moment is repaired by the next one."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amdcni.core.errors import DeviceHeld
from amdcni.core.spec import Verb
from tests.unit.copies import copies_of
from tests.unit.fake_machine import Machine
from tests.unit.fake_node import Killed
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.four_nics import A, B, V, delete_by_id_alone, delete_it, is_in_pod, new_node


def add_again(machine: Machine, config: dict[str, object]) -> None:
    assert ask(machine, Verb.ADD, config) is not None


def add_elsewhere(machine: Machine, config: dict[str, object]) -> None:
    ask(machine, Verb.ADD, config, container="pod2", netns="/run/netns/pod2")


def delete_after_the_death_of_the_netns(machine: Machine, config: dict[str, object]) -> None:
    machine.kernel.destroy_netns(machine.kernel.paths["/run/netns/pod1"])
    ask(machine, Verb.DEL, config)


def delete_another_nic(machine: Machine, config: dict[str, object]) -> None:
    ask(machine, Verb.DEL, config_for(B), container="somebody", netns=None)


Sequel = Callable[[Machine, dict[str, object]], None]
SEQUELS: tuple[Sequel, ...] = (
    add_again,
    add_elsewhere,
    delete_it,
    delete_by_id_alone,
    delete_after_the_death_of_the_netns,
    delete_another_nic,
)


ATTACHMENTS = {
    "delegate": (A, "delegate", HOST_LOCAL),
    "native": (A, "native", HOST_LOCAL),
    "software": (V, "native", None),
    "delegate-static": (A, "delegate", None),
    "native-static": (A, "native", None),
}


def each_with_several_sequels() -> Iterator[Any]:
    """Another sequel after each moment, and after the same moment in another case another one."""
    for number, (name, (device, mover, ipam)) in enumerate(ATTACHMENTS.items()):
        for shift in (0, 2, 4):
            first = (number + shift) % len(SEQUELS)
            yield pytest.param(
                *(device, mover, ipam, (*SEQUELS[first:], *SEQUELS[:first])),
                id=f"{name}-{SEQUELS[first].__name__}",
                marks=pytest.mark.thorough if shift else (),
            )


@pytest.mark.parametrize(("device", "mover", "ipam", "sequels"), [*each_with_several_sequels()])
@pytest.mark.parametrize("verb", [Verb.ADD, Verb.DEL])
def test_a_call_killed_at_any_moment_is_repaired_by_the_next(
    device: str, verb: Verb, sequels: tuple[Sequel, ...], ipam: object, mover: str
) -> None:
    node = new_node(mover, ipam, device)
    before = node[0].picture()
    if verb is Verb.DEL:
        ask(node[0], Verb.ADD, node[2])
    node_again = copies_of(node)
    killed, at = True, 0
    while killed:
        then = sequels[at % len(sequels)]
        machine, keeper, config = node_again()
        try:
            ask(machine, verb, config, kill_at=at)
            killed = False
        except Killed:
            pass
        at += 1
        where = f"killed before: {machine.kernel.moments[-1]}"
        phase = machine.disk.records().get(device, {}).get("phase")
        if phase == "attached" and then is add_elsewhere:
            # The first ADD has succeeded, except for its answer: its pod keeps the NIC.
            with pytest.raises(DeviceHeld):
                then(machine, config)
            assert is_in_pod(machine, keeper, 1, ipam), where
            continue
        then(machine, config)
        if then is delete_another_nic:
            # That runs no plugin for this device.
            assert phase == "attached" or keeper.is_whole(), where
            ask(machine, Verb.STATUS, config_for(), netns=None)
        if then is add_again:
            assert is_in_pod(machine, keeper, 1, ipam), where
        elif then is add_elsewhere:
            assert is_in_pod(machine, keeper, 2, ipam), where
        elif phase == "attached" and then is delete_another_nic:
            assert is_in_pod(machine, keeper, 1, ipam), where
        else:
            assert keeper.is_whole() or not keeper.is_plugged, where
            assert machine.disk.files == {}, where
            if then is not delete_after_the_death_of_the_netns:
                assert machine.picture() == before, where
        assert machine.disk.markers == set(), where
        holders = (
            {("pod2" if then is add_elsewhere else "pod1", "net1")} if machine.disk.files else set()
        )
        assert set(machine.plugins.leases) == (holders if ipam else set()), where
        assert machine.kernel.violations == [], where
    assert at > 20
