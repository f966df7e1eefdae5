"""An IPAM plugin that hangs delays neither the return of a netdev nor any other call."""

import itertools
from collections.abc import Callable

import pytest

from amdcni.core.errors import PluginBroken
from amdcni.core.names import DeviceKey
from amdcni.core.retry import LONGEST_PAUSE_S
from amdcni.core.spec import Verb
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import address
from tests.unit.fake_node import Killed
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD2, A, B, add, delete, heal, pod_of, process


def leave_unreleased(machine: Machine, trouble: Trouble) -> None:
    """An ADD of B with a lease that was killed, and whose IPAM plugin is now in trouble."""
    with pytest.raises(Killed):
        ask(
            machine,
            Verb.ADD,
            config_for(B, ipam=HOST_LOCAL),
            container="killed",
            netns=POD2,
            kill_before="before Confirm",
        )
    assert machine.plugins.leases
    machine.plugins.troubles = [trouble]
    machine.plugins.executed.clear()


HANGS = Trouble("host-local", Verb.DEL, how="hangs")
UNRELATED = [lambda m: add(m), lambda m: delete(m), lambda m: delete(m, None, pod=3, netns=None)]
by_unrelated_calls = pytest.mark.parametrize(
    "call", UNRELATED, ids=["ADD", "DEL", "DEL of nothing"]
)
"""Calls that are not about B."""


def plugins_run_for_b(machine: Machine) -> list[str]:
    """The plugins that were run for the attachment that has B."""
    return [each.plugin for each in machine.plugins.executed if each.container_id == "killed"]


@by_unrelated_calls
def test_a_call_about_another_device_returns_the_netdev_without_running_plugins(
    machine: Machine, other: Keeper, call: Callable[[Machine], object]
) -> None:
    leave_unreleased(machine, HANGS)
    begun_s = machine.kernel.now_s
    for _ in range(3):
        call(machine)
        delete(machine)
        assert other.is_whole()
    assert plugins_run_for_b(machine) == []
    assert machine.kernel.now_s == begun_s
    assert set(machine.disk.files) == {B}
    assert machine.plugins.leases


@by_unrelated_calls
def test_a_device_that_only_waits_for_its_plugin_is_not_even_locked(
    machine: Machine, other: Keeper, call: Callable[[Machine], object]
) -> None:
    leave_unreleased(machine, HANGS)
    call(machine)
    assert "plugin-due" in process(machine).events
    machine.kernel.moments.clear()
    call(machine)
    assert f"lock {B}" not in machine.kernel.moments
    assert process(machine).reads.count(DeviceKey.parse(B)) <= 1
    assert process(machine).events == []


@pytest.mark.parametrize("verb", [Verb.GC, Verb.STATUS])
def test_gc_and_status_wait_briefly_for_a_plugin_and_call_it_less_and_less_often(
    machine: Machine, other: Keeper, verb: Verb
) -> None:
    leave_unreleased(machine, HANGS)
    asked = []
    for _ in range(300):
        begun_s = machine.kernel.now_s
        ask(machine, verb, config_for(), netns=None)
        assert other.is_whole()
        assert machine.kernel.now_s - begun_s <= 10
        if machine.kernel.now_s > begun_s:
            asked.append(begun_s)
        machine.kernel.now_s += 10
    pauses = [then - now for now, then in itertools.pairwise(asked)]
    assert 3 < len(asked) < 12
    assert pauses == sorted(pauses)
    machine.plugins.troubles = []
    machine.kernel.now_s += LONGEST_PAUSE_S
    ask(machine, verb, config_for(), netns=None)
    assert machine.disk.files == {}
    assert machine.plugins.leases == {}


def test_amdcni_heal_does_not_wait_for_the_pause_to_end(machine: Machine, other: Keeper) -> None:
    leave_unreleased(machine, HANGS)
    ask(machine, Verb.STATUS, config_for(), netns=None)
    machine.plugins.troubles = []
    assert heal(machine) == {B: ("unfinished", True)}
    assert (machine.disk.files, machine.plugins.leases) == ({}, {})


@pytest.mark.parametrize("verb", [Verb.GC, Verb.STATUS, None], ids=["GC", "STATUS", "heal"])
def test_every_netdev_is_home_before_the_first_plugin_is_called(
    machine: Machine, keeper: Keeper, other: Keeper, verb: Verb | None
) -> None:
    for pod, device in enumerate((A, B), 1):
        add(machine, device, pod=pod, ipam=HOST_LOCAL)
        machine.kernel.destroy_netns(pod_of(machine, pod))
    seen: list[bool] = []

    def look(what: str) -> None:
        if what == "host-local DEL begins":
            seen.append(keeper.is_whole() and other.is_whole())

    machine.kernel.interrupts.append(look)
    if verb is None:
        heal(machine)
    else:
        ask(machine, verb, config_for(**{"cni.dev/valid-attachments": []}), netns=None)
    assert seen == [True, True]
    assert machine.disk.files == {}


@pytest.mark.parametrize("again", [add, delete], ids=["ADD", "DEL"])
def test_an_attachment_whose_netdev_is_home_is_ended_by_its_own_del(
    machine: Machine, other: Keeper, again: Callable[..., object]
) -> None:
    leave_unreleased(machine, Trouble("host-local", Verb.DEL, at=99))
    add(machine)
    assert (plugins_run_for_b(machine), set(machine.disk.files)) == ([], {A, B})
    ask(machine, Verb.DEL, config_for(B), container="killed", netns=None)
    assert plugins_run_for_b(machine) == ["host-local"]
    assert set(machine.disk.files) == {A}
    assert machine.plugins.leases == {}
    again(machine, B, pod=2)


def test_the_next_add_gets_a_device_although_its_lease_is_stuck(
    machine: Machine, other: Keeper
) -> None:
    leave_unreleased(machine, HANGS)
    add(machine)
    delete(machine)
    add(machine, B, pod=2)
    assert machine.disk.records()[B]["phase"] == "attached"
    assert machine.disk.attempts == {}


def test_an_add_or_del_returns_only_as_many_netdevs_as_its_time_allows(machine: Machine) -> None:
    devices = [f"0000:{number:02x}:00.0" for number in range(16, 24)]
    keepers = {}
    for number, device in enumerate(devices, 16):
        (link,) = machine.kernel.plug(device, f"ens{number}").links
        machine.kernel.configure(link, (address(f"203.0.113.{number}/31"),))
        keepers[device] = Keeper(machine, link)
        machine.kernel.make_netns(f"/run/netns/pod{number}")
        add(machine, device, pod=number)
    for device, record in machine.disk.files.items():
        machine.disk.markers.add(device)
        machine.disk.files[device] = record.replace(b'"attached"', b'"detaching"')

    def take_a_second(what: str) -> None:
        if what.startswith("before BringHome"):
            machine.kernel.now_s += 1

    machine.kernel.interrupts.append(take_a_second)
    begun_s = machine.kernel.now_s
    delete(machine, None, pod=3, netns=None)
    assert 0 < machine.kernel.now_s - begun_s <= 3
    assert 0 < sum(keeper.is_whole() for keeper in keepers.values()) < len(keepers)
    while not all(keeper.is_whole() for keeper in keepers.values()):
        left = len(machine.disk.files)
        delete(machine, None, pod=3, netns=None)
        assert len(machine.disk.files) < left


def test_a_stuck_attachment_does_not_stop_a_gc_from_releasing_others(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    for pod, device in enumerate((A, B), 1):
        add(machine, device, pod=pod, ipam=HOST_LOCAL)
    machine.plugins.troubles = [HANGS]
    home: list[bool] = []

    def look(what: str) -> None:
        if what == "host-local DEL begins":
            home.append(keeper.is_whole() and other.is_whole())

    # Before the trouble, which ends the plugin at this moment.
    machine.kernel.interrupts.insert(0, look)
    with pytest.raises(PluginBroken):
        ask(machine, Verb.GC, config_for(**{"cni.dev/valid-attachments": []}), netns=None)
    assert home == [True, True]
    called = [each.container_id for each in machine.plugins.executed if each.verb is Verb.DEL]
    assert sorted(called) == ["pod1", "pod2"]
