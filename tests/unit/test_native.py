"""The mover `native` on a machine in memory: what it has to do without a delegate."""

import ipaddress
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from amdcni.core.errors import (
    DeviceHeld,
    InvalidConfiguration,
    KernelRefused,
    NetdevLost,
    PluginBroken,
    PluginFailed,
)
from amdcni.core.host import Address, AddressFlag
from amdcni.core.spec import Dns, Result, Verb
from tests.unit.fake_machine import Machine, furnish
from tests.unit.fake_netdevs import Link, Space
from tests.unit.fake_node import Killed
from tests.unit.fake_plugins import Trouble
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD1, A, add, delete, process

MAC = "02:aa:bb:cc:dd:ee"


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A node that has no plugins, except one that assigns addresses."""
    machine = Machine(mover="native")
    machine.plugins.installed = {"host-local"}
    machine.kernel.plug(A, "ens1")
    machine.kernel.make_netns(POD1)
    yield machine
    assert machine.kernel.violations == []


@pytest.fixture
def nic(machine: Machine) -> Link:
    link = machine.kernel.functions[A].links[0]
    addresses = (
        Address(
            ipaddress.ip_interface("192.0.2.1/31"),
            broadcast=ipaddress.IPv4Address("255.255.255.255"),
            label="ens1:fabric",
            scope=253,
            metric=50,
        ),
        Address(ipaddress.ip_interface("192.0.2.9/32"), peer=ipaddress.ip_address("198.51.100.1")),
        Address(ipaddress.ip_interface("fd00::1/127"), flags=AddressFlag.NOPREFIXROUTE),
        Address(ipaddress.ip_interface("fd00::2/64"), valid_s=500, preferred_s=100),
    )
    machine.kernel.configure(link, addresses, alias="rail 1")
    return link


@pytest.fixture
def pod(machine: Machine) -> Space:
    return machine.kernel.paths[POD1]


def given(link: Link) -> list[Address]:
    """The addresses that somebody gave to the netdev."""
    return [own.address for own in link.addresses if not own.by_kernel]


# ---- the pod


def test_the_pod_gets_every_address_as_the_host_had_it(
    machine: Machine, nic: Link, keeper: Keeper, pod: Space
) -> None:
    before = given(nic)
    add(machine)
    assert (nic.space, nic.name, nic.up, nic.alias) == (pod, "net1", True, "ens1")
    expected = [attrs.evolve(before[0], label="net1:fabric"), *before[1:]]
    nodad = [
        attrs.evolve(a, flags=a.flags | AddressFlag.NODAD) if a.family == 6 else a for a in expected
    ]
    assert given(nic) == nodad
    delete(machine)
    assert keeper.is_whole()
    assert given(nic) == before


def test_the_netdev_is_moved_once_and_under_its_new_name(machine: Machine, keeper: Keeper) -> None:
    add(machine)
    moves = [what for what in machine.kernel.moments if what.startswith(("move", "rename"))]
    assert moves == ["move ens1 as net1"]
    assert machine.plugins.executed == []


def test_no_verb_runs_a_plugin(machine: Machine, keeper: Keeper) -> None:
    machine.plugins.installed.clear()
    ask(machine, Verb.STATUS, config_for())
    result = add(machine)
    previous = {"cniVersion": "1.1.0", "ips": [{"address": str(ip.address)} for ip in result.ips]}
    ask(machine, Verb.CHECK, config_for(A, prevResult=previous))
    delete(machine)
    ask(machine, Verb.GC, config_for(**{"cni.dev/valid-attachments": []}))
    assert machine.plugins.executed == []
    assert keeper.is_whole()


def test_the_lifetime_of_an_address_runs_on_during_the_add(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    ends = [(own.valid_until_s, own.preferred_until_s) for own in nic.addresses]
    machine.kernel.interrupts.append(lambda what: time_passes(machine, what))
    add(machine)
    assert [(own.valid_until_s, own.preferred_until_s) for own in nic.addresses] == ends


def time_passes(machine: Machine, what: str) -> None:
    if what == "before ConfigureInPod":
        machine.kernel.now_s += 50


def test_ipv6_is_allowed_on_our_netdev_and_loopback_if_the_pod_forbids_it(
    machine: Machine, nic: Link, keeper: Keeper, pod: Space
) -> None:
    """plugins/pkg/ipam, ConfigureIface: "Enabled IPv6 for loopback "lo" and the interface"."""
    pod.without_ipv6 |= {"lo", "net1", "other"}
    add(machine)
    assert pod.without_ipv6 == {"other"}


def test_ipv6_stays_forbidden_if_no_address_needs_it(machine: Machine, pod: Space) -> None:
    pod.without_ipv6 |= {"lo", "net1"}
    add(machine)
    assert pod.without_ipv6 == {"lo", "net1"}


def link_locals(link: Link) -> int:
    return sum(own.address.interface.ip.is_link_local for own in link.addresses)


@pytest.mark.parametrize(("keys", "count"), [({}, 0), ({"addrGenMode": "kernel"}, 1)], ids=str)
def test_the_pod_has_no_link_local_address_where_the_host_makes_none(
    machine: Machine, nic: Link, pod: Space, keys: dict[str, Any], count: int
) -> None:
    nic.addresses = [own for own in nic.addresses if not own.by_kernel]
    machine.kernel.set_sysctl(nic, "ipv6/conf/addr_gen_mode", "1")
    keeper = Keeper(machine, nic)
    add(machine, A, **keys)
    assert (nic.space, nic.up, link_locals(nic)) == (pod, True, count)
    delete(machine)
    assert keeper.is_whole()


def test_a_netdev_that_needs_no_sysctl_is_up_with_its_move(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    machine.kernel.moments.clear()
    add(machine)
    made = machine.kernel.moments
    assert made[made.index("move ens1 as net1") + 1 :][:2] == [
        "give net1 the alias 'ens1'",
        "set net1 up",
    ]


def test_with_copy_sysctls_the_pod_gets_the_hosts_before_the_netdev_is_up(
    machine: Machine, nic: Link, pod: Space
) -> None:
    furnish(machine, nic)
    machine.kernel.set_sysctl(nic, "ipv6/neigh/ucast_solicit", "7")
    keeper, had = Keeper(machine, nic), dict(nic.sysctls)
    machine.kernel.moments.clear()
    add(machine, A, copySysctls=True)
    assert nic.sysctls == had
    made = machine.kernel.moments
    assert all(made.index(f"set {name} of net1") < made.index("set net1 up") for name in had)
    delete(machine)
    assert keeper.is_whole()
    assert nic.sysctls == had


def test_a_sysctl_that_the_pod_refuses_is_reported_and_stops_nothing(
    machine: Machine, nic: Link, pod: Space
) -> None:
    machine.kernel.set_sysctl(nic, "ipv4/conf/rp_filter", "2")
    machine.kernel.set_sysctl(nic, "ipv4/conf/arp_announce", "2")
    pod.refused.add("ipv4/conf/arp_announce")
    keeper = Keeper(machine, nic)
    add(machine, A, copySysctls=True)
    reported = [facts for event, facts in process(machine).reported if event == "not-set-in-pod"]
    assert [(facts["holder"], facts["reason"]) for facts in reported] == [
        ("pod1/net1", "the kernel refused: Read-only file system")
    ]
    assert (nic.up, nic.sysctls) == (True, {"ipv4/conf/rp_filter": "2"})
    delete(machine)
    assert keeper.is_whole()


@pytest.mark.parametrize("keys", [{"mac": MAC}, {"runtimeConfig": {"mac": MAC}}], ids=str)
def test_a_configured_hardware_address_and_mtu_apply_only_in_the_pod(
    machine: Machine, nic: Link, keeper: Keeper, keys: dict[str, Any]
) -> None:
    own = (nic.mac, nic.mtu)
    (interface,) = add(machine, mtu=1400, **keys).interfaces
    assert (nic.mac, nic.mtu) == (interface.mac, interface.mtu) == (MAC, 1400)
    delete(machine)
    assert (nic.mac, nic.mtu) == own
    assert keeper.is_whole()


@pytest.mark.parametrize("device", [A, None])
def test_a_netdev_with_another_hardware_address_is_found_after_a_kill_at_any_moment(
    device: str | None,
) -> None:
    """Also if nothing else distinguishes it from others: a netdev on no bus."""
    killed, at = True, 0
    while killed:
        machine = Machine(mover="native")
        if device is None:
            link = machine.kernel.add_link("ens1", kind="veth")
        else:
            (link,) = machine.kernel.plug(device, "ens1").links
        machine.kernel.configure(link, (Address(ipaddress.ip_interface("192.0.2.1/31")),))
        keeper = Keeper(machine, link)
        machine.kernel.add_link("other", "veth", machine.kernel.make_netns(POD1))
        keys: dict[str, Any] = {} if device else {"device": "ens1"}
        try:
            ask(machine, Verb.ADD, config_for(device, mac=MAC, mtu=1400, **keys), kill_at=at)
            killed = False
        except Killed:
            at += 1
        ask(machine, Verb.DEL, config_for(device, **keys))
        where = f"killed before {machine.kernel.moments[-1]}"
        assert keeper.is_whole(), where
        assert machine.disk.files == {}, where
    assert at > 15


# ---- what fails midway


def test_an_mtu_that_the_netdev_cannot_have_does_no_harm(machine: Machine, keeper: Keeper) -> None:
    before = machine.picture()
    with pytest.raises(KernelRefused, match="Invalid argument"):
        add(machine, mtu=17)
    assert machine.picture() == before
    assert keeper.is_whole()


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"mtu": "1500"}, r"\$.mtu"),
        ({"mtu": -1}, r"\$.mtu"),
        ({"mtu": 2**31}, r"\$.mtu"),
        ({"mac": "x"}, r"\$.mac"),
        ({"runtimeConfig": {"mac": 7}}, r"\$.runtimeConfig.mac"),
        ({"dns": {"nameservers": "x"}}, r"\$.dns.nameservers"),
    ],
)
def test_an_invalid_wish_for_the_pod_is_refused_before_anything_is_touched(
    machine: Machine, keeper: Keeper, keys: dict[str, Any], path: str
) -> None:
    before = machine.picture()
    with pytest.raises(InvalidConfiguration, match=path):
        add(machine, **keys)
    assert machine.picture() == before


def test_a_move_is_undone_if_the_ifname_is_taken_meanwhile(
    machine: Machine, nic: Link, keeper: Keeper, pod: Space
) -> None:
    """net/core/rtnetlink.c, do_setlink: the namespace changes first, and then the name."""
    seen: list[tuple[Space, str]] = []

    def somebody_is_quicker(what: str) -> None:
        if what == "move ens1 as net1":
            machine.kernel.add_link("net1", "bridge", pod)
        elif what == "before BringHome":
            seen.append((nic.space, nic.name))

    machine.kernel.interrupts.append(somebody_is_quicker)
    with pytest.raises(KernelRefused, match="File exists"):
        add(machine)
    assert seen == [(pod, "ens1")]
    assert keeper.is_whole()
    assert machine.disk.files == {}
    assert [link.name for link in pod.links] == ["lo", "net1"]


def test_a_netns_that_dies_before_the_move_does_no_harm(machine: Machine, keeper: Keeper) -> None:
    def pod_dies(what: str) -> None:
        if what == "before MoveIntoPod":
            machine.kernel.destroy_netns(machine.kernel.paths[POD1])
            machine.kernel.make_netns(POD1).inode = 99

    machine.kernel.interrupts.append(pod_dies)
    with pytest.raises(NetdevLost, match="has gone"):
        add(machine)
    assert keeper.is_whole()
    assert machine.disk.files == {}


def test_a_netdev_that_vanishes_from_the_pod_midway_is_reported(
    machine: Machine, nic: Link, keeper: Keeper, pod: Space
) -> None:
    def taken_away(what: str) -> None:
        if what == "before ConfigureInPod":
            machine.kernel.move(nic, machine.kernel.host, "ens1")

    machine.kernel.interrupts.append(taken_away)
    with pytest.raises(NetdevLost, match="'net1' is not in"):
        add(machine)
    assert keeper.is_whole()


def test_if_the_name_is_taken_on_return_nothing_else_is_lost(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    add(machine)
    machine.kernel.add_link("ens1", "bridge")
    delete(machine)
    assert nic.name == "ens1_1"
    assert keeper.is_whole()


# ---- the configuration's own IPAM


def test_addresses_and_routes_of_an_ipam_plugin_are_set_in_the_pod(
    machine: Machine, nic: Link, keeper: Keeper
) -> None:
    machine.plugins.answer = {
        "ips": [
            {"address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 7},
            {"address": "10.9.1.2/31"},
            {"address": "fd09::2/64", "gateway": "fd09::1"},
        ],
        "routes": [
            {"dst": "0.0.0.0/0"},
            {"dst": "10.8.0.0/16", "gw": "10.9.0.9", "priority": 7},
            {"dst": "::/0"},
        ],
        "interfaces": [{"name": "of-the-ipam-plugin"}],
        "dns": {"domain": "ipam.example"},
    }
    result = add(machine, ipam=HOST_LOCAL)
    assert [(str(a.interface), str(a.broadcast), a.flags) for a in given(nic)] == [
        ("10.9.0.2/24", "10.9.0.255", 0),
        ("10.9.1.2/31", "None", 0),
        ("fd09::2/64", "None", 0),
    ]
    routes = machine.kernel.routes_through(nic)
    hops = [(str(r.destination), str(r.hops[0].via), r.metric) for r in routes]
    assert hops == [
        ("0.0.0.0/0", "10.9.0.1", None),
        ("10.8.0.0/16", "10.9.0.9", 7),
        ("::/0", "fd09::1", None),
    ]
    assert [ip.interface for ip in result.ips] == [0, 0, 0]
    assert [interface.name for interface in result.interfaces] == ["net1"]
    assert [str(route.gw) for route in result.routes] == ["None", "10.9.0.9", "None"]
    assert result.dns == Dns(domain="ipam.example")
    delete(machine, ipam=HOST_LOCAL)
    assert keeper.is_whole()


def test_configured_resolver_settings_replace_those_of_the_ipam_plugin(
    machine: Machine, keeper: Keeper
) -> None:
    machine.plugins.answer = {"ips": [{"address": "10.9.0.2/24"}], "dns": {"domain": "ipam"}}
    assert add(machine, ipam=HOST_LOCAL, dns={"domain": "own"}).dns == Dns(domain="own")
    delete(machine)
    assert add(machine, dns={"domain": "own"}).dns == Dns(domain="own")


def test_an_ipam_plugin_finds_the_netdev_in_the_pod_and_up(
    machine: Machine, nic: Link, keeper: Keeper, pod: Space
) -> None:
    """As the plugin `dhcp` needs it (plugins/ipam/dhcp)."""
    seen = []

    def look(what: str) -> None:
        if what in ("host-local ADD begins", "host-local DEL begins"):
            seen.append((nic.space, nic.name, nic.up, nic.mac))

    machine.kernel.interrupts.append(look)
    add(machine, ipam=HOST_LOCAL, mac=MAC)
    delete(machine)
    assert seen == [(pod, "net1", True, MAC)] * 2


def test_an_add_is_undone_if_the_ipam_plugin_gives_no_address(
    machine: Machine, keeper: Keeper
) -> None:
    before = machine.picture()
    machine.plugins.answer = {"ips": []}
    with pytest.raises(PluginBroken, match="'host-local' gave no address"):
        add(machine, ipam=HOST_LOCAL)
    assert machine.picture() == before


def test_the_ipam_plugin_is_not_called_if_the_move_fails(machine: Machine, keeper: Keeper) -> None:
    with pytest.raises(KernelRefused):
        add(machine, ipam=HOST_LOCAL, mtu=1)
    assert machine.plugins.executed == []


def test_check_calls_the_ipam_plugin_with_the_result_of_the_add(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine, ipam=HOST_LOCAL)
    previous = {"cniVersion": "1.1.0", "ips": [{"address": "10.9.0.2/24"}]}
    ask(machine, Verb.CHECK, config_for(A, ipam=HOST_LOCAL, prevResult=previous))
    last = machine.plugins.executed[-1]
    assert (last.plugin, last.verb, last.netns) == ("host-local", Verb.CHECK, POD1)
    assert last.config["prevResult"] == previous
    machine.plugins.leases.clear()
    with pytest.raises(PluginFailed, match="host-local"):
        ask(machine, Verb.CHECK, config_for(A, ipam=HOST_LOCAL, prevResult=previous))


# ---- which mover


@pytest.mark.parametrize(("added", "deleted"), [("native", "delegate"), ("delegate", "native")])
def test_the_recorded_mover_counts_whatever_the_configuration_says_later(
    machine: Machine, keeper: Keeper, added: str, deleted: str
) -> None:
    machine.plugins.installed |= {"host-device", "static"}
    add(machine, mover=added)
    assert machine.disk.records()[A].get("mover", "delegate") == added
    machine.plugins.executed.clear()
    delete(machine, mover=deleted)
    called = [execution.plugin for execution in machine.plugins.executed]
    assert called == ([] if added == "native" else ["host-device", "static"])
    assert keeper.is_whole()


def test_a_netdev_that_has_lost_its_record_is_returned_and_its_lease_released(
    machine: Machine, nic: Link, pod: Space
) -> None:
    add(machine, ipam=HOST_LOCAL)
    machine.disk.files.clear()
    delete(machine, ipam=HOST_LOCAL)
    assert (nic.space, nic.name) == (machine.kernel.host, "ens1")
    assert machine.plugins.leases == {}


# ---- a device without a netdev


def test_a_device_with_a_userspace_driver_is_held_and_no_plugin_is_run(machine: Machine) -> None:
    machine.kernel.plug("0000:03:00.0", driver="vfio-pci")
    before = machine.picture()
    assert ask(machine, Verb.ADD, config_for("0000:03:00.0")) == Result()
    with pytest.raises(DeviceHeld):
        ask(machine, Verb.ADD, config_for("0000:03:00.0"), container="pod2")
    ask(machine, Verb.DEL, config_for("0000:03:00.0"))
    assert machine.picture() == before
    assert machine.plugins.executed == []


def test_a_device_with_a_userspace_driver_gets_the_addresses_of_its_ipam_plugin(
    machine: Machine,
) -> None:
    machine.kernel.plug("0000:03:00.0", driver="vfio-pci")
    before = machine.picture()
    result = ask(machine, Verb.ADD, config_for("0000:03:00.0", ipam=HOST_LOCAL))
    assert result is not None
    assert [(str(ip.address), ip.interface) for ip in result.ips] == [("10.9.0.2/24", 0)]
    assert result.interfaces == ()
    machine.plugins.troubles.append(Trouble("host-local", Verb.DEL))
    with pytest.raises(PluginFailed):
        ask(machine, Verb.DEL, config_for("0000:03:00.0"))
    assert machine.disk.files
    machine.plugins.troubles.clear()
    ask(machine, Verb.DEL, config_for("0000:03:00.0"))
    assert machine.picture() == before


def test_duplicate_detection_is_set_after_the_mtu_and_before_the_netdev_is_up() -> None:
    """Below an MTU of 1280 bytes the netdev has no IPv6, and no sysctl that could be set."""
    machine = Machine(mover="native")
    (link,) = machine.kernel.plug(A, "ens1").links
    machine.kernel.configure(link, (Address(ipaddress.ip_interface("fd00::1/64")),))
    machine.kernel.make_netns("/run/netns/pod1")
    ask(machine, Verb.ADD, config_for(A))
    machine.kernel.set_attribute(link, "mtu", 1200)
    machine.kernel.moments.clear()
    ask(machine, Verb.DEL, config_for(A))
    made = machine.kernel.moments
    order = ["give ens1 the mtu 1500", "set ipv6/conf/accept_dad of ens1", "set ens1 up"]
    assert sorted(order, key=made.index) == order
