"""Records in several state folders: none is overlooked, whatever `dataDir` says now."""

import json
from typing import Any

import pytest

from amdcni.core.errors import DeviceHeld, StateFailure
from amdcni.core.spec import Verb
from amdcni.verbs.healing import heal as heal_all
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import address
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_runtime import ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD1, A, B, add, delete

F, G = "/var/lib/fabric", "/srv/state"


def in_folders(machine: Machine) -> dict[str, set[str]]:
    """The names of the record files, by folder."""
    disks = {"": machine.disk, **machine.other_disks}
    return {folder: set(disk.files) for folder, disk in disks.items() if disk.files}


@pytest.mark.parametrize("edited", [{}, {"dataDir": G}], ids=["default", "another"])
def test_a_nic_is_returned_even_if_data_dir_was_edited(
    machine: Machine, keeper: Keeper, edited: dict[str, Any]
) -> None:
    result = add(machine, dataDir=F)
    assert in_folders(machine) == {F: {A}}
    with pytest.raises(DeviceHeld):
        add(machine, pod=2, **edited)
    assert add(machine, **edited) == result
    delete(machine, **edited)
    assert keeper.is_whole()
    assert in_folders(machine) == {}
    assert machine.disk.folders == set()


@pytest.mark.parametrize("then", ["DEL", "heal"])
def test_a_call_killed_with_its_own_state_folder_is_repaired_through_the_index(
    then: str,
) -> None:
    killed, at = True, 0
    while killed:
        machine = Machine(mover="native")
        link = machine.kernel.plug(A, "ens1").links[0]
        machine.kernel.configure(link, (address("192.0.2.1/31"),))
        keeper = Keeper(machine, link)
        machine.kernel.make_netns(POD1)
        killed = False
        try:
            ask(machine, Verb.ADD, config_for(A, dataDir=F), kill_at=at)
        except Killed:
            killed = True
        at += 1
        if then == "DEL":
            delete(machine, dataDir=G)
        else:
            pod = machine.kernel.paths.get(POD1)
            assert pod is not None
            machine.kernel.destroy_netns(pod)
            node = FakeNode(machine)
            with machine.running(node):
                heal_all(node)
        assert keeper.is_whole()
        assert in_folders(machine) == {}
        assert machine.other_disks.get(F) is None or not machine.other_disks[F].markers
        assert machine.kernel.violations == []
    assert at > 5


def test_if_the_index_cannot_be_written_an_add_changes_nothing(
    machine: Machine, keeper: Keeper
) -> None:
    machine.disk.read_only = True
    with pytest.raises(StateFailure):
        add(machine, dataDir=F)
    assert keeper.is_whole()
    assert in_folders(machine) == {}


def test_gc_releases_stale_attachments_recorded_in_any_folder(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    add(machine, dataDir=F)
    add(machine, B, pod=2, dataDir=G)
    valid = [{"containerID": "pod2", "ifname": "net1"}]
    ask(machine, Verb.GC, config_for(**{"cni.dev/valid-attachments": valid}))
    assert keeper.is_whole()
    assert in_folders(machine) == {G: {B}}


def test_two_records_of_a_device_in_two_folders_go_with_their_own_attachments(
    machine: Machine, keeper: Keeper
) -> None:
    """An earlier version, which had no index, has written the second."""
    add(machine, dataDir=F)
    stray = json.loads(machine.other_disks[F].files[A])
    stray["id"]["containerID"] = "somebody"
    machine.disk.files[A] = json.dumps(stray).encode()
    delete(machine)
    assert keeper.is_whole()
    assert in_folders(machine) == {"": {A}}
