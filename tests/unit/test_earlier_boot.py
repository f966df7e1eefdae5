"""The record of an earlier boot restores nothing and delays nothing."""

import pytest

from amdcni.core.spec import Verb
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link
from tests.unit.fake_node import Killed
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD2, A, add, delete, heal, interfaces_of, pod_of, process, reboot


@pytest.mark.parametrize("phase", ["attaching", "attached", "detaching"])
def test_a_record_of_an_earlier_boot_restores_nothing(
    machine: Machine, keeper: Keeper, phase: str
) -> None:
    if phase == "attaching":
        with pytest.raises(Killed):
            ask(machine, Verb.ADD, config_for(A, ipam=HOST_LOCAL), kill_before="before Confirm")
        assert machine.plugins.leases
    else:
        add(machine, ipam=HOST_LOCAL)
    if phase == "detaching":
        with pytest.raises(Killed):
            ask(machine, Verb.DEL, config_for(A), kill_at=6)
    assert machine.disk.records()[A]["phase"] == phase
    reboot(machine, keeper)
    machine.kernel.moments.clear()
    delete(machine)
    assert keeper.is_whole()
    assert machine.disk.files == {}
    assert machine.plugins.leases == {}
    assert not [what for what in machine.kernel.moments if what.startswith(("give", "set", "move"))]


def test_a_lease_of_an_earlier_boot_that_cannot_be_released_is_given_up(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine, ipam=HOST_LOCAL)
    reboot(machine, keeper)
    machine.plugins.installed.remove("host-local")
    delete(machine)
    assert machine.disk.files == {}
    assert "ipam-not-released" in process(machine).events


def test_a_stranger_on_the_host_with_our_mark_is_not_taken_for_ours(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    add(machine)
    stranger = machine.kernel.add_link("stranger", kind=nic.kind)
    stranger.parent, stranger.function = nic.parent, nic.function
    machine.kernel.add_altname(stranger, f"amdcni-{A}")
    delete(machine)
    assert keeper.is_whole()
    assert (stranger.name, stranger.addresses, stranger.altnames) == ("stranger", [], set())


def test_after_a_reboot_a_device_is_free_for_the_next_container(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    add(machine)
    reboot(machine, keeper)
    machine.kernel.make_netns(POD2)
    add(machine, pod=2)
    assert interfaces_of(nic) == ["203.0.113.77/24"]
    delete(machine, pod=1)
    assert nic.space is pod_of(machine, 2)
    delete(machine, pod=2)
    assert keeper.is_whole()


def test_healing_forgets_a_record_of_an_earlier_boot_and_restores_nothing(machine: Machine) -> None:
    add(machine, A)
    machine.kernel.reboot()
    machine.kernel.violations.clear()
    assert heal(machine) == {A: ("outdated", True)}
    (link,) = machine.kernel.functions[A].links
    assert (interfaces_of(link), link.up) == ([], False)
    assert machine.disk.files == {}
