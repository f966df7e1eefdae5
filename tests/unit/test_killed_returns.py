"""A NIC that is home is returned once more while it waits for a plugin, and that call is killed."""

from collections.abc import Callable

import pytest

from amdcni.core.errors import RestoreIncomplete, StateFailure
from amdcni.core.spec import Verb
from amdcni.verbs import healing
from tests.unit.copies import copies_of
from tests.unit.fake_machine import Machine
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.four_nics import A, B, is_in_pod, new_node
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD2, full_disk, read_only_disk

NEVER = 10**6
"""The number of a moment that does not come."""


def waiting_for_its_plugin(*, renamed: bool) -> tuple[Machine, Keeper, dict[str, object]]:
    """A node whose NIC is home, with a record that only the IPAM plugin keeps: it has just failed.

    If it is to be `renamed`, a stranger had its name meanwhile, which is free again.
    """
    machine, keeper, config = new_node("native", HOST_LOCAL)
    with pytest.raises(Killed):
        ask(machine, Verb.ADD, config, kill_before="before Confirm")
    stranger = machine.kernel.add_link("ens1") if renamed else None
    machine.plugins.troubles = [Trouble("host-local", Verb.DEL)]
    ask(machine, Verb.STATUS, config_for(), netns=None)
    machine.plugins.troubles = []
    if stranger is not None:
        machine.kernel.remove_link(stranger)
    assert keeper.is_whole()
    assert is_noted_home(machine)
    return machine, keeper, config


def is_noted_home(machine: Machine) -> bool:
    return machine.disk.attempts.get(A, b"").split()[3:] == [b"home"]


def gc(machine: Machine, config: dict[str, object], kill_at: int) -> None:
    listed: dict[str, object] = {"cni.dev/valid-attachments": []}
    ask(machine, Verb.GC, config_for(**listed), netns=None, kill_at=kill_at)


def delete(machine: Machine, config: dict[str, object], kill_at: int) -> None:
    ask(machine, Verb.DEL, config, kill_at=kill_at)


def add_elsewhere(machine: Machine, config: dict[str, object], kill_at: int) -> None:
    ask(machine, Verb.ADD, config, container="pod2", netns=POD2, kill_at=kill_at)


def heal(machine: Machine, config: dict[str, object], kill_at: int) -> None:
    node = FakeNode(machine, kill_at=kill_at)
    with machine.running(node):
        healing.heal(node)


def delete_another_nic(machine: Machine) -> None:
    ask(machine, Verb.DEL, config_for(B), container="somebody", netns=None)


Call = Callable[[Machine, dict[str, object], int], None]
CALLS: tuple[Call, ...] = (gc, delete, add_elsewhere, heal)
"""Those that return a NIC although it is home."""


def is_killed(call: Call, machine: Machine, config: dict[str, object], kill_at: int) -> bool:
    try:
        call(machine, config, kill_at)
    except Killed:
        return True
    return False


@pytest.mark.parametrize("renamed", [False, True], ids=["whole", "to be renamed"])
@pytest.mark.parametrize("call", CALLS)
def test_a_nic_that_was_home_is_home_again_after_the_next_call_about_another(
    call: Call, renamed: bool
) -> None:
    node_again = copies_of(waiting_for_its_plugin(renamed=renamed))
    killed, at = True, 0
    while killed:
        machine, keeper, config = node_again()
        killed = is_killed(call, machine, config, at)
        at += 1
        where = f"killed before: {machine.kernel.moments[-1]}"
        phase = machine.disk.records().get(A, {}).get("phase")
        assert keeper.is_whole() or not is_noted_home(machine), where
        delete_another_nic(machine)
        if phase == "attached":
            assert is_in_pod(machine, keeper, 2, HOST_LOCAL), where
        else:
            assert keeper.is_whole(), where
        gc(machine, config, NEVER)
        assert keeper.is_whole(), where
        assert (machine.disk.files, machine.disk.markers) == ({}, set()), where
        assert machine.plugins.leases == {}, where
        assert machine.kernel.violations == [], where
    assert at > 10


@pytest.mark.parametrize(
    ("spoil", "renamed"),
    [(full_disk, True), (read_only_disk, True), (read_only_disk, False)],
    ids=["full, to be renamed", "read-only, to be renamed", "read-only, whole"],
)
@pytest.mark.parametrize("call", CALLS)
def test_a_nic_that_was_home_is_not_lost_if_nothing_can_be_noted(
    call: Call, spoil: Callable[[Machine], None], renamed: bool
) -> None:
    node_again = copies_of(waiting_for_its_plugin(renamed=renamed))
    killed, at = True, 0
    while killed:
        machine, keeper, config = node_again()
        spoil(machine)
        try:
            killed = is_killed(call, machine, config, at)
        except StateFailure:
            killed = False
        at += 1
        where = f"killed before: {machine.kernel.moments[-1]}"
        assert renamed or keeper.is_whole(), where
        machine.disk.full = machine.disk.read_only = False
        if spoil is full_disk:
            # There, a note can be emptied.
            delete_another_nic(machine)
            assert keeper.is_whole(), where
        gc(machine, config, NEVER)
        assert keeper.is_whole(), where
        assert (machine.disk.files, machine.disk.markers) == ({}, set()), where
        assert machine.kernel.violations == [], where
    assert at > 5


def test_a_return_that_is_repeated_and_fails_is_ended_by_the_next_call_about_another() -> None:
    machine, keeper, config = waiting_for_its_plugin(renamed=True)
    keeper.order_matters = False
    machine.kernel.host.refused = {"fd00::1/64"}
    with pytest.raises(RestoreIncomplete, match="fd00::1/64"):
        add_elsewhere(machine, config, NEVER)
    machine.kernel.host.refused = set()
    delete_another_nic(machine)
    assert keeper.is_whole()


@pytest.mark.parametrize("call", [gc, delete, heal])
def test_a_nic_that_is_whole_lacks_nothing_while_it_is_returned_once_more(call: Call) -> None:
    machine, keeper, config = waiting_for_its_plugin(renamed=False)
    whole: list[bool] = []
    machine.kernel.watchers.append(lambda: whole.append(keeper.is_whole()))
    call(machine, config, NEVER)
    assert set(whole) == {True}
    assert machine.disk.files == {}
