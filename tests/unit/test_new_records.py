"""The record that an ADD writes, and the result that it keeps there."""

import ipaddress

import attrs
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.attachment import NetnsRef, Phase
from amdcni.core.capture import Captured, Details
from amdcni.core.host import (
    Address,
    Hardware,
    Hop,
    Interrupts,
    Member,
    Nexthop,
    NexthopGroup,
    Route,
    Values,
)
from amdcni.core.names import IfName, MacAddress, PciAddress
from amdcni.core.plans.attach import plan_add
from amdcni.core.plans.recording import confirmed, in_transit
from amdcni.core.pod_sysctls import pod_sysctls
from amdcni.core.request import Mover
from amdcni.core.spec import Interface, Result
from amdcni.core.steps import Outcome
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Handover
from tests.unit.handovers import any_handovers, plan_of, record_in


@given(some.handovers | some.native_handovers)
def test_the_record_says_who_gets_which_netdev_and_since_when(handover: Handover) -> None:
    request, snapshot, netdev = handover.request, handover.snapshot, handover.netdev
    record = record_in(plan_of(handover))
    assert netdev is not None
    assert record.captured is not None
    assert (record.captured.ifname, record.captured.ifindex) == (netdev.ifname, netdev.ifindex)
    assert (record.captured.mac, record.captured.parent) == (netdev.mac, netdev.parent)
    assert (record.captured.up, record.captured.alias) == (netdev.up, netdev.alias)
    device = snapshot.candidates.device
    assert record.key.bus_device == (None if device is None else device.bus_device)
    assert record == attrs.evolve(
        record,
        network=request.network.name,
        id=request.attachment,
        netns=NetnsRef(request.netns, snapshot.pod.id),
        phase=Phase.ATTACHING,
        boot_id=snapshot.clock.boot_id,
        read_at_s=snapshot.clock.now_s,
        since=snapshot.clock.wall,
        args=request.invocation.environ.get("CNI_ARGS", ""),
        ipam=request.device.ipam,
        mover=request.device.mover,
        pod_mac=request.device.mac,
        pod_sysctls=sysctls_due(handover),
        pod_ifindex=None,
        result=None,
    )


@given(any_handovers)
def test_the_record_says_which_card_it_is_and_where_its_interrupts_go(handover: Handover) -> None:
    snapshot = handover.snapshot
    device = snapshot.candidates.device
    card, kept = Hardware("0x1dd8", "0x1002", "0123"), Interrupts({"40": "0-3"})
    if device is not None:
        candidates = attrs.evolve(snapshot.candidates, device=attrs.evolve(device, hardware=card))
        snapshot = attrs.evolve(snapshot, candidates=candidates)
    record = record_in(plan_add(handover.request, attrs.evolve(snapshot, interrupts=kept)))
    assert record.hardware == (None if device is None else card)
    assert record.interrupts == kept


def sysctls_due(handover: Handover) -> Values:
    """What the pod gets of the host's sysctls, which is nothing from the delegate."""
    device, netdev = handover.request.device, handover.netdev
    if netdev is None or device.mover is not Mover.NATIVE:
        return {}
    return pod_sysctls(handover.snapshot.details, netdev.addresses, device)


@given(some.handovers, st.booleans())
def test_one_protocol_anywhere_on_the_host_shows_that_the_kernel_reports_them(
    handover: Handover, reported: bool
) -> None:
    """An address that looks like SLAAC but whose protocol is not the kernel's was set by hand."""
    snapshot, netdev = handover.snapshot, handover.netdev
    assert netdev is not None
    slaac = Address(ipaddress.IPv6Interface("2001:db8::ff:fe00:1/64"), valid_s=60, preferred_s=60)
    mac = MacAddress("02:00:00:00:00:01")
    ours = attrs.evolve(netdev, mac=mac, addresses=(slaac,))
    others = []
    for other in snapshot.host.netdevs:
        with_protocols = [
            attrs.evolve(a, proto=1 if reported and other.loopback else None)
            for a in other.addresses
        ]
        others.append(attrs.evolve(other, addresses=tuple(with_protocols)))
    netdevs = tuple(ours if other.ifindex == ours.ifindex else other for other in others)
    host = attrs.evolve(snapshot.host, netdevs=netdevs)
    candidates = attrs.evolve(snapshot.candidates, netdevs=netdevs)
    by_name = attrs.evolve(handover.request.device.selector, hwaddr=None, ifname=ours.ifname)
    request = attrs.evolve(
        handover.request, device=attrs.evolve(handover.request.device, selector=by_name)
    )
    plan = plan_add(request, attrs.evolve(snapshot, host=host, candidates=candidates))
    captured = record_in(plan).captured
    assert captured is not None
    assert captured.addresses == ((slaac,) if reported else ())


@given(some.handovers)
def test_a_call_without_arguments_passes_none_to_the_plugins(handover: Handover) -> None:
    invocation = handover.request.invocation
    environ = {name: text for name, text in invocation.environ.items() if name != "CNI_ARGS"}
    silent = attrs.evolve(handover.request, invocation=attrs.evolve(invocation, environ=environ))
    assert record_in(plan_add(silent, handover.snapshot)).args == ""


@given(some.handovers, st.sampled_from(Phase))
def test_a_route_that_is_missing_for_a_moment_is_captured_completely(
    handover: Handover, phase: Phase
) -> None:
    """The kernel removes an IPv4 route with the first of its netdevs, when that one is lent."""
    netdev, snapshot = handover.netdev, handover.snapshot
    assert netdev is not None
    gateway = ipaddress.ip_address("10.0.0.1")
    hops = (Hop(IfName("other"), 99, gateway), Hop(netdev.ifname, netdev.ifindex, gateway))
    whole = Route(ipaddress.ip_network("10.9.0.0/24"), hops)
    other = Captured(IfName("other"), 99, routes=(whole,))
    lent = attrs.evolve(record_in(plan_of(handover)), captured=other, phase=phase)
    alone = attrs.evolve(snapshot.details, routes=())
    leaving = in_transit([lent], [lent])
    snapshot = attrs.evolve(snapshot, details=alone, multipath=(lent,), in_transit=leaving)
    captured = record_in(plan_add(handover.request, snapshot)).captured
    assert captured is not None
    assert captured.routes == ((whole,) if phase is Phase.ATTACHING else ())
    for useless in (attrs.evolve(lent, boot_id="earlier"), attrs.evolve(lent, captured=None)):
        knows_nothing = attrs.evolve(snapshot, multipath=(useless,))
        captured = record_in(plan_add(handover.request, knows_nothing)).captured
        assert captured is not None
        assert captured.routes == ()


@given(some.handovers)
def test_a_group_that_lacks_the_members_of_a_lent_netdev_is_captured_completely(
    handover: Handover,
) -> None:
    netdev, snapshot = handover.netdev, handover.snapshot
    assert netdev is not None
    its, ours = Nexthop(1, Hop(IfName("other"), 99)), Nexthop(2, Hop(netdev.ifname, netdev.ifindex))
    whole = NexthopGroup(3, (Member(1), Member(2)))
    other = Captured(
        IfName("other"), 99, nexthops=(its,), nexthop_groups=(whole,), other_nexthops=(ours,)
    )
    lent = attrs.evolve(record_in(plan_of(handover)), captured=other)
    left = Details(nexthops=(ours,), nexthop_groups=(NexthopGroup(3, (Member(2),)),))
    snapshot = attrs.evolve(snapshot, details=left, multipath=(lent,))
    captured = record_in(plan_add(handover.request, snapshot)).captured
    assert captured is not None
    assert captured.nexthop_groups == (whole,)
    assert (captured.nexthops, captured.other_nexthops) == ((ours,), (its,))


# ---- what the ADD answers


@given(any_handovers, some.results, st.none() | st.integers(68, 9000), st.integers(2, 99))
def test_a_result_is_the_delegates_with_the_mtu_and_pci_address_of_our_netdev(
    handover: Handover, result: Result, mtu: int | None, ifindex: int
) -> None:
    """CNI SPEC 1.1 §5: `mtu`, and `pciID`, "The platform-specific identifier of the PCI device"."""
    record = record_in(plan_of(handover))
    ours = Interface(record.id.ifname, sandbox=record.netns.path)
    of_host = Interface(record.id.ifname)
    delegates = attrs.evolve(result, interfaces=(*result.interfaces, of_host, ours))
    after = confirmed(record, Outcome(delegates, ifindex, mtu))
    assert after.result is not None
    assert (after.phase, after.pod_ifindex) == (Phase.ATTACHED, ifindex)
    *others, host_side, pod_side = after.result.interfaces
    bus_device = record.key.bus_device
    pci_id = str(bus_device) if isinstance(bus_device, PciAddress) else None
    assert pod_side == attrs.evolve(ours, mtu=mtu, pci_id=pci_id)
    assert host_side == of_host
    for before, now in zip(result.interfaces, others, strict=True):
        if before.name != record.id.ifname:
            assert now == before
    assert attrs.evolve(after.result, interfaces=()) == attrs.evolve(result, interfaces=())


@given(any_handovers)
def test_if_no_mtu_was_seen_the_delegates_stays(handover: Handover) -> None:
    record = record_in(plan_of(handover))
    ours = Interface(record.id.ifname, mtu=1400, sandbox=record.netns.path)
    after = confirmed(record, Outcome(Result((ours,)), None, None))
    assert after.result is not None
    assert after.result.interfaces[0].mtu == 1400


@given(any_handovers)
def test_without_an_answer_from_the_delegate_the_result_is_empty(handover: Handover) -> None:
    assert confirmed(record_in(plan_of(handover)), Outcome()).result == Result()
