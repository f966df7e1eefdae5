"""A NIC that comes back bare while its pod lives, as after a reset, is attached again."""

import ipaddress
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.errors import CheckFailed, DeviceHeld
from amdcni.core.host import Hop, Neighbour, Qdisc, Route
from amdcni.core.names import IfName, MacAddress
from amdcni.core.policy import Lending, Policy, Verdict
from amdcni.core.spec import Verb
from amdcni.verbs.healing import heal as heal_all
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine, furnish
from tests.unit.fake_netdevs import RIDERS, Link, address
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.resets import IPAMS, check, findings_of, keys_for, other_address, seen_in_pod
from tests.unit.two_nics import (
    POD1,
    A,
    add,
    delete,
    heal,
    pod_of,
    process,
)

# ---- what the pod and the host get


def test_it_is_recorded_before_the_move_and_only_once_that_attaching_again_has_begun(
    machine: Machine, keeper: Keeper
) -> None:
    add(machine)
    machine.kernel.reset(A)
    writes = []
    for _ in range(2):
        machine.kernel.moments.clear()
        node = FakeNode(machine, kill_before="before MoveIntoPod")
        with machine.running(node), pytest.raises(Killed):
            heal_all(node)
        assert machine.disk.records()[A]["phase"] == "attaching"
        writes.append(machine.kernel.moments.count(f"write {A}"))
    assert writes == [1, 0]
    assert heal(machine) == {A: ("reset", True)}


@IPAMS
@pytest.mark.parametrize("copied", [False, True])
def test_the_pod_has_again_what_its_add_gave_it_and_its_del_restores_the_host(
    machine: Machine, keeper: Keeper, nic: Link, ipam: object, copied: bool
) -> None:
    keys = {**keys_for(ipam), "copyRoutes": copied}
    result = add(machine, **keys)
    before, leases = seen_in_pod(nic), dict(machine.plugins.leases)
    recorded = machine.disk.records()[A]["result"]
    machine.kernel.reset(A)
    machine.plugins.executed.clear()
    assert heal(machine, dry_run=True) == {A: ("reset", False)}
    assert heal(machine) == {A: ("reset", True)}
    assert seen_in_pod(nic) == before
    assert (machine.plugins.executed, machine.plugins.leases) == ([], leases)
    assert ("reattached", {"device": A, "holder": "pod1/net1"}) in process(machine).reported
    assert machine.disk.records()[A]["pod_ifindex"] == nic.ifindex
    assert machine.disk.records()[A]["result"] == recorded
    assert machine.disk.records()[A]["captured"]["ifindex"] != 2
    check(machine, result, **keys)
    assert heal(machine) == {A: ("held", False)}
    delete(machine, **keys)
    assert keeper.is_whole()
    assert (machine.disk.files, machine.disk.markers) == ({}, set())
    assert machine.plugins.leases == {}


def test_the_pod_has_the_mtu_and_the_hardware_address_again_that_it_was_given(
    keeper: Keeper, machine: Machine, nic: Link
) -> None:
    native = machine.mover == "native"
    asked: dict[str, Any] = {"mtu": 1400, "mac": "02:aa:bb:cc:dd:ee"} if native else {}
    add(machine, A, **asked)
    before = seen_in_pod(nic)
    machine.kernel.reset(A)
    heal(machine)
    assert seen_in_pod(nic) == before
    delete(machine)
    assert keeper.is_whole()


def test_the_pod_has_the_sysctls_again_that_it_was_given(machine: Machine, nic: Link) -> None:
    native = machine.mover == "native"
    nic.addresses = [own for own in nic.addresses if not own.by_kernel]
    machine.kernel.set_sysctl(nic, "ipv6/conf/addr_gen_mode", "1")
    machine.kernel.set_sysctl(nic, "ipv4/conf/arp_announce", "2")
    keeper = Keeper(machine, nic)
    add(machine, A, **({"copySysctls": True} if native else {}))
    before = dict(nic.sysctls)
    machine.kernel.reset(A)
    heal(machine)
    assert nic.sysctls == before
    assert bool(before) == native
    delete(machine)
    assert keeper.is_whole()


@pytest.mark.parametrize("mover", ["delegate", "native"])
@given(data=st.data())
def test_any_host_is_the_same_after_any_number_of_resets(mover: str, data: st.DataObject) -> None:
    machine = Machine(mover=mover)
    (link,) = machine.kernel.plug(A, "ens1").links
    texts = data.draw(
        st.lists(
            st.sampled_from(["192.0.2.1/31", "192.0.2.9/24", "fd00::1/64", "fd00::2/127"]),
            unique=True,
        )
    )
    up = data.draw(st.booleans())
    machine.kernel.configure(link, tuple(map(address, texts)), up=up)
    if data.draw(st.booleans()):
        furnish(machine, link)
    keeper = Keeper(machine, link)
    machine.kernel.make_netns(POD1)
    keys = keys_for(data.draw(st.sampled_from([None, HOST_LOCAL])))
    result = add(machine, **keys)
    before = seen_in_pod(link)
    for name in data.draw(st.lists(st.sampled_from(["eth0", "ens1", "net1"]), max_size=3)):
        machine.kernel.reset(A, name)
        assert heal(machine) == {A: ("reset", True)}
        assert seen_in_pod(link) == before
        check(machine, result, **keys)
    if data.draw(st.booleans()):
        machine.kernel.reset(A)
    if data.draw(st.booleans()):
        machine.kernel.destroy_netns(pod_of(machine))
        assert heal(machine) == {A: ("returned", True)}
    else:
        delete(machine, **keys)
    assert keeper.is_whole()
    assert machine.disk.files == {}
    assert machine.kernel.violations == []


def test_a_policy_that_lends_the_nic_no_more_leaves_it_with_its_pod(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    add(machine)
    machine.policy = Policy(lending=Lending((), Verdict.DENY))
    machine.kernel.reset(A)
    assert heal(machine) == {A: ("reset", True)}
    assert nic.space is pod_of(machine)


@pytest.mark.parametrize("verb", [Verb.GC, Verb.STATUS])
def test_gc_and_status_attach_it_again_too(machine: Machine, nic: Link, verb: Verb) -> None:
    add(machine)
    machine.kernel.reset(A)
    ask(machine, verb, config_for(), netns=None)
    assert (nic.space, nic.name) == (pod_of(machine), "net1")


# ---- what stays on the host


def other_label(machine: Machine, link: Link) -> None:
    machine.kernel.configure(link, (address("192.0.2.1/31", label="eth0:mine"),))


def route_of_its_own(machine: Machine, link: Link) -> None:
    machine.kernel.set_up(link, True)
    own = Hop(IfName(link.name), link.ifindex)
    route = Route(ipaddress.ip_network("10.99.0.0/16"), (own,), table=7)
    machine.kernel.add_route(machine.kernel.host, route)


def sysctl(machine: Machine, link: Link) -> None:
    link.sysctls = {"ipv4/conf/rp_filter": "1"}


def token(machine: Machine, link: Link) -> None:
    link.token = ipaddress.ip_address("::9")


def neighbour(machine: Machine, link: Link) -> None:
    link.neighbours = [Neighbour(ipaddress.ip_address("10.1.1.1"), MacAddress(link.mac))]


def qdisc(machine: Machine, link: Link) -> None:
    link.traffic = [Qdisc("fq", 0x70000)]


@pytest.mark.parametrize(
    "configured",
    [other_address, other_label, route_of_its_own, sysctl, token, neighbour, qdisc],
)
def test_a_netdev_that_somebody_has_configured_stays_on_the_host_and_that_is_reported(
    machine: Machine, keeper: Keeper, nic: Link, configured: Callable[[Machine, Link], None]
) -> None:
    add(machine)
    machine.kernel.reset(A)
    configured(machine, nic)
    before = machine.kernel.configuration_of(nic)
    for dry_run in (True, False, False, False):
        (finding,) = findings_of(machine, dry_run=dry_run)
        assert (finding.condition, finding.healed) == ("reset", False)
        assert "configured" in (finding.failure or "")
        assert nic.space is machine.kernel.host
        assert machine.kernel.configuration_of(nic) == before
    assert machine.disk.attempts[A].split()[1] == b"3"
    assert "not-healed" in process(machine).events
    assert keeper.is_recorded()


def test_a_netdev_that_has_only_what_the_record_holds_is_attached_again(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    """As a network manager configures it, which does the same at every boot."""
    add(machine)
    machine.kernel.reset(A, "ens1")
    mine = address("192.0.2.1/31", label="ens1:fabric", metric=50)
    machine.kernel.configure(nic, (mine, address("fd00::1/64")))
    assert heal(machine) == {A: ("reset", True)}
    delete(machine)
    assert keeper.is_whole()


def test_a_netdev_with_a_route_that_expires_is_attached_again(machine: Machine, nic: Link) -> None:
    """As a router advertises it, to the host before the ADD and after the reset."""
    host = machine.kernel.host
    prefix = ipaddress.ip_network("2001:db8:99::/64")
    advertised = Route(prefix, (Hop(IfName(nic.name), nic.ifindex),), expires_s=3000)
    machine.kernel.add_route(host, advertised)
    add(machine)
    machine.kernel.reset(A, "ens1")
    machine.kernel.set_up(nic, True)
    again = attrs.evolve(advertised, hops=(Hop(IfName(nic.name), nic.ifindex),))
    machine.kernel.add_route(host, again)
    assert heal(machine) == {A: ("reset", True)}


@pytest.mark.parametrize("kind", [kind for kind in RIDERS if kind not in ("gre", "ipip")])
def test_a_netdev_on_which_something_rests_stays_on_the_host(
    machine: Machine, keeper: Keeper, nic: Link, kind: str
) -> None:
    add(machine)
    machine.kernel.reset(A)
    rider = machine.kernel.ride(kind, nic)
    assert heal(machine) == {A: ("reset", False)}
    assert (nic.space, rider.lost) == (machine.kernel.host, False)


def test_a_netdev_stays_on_the_host_if_the_pod_has_given_its_name_away(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    add(machine)
    machine.kernel.reset(A)
    stranger = machine.kernel.add_link("net1", "dummy", pod_of(machine))
    (finding,) = findings_of(machine)
    assert "'net1' already exists" in (finding.failure or "")
    assert (nic.space, nic.addresses) == (machine.kernel.host, [])
    machine.kernel.remove_link(stranger)
    assert heal(machine) == {A: ("reset", True)}


def test_a_pod_whose_path_leads_elsewhere_gets_nothing(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    add(machine)
    machine.kernel.reset(A)
    space = machine.kernel.paths.pop(POD1)
    machine.kernel.paths["/proc/77/ns/net"] = space
    machine.kernel.make_netns(POD1)
    (finding,) = findings_of(machine)
    assert "is not at '/run/netns/pod1' any more" in (finding.failure or "")
    assert nic.space is machine.kernel.host


def test_other_hardware_in_the_slot_never_goes_into_the_pod(
    machine: Machine, kernel: Kernel
) -> None:
    add(machine)
    kernel.unplug(A)
    (other,) = kernel.plug(A, "eth0").links
    heal(machine)
    ask(machine, Verb.STATUS, config_for(), netns=None)
    assert (other.space, other.up, other.altnames) == (kernel.host, False, set())


def test_a_netdev_that_somebody_took_out_of_the_pod_is_returned_to_the_host(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    """It is the one that was lent: its mark says so, or its alias if the pod took the mark off."""
    for mark in (True, False):
        add(machine)
        if not mark:
            nic.altnames.clear()
        machine.kernel.move(nic, machine.kernel.host, "eth7")
        assert heal(machine) == {A: ("returned", True)}
        assert keeper.is_whole()


def test_without_cookies_no_pod_is_known_to_live_so_the_host_gets_everything(
    kernel: Kernel,
) -> None:
    machine = Machine(mover="native")
    machine.kernel.has_cookies = False
    (link,) = machine.kernel.plug(A, "ens1").links
    machine.kernel.configure(link, (address("192.0.2.1/31"),))
    machine.kernel.make_netns(POD1)
    keeper = Keeper(machine, link)
    add(machine)
    machine.kernel.reset(A)
    assert heal(machine) == {A: ("returned", True)}
    assert keeper.is_whole()


# ---- calls meanwhile


def test_check_fails_until_it_is_attached_again(machine: Machine) -> None:
    result = add(machine)
    machine.kernel.reset(A)
    with pytest.raises(CheckFailed, match="is not in"):
        check(machine, result)
    heal(machine)
    check(machine, result)


@IPAMS
def test_a_del_restores_the_host_right_after_the_reset(
    machine: Machine, keeper: Keeper, ipam: object
) -> None:
    add(machine, **keys_for(ipam))
    machine.kernel.reset(A)
    delete(machine)
    assert keeper.is_whole()
    assert (machine.disk.files, machine.plugins.leases) == ({}, {})


def test_an_add_of_another_pod_is_refused_while_the_holder_lives(
    machine: Machine, keeper: Keeper, nic: Link
) -> None:
    add(machine)
    machine.kernel.reset(A)
    with pytest.raises(DeviceHeld, match="pod1"):
        add(machine, pod=2)
    assert (nic.space, nic.addresses) == (machine.kernel.host, [])


@IPAMS
@pytest.mark.parametrize("refused", [False, True])
def test_the_same_add_gives_the_pod_its_nic_again(
    machine: Machine, keeper: Keeper, nic: Link, ipam: object, refused: bool
) -> None:
    keys = keys_for(ipam)
    add(machine, **keys)
    machine.kernel.reset(A)
    if refused:
        other_address(machine, nic)
        heal(machine)
        nic.addresses.clear()
    add(machine, **keys)
    assert (nic.space, nic.name) == (pod_of(machine), "net1")
    delete(machine, **keys)
    assert keeper.is_whole()
