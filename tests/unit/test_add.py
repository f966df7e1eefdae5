"""What an ADD does, the first time and again."""

from collections.abc import Callable
from typing import Any

import pytest

from amdcni.core.codec import result_to_json
from amdcni.core.errors import DeviceHeld, DeviceNotFound, IfnameTaken, PluginFailed
from amdcni.core.spec import Verb
from amdcni.core.versions import CniVersion
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link, address
from tests.unit.fake_node import Killed
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import (
    POD1,
    A,
    B,
    add,
    by_delegate,
    calls,
    delete,
    interfaces_of,
    pod_of,
    process,
)


def test_add_moves_the_netdev_with_its_addresses_and_returns_them(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    result = add(machine)
    assert (nic.space, nic.name, nic.up) == (pod_of(machine), "net1", True)
    assert interfaces_of(nic) == ["192.0.2.1/31", "192.0.2.9/24", "fd00::2/127", "fd00::1/64"]
    (interface,) = result.interfaces
    assert (interface.name, interface.sandbox) == ("net1", POD1)
    assert (interface.mac, interface.mtu, interface.pci_id) == (nic.mac, 9000, A)
    gateways = {str(ip.address): str(ip.gateway) for ip in result.ips}
    assert gateways == {
        "192.0.2.1/31": "192.0.2.0",
        "192.0.2.9/24": "None",
        "fd00::2/127": "fd00::3",
        "fd00::1/64": "None",
    }
    assert {ip.interface for ip in result.ips} == {0}


def test_the_record_is_on_disk_before_the_kernel_or_a_plugin_is_called(
    machine: Machine, kernel: Kernel, keeper: Keeper
) -> None:
    kernel.moments.clear()
    add(machine)
    written = kernel.moments.index(f"write {A}")
    assert kernel.moments[:written] == [f"lock {A}", "before SaveRecord", f"mark {A}"]


def test_the_record_has_everything_that_returning_the_nic_needs(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    add(machine)
    record = machine.disk.records()[A]
    assert record["phase"] == "attached"
    assert record["id"] == {"containerID": "pod1", "ifname": "net1"}
    assert record["netns"]["path"] == POD1
    assert record["netns"]["id"]["inode"] == pod_of(machine).inode
    assert record["pod_ifindex"] == nic.ifindex
    assert record["result"]["interfaces"][0]["name"] == "net1"
    assert keeper.is_recorded()
    assert machine.disk.markers == set()


@by_delegate
def test_the_delegate_gets_the_complete_configuration_and_cni_args(
    machine: Machine, keeper: Keeper
) -> None:
    args = "IgnoreUnknown=1;K8S_POD_NAME=trainer"
    config = config_for(A, args={"cni": {"x": [1]}}, capabilities={"mac": True}, note=None)
    config["mover"] = "delegate"
    result = ask(machine, Verb.ADD, config, args=args)
    ask(machine, Verb.DEL, config)
    to_add, to_delete = [e for e in machine.plugins.executed if e.plugin == "host-device"]
    ours = {"device": "ens1", "ipam": to_add.config["ipam"]}
    assert to_add.config == config | ours
    assert result is not None
    previous = result_to_json(result, CniVersion("1.1.0"))
    assert to_delete.config == {**to_add.config, "prevResult": previous}
    assert (to_add.args, to_delete.args) == (args, args)


@by_delegate
@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", ""])
def test_a_delegate_is_never_called_in_a_version_with_one_address_per_family(
    machine: Machine, nic: Link, keeper: Keeper, version: str
) -> None:
    result = add(machine, cniVersion=version)
    assert machine.plugins.executed[0].config["cniVersion"] == "0.3.0"
    assert len(result.ips) == len(interfaces_of(nic)) == 4


@pytest.mark.parametrize("ipam", [None, {}, "absent"])
def test_without_an_ipam_plugin_the_pod_gets_the_hosts_addresses(
    machine: Machine, nic: Link, keeper: Keeper, ipam: object
) -> None:
    keys: dict[str, Any] = {} if ipam == "absent" else {"ipam": ipam}
    add(machine, **keys)
    assert "192.0.2.1/31" in interfaces_of(nic)


def test_an_ipam_plugin_replaces_the_hosts_addresses(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    add(machine, ipam=HOST_LOCAL)
    assert interfaces_of(nic) == ["10.9.0.2/24"]
    assert machine.plugins.leases == {("pod1", "net1"): "10.9.0.2/24"}
    delete(machine, ipam=HOST_LOCAL)
    assert machine.plugins.leases == {}
    assert keeper.is_whole()


@by_delegate
def test_a_netdev_without_addresses_is_moved_without_ipam(machine: Machine) -> None:
    (bare,) = machine.kernel.plug("0000:03:00.0", "ens3").links
    keeper = Keeper(machine, bare)
    result = add(machine, "0000:03:00.0")
    assert result.ips == ()
    assert "ipam" not in machine.plugins.executed[0].config
    delete(machine, "0000:03:00.0")
    assert keeper.is_whole()
    assert not bare.up


@pytest.mark.parametrize("shows_parent", [True, False])
@pytest.mark.parametrize(
    "keys",
    [
        {"device": "ens3"},
        {"device": "enp3s0"},
        {"hwaddr": "the NIC's"},
        {"kernelpath": "/sys/devices/pci0000:03"},
        {"deviceID": "0000:03:00.0"},
        {"pciBusID": "0000:03:00.0"},
        {"runtimeConfig": {"deviceID": "0000:03:00.0"}},
        {"deviceID": "0000:03:00.0", "device": "ens3"},
    ],
    ids=lambda keys: "+".join(keys),
)
def test_a_netdev_is_returned_complete_whichever_key_named_it(
    machine: Machine, keys: dict[str, Any], shows_parent: bool
) -> None:
    kernel = machine.kernel
    (link,) = kernel.plug("0000:03:00.0", "ens3", shows_parent=shows_parent).links
    kernel.configure(link, (address("203.0.113.1/24"),))
    link.altnames = {"enp3s0"}
    machine.kernelpaths["/sys/devices/pci0000:03"] = "0000:03:00.0"
    keeper = Keeper(machine, link)
    if "hwaddr" in keys:
        keys = {"hwaddr": link.mac.upper()}
    add(machine, None, **keys)
    assert (link.space, link.name) == (pod_of(machine), "net1")
    assert interfaces_of(link) == ["203.0.113.1/24"]
    assert set(machine.disk.files) == {"0000:03:00.0"}
    with pytest.raises((DeviceHeld, DeviceNotFound)):
        add(machine, None, pod=2, **keys)
    delete(machine, None, **keys)
    assert keeper.is_whole()
    assert machine.disk.files == {}


@pytest.mark.parametrize(
    ("bus_device", "virtio"), [("0000:03:00.0", True), ("mlx5_core.sf.4", False)]
)
def test_virtio_and_auxiliary_devices_are_lent_and_returned(
    machine: Machine, bus_device: str, virtio: bool
) -> None:
    (link,) = machine.kernel.plug(bus_device, "ens3", virtio=virtio).links
    machine.kernel.configure(link, (address("203.0.113.1/24"),))
    keeper = Keeper(machine, link)
    add(machine, bus_device)
    assert link.space is pod_of(machine)
    machine.kernel.destroy_netns(pod_of(machine))
    delete(machine, bus_device)
    assert keeper.is_whole()


def test_a_netdev_on_no_bus_is_lent_and_returned(machine: Machine) -> None:
    link = machine.kernel.add_link("dummy0", kind="dummy")
    machine.kernel.configure(link, (address("203.0.113.1/24"),))
    keeper = Keeper(machine, link)
    add(machine, None, device="dummy0")
    assert set(machine.disk.files) == {"@dummy0"}
    with pytest.raises(DeviceHeld, match="pod1"):
        add(machine, None, pod=2, device="dummy0")
    delete(machine, None, device="dummy0")
    assert keeper.is_whole()


@by_delegate
def test_a_device_with_a_userspace_driver_is_lent_without_addresses(machine: Machine) -> None:
    machine.kernel.plug("0000:03:00.0", driver="vfio-pci")
    before = machine.picture()
    add(machine, "0000:03:00.0")
    config = machine.plugins.executed[0].config
    assert config["pciBusID"] == "0000:03:00.0"
    assert not {"device", "ipam"} & set(config)
    assert "captured" not in machine.disk.records()["0000:03:00.0"]
    with pytest.raises(DeviceHeld):
        add(machine, "0000:03:00.0", pod=2)
    delete(machine, "0000:03:00.0")
    assert machine.picture() == before
    assert ("host-device", "DEL") in calls(machine)


@by_delegate
def test_the_record_of_a_userspace_device_stays_until_the_delegate_has_released_it(
    machine: Machine,
) -> None:
    machine.kernel.plug("0000:03:00.0", driver="vfio-pci")
    add(machine, "0000:03:00.0", ipam=HOST_LOCAL)
    machine.plugins.troubles.append(Trouble("host-device", Verb.DEL))
    with pytest.raises(PluginFailed):
        delete(machine, "0000:03:00.0")
    assert machine.disk.files
    machine.plugins.troubles.clear()
    delete(machine, "0000:03:00.0")
    assert machine.disk.files == {}
    assert machine.plugins.leases == {}


@by_delegate
def test_the_next_pod_gets_a_userspace_device_even_if_the_delegate_cannot_release_it(
    machine: Machine,
) -> None:
    """Found by fuzzing: after an ADD that the delegate could not read, nobody got the device."""
    machine.kernel.plug("0000:03:00.0", driver="vfio-pci")
    failing = [Trouble("host-device", verb) for verb in (Verb.ADD, Verb.DEL)]
    machine.plugins.troubles += failing
    with pytest.raises(PluginFailed):
        add(machine, "0000:03:00.0", ipam=HOST_LOCAL)
    machine.plugins.troubles.remove(failing[0])
    add(machine, "0000:03:00.0", pod=2)
    machine.plugins.troubles.clear()
    delete(machine, "0000:03:00.0", pod=2)
    assert machine.disk.files == {}


# ---- what it reports


def test_what_no_record_can_hold_is_reported_when_the_nic_is_lent(machine: Machine) -> None:
    machine.kernel.unsaved = ("an encapsulation of the route to 10.9.0.0/24",)
    add(machine, A)
    ((event, facts),) = process(machine).reported
    assert (event, facts["what"]) == ("not-saved", machine.kernel.unsaved[0])


def test_a_key_that_was_probably_written_wrong_is_reported_and_no_fault(machine: Machine) -> None:
    add(machine, A, movre="native")
    ((event, facts),) = process(machine).reported
    assert (event, facts) == ("unknown-key", {"key": "movre", "meant": "mover"})


@pytest.mark.parametrize("taken", [False, True])
def test_on_an_old_kernel_what_knows_a_nic_by_its_ifindex_is_lost_if_the_pod_uses_that(
    machine: Machine, taken: bool
) -> None:
    machine.kernel.keeps_ifindexes = False
    machine.kernel.unsaved_if_renumbered = ("the address label of fd00::/64",)
    (link,) = machine.kernel.functions[A].links
    inside = machine.kernel.add_link("eth0", space=pod_of(machine))
    if taken:
        inside.ifindex = link.ifindex
    add(machine, A)
    reported = [facts["what"] for event, facts in process(machine).reported if event == "not-saved"]
    assert reported == (["the address label of fd00::/64"] if taken else [])


# ---- ADD again


def test_a_repeated_add_gives_the_same_answer_and_moves_nothing(
    machine: Machine, kernel: Kernel, keeper: Keeper
) -> None:
    first, after_first = add(machine), machine.picture()
    kernel.moments.clear()
    assert add(machine) == first
    assert machine.picture() == after_first
    assert kernel.moments == [f"lock {A}"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda kernel, nic: nic.addresses.clear(),
        lambda kernel, nic: kernel.set_up(nic, False),
        lambda kernel, nic: (kernel.set_up(nic, False), kernel.rename(nic, "eth0")),
    ],
    ids=["address removed", "set down", "renamed"],
)
def test_a_repeated_add_repairs_what_the_pod_has_lost(
    machine: Machine, nic: Link, keeper: Keeper, damage: Callable[[Kernel, Link], None]
) -> None:
    first = add(machine)
    damage(machine.kernel, nic)
    assert add(machine) == first
    assert (nic.name, nic.up) == ("net1", True)
    assert "fd00::1/64" in interfaces_of(nic)
    delete(machine)
    assert keeper.is_whole()


def test_a_repeated_add_leases_anew_what_a_killed_del_released(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper
) -> None:
    """On a full disk, a DEL cannot note that it has begun."""
    add(machine, ipam=HOST_LOCAL)
    machine.disk.full = True
    with pytest.raises(Killed):
        ask(machine, Verb.DEL, config_for(A), kill_before="host-local DEL ends")
    assert (nic.name, machine.plugins.leases) == ("net1", {})
    machine.disk.full = False
    result = add(machine, ipam=HOST_LOCAL)
    (lease,) = machine.plugins.leases.values()
    assert interfaces_of(nic) == [str(ip.address) for ip in result.ips] == [lease]
    delete(machine)
    assert keeper.is_whole()


@pytest.mark.parametrize("mover", ["delegate", "native"])
def test_a_repeated_add_believes_its_record_if_the_ipam_plugin_cannot_be_asked(
    machine: Machine, keeper: Keeper, mover: str
) -> None:
    first = add(machine, ipam=HOST_LOCAL, mover=mover)
    machine.plugins.troubles = [Trouble("host-local", Verb.CHECK, how="dies")]
    assert add(machine, ipam=HOST_LOCAL, mover=mover) == first


def test_an_add_to_another_network_is_not_a_repeated_add(machine: Machine, keeper: Keeper) -> None:
    add(machine)
    before = machine.picture()
    with pytest.raises((DeviceHeld, IfnameTaken)):
        add(machine, name="storage")
    assert machine.picture() == before


def test_two_netdevs_in_one_container_are_two_attachments(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    add(machine, A)
    ask(machine, Verb.ADD, config_for(B), ifname="net2")
    assert {link.name for link in pod_of(machine).links} == {"lo", "net1", "net2"}
    ask(machine, Verb.DEL, config_for(B), ifname="net2")
    assert other.is_whole()
    assert not keeper.is_whole()
    delete(machine)
    assert keeper.is_whole()


def test_a_repeated_add_does_not_move_a_nic_without_a_link(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    first = add(machine)
    nic.plugged_in = False
    before = machine.picture()
    assert add(machine) == first
    assert machine.picture() == before
