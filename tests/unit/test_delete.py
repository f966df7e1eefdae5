"""What a DEL returns, and what it leaves alone."""

from typing import Any

import attrs
import pytest

from amdcni.core.errors import (
    DeviceBusy,
    NetdevLost,
    PluginFailed,
    PluginNotFound,
    RestoreIncomplete,
    StateFailure,
)
from amdcni.core.names import DeviceKey, mark_of
from amdcni.core.retry import LONGEST_PAUSE_S
from amdcni.core.spec import Verb
from tests.unit.fake_kernel import HOST_NETNS, Kernel
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link, address
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import (
    POD1,
    POD2,
    A,
    B,
    add,
    by_delegate,
    delete,
    interfaces_of,
    moments_of_the_delegate,
    pod_of,
    process,
)


@pytest.mark.parametrize("netns", [POD1, None, POD2, "/run/netns/never", HOST_NETNS])
@pytest.mark.parametrize("device", [A, B, None, "0000:09:00.0"])
def test_del_returns_the_nic_whatever_netns_and_device_it_is_called_with(
    machine: Machine, keeper: Keeper, other: Keeper, device: str | None, netns: str | None
) -> None:
    add(machine)
    delete(machine, device, netns=netns)
    assert keeper.is_whole()
    assert other.is_whole()
    assert machine.disk == attrs.evolve(machine.disk, files={}, markers=set())


def test_a_second_del_changes_nothing(machine: Machine, keeper: Keeper) -> None:
    add(machine)
    delete(machine)
    once = machine.picture()
    delete(machine)
    delete(machine, None, netns=None)
    assert machine.picture() == once
    assert keeper.is_whole()


def test_a_mark_on_a_stranger_goes_with_the_record_of_a_nic_that_is_known_without_it(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper
) -> None:
    stranger, mark = kernel.add_link("ens9"), mark_of(DeviceKey.parse(A))
    add(machine)
    kernel.destroy_netns(pod_of(machine))
    nic.altnames.discard(mark)
    stranger.altnames.add(mark)
    delete(machine)
    assert keeper.is_whole()
    assert stranger.altnames == set()


def test_del_without_add_touches_nothing(machine: Machine, kernel: Kernel) -> None:
    before = machine.picture()
    kernel.moments.clear()
    delete(machine)
    assert machine.picture() == before
    assert kernel.moments == []


def test_a_late_del_of_an_old_sandbox_leaves_the_new_owner_alone(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    add(machine, pod=1)
    delete(machine, pod=1)
    add(machine, pod=2)
    held = machine.picture()
    for netns in (POD1, POD2, None):
        delete(machine, pod=1, netns=netns)
    ask(machine, Verb.DEL, config_for(A), container="pod2", ifname="net2", netns=POD2)
    assert machine.picture() == held
    delete(machine, pod=2)
    assert keeper.is_whole()


@pytest.mark.parametrize("reused", [False, True], ids=["path gone", "path reused"])
def test_after_its_netns_has_died_the_nic_gets_everything_back(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper, reused: bool
) -> None:
    add(machine)
    kernel.destroy_netns(pod_of(machine))
    assert (nic.name, nic.up) == ("net1", False)
    if reused:
        kernel.make_netns("/run/netns/first come")
        pod = kernel.make_netns(POD1)
        bystander = kernel.add_link("net1", space=pod)
        bystander.alias = "ens1"
    delete(machine)
    assert keeper.is_whole()
    if reused:
        assert (bystander.space, bystander.name, bystander.alias) == (pod, "net1", "ens1")


def test_two_nics_that_returned_under_other_names_get_their_own_back(
    machine: Machine, kernel: Kernel, keeper: Keeper, other: Keeper
) -> None:
    add(machine, A, pod=1)
    add(machine, B, pod=2)
    for number in (1, 2):
        kernel.destroy_netns(pod_of(machine, number))
    assert {keeper.link.name, other.link.name} == {"net1", f"dev{other.link.ifindex}"}
    delete(machine, B, pod=2)
    delete(machine, A, pod=1)
    assert keeper.is_whole()
    assert other.is_whole()
    assert (keeper.link.name, other.link.name) == ("ens1", "ens2")


@pytest.mark.parametrize("dead", [False, True])
def test_a_stranger_with_the_nics_name_keeps_it_and_gets_no_address(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper, dead: bool
) -> None:
    add(machine)
    stranger = kernel.add_link("ens1", kind="dummy")
    if dead:
        kernel.destroy_netns(pod_of(machine))
    delete(machine)
    assert (stranger.name, stranger.addresses) == ("ens1", [])
    assert nic.name == "ens1_1"
    assert keeper.is_whole()
    assert "name-taken" in process(machine).events


def test_a_netdev_renamed_inside_the_pod_is_returned(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper
) -> None:
    add(machine, ipam=HOST_LOCAL)
    kernel.set_up(nic, False)
    kernel.rename(nic, "fabric0")
    bystander = kernel.add_link("net1", space=pod_of(machine))
    delete(machine, ipam=HOST_LOCAL)
    assert keeper.is_whole()
    assert bystander.space is pod_of(machine)
    assert machine.plugins.leases == {}


@pytest.mark.parametrize("altname", ["ens1", "ens2"])
def test_an_altname_set_by_the_pod_does_not_prevent_the_return(
    machine: Machine, nic: Link, keeper: Keeper, altname: str
) -> None:
    add(machine)
    nic.altnames.add(altname)
    delete(machine)
    assert keeper.is_whole()


def test_what_a_pod_changes_of_the_queues_is_undone(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    add(machine)
    nic.queues |= dict.fromkeys(nic.queues, "9")
    nic.gso_max_size = nic.gso_ipv4_max_size = nic.gro_max_size = nic.gro_ipv4_max_size = 20000
    delete(machine)
    assert keeper.is_whole()


def test_a_queue_that_has_gone_is_reported_and_prevents_nothing(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    add(machine)
    kept = nic.queues.pop("tx-1/xps_cpus")
    nic.queues["rx-0/rps_cpus"] = "9"
    delete(machine)
    (reported,) = [facts for event, facts in process(machine).reported if event == "not-restored"]
    assert reported["what"] == f"xps_cpus of tx-1 is not there, was {kept}"
    assert machine.disk.files == {}
    # It was the driver that took the queue away.
    machine.kernel.violations.clear()
    nic.queues["tx-1/xps_cpus"] = kept
    assert keeper.is_whole()


def test_one_refused_address_does_not_prevent_the_others(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper, other: Keeper
) -> None:
    add(machine)
    kernel.host.refused.add("192.0.2.9/24")
    with pytest.raises(RestoreIncomplete, match=r"192\.0\.2\.9/24"):
        delete(machine)
    assert (nic.name, nic.up, nic.alias) == ("ens1", True, "to the fabric")
    assert interfaces_of(nic) == ["192.0.2.1/31", "fd00::2/127", "fd00::1/64"]
    assert machine.disk.records()[A]["phase"] == "detaching"
    kernel.host.refused.clear()
    kernel.now_s += LONGEST_PAUSE_S
    add(machine, B, pod=2)
    assert {own.address.interface for own in nic.addresses if not own.by_kernel} == {
        address.interface for address, _, _ in keeper.original.addresses
    }
    assert set(machine.disk.files) == {B}


def test_the_record_stays_while_the_nic_is_in_another_pod(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper
) -> None:
    add(machine)
    kernel.move(nic, pod_of(machine, 2), "stolen")
    for _ in range(2):
        with pytest.raises(NetdevLost, match=A):
            delete(machine)
    assert nic.space is pod_of(machine, 2)
    kernel.destroy_netns(pod_of(machine, 2))
    delete(machine)
    assert keeper.is_whole()


def test_the_record_stays_while_the_nic_is_in_a_netns_without_a_path(
    machine: Machine, kernel: Kernel, keeper: Keeper
) -> None:
    add(machine)
    pod = kernel.paths.pop(POD1)
    with pytest.raises(NetdevLost):
        delete(machine)
    kernel.lose(pod)
    delete(machine)
    assert keeper.is_whole()


@pytest.mark.parametrize("keys", [{}, {"ipam": HOST_LOCAL}], ids=["static", "host-local"])
@pytest.mark.parametrize("how", ["fails", "dies", "lies"])
def test_wherever_the_delegate_fails_during_del_the_nic_is_returned(
    how: str, keys: dict[str, Any]
) -> None:
    for at in range(moments_of_the_delegate(Verb.DEL, **keys)):
        machine = Machine()
        (link,) = machine.kernel.plug(A, "ens1").links
        machine.kernel.configure(link, (address("192.0.2.1/31"), address("fd00::1/64")), alias="x")
        machine.kernel.make_netns(POD1)
        keeper, before = Keeper(machine, link), machine.picture()
        add(machine, **keys)
        machine.plugins.troubles.append(Trouble("host-device", Verb.DEL, at, how))  # type: ignore[arg-type]
        delete(machine, **keys)
        assert keeper.is_whole(), at
        if how != "lies":
            assert machine.picture() == before, at
        assert machine.kernel.violations == []


@by_delegate
def test_without_the_delegate_the_nic_is_returned_and_the_lease_released(
    machine: Machine, keeper: Keeper
) -> None:
    before = machine.picture()
    add(machine, ipam=HOST_LOCAL)
    machine.plugins.installed.remove("host-device")
    delete(machine, ipam=HOST_LOCAL)
    assert machine.picture() == before
    assert "delegate-failed" in process(machine).events


def test_a_delegate_that_is_also_the_recorded_ipam_plugin_is_called_once(
    machine: Machine, keeper: Keeper
) -> None:
    """Found by fuzzing: it was called until Python ran out of stack."""
    add(machine, ipam=HOST_LOCAL)
    record = machine.disk.files[A].replace(b'"host-local"', b'"host-device"')
    machine.disk.files[A] = record
    machine.plugins.troubles.append(Trouble("host-device", Verb.DEL))
    asked = len(machine.plugins.executed)
    with pytest.raises(PluginFailed):
        delete(machine)
    assert len(machine.plugins.executed) == asked + 1
    assert keeper.is_whole()


@pytest.mark.parametrize(("version", "known"), [("0.3.1", False), ("0.4.0", True)])
def test_the_ipam_plugin_gets_the_result_on_del_since_version_0_4_0(
    machine: Machine, keeper: Keeper, version: str, known: bool
) -> None:
    """CNI SPEC 1.1 §4: a delegate gets the complete configuration."""
    add(machine, ipam=HOST_LOCAL, cniVersion=version)
    machine.kernel.destroy_netns(pod_of(machine))
    delete(machine, ipam=HOST_LOCAL, cniVersion=version)
    (call,) = [e for e in machine.plugins.executed if (e.plugin, e.verb) == ("host-local", "DEL")]
    assert ("prevResult" in call.config) == known


def test_a_lease_that_cannot_be_released_keeps_the_record_but_not_the_nic(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine, ipam=HOST_LOCAL)
    machine.plugins.installed.remove("host-local")
    with pytest.raises(PluginNotFound, match="host-local"):
        delete(machine, ipam=HOST_LOCAL)
    assert keeper.is_whole()
    assert set(machine.disk.files) == {A}
    machine.plugins.installed.add("host-local")
    delete(machine, ipam=HOST_LOCAL)
    assert machine.plugins.leases == {}
    assert machine.disk.files == {}


def test_the_lease_of_a_dead_netns_is_released_without_a_netns(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine, ipam=HOST_LOCAL)
    machine.kernel.destroy_netns(pod_of(machine))
    delete(machine, ipam=HOST_LOCAL)
    last = machine.plugins.executed[-1]
    assert (last.plugin, last.verb, last.netns) == ("host-local", Verb.DEL, "")
    assert machine.plugins.leases == {}


def test_del_works_on_a_full_disk(machine: Machine, keeper: Keeper) -> None:
    before = machine.picture()
    add(machine)
    machine.disk.full = True
    delete(machine)
    assert machine.picture() == before
    assert keeper.is_whole()


def test_del_on_a_read_only_disk_returns_the_nic_but_reports_that_the_record_stays(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine)
    machine.disk.read_only = True
    with pytest.raises(StateFailure, match="Read-only"):
        delete(machine)
    assert keeper.is_whole()
    machine.disk.read_only = False
    delete(machine)
    assert keeper.is_whole()
    assert machine.disk.files == {}


def test_del_fails_untouched_while_another_call_works_on_its_device(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine)
    before = machine.picture()
    machine.locks.add(A)
    with pytest.raises(DeviceBusy):
        delete(machine)
    machine.locks.clear()
    assert machine.picture() == before


def test_the_record_of_an_unplugged_device_is_kept_and_reported(
    machine: Machine, kernel: Kernel, keeper: Keeper
) -> None:
    add(machine)
    kernel.unplug(A)
    delete(machine)
    assert set(machine.disk.files) == {A}
    assert "unplugged" in process(machine).events


def test_a_netdev_that_was_down_is_returned_down(machine: Machine) -> None:
    (link,) = machine.kernel.plug("0000:03:00.0", "ens3").links
    machine.kernel.configure(link, (address("203.0.113.1/24"),), up=False)
    keeper = Keeper(machine, link)
    add(machine, "0000:03:00.0")
    assert keeper.link.up
    delete(machine, "0000:03:00.0")
    assert keeper.is_whole()


def test_lifetimes_run_on_while_the_pod_has_the_nic(
    machine: Machine, kernel: Kernel, nic: Link
) -> None:
    kernel.add_address(nic, address("192.0.2.20/24", valid_s=60, preferred_s=30))
    kernel.add_address(nic, address("192.0.2.21/24", valid_s=600, preferred_s=30))
    keeper = Keeper(machine, nic)
    add(machine)
    kernel.now_s += 100
    delete(machine)
    assert "192.0.2.20/24" not in interfaces_of(nic)
    (lasting,) = [own for own in nic.addresses if own.valid_until_s is not None]
    assert (lasting.valid_until_s, str(lasting.address.interface)) == (1600, "192.0.2.21/24")
    assert keeper.is_whole() or lasting.preferred_until_s == kernel.now_s


def test_a_finished_del_holds_no_lock(machine: Machine, keeper: Keeper) -> None:
    add(machine)
    delete(machine)
    assert machine.locks == set()
    assert process(machine).find_record(DeviceKey.parse(A)) is None
