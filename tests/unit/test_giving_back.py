"""What has become of a device that was to be given back."""

from amdcni.core.attachment import Attachment
from amdcni.verbs.giving_back import Returned, give_back_locked
from tests.unit.fake_machine import Machine
from tests.unit.fake_node import FakeNode
from tests.unit.keeper import Keeper
from tests.unit.two_nics import A, add, delete, reboot


def given_back(machine: Machine, seen: Attachment) -> Returned:
    node = FakeNode(machine)
    with machine.running(node):
        return give_back_locked(seen, node, wait_s=0)


def test_giving_back_says_what_it_did(machine: Machine, keeper: Keeper) -> None:
    add(machine, A)
    (seen,) = FakeNode(machine).records()
    machine.kernel.unplug(A)
    assert given_back(machine, seen) is Returned.UNPLUGGED
    assert set(machine.disk.files) == {A}


def test_giving_back_leaves_alone_what_another_has_meanwhile(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine, A)
    (seen,) = FakeNode(machine).records()
    delete(machine, A)
    assert given_back(machine, seen) is Returned.ALREADY
    add(machine, A, pod=2)
    assert given_back(machine, seen) is Returned.ANOTHERS
    assert not keeper.is_whole()
    (other,) = FakeNode(machine).records()
    assert given_back(machine, other) is Returned.BACK
    assert keeper.is_whole()


def test_giving_back_after_a_boot_says_that_nothing_was_restored(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine, A)
    (seen,) = FakeNode(machine).records()
    reboot(machine, keeper)
    assert given_back(machine, seen) is Returned.FORGOTTEN
    assert machine.disk.files == {}
