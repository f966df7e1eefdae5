"""Attaching a NIC again after a reset fails, or is killed: nothing is lost, and it goes on."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amdcni.core.spec import Result, Verb
from amdcni.verbs import healing
from tests.unit.copies import copies_of
from tests.unit.fake_machine import Machine, furnish
from tests.unit.fake_netdevs import Link, address
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.resets import check, findings_of, keys_for, other_address, seen_in_pod
from tests.unit.two_nics import A, B, add, delete, heal, pod_of


def test_what_the_pod_refuses_is_undone_and_tried_ever_less_often(
    machine: Machine, keeper: Keeper, other: Keeper, nic: Link
) -> None:
    keeper.order_matters = False
    add(machine)
    machine.kernel.reset(A)
    pod_of(machine).refused = {"192.0.2.9/24"}
    (finding,) = findings_of(machine)
    assert "192.0.2.9/24" in (finding.failure or "")
    assert keeper.is_whole()
    assert machine.disk.records()[A]["phase"] == "attaching"
    moments = []
    for _ in range(3):
        attempts = machine.disk.attempts[A].split()
        moments.append((int(attempts[1]), int(attempts[2]) - machine.kernel.now_s))
        machine.kernel.now_s += moments[-1][1]
        add(machine, B, pod=2)
        delete(machine, B, pod=2)
    assert moments == [(1, 10), (2, 20), (3, 40)]
    pod_of(machine).refused = set()
    machine.kernel.now_s += 80
    add(machine, B, pod=2)
    assert (nic.space, machine.disk.markers) == (pod_of(machine), set())
    delete(machine)
    delete(machine, B, pod=2)
    assert keeper.is_whole()


def test_a_full_disk_leaves_it_on_the_host_until_there_is_space(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    add(machine)
    machine.kernel.reset(A)
    machine.disk.full = True
    assert heal(machine) == {A: ("reset", False)}
    assert nic.space is machine.kernel.host
    machine.disk.full = False
    assert heal(machine) == {A: ("reset", True)}


Sequel = Callable[[Machine], None]


def heals(machine: Machine) -> None:
    heal(machine)
    assert machine.disk.records()[A]["phase"] == "attached"


def deletes(machine: Machine) -> None:
    delete(machine)


def pod_ends(machine: Machine) -> None:
    machine.kernel.destroy_netns(pod_of(machine))
    heal(machine)


def adds_again(machine: Machine) -> None:
    add(machine, **keys_for(HOST_LOCAL if machine.plugins.leases else None))


def adds_another(machine: Machine) -> None:
    add(machine, B, pod=2)
    delete(machine, B, pod=2)
    heals(machine)


def resets_again(machine: Machine) -> None:
    machine.kernel.reset(A, "eth5")
    heals(machine)


SEQUELS = (heals, deletes, pod_ends, adds_again, adds_another, resets_again)


CASES = {"host's": (None, False), "undone": (None, True), "leased": (HOST_LOCAL, False)}


def each_with_every_sequel() -> Iterator[Any]:
    """Each mover and case with a next call for each moment.

    `make test` tries another one at each moment, and at the same moment of another case another
    one; `make test-all` tries each at each moment.
    """
    for mover in ("delegate", "native"):
        for name, (ipam, undone) in CASES.items():
            first = list(CASES).index(name) + (len(CASES) if mover == "native" else 0)
            in_turn = (*SEQUELS[first:], *SEQUELS[:first])
            yield pytest.param(mover, ipam, undone, in_turn, id=f"{mover}-{name}")
            for sequel in SEQUELS:
                words = f"{mover}-{name}-{sequel.__name__}"
                marks = pytest.mark.thorough
                yield pytest.param(mover, ipam, undone, (sequel,), id=words, marks=marks)


def reset_in_its_pod(mover: str, ipam: object) -> tuple[Machine, Keeper, Result, object]:
    """A node whose NIC was reset in a pod; what the ADD has answered, and what the pod had seen."""
    machine = Machine(mover=mover)
    (link,) = machine.kernel.plug(A, "ens1").links
    machine.kernel.plug(B, "ens2")
    machine.kernel.configure(link, (address("192.0.2.1/31"), address("fd00::1/64")))
    furnish(machine, link)
    keeper = Keeper(machine, link)
    for number in (1, 2):
        machine.kernel.make_netns(f"/run/netns/pod{number}")
    result = add(machine, **keys_for(ipam))
    before = seen_in_pod(link)
    machine.kernel.reset(A)
    return machine, keeper, result, before


@pytest.mark.parametrize(("mover", "ipam", "undone", "sequels"), list(each_with_every_sequel()))
def test_killed_at_any_moment_it_is_continued_or_ended_by_the_next_call(
    mover: str, sequels: tuple[Sequel, ...], ipam: object, undone: bool
) -> None:
    """Also in its undo, if the pod refuses an address."""
    node_again = copies_of(reset_in_its_pod(mover, ipam))
    killed, at = True, 0
    while killed:
        sequel = sequels[at % len(sequels)]
        machine, keeper, result, before = node_again()
        link = keeper.link
        pod_of(machine).refused = {"fd00::1/64"} if undone else set()
        node = FakeNode(machine, kill_at=at)
        killed = False
        try:
            with machine.running(node):
                healing.heal(node)
        except Killed:
            killed = True
            machine.locks.clear()
        where = f"killed before: {machine.kernel.moments[-1]}"
        at += 1
        pod_of(machine).refused = set()
        machine.kernel.now_s += 10
        sequel(machine)
        if A in machine.disk.files:
            assert seen_in_pod(link) == before, where
            assert machine.disk.markers == set(), where
            if sequel is not adds_again:
                check(machine, result, **keys_for(ipam))
            delete(machine)
        assert keeper.is_whole(), where
        assert machine.disk.files == {}, where
        assert machine.plugins.leases == {}, where
        assert machine.kernel.violations == [], where
    assert at > 20


def test_a_del_that_was_killed_is_not_taken_back_by_healing(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    """Not even if the disk was full, so that the record does not say that the DEL had begun."""
    for refused, full in ((False, False), (True, False), (False, True)):
        for moment in ("before BringHome", "before ForgetRecord", "remove", "unmark"):
            add(machine)
            machine.kernel.reset(A)
            if refused:
                other_address(machine, nic)
            heal(machine)
            if refused:
                nic.addresses.clear()
            elif full and moment == "before BringHome":
                continue
            machine.disk.full = full
            with pytest.raises(Killed):
                ask(machine, Verb.DEL, config_for(A), kill_before=moment)
            machine.locks.clear()
            machine.disk.full = False
            heal(machine)
            assert keeper.is_whole()
            assert machine.disk.files == {}
