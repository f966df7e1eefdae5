"""The interrupts of a device go to the CPUs as before, unless somebody assigns them anew."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.host import Interrupts
from amdcni.core.interrupts import due
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine
from tests.unit.keeper import Keeper
from tests.unit.two_nics import A, B, add, delete, process

_numbers = st.integers(0, 999).map(str)
_affinities = st.dictionaries(_numbers, st.sampled_from(["0", "0-3,8", "1"]), max_size=5)


@given(_affinities, _affinities)
def test_interrupts_that_others_do_not_share_go_where_they_went(
    was: Mapping[str, str], now: Mapping[str, str]
) -> None:
    changed = dict(now)
    for change in due(Interrupts(was), Interrupts(now)):
        assert changed[change.number] == change.is_now
        changed[change.number] = change.cpus
    had = [was[number] for number in sorted(was, key=int)]
    have = [changed[number] for number in sorted(changed, key=int)]
    assert all(one == other for one, other in zip(had, have, strict=False))


@given(_affinities, _affinities, _affinities, _affinities)
def test_nothing_is_due_if_an_interrupt_of_another_device_was_assigned_anew(
    was: Mapping[str, str],
    now: Mapping[str, str],
    others: Mapping[str, str],
    others_now: Mapping[str, str],
) -> None:
    changes = due(Interrupts(was, others), Interrupts(now, others_now))
    if any(number in others_now and others_now[number] != others[number] for number in others):
        assert changes == ()
    else:
        assert changes == due(Interrupts(was), Interrupts(now))


def test_a_driver_that_got_other_numbers_is_given_the_same_cpus_in_the_same_order() -> None:
    changes = due(Interrupts({"9": "0", "10": "1"}), Interrupts({"40": "0-1", "41": "0-1"}))
    assert [change.describe() for change in changes] == [
        "interrupt 40 goes to the CPUs 0-1, went to 0",
        "interrupt 41 goes to the CPUs 0-1, went to 1",
    ]


@pytest.fixture
def pinned(kernel: Kernel) -> Kernel:
    kernel.functions[A].interrupts = {"40": "0", "41": "1"}
    kernel.functions[B].interrupts = {"50": "0-3"}
    return kernel


def test_what_a_pod_assigned_is_undone(machine: Machine, pinned: Kernel, keeper: Keeper) -> None:
    add(machine)
    pinned.functions[A].interrupts |= {"40": "3", "41": "2"}
    delete(machine)
    assert pinned.functions[A].interrupts == {"40": "0", "41": "1"}
    assert keeper.is_whole()
    assert "not-restored" not in process(machine).events


def test_what_the_host_assigns_to_all_is_left_alone(machine: Machine, pinned: Kernel) -> None:
    add(machine)
    pinned.functions[A].interrupts["40"] = "3"
    pinned.functions[B].interrupts["50"] = "3"
    delete(machine)
    assert pinned.functions[A].interrupts == {"40": "3", "41": "1"}


def test_a_device_that_has_lost_its_interrupts_is_returned_all_the_same(
    machine: Machine, pinned: Kernel, keeper: Keeper
) -> None:
    add(machine)
    pinned.functions[A].interrupts.clear()
    delete(machine)
    assert keeper.is_whole()


def test_a_refused_interrupt_is_reported_and_prevents_nothing(
    machine: Machine, pinned: Kernel, keeper: Keeper
) -> None:
    add(machine)
    pinned.functions[A].interrupts |= {"40": "managed", "41": "0"}
    delete(machine)
    (reported,) = [facts for event, facts in process(machine).reported if event == "not-restored"]
    assert reported["aspect"] == "interrupts"
    assert reported["what"] == "interrupt 40 goes to the CPUs managed, went to 0"
    assert pinned.functions[A].interrupts["41"] == "1"
    assert keeper.is_whole()
    assert machine.disk.files == {}
