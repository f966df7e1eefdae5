"""The machine in memory does what reference.md says of kernels and plugins."""

import ipaddress

import pytest

from amdcni.core.host import Address
from amdcni.core.spec import Verb
from amdcni.core.steps import InspectPod
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link, Refused, address
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_plugins import Execution, PluginDied, PluginError, Plugins, Trouble
from tests.unit.fake_runtime import ask, config_for
from tests.unit.keeper import Keeper

NIC = "0000:01:00.0"
POD = "/run/netns/pod1"


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    (link,) = machine.kernel.plug(NIC, "ens1").links
    addresses = (address("192.0.2.1/31"), address("fd00::1/64"))
    machine.kernel.configure(link, addresses, alias="to the fabric")
    return machine


@pytest.fixture
def plugins(machine: Machine) -> Plugins:
    return machine.plugins


def host_device(verb: Verb, **keys: object) -> Execution:
    config = config_for(NIC, device="ens1", **keys)
    return Execution("host-device", verb, config, "pod1", "net1", POD)


# ---- the kernel


def test_a_move_loses_addresses_and_sets_down_but_keeps_the_rest(kernel: Kernel, nic: Link) -> None:
    nic.mtu, nic.altnames = 9000, {"enp1s0"}
    mac = nic.mac
    kernel.move(nic, kernel.make_netns(POD), "net1")
    assert (nic.name, nic.up, nic.addresses) == ("net1", False, [])
    assert (nic.mac, nic.mtu, nic.alias, nic.altnames) == (mac, 9000, "to the fabric", {"enp1s0"})


def test_if_the_new_name_is_taken_the_netdev_is_moved_under_its_old_name(
    kernel: Kernel, nic: Link
) -> None:
    pod = kernel.make_netns(POD)
    kernel.add_link("net1", space=pod)
    with pytest.raises(Refused):
        kernel.move(nic, pod, "net1")
    assert (nic.space, nic.name) == (pod, "ens1")


def test_an_altname_that_is_taken_blocks_the_move(kernel: Kernel, nic: Link) -> None:
    pod = kernel.make_netns(POD)
    nic.altnames = {"net1"}
    kernel.add_link("net1", space=pod)
    with pytest.raises(Refused):
        kernel.move(nic, pod)
    assert nic.space is kernel.host
    assert nic.up


def test_a_netdev_that_is_up_or_whose_name_is_taken_is_not_renamed(
    kernel: Kernel, nic: Link
) -> None:
    with pytest.raises(Refused):
        kernel.rename(nic, "ens9")
    kernel.set_up(nic, False)
    kernel.add_link("ens9")
    with pytest.raises(Refused):
        kernel.rename(nic, "ens9")
    nic.altnames = {"ens8"}
    with pytest.raises(Refused):
        kernel.rename(nic, "ens8")


def test_hardware_returns_bare_from_a_dead_netns_but_software_does_not(
    kernel: Kernel, nic: Link
) -> None:
    pod = kernel.make_netns(POD)
    veth = kernel.add_link("eth0", space=pod)
    kernel.move(nic, pod, "net1")
    kernel.destroy_netns(pod)
    assert (nic.space, nic.name, nic.up) == (kernel.host, "net1", False)
    assert veth not in kernel.host.links
    assert POD not in kernel.paths


def test_the_second_of_two_equal_names_returns_under_its_ifindex(kernel: Kernel, nic: Link) -> None:
    (other,) = kernel.plug("0000:02:00.0", "ens2").links
    for link, path in ((nic, POD), (other, "/run/netns/pod2")):
        kernel.move(link, kernel.make_netns(path), "net1")
        kernel.destroy_netns(kernel.paths[path])
    assert (nic.name, other.name) == ("net1", f"dev{other.ifindex}")


def test_the_inode_of_a_dead_netns_is_used_again(kernel: Kernel) -> None:
    first = kernel.make_netns(POD)
    kernel.destroy_netns(first)
    assert kernel.make_netns(POD).inode == first.inode


def test_setting_down_loses_ipv6_addresses_and_setting_up_makes_the_link_local_one(
    kernel: Kernel, nic: Link
) -> None:
    def interfaces() -> list[str]:
        return [str(seen.interface) for seen in kernel.netdevs(kernel.host)[1].addresses]

    assert interfaces() == ["192.0.2.1/31", "fd00::1/64", "fe80::ff:fe00:2/64"]
    kernel.set_up(nic, False)
    assert interfaces() == ["192.0.2.1/31"]


def test_the_latest_ipv6_address_is_listed_first(kernel: Kernel, nic: Link) -> None:
    kernel.add_address(nic, address("fd00::2/64"))
    kernel.add_address(nic, address("192.0.2.3/31"))
    listed = [str(own.address.interface) for own in nic.addresses if not own.by_kernel]
    assert listed == ["192.0.2.1/31", "192.0.2.3/31", "fd00::2/64", "fd00::1/64"]


def test_a_lifetime_runs_on_and_ends(kernel: Kernel, nic: Link) -> None:
    leased = Address(ipaddress.ip_interface("192.0.2.9/24"), valid_s=20, preferred_s=10)
    kernel.add_address(nic, leased)
    kernel.now_s += 15
    (seen,) = [a for a in kernel.netdevs(kernel.host)[1].addresses if a.valid_s is not None]
    assert (seen.valid_s, seen.preferred_s) == (5, 0)
    kernel.now_s += 5
    assert all(a.valid_s is None for a in kernel.netdevs(kernel.host)[1].addresses)


# ---- the plugins


def test_host_device_saves_the_host_name_as_alias_and_restores_it(
    kernel: Kernel, nic: Link, plugins: Plugins
) -> None:
    kernel.make_netns(POD)
    answer = plugins.execute(host_device(Verb.ADD))
    assert answer["interfaces"] == [{"name": "net1", "mac": nic.mac, "sandbox": POD}]
    assert (nic.space, nic.alias, nic.up) == (kernel.paths[POD], "ens1", True)
    plugins.execute(host_device(Verb.DEL))
    assert (nic.space, nic.name, nic.alias, nic.up) == (kernel.host, "ens1", "", False)


def test_host_device_leaves_the_netdev_in_the_pod_when_ipam_is_missing(
    kernel: Kernel, nic: Link, plugins: Plugins
) -> None:
    plugins.installed.remove("host-local")
    pod = kernel.make_netns(POD)
    with pytest.raises(PluginError):
        plugins.execute(host_device(Verb.ADD, ipam={"type": "host-local"}))
    assert (nic.space, nic.name) == (pod, "net1")


def test_host_device_moves_back_under_its_name_when_the_name_is_taken_in_the_pod(
    kernel: Kernel, nic: Link, plugins: Plugins
) -> None:
    kernel.add_link("net1", space=kernel.make_netns(POD))
    with pytest.raises(PluginError):
        plugins.execute(host_device(Verb.ADD))
    assert (nic.space, nic.name, nic.up) == (kernel.host, "ens1", True)
    assert nic.addresses[0].by_kernel


def test_the_netdev_returns_bare_from_the_netns_of_a_host_device_that_died(
    kernel: Kernel, nic: Link, plugins: Plugins
) -> None:
    kernel.make_netns(POD)
    plugins.troubles.append(Trouble("host-device", Verb.ADD, at=4, how="dies"))
    with pytest.raises(PluginDied):
        plugins.execute(host_device(Verb.ADD))
    assert (nic.space, nic.name, nic.up, nic.addresses) == (kernel.host, "net1", False, [])


def test_host_local_leases_each_address_once_and_refuses_a_second_lease(
    plugins: Plugins,
) -> None:
    def execution(verb: Verb, container: str) -> Execution:
        return Execution("host-local", verb, config_for(NIC), container, "net1", "")

    for container in ("pod1", "pod2", "pod3"):
        plugins.execute(execution(Verb.ADD, container))
    assert sorted(plugins.leases.values()) == sorted(plugins.pool)
    for container in ("pod1", "pod4"):
        with pytest.raises(PluginError):
            plugins.execute(execution(Verb.ADD, container))
    plugins.execute(execution(Verb.DEL, "pod1"))
    plugins.execute(execution(Verb.DEL, "pod1"))
    assert ("pod1", "net1") not in plugins.leases


# ---- the process


def test_a_killed_process_can_do_nothing_and_its_locks_are_free() -> None:
    machine = Machine()
    node = FakeNode(machine, kill_at=0)
    lock = node.lock(NIC, wait_s=0)
    with machine.running(node), pytest.raises(Killed), lock:
        pass
    for use in (node.host, node.records, lambda: node.report("late")):
        with pytest.raises(Killed):
            use()
    assert not machine.locks


def test_a_keeper_notices_a_lost_configuration_at_the_next_moment() -> None:
    machine = Machine()
    (nic,) = machine.kernel.plug(NIC, "ens1").links
    machine.kernel.configure(nic, (address("192.0.2.1/31"),))
    keeper = Keeper(machine, nic)
    machine.kernel.make_netns(POD)
    ask(machine, Verb.ADD, config_for(NIC))
    assert machine.kernel.violations == []
    machine.disk.files.clear()
    machine.kernel.set_up(nic, False)
    assert machine.kernel.violations == ["ens1 is lost before: set net1 down"]
    assert not keeper.is_whole()


def test_the_moments_of_a_call_are_counted_from_its_start() -> None:
    machine = Machine()
    machine.kernel.plug(NIC, "ens1")
    machine.kernel.make_netns(POD)
    ask(machine, Verb.ADD, config_for(NIC))
    moments = machine.kernel.moments
    assert moments[0] == f"lock {NIC}"
    assert moments.index("before InspectPod") < moments.index("before ConfirmRecord")
    assert machine.last is not None
    assert any(isinstance(step, InspectPod) for step in machine.last.performed)
