"""What each verb does on a node, and what it leaves alone.

Every test runs on a machine with two NICs and two pods, whose configuration is watched at every
moment: it is on the host, or a record on the disk tells it.
"""

import ipaddress
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given

from amdcni.core.attachment import Attachment
from amdcni.core.codec import result_to_json
from amdcni.core.errors import (
    AmdcniError,
    CheckFailed,
    DeviceAmbiguous,
    DeviceBusy,
    DeviceHeld,
    DeviceNotFound,
    DeviceProtected,
    IfnameTaken,
    InvalidEnvironment,
    KernelRefused,
    NetdevLost,
    NotAvailable,
    PluginBroken,
    PluginFailed,
    PluginNotFound,
    RestoreIncomplete,
    StateFailure,
    StateTooNew,
    UndecodableInput,
    UnknownAttachment,
)
from amdcni.core.formats import parse_request
from amdcni.core.host import Address, AddressFlag, Hop, Route, WayOut
from amdcni.core.names import DeviceKey, IfName
from amdcni.core.plans.attach import record_in
from amdcni.core.request import AddRequest
from amdcni.core.retry import LONGEST_PAUSE_S
from amdcni.core.spec import Result, Verb
from amdcni.core.steps import SaveRecord
from amdcni.core.versions import CniVersion
from amdcni.testing import strategies as some
from amdcni.testing.strategies import edited_configurations
from amdcni.verbs.giving_back import Returned, give_back_locked
from amdcni.verbs.healing import heal as heal_all
from amdcni.verbs.preview import Preview, preview
from tests.unit.fake_kernel import HOST_NETNS, Kernel
from tests.unit.fake_machine import Machine, furnish
from tests.unit.fake_netdevs import Link, Space
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for, request_for
from tests.unit.keeper import Keeper

A, B = "0000:01:00.0", "0000:02:00.0"
POD1, POD2 = "/run/netns/pod1", "/run/netns/pod2"


def address(text: str, **attributes: object) -> Address:
    return attrs.evolve(Address(ipaddress.ip_interface(text)), **attributes)  # type: ignore[arg-type]


by_delegate = pytest.mark.parametrize("machine", ["delegate"], indirect=True)
"""Tests of what a call of the delegate does."""
natively = pytest.mark.parametrize("machine", ["native"], indirect=True)
"""Tests of what the mover `native` does by itself."""


@pytest.fixture(params=["delegate", "native"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = Machine(mover=request.param)
    kernel = machine.kernel
    first, second = kernel.plug(A, "ens1").links[0], kernel.plug(B, "ens2").links[0]
    addresses = (
        address("192.0.2.1/31", label="ens1:fabric", metric=50),
        address("192.0.2.9/24", broadcast=ipaddress.IPv4Address("192.0.2.255")),
        address("fd00::1/64"),
        address("fd00::2/127"),
    )
    kernel.configure(first, addresses, alias="to the fabric")
    kernel.configure(second, (address("198.51.100.1/31"),))
    furnish(machine, first)
    for path in (POD1, POD2):
        kernel.make_netns(path)
    yield machine
    assert kernel.violations == []


@pytest.fixture
def kernel(machine: Machine) -> Kernel:
    return machine.kernel


@pytest.fixture
def nic(machine: Machine) -> Link:
    return machine.kernel.functions[A].links[0]


@pytest.fixture
def keeper(machine: Machine, nic: Link) -> Keeper:
    return Keeper(machine, nic)


@pytest.fixture
def other(machine: Machine) -> Keeper:
    return Keeper(machine, machine.kernel.functions[B].links[0])


def add(machine: Machine, device: str | None = A, /, *, pod: int = 1, **keys: Any) -> Result:
    """ADD of a NIC as net1 to pod number `pod`."""
    config = config_for(device, **keys)
    container, netns = f"pod{pod}", f"/run/netns/pod{pod}"
    result = ask(machine, Verb.ADD, config, container=container, netns=netns)
    assert result is not None
    return result


def delete(
    machine: Machine,
    device: str | None = A,
    /,
    *,
    pod: int = 1,
    netns: str | None = "its own",
    **keys: Any,
) -> None:
    """DEL of net1 of pod number `pod`."""
    path = f"/run/netns/pod{pod}" if netns == "its own" else netns
    ask(machine, Verb.DEL, config_for(device, **keys), container=f"pod{pod}", netns=path)


def pod_of(machine: Machine, number: int = 1) -> Space:
    return machine.kernel.paths[f"/run/netns/pod{number}"]


def interfaces_of(link: Link) -> list[str]:
    """The addresses that somebody gave to the netdev."""
    return [str(own.address.interface) for own in link.addresses if not own.by_kernel]


def process(machine: Machine) -> FakeNode:
    """The process that served the last call."""
    assert machine.last is not None
    return machine.last


def calls(machine: Machine) -> list[tuple[str, str]]:
    return [(call.plugin, call.verb.value) for call in machine.plugins.executed]


# ---- ADD: what it does


def test_add_moves_the_netdev_with_its_addresses_and_answers_what_it_did(
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


def test_the_record_is_on_disk_before_the_kernel_or_a_plugin_is_asked_for_anything(
    machine: Machine, kernel: Kernel, keeper: Keeper
) -> None:
    kernel.moments.clear()
    add(machine)
    written = kernel.moments.index(f"write {A}")
    assert kernel.moments[:written] == [f"lock {A}", "before SaveRecord", f"mark {A}"]


def test_the_record_tells_everything_that_giving_back_needs(
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
def test_a_delegate_is_not_called_in_a_version_that_has_one_address_a_family(
    machine: Machine, nic: Link, keeper: Keeper, version: str
) -> None:
    result = add(machine, cniVersion=version)
    assert machine.plugins.executed[0].config["cniVersion"] == "0.3.0"
    assert len(result.ips) == len(interfaces_of(nic)) == 4


@pytest.mark.parametrize("ipam", [None, {}, "absent"])
def test_without_an_ipam_of_its_own_the_pod_gets_the_hosts_addresses(
    machine: Machine, nic: Link, keeper: Keeper, ipam: object
) -> None:
    keys: dict[str, Any] = {} if ipam == "absent" else {"ipam": ipam}
    add(machine, **keys)
    assert "192.0.2.1/31" in interfaces_of(nic)


def test_an_ipam_of_its_own_goes_before_the_hosts_addresses(
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
def test_whatever_names_the_netdev_it_comes_back_whole(
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
def test_virtio_and_auxiliary_devices_come_and_go(
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


def test_a_netdev_on_no_bus_comes_and_goes(machine: Machine) -> None:
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
def test_a_device_of_a_userspace_driver_is_handed_over_without_ip_work(machine: Machine) -> None:
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
def test_the_record_of_a_userspace_device_stays_until_the_delegate_has_let_it_go(
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
def test_the_next_holder_of_a_userspace_device_does_not_wait_for_the_delegate_either(
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


# ---- ADD: what it refuses


def no_such_netns(machine: Machine) -> None:
    machine.kernel.destroy_netns(pod_of(machine))


def netns_of_the_host(machine: Machine) -> None:
    machine.kernel.paths[POD1] = machine.kernel.paths[HOST_NETNS]


def ifname_taken(machine: Machine) -> None:
    machine.kernel.add_link("net1", space=pod_of(machine))


def ifname_taken_as_altname(machine: Machine) -> None:
    machine.kernel.add_link("eth0", space=pod_of(machine)).altnames.add("net1")


def no_ipam_plugin(machine: Machine) -> None:
    machine.plugins.installed.remove("host-local")


def unplugged(machine: Machine) -> None:
    machine.kernel.unplug(A)


def no_netdev(machine: Machine) -> None:
    machine.kernel.remove_link(machine.kernel.functions[A].links.pop())


def second_netdev(machine: Machine) -> None:
    link = machine.kernel.add_link("ens1np1")
    link.function = link.parent = A
    machine.kernel.functions[A].links.append(link)


def default_route(ifindex: int, destination: str = "0.0.0.0/0") -> WayOut:
    return WayOut(ipaddress.ip_network(destination), ifindex)


def only_default_route(machine: Machine) -> None:
    machine.kernel.ways_out = (default_route(machine.kernel.functions[A].links[0].ifindex),)


def only_ipv6_default_route(machine: Machine) -> None:
    ours, theirs = (machine.kernel.functions[bdf].links[0].ifindex for bdf in (A, B))
    machine.kernel.ways_out = (default_route(theirs), default_route(ours, "::/0"))


def only_default_route_by_a_tunnel(machine: Machine) -> None:
    tunnel = machine.kernel.ride("vxlan", machine.kernel.functions[A].links[0]).link
    assert tunnel is not None
    machine.kernel.ways_out = (default_route(tunnel.ifindex),)


def in_a_bond(machine: Machine) -> None:
    bond = machine.kernel.add_link("bond0", kind="bond")
    machine.kernel.functions[A].links[0].master = bond.ifindex


def with_a_vlan(machine: Machine) -> None:
    vlan = machine.kernel.add_link("ens1.7", kind="vlan")
    vlan.lower = machine.kernel.functions[A].links[0].ifindex


def held_by_pod2(machine: Machine) -> None:
    add(machine, pod=2)


def busy(machine: Machine) -> None:
    machine.locks.add(A)


def full_disk(machine: Machine) -> None:
    machine.disk.full = True


def read_only_disk(machine: Machine) -> None:
    machine.disk.read_only = True


@pytest.mark.parametrize(
    ("trouble", "failure", "saying"),
    [
        (no_such_netns, InvalidEnvironment, "CNI_NETNS '/run/netns/pod1'"),
        (netns_of_the_host, InvalidEnvironment, "host's own"),
        (ifname_taken, IfnameTaken, "net1"),
        (ifname_taken_as_altname, IfnameTaken, "net1"),
        (no_ipam_plugin, PluginNotFound, "host-local"),
        (unplugged, DeviceNotFound, A),
        (no_netdev, DeviceNotFound, "no netdev"),
        (second_netdev, DeviceAmbiguous, "ens1, ens1np1"),
        (only_default_route, DeviceProtected, "only default route of IPv4"),
        (only_ipv6_default_route, DeviceProtected, "only default route of IPv6"),
        (only_default_route_by_a_tunnel, DeviceProtected, "only default route of IPv4"),
        (in_a_bond, DeviceProtected, "bond0"),
        (with_a_vlan, DeviceProtected, "ens1.7"),
        (held_by_pod2, DeviceHeld, "pod2"),
        (busy, DeviceBusy, A),
        (full_disk, StateFailure, "No space"),
        (read_only_disk, StateFailure, "Read-only"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_add_refuses_before_it_has_changed_anything(
    machine: Machine,
    trouble: Callable[[Machine], None],
    failure: type[AmdcniError],
    saying: str,
) -> None:
    trouble(machine)
    keys: dict[str, Any] = {"ipam": HOST_LOCAL} if trouble is no_ipam_plugin else {}
    before, called = machine.picture(), len(machine.plugins.executed)
    with pytest.raises(failure, match=saying):
        add(machine, **keys)
    assert machine.picture() == before
    assert len(machine.plugins.executed) == called


def test_add_refuses_before_anything_when_the_ipam_plugin_is_missing(machine: Machine) -> None:
    before = machine.picture()
    with pytest.raises(PluginNotFound, match="dhcp"):
        add(machine, ipam={"type": "dhcp"})
    assert machine.picture() == before


def test_the_loopback_netdev_is_never_handed_over(machine: Machine) -> None:
    before = machine.picture()
    with pytest.raises(DeviceProtected):
        add(machine, None, device="lo")
    assert machine.picture() == before


def test_a_second_default_route_elsewhere_lets_the_netdev_go(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    ours, theirs = (machine.kernel.functions[bdf].links[0].ifindex for bdf in (A, B))
    machine.kernel.ways_out = (default_route(ours), default_route(theirs))
    add(machine)
    assert nic.space is pod_of(machine)


def test_of_several_netdevs_of_a_function_the_named_one_is_taken(machine: Machine) -> None:
    second_netdev(machine)
    chosen = machine.kernel.functions[A].links[1]
    add(machine, device="ens1np1")
    assert chosen.space is pod_of(machine)
    assert set(machine.disk.files) == {f"{A}@ens1np1"}


# ---- ADD: failing


def moments_of_the_delegate(verb: Verb, **keys: Any) -> int:
    """How many moments the delegate has in a call that works."""
    machine = Machine()
    (link,) = machine.kernel.plug(A, "ens1").links
    machine.kernel.configure(link, (address("192.0.2.1/31"),))
    machine.kernel.make_netns(POD1)
    add(machine, **keys)
    if verb is Verb.DEL:
        delete(machine, **keys)
    calls = [e for e in machine.plugins.executed if (e.plugin, e.verb) == ("host-device", verb)]
    return calls[0].moments


@pytest.mark.parametrize("keys", [{}, {"ipam": HOST_LOCAL}], ids=["static", "host-local"])
@pytest.mark.parametrize("how", ["fails", "dies"])
def test_wherever_the_delegate_fails_in_add_everything_is_as_before(
    how: str, keys: dict[str, Any]
) -> None:
    for at in range(moments_of_the_delegate(Verb.ADD, **keys)):
        machine = Machine()
        (link,) = machine.kernel.plug(A, "ens1").links
        machine.kernel.configure(link, (address("192.0.2.1/31"), address("fd00::1/64")), alias="x")
        machine.kernel.make_netns(POD1)
        keeper, before = Keeper(machine, link), machine.picture()
        machine.plugins.troubles.append(Trouble("host-device", Verb.ADD, at, how))  # type: ignore[arg-type]
        with pytest.raises((PluginFailed, PluginBroken)):
            add(machine, **keys)
        assert machine.picture() == before, at
        assert keeper.is_whole()
        assert machine.kernel.violations == []
        machine.plugins.troubles.clear()
        add(machine, **keys)
        assert link.space is pod_of(machine)


@by_delegate
@pytest.mark.parametrize("at", [0, 1])
def test_a_delegate_that_reports_success_and_has_moved_nothing_is_found_out(
    machine: Machine, keeper: Keeper, at: int
) -> None:
    before = machine.picture()
    machine.plugins.troubles.append(Trouble("host-device", Verb.ADD, at, "lies"))
    with pytest.raises(PluginBroken, match="net1"):
        add(machine)
    assert machine.picture() == before


@by_delegate
def test_without_the_static_plugin_nothing_moves(machine: Machine, keeper: Keeper) -> None:
    before = machine.picture()
    machine.plugins.installed.remove("static")
    with pytest.raises(PluginNotFound, match="static"):
        add(machine)
    assert machine.picture() == before


def test_an_address_that_the_pod_refuses_after_the_move_costs_no_address(
    machine: Machine, keeper: Keeper
) -> None:
    before = machine.picture()
    pod_of(machine).refused.add("fd00::1/64")
    with pytest.raises((PluginFailed, KernelRefused)):
        add(machine)
    assert keeper.is_whole()
    assert machine.picture() == before


def test_an_exhausted_range_costs_no_address(machine: Machine, keeper: Keeper) -> None:
    machine.plugins.pool = ()
    before = machine.picture()
    with pytest.raises(PluginFailed, match="no IP addresses"):
        add(machine, ipam=HOST_LOCAL)
    assert machine.picture() == before


@by_delegate
def test_what_cannot_be_undone_is_told_and_stays_recorded(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    keeper.order_matters = False
    machine.plugins.troubles.append(Trouble("static", Verb.ADD))
    machine.kernel.host.refused.add("fd00::1/64")
    with pytest.raises(PluginFailed, match="trouble") as raised:
        add(machine)
    assert any("fd00::1/64" in note for note in raised.value.__notes__)
    assert {"192.0.2.1/31", "192.0.2.9/24", "fd00::2/127"} == set(interfaces_of(nic))
    assert machine.disk.records()[A]["phase"] == "attaching"
    machine.kernel.host.refused.clear()
    delete(machine, None, pod=2)
    assert keeper.is_whole()
    assert machine.disk.files == {}


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
def test_a_repeated_add_makes_good_what_the_pod_has_lost(
    machine: Machine, nic: Link, keeper: Keeper, damage: Callable[[Kernel, Link], None]
) -> None:
    first = add(machine)
    damage(machine.kernel, nic)
    assert add(machine) == first
    assert (nic.name, nic.up) == ("net1", True)
    assert "fd00::1/64" in interfaces_of(nic)
    delete(machine)
    assert keeper.is_whole()


def test_the_same_attachment_to_another_network_is_no_repetition(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine)
    before = machine.picture()
    with pytest.raises((DeviceHeld, IfnameTaken)):
        add(machine, name="storage")
    assert machine.picture() == before


def test_two_netdevs_of_one_container_are_two_attachments(
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


# ---- DEL


@pytest.mark.parametrize("netns", [POD1, None, POD2, "/run/netns/never", HOST_NETNS])
@pytest.mark.parametrize("device", [A, B, None, "0000:09:00.0"])
def test_del_gives_back_whatever_netns_and_device_it_is_called_with(
    machine: Machine, keeper: Keeper, other: Keeper, device: str | None, netns: str | None
) -> None:
    add(machine)
    delete(machine, device, netns=netns)
    assert keeper.is_whole()
    assert other.is_whole()
    assert machine.disk == attrs.evolve(machine.disk, files={}, markers=set())


@pytest.mark.parametrize(
    "keys",
    [
        {"deviceID": 7},
        {"deviceID": A, "pciBusID": B},
        {"ipam": "broken"},
        {"prevResult": "broken"},
        {"logLevel": "loud", "mover": "magic"},
        {"cniVersion": "0.3.1"},
    ],
    ids=str,
)
def test_del_forgives_a_configuration_that_was_broken_after_add(
    machine: Machine, keeper: Keeper, keys: dict[str, Any]
) -> None:
    add(machine)
    delete(machine, None, **keys)
    assert keeper.is_whole()


def test_del_twice_is_del_once(machine: Machine, keeper: Keeper) -> None:
    add(machine)
    delete(machine)
    once = machine.picture()
    delete(machine)
    delete(machine, None, netns=None)
    assert machine.picture() == once
    assert keeper.is_whole()


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
def test_after_the_death_of_the_netns_the_nic_gets_everything_back(
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


def test_two_nics_that_came_home_under_strange_names_get_their_own(
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


def test_a_netdev_renamed_inside_the_pod_comes_home(
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
def test_no_altname_that_the_pod_gave_keeps_the_netdev_from_coming_home(
    machine: Machine, nic: Link, keeper: Keeper, altname: str
) -> None:
    add(machine)
    nic.altnames.add(altname)
    delete(machine)
    assert keeper.is_whole()


def test_one_refused_address_keeps_none_of_the_others_away(
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


def test_a_nic_that_is_held_elsewhere_is_awaited(
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


def test_a_nic_in_a_netns_whose_path_is_gone_is_awaited(
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
def test_wherever_the_delegate_fails_in_del_the_nic_comes_home(
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
def test_without_the_delegate_the_nic_comes_home_and_the_lease_is_released(
    machine: Machine, keeper: Keeper
) -> None:
    before = machine.picture()
    add(machine, ipam=HOST_LOCAL)
    machine.plugins.installed.remove("host-device")
    delete(machine, ipam=HOST_LOCAL)
    assert machine.picture() == before
    assert "delegate-failed" in process(machine).events


def test_a_delegate_that_an_old_record_has_as_its_ipam_plugin_too_is_asked_once(
    machine: Machine, keeper: Keeper
) -> None:
    """Found by fuzzing: it was asked until Python had no stack left."""
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
def test_the_ipam_plugin_gets_the_result_on_del_from_the_version_that_has_it(
    machine: Machine, keeper: Keeper, version: str, known: bool
) -> None:
    """CNI SPEC 1.1 §4: a delegate gets the complete configuration."""
    add(machine, ipam=HOST_LOCAL, cniVersion=version)
    machine.kernel.destroy_netns(pod_of(machine))
    delete(machine, ipam=HOST_LOCAL, cniVersion=version)
    (call,) = [e for e in machine.plugins.executed if (e.plugin, e.verb) == ("host-local", "DEL")]
    assert ("prevResult" in call.config) == known


def test_a_lease_that_cannot_be_released_keeps_the_record_and_not_the_nic(
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


def test_del_on_a_read_only_disk_gives_back_and_says_that_it_cannot_forget(
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


def test_del_waits_for_another_call_on_its_device_and_no_longer(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine)
    before = machine.picture()
    machine.locks.add(A)
    with pytest.raises(DeviceBusy):
        delete(machine)
    machine.locks.clear()
    assert machine.picture() == before


def test_the_record_of_an_unplugged_device_is_kept_and_shown(
    machine: Machine, kernel: Kernel, keeper: Keeper
) -> None:
    add(machine)
    kernel.unplug(A)
    delete(machine)
    assert set(machine.disk.files) == {A}
    assert "unplugged" in process(machine).events


def test_a_netdev_that_was_down_is_given_back_down(machine: Machine) -> None:
    (link,) = machine.kernel.plug("0000:03:00.0", "ens3").links
    machine.kernel.configure(link, (address("203.0.113.1/24"),), up=False)
    keeper = Keeper(machine, link)
    add(machine, "0000:03:00.0")
    assert keeper.link.up
    delete(machine, "0000:03:00.0")
    assert keeper.is_whole()


def test_lifetimes_go_on_while_the_pod_has_the_nic(
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


# ---- an earlier boot


def reboot(machine: Machine, keeper: Keeper) -> None:
    """The machine starts again, and its boot configures the NIC in another way."""
    machine.locks.clear()
    machine.kernel.watchers.remove(keeper.watch)
    machine.kernel.reboot()
    keeper.link.name = "ens1"
    machine.kernel.configure(keeper.link, (address("203.0.113.77/24"),), up=True)
    keeper.remember()
    machine.kernel.watchers.append(keeper.watch)


@pytest.mark.parametrize("phase", ["attaching", "attached", "detaching"])
def test_a_record_of_an_earlier_boot_restores_nothing(
    machine: Machine, keeper: Keeper, phase: str
) -> None:
    if phase == "attaching":
        with pytest.raises(Killed):
            ask(machine, Verb.ADD, config_for(A, ipam=HOST_LOCAL), kill_at=18)
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


def test_an_earlier_boots_lease_that_cannot_be_released_keeps_nothing_waiting(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine, ipam=HOST_LOCAL)
    reboot(machine, keeper)
    machine.plugins.installed.remove("host-local")
    delete(machine)
    assert machine.disk.files == {}
    assert "ipam-not-released" in process(machine).events


def test_a_stranger_on_the_host_that_carries_our_mark_is_not_taken_for_ours(
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


# ---- healing


def leave_unfinished(machine: Machine, device: str = B, container: str = "killed") -> None:
    """An ADD of `device` that was killed with the netdev in the pod."""
    with pytest.raises(Killed):
        ask(
            machine,
            Verb.ADD,
            config_for(device),
            container=container,
            netns=POD2,
            kill_before="before Confirm",
        )
    assert machine.disk.markers == {device}
    assert machine.kernel.functions[device].links[0].space is not machine.kernel.host


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


def test_healing_costs_nothing_for_healthy_records(
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


def test_what_another_process_is_at_work_on_is_left_to_it(
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


def test_what_cannot_be_healed_is_reported_and_hinders_nobody(
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


def unleased(machine: Machine, trouble: Trouble) -> None:
    """An ADD of B with an address that was killed, and whose IPAM plugin is in trouble now."""
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
BESIDE = [lambda m: add(m), lambda m: delete(m), lambda m: delete(m, None, pod=3, netns=None)]
beside = pytest.mark.parametrize("call", BESIDE, ids=["ADD", "DEL", "DEL of nothing"])
"""Calls that are not about B."""


def strangers_executed(machine: Machine) -> list[str]:
    """The plugins that were executed for the attachment that has B."""
    return [each.plugin for each in machine.plugins.executed if each.container_id == "killed"]


@beside
def test_a_call_about_another_device_executes_no_plugin_and_brings_the_netdev_home(
    machine: Machine, other: Keeper, call: Callable[[Machine], object]
) -> None:
    unleased(machine, HANGS)
    begun_s = machine.kernel.now_s
    for _ in range(3):
        call(machine)
        delete(machine)
        assert other.is_whole()
    assert strangers_executed(machine) == []
    assert machine.kernel.now_s == begun_s
    assert set(machine.disk.files) == {B}
    assert machine.plugins.leases


@beside
def test_a_device_that_waits_for_its_plugin_alone_is_not_even_locked(
    machine: Machine, other: Keeper, call: Callable[[Machine], object]
) -> None:
    unleased(machine, HANGS)
    call(machine)
    assert "plugin-due" in process(machine).events
    machine.kernel.moments.clear()
    call(machine)
    assert f"lock {B}" not in machine.kernel.moments
    assert process(machine).reads.count(DeviceKey.parse(B)) <= 1
    assert process(machine).events == []


@pytest.mark.parametrize("verb", [Verb.GC, Verb.STATUS])
def test_gc_and_status_do_not_wait_long_for_a_plugin_and_ask_it_ever_more_rarely(
    machine: Machine, other: Keeper, verb: Verb
) -> None:
    unleased(machine, HANGS)
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


def test_a_person_who_heals_waits_for_no_pause(machine: Machine, other: Keeper) -> None:
    unleased(machine, HANGS)
    ask(machine, Verb.STATUS, config_for(), netns=None)
    machine.plugins.troubles = []
    assert heal(machine) == {B: ("unfinished", True)}
    assert (machine.disk.files, machine.plugins.leases) == ({}, {})


@pytest.mark.parametrize("verb", [Verb.GC, Verb.STATUS, None], ids=["GC", "STATUS", "heal"])
def test_every_netdev_is_home_before_the_first_plugin_is_told(
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
def test_what_was_brought_home_beside_is_ended_by_its_own_calls(
    machine: Machine, other: Keeper, again: Callable[..., object]
) -> None:
    unleased(machine, Trouble("host-local", Verb.DEL, at=99))
    add(machine)
    assert (strangers_executed(machine), set(machine.disk.files)) == ([], {A, B})
    ask(machine, Verb.DEL, config_for(B), container="killed", netns=None)
    assert strangers_executed(machine) == ["host-local"]
    assert set(machine.disk.files) == {A}
    assert machine.plugins.leases == {}
    again(machine, B, pod=2)


def test_the_next_add_of_a_device_takes_it_though_its_lease_is_stuck(
    machine: Machine, other: Keeper
) -> None:
    unleased(machine, HANGS)
    add(machine)
    delete(machine)
    add(machine, B, pod=2)
    assert machine.disk.records()[B]["phase"] == "attached"
    assert machine.disk.attempts == {}


def test_an_add_or_del_brings_home_only_as_much_as_there_is_time_for(machine: Machine) -> None:
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


def test_the_stuck_attachment_of_a_gc_keeps_no_other_away(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    for pod, device in enumerate((A, B), 1):
        add(machine, device, pod=pod, ipam=HOST_LOCAL)
    machine.plugins.troubles = [HANGS]

    def both_are_home(what: str) -> None:
        if what == "host-local DEL begins":
            assert keeper.is_whole()
            assert other.is_whole()

    machine.kernel.interrupts.append(both_are_home)
    with pytest.raises(PluginBroken):
        ask(machine, Verb.GC, config_for(**{"cni.dev/valid-attachments": []}), netns=None)
    told = [each.container_id for each in machine.plugins.executed if each.verb is Verb.DEL]
    assert sorted(told) == ["pod1", "pod2"]


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
def test_a_mark_of_unfinished_work_that_is_in_vain_is_taken_away(
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
def test_add_takes_a_device_from_an_attachment_that_is_no_more(
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


# ---- damaged and foreign records


DAMAGE = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "binary": lambda data: b"\x00\xff" + data,
    "foreign": lambda data: b'{"pci": "0000:01:00.0"}',
    "of another device": lambda data: data.replace(A.encode(), b"0000:0f:00.0"),
    "no format": lambda data: data.replace(b'"format":1', b'"format":"1"'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_record_is_set_aside_and_blocks_no_other_device(
    machine: Machine, other: Keeper, damage: Callable[[bytes], bytes]
) -> None:
    add(machine)
    damaged = machine.disk.files[A] = damage(machine.disk.files[A])
    add(machine, B, pod=2)
    delete(machine, B, pod=2)
    assert other.is_whole()
    ask(machine, Verb.GC, config_for(**{"cni.dev/valid-attachments": []}))
    assert machine.disk.aside == [(A, damaged)]
    assert machine.disk.files == {}
    assert "record-damaged" in process(machine).events


@pytest.mark.parametrize("shows_parent", [True, False])
@pytest.mark.parametrize("keys", [{}, {"ipam": HOST_LOCAL}], ids=["static", "host-local"])
def test_a_nic_whose_record_was_damaged_comes_home_with_what_it_has(
    shows_parent: bool, keys: dict[str, Any]
) -> None:
    machine = Machine()
    (link,) = machine.kernel.plug(A, "ens1", shows_parent=shows_parent).links
    machine.kernel.configure(link, (address("192.0.2.1/31"), address("fd00::1/64")))
    machine.kernel.make_netns(POD1)
    keeper = Keeper(machine, link)
    add(machine, **keys)
    in_pod = interfaces_of(link)
    machine.disk.files[A] = b"{"
    delete(machine, **keys)
    assert (link.space, link.name, link.up) == (machine.kernel.host, "ens1", True)
    assert interfaces_of(link) == in_pod
    assert keeper.is_whole() or keys
    assert machine.plugins.leases == {}
    assert machine.disk.files == {}
    assert machine.disk.markers == set()


def test_a_netdev_that_was_never_ours_is_not_taken_from_its_pod(
    machine: Machine, kernel: Kernel
) -> None:
    veth = kernel.add_link("net1", kind="veth", space=pod_of(machine))
    kernel.configure(veth, (address("10.0.0.1/24"),), alias="ens7")
    before = machine.picture()
    delete(machine)
    delete(machine, None)
    assert machine.picture() == before


def test_a_netdev_without_parent_is_not_salvaged_unless_its_record_was_damaged(
    machine: Machine, kernel: Kernel
) -> None:
    (link,) = kernel.plug("0000:03:00.0", "ens3", shows_parent=False).links
    add(machine, "0000:03:00.0")
    machine.disk.files.clear()
    before = machine.picture()
    delete(machine, "0000:03:00.0")
    assert machine.picture() == before
    assert link.space is pod_of(machine)


def test_nothing_is_salvaged_from_the_hosts_own_netns(machine: Machine, nic: Link) -> None:
    machine.kernel.paths[POD1] = machine.kernel.host
    machine.kernel.set_up(nic, False)
    machine.kernel.rename(nic, "net1")
    before = machine.picture()
    delete(machine)
    assert machine.picture() == before


def test_a_salvage_that_is_killed_can_be_taken_up_again() -> None:
    lost = []
    for at in range(100):
        machine = Machine()
        (link,) = machine.kernel.plug(A, "ens1").links
        machine.kernel.configure(link, (address("192.0.2.1/31"),))
        machine.kernel.make_netns(POD1)
        keeper = Keeper(machine, link)
        add(machine)
        machine.disk.files[A] = b"{"
        try:
            ask(machine, Verb.DEL, config_for(A), kill_at=at)
        except Killed:
            where = machine.kernel.moments[-1]
            delete(machine)
            if not keeper.is_whole():
                lost.append(where)
        else:
            break
    assert lost == []


def newer(machine: Machine) -> bytes:
    """Turn the record of A into one of a newer version of the software."""
    record = {**machine.disk.records()[A], "format": 2, "unheard": ["of"]}
    machine.disk.files[A] = json.dumps(record).encode()
    return machine.disk.files[A]


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("call", [add, delete], ids=["ADD", "DEL"])
def test_a_record_of_a_newer_format_is_refused_and_left_untouched(
    machine: Machine, keeper: Keeper, call: Callable[[Machine], object], marked: bool
) -> None:
    add(machine)
    data = newer(machine)
    machine.disk.markers |= {A} if marked else set()
    before = machine.picture()
    with pytest.raises(StateTooNew, match="format 2"):
        call(machine)
    assert machine.disk.files[A] == data
    assert machine.picture() == before


def test_a_record_of_a_newer_format_hinders_no_other_device(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    add(machine)
    newer(machine)
    machine.disk.markers.add(A)
    before = machine.picture()
    add(machine, B, pod=2)
    delete(machine, None, pod=2)
    assert other.is_whole()
    ask(machine, Verb.GC, config_for(**{"cni.dev/valid-attachments": []}))
    assert "record-too-new" in process(machine).events
    assert machine.picture() == before


# ---- several netdevs on one function


def dual(machine: Machine, shows_parent: bool) -> tuple[Keeper, Keeper]:
    """A function with two netdevs, each with addresses of its own."""
    links = machine.kernel.plug(
        "0000:03:00.0", "ens3np0", "ens3np1", shows_parent=shows_parent
    ).links
    for link, text in zip(links, ("203.0.113.1/24", "203.0.113.2/24"), strict=True):
        machine.kernel.configure(link, (address(text),))
    return Keeper(machine, links[0]), Keeper(machine, links[1])


@pytest.mark.parametrize("shows_parent", [True, False])
def test_an_add_of_the_second_netdev_of_a_function_leaves_the_first_in_its_pod(
    machine: Machine, shows_parent: bool
) -> None:
    first, second = dual(machine, shows_parent)
    add(machine, "0000:03:00.0", pod=1, device="ens3np0")
    add(machine, "0000:03:00.0", pod=2, device="ens3np1")
    assert first.link.space is pod_of(machine, 1)
    assert second.link.space is pod_of(machine, 2)


@pytest.mark.parametrize("shows_parent", [True, False])
def test_the_addresses_of_a_renamed_netdev_do_not_end_up_on_the_second_one_of_its_function(
    machine: Machine, shows_parent: bool
) -> None:
    first, second = dual(machine, shows_parent)
    add(machine, "0000:03:00.0", device="ens3np0")
    machine.kernel.set_up(first.link, False)
    machine.kernel.rename(first.link, "fabric0")
    delete(machine, "0000:03:00.0")
    assert interfaces_of(second.link) == ["203.0.113.2/24"]
    assert first.is_whole()
    assert second.is_whole()


# ---- GC


def gc(machine: Machine, *valid: tuple[str, str], **keys: Any) -> None:
    listed = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
    ask(machine, Verb.GC, config_for(**{"cni.dev/valid-attachments": listed}, **keys))


def test_gc_releases_exactly_what_is_not_in_the_list(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    add(machine, A, pod=1)
    add(machine, B, pod=2)
    gc(machine, ("pod1", "net1"), ("pod2", "net2"), ("pod7", "net1"))
    assert not keeper.is_whole()
    assert other.is_whole()
    assert set(machine.disk.files) == {A}
    gc(machine, ("pod1", "net1"))
    assert set(machine.disk.files) == {A}
    gc(machine)
    gc(machine)
    assert keeper.is_whole()


@pytest.mark.parametrize(
    "listed", [{}, {"cni.dev/valid-attachments": None}], ids=["absent", "null"]
)
def test_gc_without_a_list_releases_nothing(
    machine: Machine, keeper: Keeper, listed: dict[str, object]
) -> None:
    add(machine)
    before = machine.picture()
    ask(machine, Verb.GC, config_for(**listed))
    assert machine.picture() == before


def test_gc_leaves_other_networks_alone(machine: Machine, keeper: Keeper) -> None:
    add(machine, name="storage")
    before = machine.picture()
    gc(machine)
    assert machine.picture() == before


def test_gc_releases_an_attachment_that_was_never_finished(machine: Machine, other: Keeper) -> None:
    leave_unfinished(machine)
    gc(machine)
    assert other.is_whole()
    assert machine.disk.files == {}


def test_gc_does_what_it_can_and_tells_every_failure(
    machine: Machine, kernel: Kernel, keeper: Keeper, other: Keeper
) -> None:
    (third,) = kernel.plug("0000:03:00.0", "ens3").links
    kernel.make_netns("/run/netns/pod3")
    kernel.configure(third, (address("203.0.113.1/24"),))
    for number, device in enumerate((A, B, "0000:03:00.0"), 1):
        add(machine, device, pod=number)
    kernel.host.refused |= {"fd00::1/64", "203.0.113.1/24"}
    with pytest.raises(RestoreIncomplete, match="fd00::1/64") as raised:
        gc(machine)
    assert any("203.0.113.1/24" in note for note in raised.value.__notes__)
    assert other.is_whole()
    assert set(machine.disk.files) == {A, "0000:03:00.0"}


def test_gc_is_passed_on_to_an_ipam_plugin_that_knows_it(machine: Machine) -> None:
    gc(machine, ("pod1", "net1"), ipam=HOST_LOCAL)
    assert calls(machine) == [("host-local", "GC")]
    (call,) = machine.plugins.executed
    assert call.config["cni.dev/valid-attachments"] == [{"containerID": "pod1", "ifname": "net1"}]


def test_gc_is_not_passed_on_to_an_ipam_plugin_from_before_it(machine: Machine) -> None:
    machine.plugins.versions["host-local"] = ("0.4.0", "1.0.0")
    gc(machine, ipam=HOST_LOCAL)
    assert calls(machine) == []


def test_a_failing_ipam_gc_does_not_hide_what_was_not_released(
    machine: Machine, kernel: Kernel, keeper: Keeper
) -> None:
    add(machine, ipam=HOST_LOCAL)
    kernel.host.refused.add("fd00::1/64")
    machine.plugins.troubles.append(Trouble("host-local", Verb.GC))
    with pytest.raises(RestoreIncomplete, match="fd00::1/64") as raised:
        gc(machine, ipam=HOST_LOCAL)
    assert any("trouble" in note for note in raised.value.__notes__)


# ---- CHECK


def check(machine: Machine, result: Result, pod: int = 1, **keys: Any) -> None:
    from amdcni.core.codec import result_to_json
    from amdcni.core.versions import NEWEST

    config = config_for(A, prevResult=result_to_json(result, NEWEST), **keys)
    ask(machine, Verb.CHECK, config, container=f"pod{pod}", netns=f"/run/netns/pod{pod}")


def test_check_of_a_healthy_attachment_succeeds_and_changes_nothing(
    machine: Machine, keeper: Keeper
) -> None:
    result = add(machine)
    before = machine.picture()
    check(machine, result)
    assert machine.picture() == before
    assert (("host-device", "CHECK") in calls(machine)) == (machine.mover == "delegate")


@pytest.mark.parametrize(
    ("damage", "saying"),
    [
        (lambda kernel, nic: nic.addresses.pop(0), r"lacks 192\.0\.2\.1/31"),
        (lambda kernel, nic: kernel.set_up(nic, False), "is down"),
        (
            lambda kernel, nic: (kernel.set_up(nic, False), kernel.rename(nic, "eth0")),
            "'eth0', not 'net1'",
        ),
        (lambda kernel, nic: kernel.move(nic, kernel.host), "not in '/run/netns/pod1'"),
        (
            lambda kernel, nic: (
                kernel.destroy_netns(nic.space),
                kernel.make_netns("/run/netns/first come"),
                kernel.make_netns(POD1),
            ),
            "not the network namespace",
        ),
        (lambda kernel, nic: kernel.destroy_netns(nic.space), "not the network namespace"),
        (lambda kernel, nic: flag(nic, AddressFlag.DADFAILED), "fd00::1/64 is somebody else's"),
        (lambda kernel, nic: flag(nic, AddressFlag.TENTATIVE), "fd00::1/64 cannot be used"),
        (lambda kernel, nic: setattr(nic, "plugged_in", False), "no link"),
    ],
    ids=[
        *("address", "down", "renamed", "moved out", "another netns", "no netns"),
        *("duplicate", "endless detection", "no link"),
    ],
)
def test_check_finds_what_is_not_as_promised(
    machine: Machine,
    kernel: Kernel,
    nic: Link,
    keeper: Keeper,
    damage: Callable[[Kernel, Link], object],
    saying: str,
) -> None:
    result = add(machine)
    damage(kernel, nic)
    with pytest.raises(CheckFailed, match=saying):
        check(machine, result)


def flag(nic: Link, flag: AddressFlag) -> None:
    """Let duplicate address detection of one of the addresses stand like this."""
    (own,) = [own for own in nic.addresses if str(own.address.interface) == "fd00::1/64"]
    own.address = attrs.evolve(own.address, flags=int(own.address.settable_flags | flag))


def test_what_is_on_its_way_is_waited_for_by_check_and_by_a_repeated_add(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    """Detection ends, and a link comes, some time after the netdev has gone up."""
    result = add(machine)
    for act in (lambda: check(machine, result), lambda: add(machine)):
        pauses: list[str] = []
        flag(nic, AddressFlag.TENTATIVE)
        nic.plugged_in = False

        def wait(what: str, pauses: list[str] = pauses) -> None:
            pauses += [what] * (what == "pause")
            nic.plugged_in = len(pauses) > 1
            if len(pauses) == 3:
                flag(nic, AddressFlag(0))

        machine.kernel.interrupts.append(wait)
        act()
        machine.kernel.interrupts.remove(wait)
        assert len(pauses) == 3
        assert nic.space is pod_of(machine)


def test_a_repeated_add_leaves_a_nic_without_a_link_where_it_is(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    first = add(machine)
    nic.plugged_in = False
    before = machine.picture()
    assert add(machine) == first
    assert machine.picture() == before


def test_check_tells_every_difference_at_once(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper
) -> None:
    result = add(machine)
    kernel.set_up(nic, False)
    nic.addresses.clear()
    with pytest.raises(CheckFailed, match=r"down.*192\.0\.2\.1.*192\.0\.2\.9"):
        check(machine, result)


def test_check_tolerates_what_chained_plugins_change(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    result = add(machine)
    nic.mtu, nic.mac = 1400, "02:aa:00:00:00:01"
    machine.kernel.add_address(nic, address("10.1.1.1/24"))
    check(machine, result)


def test_check_of_an_attachment_that_was_interrupted_fails(
    machine: Machine, keeper: Keeper
) -> None:
    result = add(machine)
    with pytest.raises(Killed):
        ask(machine, Verb.DEL, config_for(A), kill_at=5)
    with pytest.raises(CheckFailed, match="interrupted"):
        check(machine, result)


def test_check_of_an_unknown_attachment_says_so(machine: Machine, keeper: Keeper) -> None:
    result = add(machine)
    with pytest.raises(UnknownAttachment, match="pod2/net1"):
        check(machine, result, pod=2)


def test_a_failing_check_of_the_ipam_plugin_is_passed_on(machine: Machine, keeper: Keeper) -> None:
    result = add(machine, ipam=HOST_LOCAL)
    machine.plugins.leases.clear()
    with pytest.raises(PluginFailed, match="host-local"):
        check(machine, result, ipam=HOST_LOCAL)


@by_delegate
def test_check_of_a_device_without_netdev_asks_the_delegate(machine: Machine) -> None:
    machine.kernel.functions[A].driver = "vfio-pci"
    machine.kernel.remove_link(machine.kernel.functions[A].links.pop())
    result = add(machine)
    check(machine, result)
    assert calls(machine)[-1] == ("host-device", "CHECK")


# ---- STATUS


def status(machine: Machine, **keys: Any) -> None:
    ask(machine, Verb.STATUS, config_for(**keys))


def test_status_is_silent_and_changes_nothing_when_add_would_work(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine)
    before = machine.picture()
    status(machine, ipam=HOST_LOCAL)
    assert machine.picture() == before
    asked = [plugin for plugin, verb in calls(machine) if verb == "STATUS"]
    assert asked == (["host-local"] if machine.mover == "native" else ["host-device", "host-local"])


@pytest.mark.parametrize("trouble", [no_ipam_plugin, full_disk, read_only_disk])
def test_status_names_the_reason_why_add_would_not_work(
    machine: Machine, trouble: Callable[[Machine], None]
) -> None:
    trouble(machine)
    with pytest.raises(NotAvailable):
        status(machine, ipam=HOST_LOCAL)
    with pytest.raises(AmdcniError):
        add(machine, ipam=HOST_LOCAL)


@by_delegate
@pytest.mark.parametrize("plugin", ["host-device", "static"])
def test_without_the_plugins_of_the_delegate_neither_status_nor_add_works(
    machine: Machine, plugin: str
) -> None:
    machine.plugins.installed.remove(plugin)
    before = machine.picture()
    with pytest.raises(NotAvailable, match=plugin):
        status(machine)
    with pytest.raises(PluginNotFound, match=plugin):
        add(machine)
    assert machine.picture() == before


def test_status_tells_of_a_missing_ipam_plugin_and_a_missing_privilege(machine: Machine) -> None:
    with pytest.raises(NotAvailable, match="dhcp"):
        status(machine, ipam={"type": "dhcp"})
    machine.unready = "the privilege CAP_NET_ADMIN is missing"
    with pytest.raises(NotAvailable, match="CAP_NET_ADMIN"):
        status(machine)


def test_the_status_of_a_plugin_below_is_passed_on(machine: Machine) -> None:
    machine.plugins.troubles.append(Trouble("host-local", Verb.STATUS))
    with pytest.raises(PluginFailed, match="trouble"):
        status(machine, ipam=HOST_LOCAL)


def test_a_plugin_from_before_status_is_not_asked_for_it(machine: Machine) -> None:
    machine.plugins.versions["host-device"] = ("1.0.0",)
    machine.plugins.versions["static"] = ("1.0.0",)
    status(machine)
    assert calls(machine) == []


def test_a_released_process_holds_no_lock(machine: Machine, keeper: Keeper) -> None:
    add(machine)
    delete(machine)
    assert machine.locks == set()
    assert process(machine).find_record(DeviceKey.parse(A)) is None


# ---- multipath routes


def multipath(machine: Machine) -> Route:
    """A route of the host through both NICs."""
    hops = [
        Hop(IfName(link.name), link.ifindex, weight=weight)
        for link, weight in zip(nics(machine), (3, 5), strict=True)
    ]
    route = Route(ipaddress.ip_network("10.9.0.0/24"), tuple(hops))
    machine.kernel.add_route(machine.kernel.host, route)
    return route


def nics(machine: Machine) -> list[Link]:
    return [machine.kernel.functions[device].links[0] for device in (A, B)]


def hops_on_host(machine: Machine) -> dict[str, int]:
    """The hops of that route, with their weights."""
    (route,) = [
        route
        for route in machine.kernel.routes(machine.kernel.host)
        if str(route.destination) == "10.9.0.0/24"
    ]
    return {hop.ifname: hop.weight for hop in route.hops}


def test_a_multipath_route_goes_on_through_the_other_nic(machine: Machine) -> None:
    multipath(machine)
    add(machine, A)
    assert hops_on_host(machine) == {"ens2": 1}
    delete(machine, A)
    assert hops_on_host(machine) == {"ens1": 3, "ens2": 5}


@pytest.mark.parametrize("first", [A, B])
def test_a_multipath_route_is_whole_when_both_nics_are_back(machine: Machine, first: str) -> None:
    multipath(machine)
    pods = {A: 1, B: 2}
    for device, pod in pods.items():
        add(machine, device, pod=pod)
    for device in (first, B if first == A else A):
        delete(machine, device, pod=pods[device])
    assert hops_on_host(machine) == {"ens1": 3, "ens2": 5}


def test_a_multipath_route_is_whole_after_a_failed_add(machine: Machine) -> None:
    multipath(machine)
    pod_of(machine).refused.add("192.0.2.1/31")
    with pytest.raises((PluginFailed, KernelRefused)):
        add(machine, A)
    assert hops_on_host(machine) == {"ens1": 3, "ens2": 5}


def test_records_of_an_earlier_boot_make_no_route_whole(machine: Machine) -> None:
    multipath(machine)
    add(machine, A)
    machine.kernel.boot += 1
    add(machine, B, pod=2)
    (route,) = machine.disk.records()[B]["captured"]["routes"]
    assert [hop["ifname"] for hop in route["hops"]] == ["ens2"]
    machine.kernel.violations.clear()


def test_what_no_record_can_hold_is_told_when_the_nic_is_lent(machine: Machine) -> None:
    machine.kernel.unsaved = ("an encapsulation of the route to 10.9.0.0/24",)
    add(machine, A)
    ((event, facts),) = process(machine).reported
    assert (event, facts["what"]) == ("not-saved", machine.kernel.unsaved[0])


@pytest.mark.parametrize("taken", [False, True])
def test_what_knows_a_nic_by_its_number_is_lost_if_the_pod_has_that_number(
    machine: Machine, taken: bool
) -> None:
    machine.kernel.unsaved_if_renumbered = ("the address label of fd00::/64",)
    (link,) = machine.kernel.functions[A].links
    inside = machine.kernel.add_link("eth0", space=pod_of(machine))
    if taken:
        inside.ifindex = link.ifindex
    add(machine, A)
    told = [facts["what"] for event, facts in process(machine).reported if event == "not-saved"]
    assert told == (["the address label of fd00::/64"] if taken else [])


def test_a_preview_tells_what_would_not_come_back(machine: Machine) -> None:
    machine.kernel.unsaved = ("the managed neighbour 10.0.0.77",)
    assert previewed(machine, A, POD2).unsaved == machine.kernel.unsaved


# ---- healing of everything


def test_looking_takes_no_lock(machine: Machine) -> None:
    add(machine)
    add(machine, B, pod=2)
    machine.kernel.destroy_netns(pod_of(machine))
    machine.kernel.moments.clear()
    heal(machine, dry_run=True)
    assert not [what for what in machine.kernel.moments if what.startswith("lock")]


def heal(machine: Machine, *, dry_run: bool = False) -> dict[str, tuple[str, bool]]:
    """What was found of each device, and whether it was healed."""
    node = FakeNode(machine)
    with machine.running(node):
        findings = heal_all(node, dry_run=dry_run)
    return {str(f.record.key): (f.condition.value, f.healed) for f in findings}


def test_a_nic_whose_netns_has_died_is_healed_and_one_that_a_pod_has_is_left(
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


def test_a_device_that_a_call_works_on_is_left_to_it_which_is_no_failure(machine: Machine) -> None:
    add(machine, A)
    machine.kernel.destroy_netns(pod_of(machine))
    machine.locks.add(A)
    for dry_run in (True, False):
        node = FakeNode(machine)
        with machine.running(node):
            (finding,) = heal_all(node, dry_run=dry_run)
        assert (finding.busy, finding.healed, finding.failure) == (True, False, None)


def previewed(machine: Machine, device: str, netns: str, **keys: Any) -> Preview:
    """What an ADD of a NIC to another pod would do."""
    config = config_for(device, **keys)
    request = request_for(machine, Verb.ADD, config, container="other", netns=netns)
    assert isinstance(request, AddRequest)
    node = FakeNode(machine)
    with machine.running(node):
        return preview(request, node)


def test_a_preview_changes_nothing_and_tells_what_the_add_does_then(machine: Machine) -> None:
    add(machine, A)
    machine.kernel.destroy_netns(pod_of(machine))
    before = machine.picture()
    seen = previewed(machine, A, POD2)
    assert machine.picture() == before
    assert [str(record.key) for record in seen.stale] == [A]
    assert seen.plan is not None
    assert record_in(seen.plan).id.container_id == "other"
    assert previewed(machine, B, "/run/netns/not-there-yet").stale == ()


@pytest.mark.parametrize("ipam", [{}, {"ipam": HOST_LOCAL}], ids=["static", "host-local"])
@pytest.mark.parametrize("dead", [True, False], ids=["netns dead", "killed ADD"])
@pytest.mark.parametrize("taken", [False, True], ids=["free", "name taken"])
def test_a_preview_plans_from_the_host_as_it_will_be_given_back(
    machine: Machine, kernel: Kernel, ipam: dict[str, Any], dead: bool, taken: bool
) -> None:
    kernel.add_address(nic_of(machine), address("192.0.2.30/24", valid_s=500, preferred_s=400))
    if dead:
        add(machine, A, **ipam)
        kernel.destroy_netns(pod_of(machine))
    else:
        with pytest.raises(Killed):
            ask(machine, Verb.ADD, config_for(A, **ipam), kill_before="before Confirm")
    if taken:
        kernel.add_link("ens1", kind="dummy")
    kernel.now_s += 100
    kernel.moments.clear()
    before = machine.picture()
    seen = previewed(machine, A, POD2, **ipam)
    assert machine.picture() == before
    assert not [what for what in kernel.moments if what.startswith(("lock", "before"))]
    assert seen.plan is not None
    planned = record_in(seen.plan)
    ask(machine, Verb.ADD, config_for(A, **ipam), container="other", netns=POD2)
    (saved,) = [
        step.record
        for step in process(machine).performed
        if isinstance(step, SaveRecord) and step.record.id == planned.id
    ]
    # Only the kernel knows by what number and with which addresses of its own it comes back.
    assert planned.captured is not None
    assert saved.captured is not None
    kernels = {"ifindex": saved.captured.ifindex, "eui64": saved.captured.eui64}
    assert attrs.asdict(planned.captured) | kernels == attrs.asdict(saved.captured)
    assert planned.key == saved.key


def test_a_preview_finds_by_its_kernelpath_what_will_have_another_name(
    machine: Machine, kernel: Kernel
) -> None:
    path = "/sys/devices/pci0000:00/0000:01:00.0/net/ens1"
    machine.kernelpaths[path] = A
    config = config_for(None, kernelpath=path)
    ask(machine, Verb.ADD, config)
    kernel.destroy_netns(pod_of(machine))
    request = request_for(machine, Verb.ADD, config, container="other", netns=POD2)
    assert isinstance(request, AddRequest)
    seen = preview(request, FakeNode(machine))
    assert seen.plan is not None
    assert record_in(seen.plan).host_ifname == "ens1"
    assert record_in(seen.plan).host_addresses


def test_a_preview_brings_a_netdev_on_no_bus_home(machine: Machine, kernel: Kernel) -> None:
    veth = kernel.add_link("uplink7", kind="veth")
    kernel.configure(veth, (address("10.0.7.1/24"),))
    config = config_for(None, device="uplink7")
    with pytest.raises(Killed):
        ask(machine, Verb.ADD, config, kill_before="before Confirm")
    request = request_for(machine, Verb.ADD, config, container="other", netns=POD2)
    assert isinstance(request, AddRequest)
    seen = preview(request, FakeNode(machine))
    assert seen.plan is not None
    assert record_in(seen.plan).host_addresses == ("10.0.7.1/24",)


def nic_of(machine: Machine) -> Link:
    return machine.kernel.functions[A].links[0]


def test_a_preview_of_an_add_that_has_been_done_says_so(machine: Machine, kernel: Kernel) -> None:
    add(machine, A)
    request = request_for(machine, Verb.ADD, config_for(A))
    assert isinstance(request, AddRequest)
    assert preview(request, FakeNode(machine)) == Preview((), None)
    kernel.set_up(nic_of(machine), False)
    again = preview(request, FakeNode(machine))
    assert [str(record.key) for record in again.stale] == [A]
    assert again.plan is not None
    assert record_in(again.plan).host_ifname == "ens1"


def test_a_preview_fails_where_giving_back_would(machine: Machine, kernel: Kernel) -> None:
    add(machine, A)
    kernel.move(nic_of(machine), pod_of(machine, 2), "stolen")
    kernel.destroy_netns(pod_of(machine))
    with pytest.raises(NetdevLost, match=A):
        previewed(machine, A, POD2)


def test_a_preview_restores_nothing_of_an_earlier_boot(machine: Machine, keeper: Keeper) -> None:
    add(machine, A)
    reboot(machine, keeper)
    machine.kernel.make_netns(POD2)
    seen = previewed(machine, A, POD2)
    assert [str(record.key) for record in seen.stale] == [A]
    assert seen.plan is not None
    assert record_in(seen.plan).host_addresses == ("203.0.113.77/24",)


# ---- what has become of a device that was to be given back


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


def test_a_preview_refuses_what_the_add_would_refuse(machine: Machine) -> None:
    add(machine, A)
    with pytest.raises(DeviceHeld):
        previewed(machine, A, POD2)
    with pytest.raises(DeviceNotFound):
        previewed(machine, "0000:ff:00.0", POD2)


def test_a_record_of_an_earlier_boot_is_forgotten_and_restores_nothing(machine: Machine) -> None:
    add(machine, A)
    machine.kernel.reboot()
    machine.kernel.violations.clear()
    assert heal(machine) == {A: ("outdated", True)}
    (link,) = machine.kernel.functions[A].links
    assert (interfaces_of(link), link.up) == ([], False)
    assert machine.disk.files == {}


def test_healing_that_fails_is_told_and_hinders_no_other(
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


def test_killed_at_any_moment_healing_is_taken_up_again(machine: Machine) -> None:
    for moment in range(200):
        machine = Machine()
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


# ---- a configuration that was edited or broken after ADD ---------------------------------------


@pytest.mark.parametrize("ipam", [None, HOST_LOCAL], ids=["static", "host-local"])
@pytest.mark.parametrize("netns", [POD1, None])
@given(stdin=edited_configurations | some.hostile_inputs)
def test_whatever_a_configuration_has_become_del_gives_the_nic_back(
    ipam: Mapping[str, object] | None, netns: str | None, stdin: bytes
) -> None:
    """A DEL needs the container ID and the ifname alone (CNI SPEC 1.1 §2, DEL)."""
    machine = Machine()
    link = machine.kernel.plug(A, "ens1").links[0]
    machine.kernel.configure(link, (address("192.0.2.1/31"),))
    keeper = Keeper(machine, link)
    machine.kernel.make_netns(POD1)
    add(machine, ipam=ipam)
    ask(machine, Verb.DEL, stdin, netns=netns)
    assert keeper.is_whole()
    assert (machine.disk.files, machine.plugins.leases) == ({}, {})
    assert machine.kernel.violations == []


@given(stdin=edited_configurations)
def test_a_broken_configuration_is_the_answer_of_a_del_that_has_nothing_to_give_back(
    stdin: bytes,
) -> None:
    machine = Machine()
    machine.kernel.plug(A, "ens1")
    machine.kernel.make_netns(POD1)
    before = machine.picture()
    answers = []
    for act in (
        lambda: parse_request(request_for(machine, Verb.DEL, stdin).invocation, stdin),
        lambda: ask(machine, Verb.DEL, stdin),
    ):
        try:
            act()
            answers.append("")
        except AmdcniError as failure:
            answers.append(f"{type(failure).__name__}: {failure}")
    assert answers[0] == answers[1]
    assert machine.picture() == before


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb not in (Verb.DEL, Verb.VERSION)])
def test_every_other_verb_refuses_a_broken_configuration(machine: Machine, verb: Verb) -> None:
    with pytest.raises(UndecodableInput):
        ask(machine, verb, b"{")


@by_delegate
@pytest.mark.parametrize("stdin", [b'{"cniVersion":"1.1","deviceID":"%s"}' % A.encode()])
def test_a_nic_without_a_record_is_salvaged_by_a_broken_configuration_that_names_it(
    machine: Machine, nic: Link, keeper: Keeper, stdin: bytes
) -> None:
    add(machine)
    machine.kernel.watchers.clear()
    machine.disk.files.clear()
    ask(machine, Verb.DEL, stdin)
    assert nic.space is machine.kernel.host
    assert machine.last is not None
    assert "configuration-ignored" in machine.last.events


# ---- several state folders ---------------------------------------------------------------------

F, G = "/var/lib/fabric", "/srv/state"


def in_folders(machine: Machine) -> dict[str, set[str]]:
    """The files of records by their folders."""
    disks = {"": machine.disk, **machine.other_disks}
    return {folder: set(disk.files) for folder, disk in disks.items() if disk.files}


@pytest.mark.parametrize("edited", [{}, {"dataDir": G}], ids=["default", "another"])
def test_a_data_dir_that_was_edited_keeps_nothing_from_coming_back(
    machine: Machine, keeper: Keeper, edited: dict[str, Any]
) -> None:
    result = add(machine, dataDir=F)
    assert in_folders(machine) == {F: {A}}
    with pytest.raises(DeviceHeld):
        add(machine, pod=2, **edited)
    assert add(machine, **edited) == result
    delete(machine, **edited)
    assert keeper.is_whole()
    assert in_folders(machine) == {}
    assert machine.disk.folders == set()


@pytest.mark.parametrize("then", ["DEL", "heal"])
def test_killed_at_any_moment_a_call_with_a_folder_of_its_own_is_made_good_from_the_index(
    then: str,
) -> None:
    killed, at = True, 0
    while killed:
        machine = Machine(mover="native")
        link = machine.kernel.plug(A, "ens1").links[0]
        machine.kernel.configure(link, (address("192.0.2.1/31"),))
        keeper = Keeper(machine, link)
        machine.kernel.make_netns(POD1)
        killed = False
        try:
            ask(machine, Verb.ADD, config_for(A, dataDir=F), kill_at=at)
        except Killed:
            killed = True
        at += 1
        if then == "DEL":
            delete(machine, dataDir=G)
        else:
            pod = machine.kernel.paths.get(POD1)
            assert pod is not None
            machine.kernel.destroy_netns(pod)
            node = FakeNode(machine)
            with machine.running(node):
                heal_all(node)
        assert keeper.is_whole()
        assert in_folders(machine) == {}
        assert machine.other_disks.get(F) is None or not machine.other_disks[F].markers
        assert machine.kernel.violations == []
    assert at > 5


def test_where_the_index_cannot_be_written_an_add_changes_nothing(
    machine: Machine, keeper: Keeper
) -> None:
    machine.disk.read_only = True
    with pytest.raises(StateFailure):
        add(machine, dataDir=F)
    assert keeper.is_whole()
    assert in_folders(machine) == {}


def test_gc_releases_what_the_records_of_every_folder_tell(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    add(machine, dataDir=F)
    add(machine, B, pod=2, dataDir=G)
    valid = [{"containerID": "pod2", "ifname": "net1"}]
    ask(machine, Verb.GC, config_for(**{"cni.dev/valid-attachments": valid}))
    assert keeper.is_whole()
    assert in_folders(machine) == {G: {B}}


def test_of_two_records_of_a_device_in_two_folders_each_goes_with_its_own_attachment(
    machine: Machine, keeper: Keeper
) -> None:
    """An earlier version, which knew no index, has written the second."""
    add(machine, dataDir=F)
    stray = json.loads(machine.other_disks[F].files[A])
    stray["id"]["containerID"] = "somebody"
    machine.disk.files[A] = json.dumps(stray).encode()
    delete(machine)
    assert keeper.is_whole()
    assert in_folders(machine) == {"": {A}}
