"""An ADD that is refused or fails leaves everything as it was."""

import ipaddress
from collections.abc import Callable
from typing import Any

import pytest

from amdcni.core.errors import (
    AmdcniError,
    DeviceAmbiguous,
    DeviceBusy,
    DeviceHeld,
    DeviceNotFound,
    DeviceProtected,
    IfnameTaken,
    InvalidEnvironment,
    KernelRefused,
    PluginBroken,
    PluginFailed,
    PluginNotFound,
    StateFailure,
)
from amdcni.core.host import WayOut
from amdcni.core.spec import Verb
from tests.unit.fake_kernel import HOST_NETNS
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link, address
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL
from tests.unit.keeper import Keeper
from tests.unit.two_nics import (
    POD1,
    A,
    B,
    add,
    by_delegate,
    delete,
    full_disk,
    interfaces_of,
    moments_of_the_delegate,
    no_ipam_plugin,
    pod_of,
    read_only_disk,
    second_netdev,
)

# ---- refused before anything has changed


def no_such_netns(machine: Machine) -> None:
    machine.kernel.destroy_netns(pod_of(machine))


def netns_of_the_host(machine: Machine) -> None:
    machine.kernel.paths[POD1] = machine.kernel.paths[HOST_NETNS]


def ifname_taken(machine: Machine) -> None:
    machine.kernel.add_link("net1", space=pod_of(machine))


def ifname_taken_as_altname(machine: Machine) -> None:
    machine.kernel.add_link("eth0", space=pod_of(machine)).altnames.add("net1")


def unplugged(machine: Machine) -> None:
    machine.kernel.unplug(A)


def no_netdev(machine: Machine) -> None:
    machine.kernel.remove_link(machine.kernel.functions[A].links.pop())


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
def test_add_is_refused_before_anything_has_changed(
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


def test_add_is_refused_before_anything_has_changed_if_the_ipam_plugin_is_missing(
    machine: Machine,
) -> None:
    before = machine.picture()
    with pytest.raises(PluginNotFound, match="dhcp"):
        add(machine, ipam={"type": "dhcp"})
    assert machine.picture() == before


def test_the_loopback_netdev_is_never_lent(machine: Machine) -> None:
    before = machine.picture()
    with pytest.raises(DeviceProtected):
        add(machine, None, device="lo")
    assert machine.picture() == before


def test_a_netdev_is_lent_if_another_one_has_a_default_route_too(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    ours, theirs = (machine.kernel.functions[bdf].links[0].ifindex for bdf in (A, B))
    machine.kernel.ways_out = (default_route(ours), default_route(theirs))
    add(machine)
    assert nic.space is pod_of(machine)


# ---- fails midway


@pytest.mark.parametrize("keys", [{}, {"ipam": HOST_LOCAL}], ids=["static", "host-local"])
@pytest.mark.parametrize("how", ["fails", "dies"])
def test_wherever_the_delegate_fails_during_add_everything_is_as_before(
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
def test_a_delegate_that_reports_success_but_has_moved_nothing_is_caught(
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


def test_no_address_is_lost_if_the_pod_refuses_one_after_the_move(
    machine: Machine, keeper: Keeper
) -> None:
    before = machine.picture()
    pod_of(machine).refused.add("fd00::1/64")
    with pytest.raises((PluginFailed, KernelRefused)):
        add(machine)
    assert keeper.is_whole()
    assert machine.picture() == before


def test_no_address_is_lost_if_the_range_is_exhausted(machine: Machine, keeper: Keeper) -> None:
    machine.plugins.pool = ()
    before = machine.picture()
    with pytest.raises(PluginFailed, match="no IP addresses"):
        add(machine, ipam=HOST_LOCAL)
    assert machine.picture() == before


@by_delegate
def test_what_cannot_be_undone_is_reported_and_stays_recorded(
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
