"""What happened to a device that should be returned."""

import pytest

from amdcni.core.attachment import Attachment
from amdcni.core.errors import DeviceNotFound
from amdcni.verbs.giving_back import Returned, bring_home, give_back_locked
from tests.unit.fake_machine import Machine
from tests.unit.fake_node import FakeNode
from tests.unit.keeper import Keeper
from tests.unit.two_nics import A, add, delete, reboot


def result_of_returning(machine: Machine, seen: Attachment) -> Returned:
    node = FakeNode(machine)
    with machine.running(node):
        return give_back_locked(seen, node, wait_s=0)


def test_returning_an_unplugged_device_says_so_and_keeps_its_record(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine, A)
    (seen,) = FakeNode(machine).records()
    machine.kernel.unplug(A)
    assert result_of_returning(machine, seen) is Returned.UNPLUGGED
    assert set(machine.disk.files) == {A}


def test_returning_leaves_a_device_alone_that_another_pod_has_by_now(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine, A)
    (seen,) = FakeNode(machine).records()
    delete(machine, A)
    assert result_of_returning(machine, seen) is Returned.ALREADY
    add(machine, A, pod=2)
    assert result_of_returning(machine, seen) is Returned.ANOTHERS
    assert not keeper.is_whole()
    (other,) = FakeNode(machine).records()
    assert result_of_returning(machine, other) is Returned.BACK
    assert keeper.is_whole()


def test_returning_after_a_reboot_says_that_nothing_was_restored(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine, A)
    (seen,) = FakeNode(machine).records()
    reboot(machine, keeper)
    assert result_of_returning(machine, seen) is Returned.FORGOTTEN
    assert machine.disk.files == {}


def test_a_nic_that_is_unplugged_amid_its_healing_is_not_taken_for_one_that_is_home(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine, A)
    node = FakeNode(machine)
    (seen,) = node.records()
    machine.kernel.unplug(A)
    unplugged = pytest.raises(DeviceNotFound, match="not in the machine")
    with machine.running(node), node.lock(seen.key.lock_name, wait_s=0), unplugged:
        bring_home(seen, node)
    assert set(machine.disk.files) == {A}
