"""The next calls heal what a call left unfinished, or a pod that died without a DEL."""

from collections.abc import Callable

import pytest

from amdcni.core.errors import RestoreIncomplete
from amdcni.core.retry import LONGEST_PAUSE_S
from amdcni.core.spec import Verb
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link
from tests.unit.fake_node import Killed
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import (
    POD2,
    A,
    B,
    add,
    delete,
    interfaces_of,
    leave_unfinished,
    pod_of,
    process,
)


def many_healthy(machine: Machine, count: int) -> None:
    for number in range(16, 16 + count):
        device = f"0000:{number:02x}:00.0"
        machine.kernel.plug(device, f"ens{number}")
        machine.kernel.make_netns(f"/run/netns/pod{number}")
        add(machine, device, pod=number)


@pytest.mark.parametrize(
    "call",
    [lambda m: add(m), lambda m: delete(m), lambda m: delete(m, None, pod=3, netns=None)],
    ids=["ADD", "DEL", "DEL of nothing"],
)
def test_every_add_and_del_heals_whatever_was_left_unfinished(
    machine: Machine, other: Keeper, call: Callable[[Machine], object]
) -> None:
    leave_unfinished(machine)
    call(machine)
    assert other.is_whole()
    assert B not in machine.disk.files
    assert machine.disk.markers == set()
    assert "healed" in process(machine).events


def test_healing_reads_no_healthy_record_of_another_device(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    reads = []
    for count in (1, 30):
        many_healthy(machine, count)
        leave_unfinished(machine)
        add(machine)
        in_add = list(process(machine).reads)
        leave_unfinished(machine)
        delete(machine)
        in_del = list(process(machine).reads)
        reads.append((in_add, in_del))
        for number in range(16, 16 + count):
            delete(machine, f"0000:{number:02x}:00.0", pod=number)
            machine.kernel.unplug(f"0000:{number:02x}:00.0")
    assert reads[0] == reads[1]
    assert {str(key) for in_add, in_del in reads for key in in_add + in_del} == {A, B}


def test_what_another_process_works_on_is_left_to_it(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    leave_unfinished(machine)
    machine.locks.add(B)
    add(machine)
    assert B in machine.disk.files
    assert not other.is_whole()
    machine.locks.clear()
    delete(machine)
    assert other.is_whole()


def test_what_cannot_be_healed_is_reported_and_blocks_no_call(
    machine: Machine, kernel: Kernel, keeper: Keeper, other: Keeper
) -> None:
    leave_unfinished(machine)
    kernel.host.refused.add("198.51.100.1/31")
    add(machine)
    assert "not-healed" in process(machine).events
    delete(machine)
    assert keeper.is_whole()
    assert B in machine.disk.files
    kernel.host.refused.clear()
    kernel.now_s += LONGEST_PAUSE_S
    delete(machine)
    assert other.is_whole()


@pytest.mark.parametrize("ipam", [None, HOST_LOCAL], ids=["failed", "home"])
def test_nothing_noted_of_earlier_attempts_outlives_the_record(
    machine: Machine, other: Keeper, ipam: object
) -> None:
    killed, at = True, 0
    while killed:
        pod = f"pod-{at}"
        leave_unfinished(machine, container=pod, ipam=ipam)
        if ipam is None:
            machine.kernel.host.refused.add("198.51.100.1/31")
        delete(machine, None, pod=3)
        machine.kernel.host.refused.clear()
        killed = False
        try:
            ask(machine, Verb.DEL, config_for(B), container=pod, netns=POD2, kill_at=at)
        except Killed:
            killed = True
        at += 1
        where = f"killed before: {machine.kernel.moments[-1]}"
        delete(machine, None, pod=3)
        assert B in machine.disk.files or machine.disk.markers == set(), where
        ask(machine, Verb.DEL, config_for(B), container=pod, netns=POD2)
        assert other.is_whole(), where
        assert machine.disk.markers == set(), where
    assert at > 5


def test_the_next_add_of_a_device_that_cannot_be_healed_says_why(
    machine: Machine, kernel: Kernel, keeper: Keeper, nic: Link
) -> None:
    keeper.order_matters = False
    leave_unfinished(machine, A)
    kernel.host.refused.add("fd00::1/64")
    with pytest.raises(RestoreIncomplete, match="fd00::1/64"):
        add(machine)
    kernel.host.refused.clear()
    add(machine)
    assert "fd00::1/64" in interfaces_of(nic)


@pytest.mark.parametrize("phase", [None, "attached"])
def test_a_stale_marker_of_unfinished_work_is_removed(
    machine: Machine, keeper: Keeper, phase: str | None
) -> None:
    if phase == "attached":
        add(machine)
    files = dict(machine.disk.files)
    machine.disk.markers.add(A)
    delete(machine, None, pod=3)
    assert machine.disk.markers == set()
    assert machine.disk.files == files


@pytest.mark.parametrize("dead", [False, True], ids=["netdev back on the host", "netns dead"])
def test_add_takes_a_device_from_an_attachment_that_is_gone(
    machine: Machine, kernel: Kernel, keeper: Keeper, nic: Link, dead: bool
) -> None:
    add(machine, pod=1)
    if dead:
        kernel.destroy_netns(pod_of(machine))
    else:
        kernel.move(nic, kernel.host, "net1")
    add(machine, pod=2)
    assert nic.space is pod_of(machine, 2)
    assert machine.disk.records()[A]["id"]["containerID"] == "pod2"
    delete(machine, pod=1)
    assert nic.space is pod_of(machine, 2)
    delete(machine, pod=2)
    assert keeper.is_whole()
