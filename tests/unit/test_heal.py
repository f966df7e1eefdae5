"""Healing everything: what is returned, what is left alone, and what has to wait."""

from collections.abc import Callable

import pytest

from amdcni.cli.columns import Row
from amdcni.cli.heal import listing_of
from amdcni.core.retry import FIRST_PAUSE_S
from amdcni.core.spec import Verb
from amdcni.verbs.healing import due_again_s
from amdcni.verbs.healing import heal as heal_all
from tests.unit.fake_machine import Machine, furnish
from tests.unit.fake_netdevs import address
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD1, A, B, add, heal, pod_of, process

USERSPACE = "0000:03:00.0"
"""A device of a userspace driver, which has no netdev."""


def test_a_dry_run_takes_no_lock(machine: Machine) -> None:
    add(machine)
    add(machine, B, pod=2)
    machine.kernel.destroy_netns(pod_of(machine))
    machine.kernel.moments.clear()
    heal(machine, dry_run=True)
    assert not [what for what in machine.kernel.moments if what.startswith("lock")]


def test_a_nic_whose_netns_has_died_is_healed_and_a_held_one_is_left(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    add(machine, A)
    add(machine, B, pod=2)
    machine.kernel.destroy_netns(pod_of(machine))
    before = machine.picture()
    assert heal(machine, dry_run=True) == {A: ("returned", False), B: ("held", False)}
    assert machine.picture() == before
    assert heal(machine) == {A: ("returned", True), B: ("held", False)}
    assert keeper.is_whole()
    assert not other.is_whole()
    assert set(machine.disk.files) == {B}
    assert heal(machine) == {B: ("held", False)}


def test_what_was_found_is_reported_as_it_was_before_healing_began(
    machine: Machine, keeper: Keeper
) -> None:
    """The netdev comes home first, and the IPAM plugin is called later."""
    add(machine, A, ipam=HOST_LOCAL)
    machine.kernel.destroy_netns(pod_of(machine))
    assert heal(machine, dry_run=True) == {A: ("returned", False)}
    assert heal(machine) == {A: ("returned", True)}
    assert [facts["found"] for event, facts in process(machine).reported if event == "healed"] == [
        "returned"
    ]
    assert machine.plugins.leases == {}


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_two_nics_that_were_both_called_net1_are_both_healed(
    machine: Machine, keeper: Keeper, other: Keeper, order: tuple[int, int]
) -> None:
    add(machine, A)
    add(machine, B, pod=2)
    for number in order:
        machine.kernel.destroy_netns(pod_of(machine, number))
    assert heal(machine) == {A: ("returned", True), B: ("returned", True)}
    assert keeper.is_whole()
    assert other.is_whole()


def listed_by_heal(machine: Machine, *, dry_run: bool = False) -> tuple[str, Row]:
    """The heading and the row that `amdcni heal` prints of what was done, or would be."""
    node = FakeNode(machine)
    with machine.running(node):
        listing = listing_of(heal_all(node, dry_run=dry_run), dry_run=dry_run)
    (row,) = listing.rows
    return listing.columns[5].heading, row


def pod_ends(machine: Machine) -> None:
    machine.kernel.destroy_netns(pod_of(machine))


def node_reboots(machine: Machine) -> None:
    machine.kernel.reboot()


@pytest.mark.parametrize("end", [pod_ends, node_reboots])
@pytest.mark.parametrize("device", [A, USERSPACE])
def test_heal_says_returned_only_of_what_the_host_gets_back(
    machine: Machine, device: str, end: Callable[[Machine], None]
) -> None:
    machine.kernel.plug(USERSPACE, driver="vfio-pci")
    add(machine, device)
    end(machine)
    returned = (device, end) == (A, pod_ends)
    for dry_run, heading in ((True, "WOULD BE"), (False, "DONE")):
        listed, row = listed_by_heal(machine, dry_run=dry_run)
        assert (listed, str(row.cells[5])) == (heading, "returned" if returned else "forgotten")
    assert machine.disk.files == {}


@pytest.mark.parametrize("verb", [Verb.GC, Verb.STATUS])
def test_gc_and_status_heal_what_no_del_will(machine: Machine, keeper: Keeper, verb: Verb) -> None:
    add(machine, A)
    machine.kernel.destroy_netns(pod_of(machine))
    ask(machine, verb, config_for(), netns=None)
    assert keeper.is_whole()
    assert machine.disk.files == {}


def test_what_is_missing_or_unplugged_or_busy_stays_recorded(machine: Machine) -> None:
    add(machine, A)
    add(machine, B, pod=2)
    machine.kernel.unplug(A)
    space = pod_of(machine, 2)
    del machine.kernel.paths["/run/netns/pod2"]
    assert heal(machine) == {A: ("unplugged", False), B: ("missing", False)}
    machine.kernel.destroy_netns(space)
    machine.locks.add(B)
    assert heal(machine) == {A: ("unplugged", False), B: ("returned", False)}
    machine.locks.clear()
    assert set(machine.disk.files) == {A, B}


def test_a_device_that_a_call_works_on_is_skipped_without_failure(machine: Machine) -> None:
    add(machine, A)
    machine.kernel.destroy_netns(pod_of(machine))
    machine.locks.add(A)
    for dry_run in (True, False):
        node = FakeNode(machine)
        with machine.running(node):
            (finding,) = heal_all(node, dry_run=dry_run)
        assert (finding.busy, finding.healed, finding.failure) == (True, False, None)


def test_healing_that_fails_is_reported_and_does_not_stop_the_rest(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    add(machine, A)
    add(machine, B, pod=2)
    for number in (1, 2):
        machine.kernel.destroy_netns(pod_of(machine, number))
    machine.kernel.host.refused = {"192.0.2.9/24"}
    assert heal(machine) == {A: ("returned", False), B: ("returned", True)}
    assert "not-healed" in process(machine).events
    assert other.is_whole()
    machine.kernel.host.refused = set()
    keeper.order_matters = False
    assert heal(machine) == {A: ("unfinished", True)}
    assert keeper.is_whole()


def test_what_has_failed_says_when_it_may_be_tried_again(machine: Machine) -> None:
    add(machine, A)
    add(machine, B, pod=2)
    for number in (1, 2):
        machine.kernel.destroy_netns(pod_of(machine, number))
    assert due_again_s(FakeNode(machine)) is None
    machine.kernel.host.refused = {"192.0.2.9/24"}
    heal(machine)
    assert due_again_s(FakeNode(machine)) == FIRST_PAUSE_S
    machine.kernel.now_s += FIRST_PAUSE_S - 1
    assert due_again_s(FakeNode(machine)) == 1
    machine.kernel.now_s += 1
    assert due_again_s(FakeNode(machine)) is None


def test_what_has_failed_is_due_again_even_if_that_cannot_be_noted(machine: Machine) -> None:
    add(machine, A)
    machine.kernel.destroy_netns(pod_of(machine))
    machine.disk.read_only = True
    machine.kernel.host.refused = {"192.0.2.9/24"}
    node = FakeNode(machine)
    with machine.running(node):
        findings = heal_all(node)
        assert due_again_s(node, findings) == FIRST_PAUSE_S


@pytest.mark.parametrize("mover", ["delegate", "native"])
def test_healing_killed_at_any_moment_is_finished_by_the_next(mover: str) -> None:
    for moment in range(200):
        machine = Machine(mover=mover)
        (link,) = machine.kernel.plug(A, "ens1").links
        machine.kernel.configure(link, (address("192.0.2.1/31"), address("fd00::1/64")))
        furnish(machine, link)
        keeper = Keeper(machine, link)
        machine.kernel.make_netns(POD1)
        add(machine, A)
        machine.kernel.destroy_netns(pod_of(machine))
        node = FakeNode(machine, kill_at=moment)
        try:
            with machine.running(node):
                heal_all(node)
        except Killed:
            machine.locks.clear()
            heal(machine)
            assert keeper.is_whole()
            assert machine.disk.files == {}
            assert machine.kernel.violations == []
        else:
            assert moment > 20
            break
    else:
        pytest.fail("healing never came to its end")
