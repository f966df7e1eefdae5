"""What each verb is going to do, as values."""

import ipaddress
import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.calls import check_call, ipam_call, plugins_for, release_call
from amdcni.core.capture import Captured, Details
from amdcni.core.check import config_for_delegate
from amdcni.core.codec import decode_object, encode
from amdcni.core.errors import (
    AmdcniError,
    DeviceHeld,
    DeviceNotFound,
    DeviceProtected,
    IfnameTaken,
    InvalidEnvironment,
)
from amdcni.core.formats import parse_request
from amdcni.core.host import (
    Address,
    Hop,
    Load,
    Netdev,
    Netns,
    NetnsId,
    Route,
    SysfsDevice,
    WayOut,
)
from amdcni.core.identity import dies_with_its_netns
from amdcni.core.ipam import static_ipam
from amdcni.core.names import (
    DeviceKey,
    IfName,
    MacAddress,
    NetworkName,
    PciAddress,
    PluginName,
    free_name,
    parse_ifname,
)
from amdcni.core.plans.attach import plan_add
from amdcni.core.plans.recording import confirmed, is_repeated
from amdcni.core.plans.release import plan_farewell, plan_homecoming, plan_release
from amdcni.core.plans.salvage import salvage
from amdcni.core.plans.snapshot import Clock
from amdcni.core.request import AddRequest, CheckRequest, DelRequest, DeviceSelector, Mover
from amdcni.core.spec import AttachmentId, Interface, PluginCall, Result, Verb
from amdcni.core.steps import (
    BringHome,
    ConfigureInPod,
    ConfirmRecord,
    CopyRoutes,
    DelegateAdd,
    ForgetRecord,
    InspectPod,
    IpamAdd,
    KeepOtherHops,
    MoveIntoPod,
    Outcome,
    Plan,
    ReleaseIpam,
    ReleasePlugins,
    RestoreConfiguration,
    SaveRecord,
    Step,
    VerifyHome,
)
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Handover, Lending

any_handovers = some.handovers | some.userspace_handovers
native_handovers = some.native_handovers | some.native_userspace_handovers
every_handovers = any_handovers | native_handovers


def plan_of(handover: Handover) -> Plan:
    return plan_add(handover.request, handover.snapshot)


def record_in(plan: Plan) -> Attachment:
    first = plan.steps[0].step
    assert isinstance(first, SaveRecord)
    return first.record


def call_in(plan: Plan) -> PluginCall:
    (call,) = [planned.step.call for planned in plan.steps if isinstance(planned.step, DelegateAdd)]
    return call


# ---- ADD: the steps ----------------------------------------------------------------------------


@given(some.handovers)
def test_an_add_records_delegates_looks_and_confirms(handover: Handover) -> None:
    steps = [type(planned.step) for planned in plan_of(handover).steps]
    assert steps == [SaveRecord, DelegateAdd, InspectPod, KeepOtherHops, ConfirmRecord]


@given(some.handovers | some.native_handovers)
def test_routes_are_copied_last_and_only_if_that_is_asked_for(handover: Handover) -> None:
    plain = [planned.step for planned in plan_of(handover).steps]
    device = attrs.evolve(handover.request.device, copy_routes=True)
    asked = attrs.evolve(handover, request=attrs.evolve(handover.request, device=device))
    record = record_in(plan_of(handover))
    assert record.captured is not None
    *before, confirm = plain
    copying = CopyRoutes(record, record.captured)
    assert [planned.step for planned in plan_of(asked).steps] == [*before, copying, confirm]


@given(some.userspace_handovers)
def test_without_a_netdev_there_is_nothing_to_look_at_in_the_pod(handover: Handover) -> None:
    steps = [type(planned.step) for planned in plan_of(handover).steps]
    assert steps == [SaveRecord, DelegateAdd, ConfirmRecord]


@given(some.native_handovers)
def test_a_native_add_records_moves_asks_its_own_ipam_configures_and_confirms(
    handover: Handover,
) -> None:
    steps = [type(planned.step) for planned in plan_of(handover).steps]
    asked = [] if handover.request.device.ipam is None else [IpamAdd]
    configured = [MoveIntoPod, *asked, ConfigureInPod, KeepOtherHops]
    assert steps == [SaveRecord, *configured, ConfirmRecord]


@given(some.native_userspace_handovers)
def test_a_native_add_without_a_netdev_asks_its_own_ipam_and_no_more(handover: Handover) -> None:
    steps = [type(planned.step) for planned in plan_of(handover).steps]
    asked = [] if handover.request.device.ipam is None else [IpamAdd]
    assert steps == [SaveRecord, *asked, ConfirmRecord]


@given(some.native_handovers)
def test_the_netdev_is_moved_as_it_was_seen_with_what_the_request_asks_for(
    handover: Handover,
) -> None:
    step = plan_of(handover).steps[1].step
    assert isinstance(step, MoveIntoPod)
    assert step.netdev == handover.netdev
    assert step.mtu == handover.request.device.mtu
    assert step.record.pod_mac == handover.request.device.mac


@given(some.native_handovers, st.integers(0, 3), st.booleans())
def test_alternative_names_that_are_in_the_way_in_the_pod_are_left_out(
    handover: Handover, clashing: int, own: bool
) -> None:
    """net/core/dev.c, dev_change_net_namespace: "return -EEXIST" for any of them."""
    altnames = [f"alternative-{number}" for number in range(4)]
    ifname = handover.request.attachment.ifname
    assert handover.netdev is not None
    ours = attrs.evolve(handover.netdev, altnames=(*altnames, *([ifname] if own else [])))
    handover = on_host(handover, lambda _: ours)
    taken = Netdev(4711, IfName("x"), altnames=tuple(altnames[:clashing]))
    netdevs = (*handover.snapshot.pod.netdevs, taken)
    device = attrs.evolve(handover.request.device, selector=DeviceSelector(ifname=ours.ifname))
    request = attrs.evolve(handover.request, device=device)
    handover = attrs.evolve(in_pod(handover, netdevs=netdevs), request=request)
    step = plan_of(handover).steps[1].step
    assert isinstance(step, MoveIntoPod)
    assert step.in_the_way == (*altnames[:clashing], *([ifname] if own else []))


@given(every_handovers)
def test_all_steps_are_about_the_one_record(handover: Handover) -> None:
    plan = plan_of(handover)
    for planned in plan.steps:
        for step in (planned.step, *planned.undo):
            if isinstance(step, ForgetRecord):
                assert step.key == record_in(plan).key
            elif isinstance(step, IpamAdd):
                assert step.call == ipam_call(record_in(plan), Verb.ADD, netns_alive=True)
            elif isinstance(step, KeepOtherHops):
                assert step.captured == record_in(plan).captured
            elif not isinstance(step, DelegateAdd):
                assert step.record == record_in(plan)


WITHOUT_UNDO = (InspectPod, ConfigureInPod, KeepOtherHops, ConfirmRecord)
"""Steps that change nothing but what the undo of an earlier step takes away."""


@given(every_handovers)
def test_every_step_that_changes_something_has_an_undo(handover: Handover) -> None:
    for planned in plan_of(handover).steps:
        assert bool(planned.undo) != isinstance(planned.step, WITHOUT_UNDO)


@given(every_handovers)
def test_wherever_an_add_fails_the_record_is_forgotten_last_and_once(handover: Handover) -> None:
    """style.md: "A record outlives the work that it describes"."""
    plan = plan_of(handover)
    undo: list[Step] = []
    for planned in plan.steps:
        undo[:0] = planned.undo
        assert undo[-1] == ForgetRecord(record_in(plan).key)
        assert not any(isinstance(step, ForgetRecord) for step in undo[:-1])


@given(every_handovers)
def test_the_undo_of_an_add_is_all_that_a_release_does(handover: Handover) -> None:
    """But for the IPAM plugin of a native ADD that has none, which nobody can tell anything."""
    plan, device = plan_of(handover), handover.snapshot.candidates.device
    release = plan_release(record_in(plan), handover.snapshot.clock.boot_id, device)
    undo: list[Step] = []
    for planned in plan.steps[1:]:
        undo[:0] = planned.undo
    needless = (
        handover.request.device.mover is Mover.NATIVE and handover.request.device.ipam is None
    )
    assert tuple(undo) == release.work[1 if needless else 0 :]
    if needless:
        assert release_call(record_in(plan), handover.snapshot.pod) is None


# ---- ADD: the record ---------------------------------------------------------------------------


@given(some.handovers | some.native_handovers)
def test_the_record_says_who_gets_which_netdev_and_when(handover: Handover) -> None:
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
        pod_ifindex=None,
        result=None,
    )


@given(some.handovers, st.booleans())
def test_whether_the_kernel_tells_its_own_addresses_shows_on_the_whole_host(
    handover: Handover, told: bool
) -> None:
    """An address that looks like SLAAC but whose protocol is not the kernel's was set by hand."""
    snapshot, netdev = handover.snapshot, handover.netdev
    assert netdev is not None
    slaac = Address(ipaddress.IPv6Interface("2001:db8::ff:fe00:1/64"), valid_s=60, preferred_s=60)
    mac = MacAddress("02:00:00:00:00:01")
    ours = attrs.evolve(netdev, mac=mac, addresses=(slaac,))
    others = []
    for other in snapshot.host.netdevs:
        told_of = [
            attrs.evolve(a, proto=1 if told and other.loopback else None) for a in other.addresses
        ]
        others.append(attrs.evolve(other, addresses=tuple(told_of)))
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
    assert captured.addresses == ((slaac,) if told else ())


@given(some.handovers)
def test_a_call_without_arguments_has_none_for_the_plugins(handover: Handover) -> None:
    invocation = handover.request.invocation
    environ = {name: text for name, text in invocation.environ.items() if name != "CNI_ARGS"}
    silent = attrs.evolve(handover.request, invocation=attrs.evolve(invocation, environ=environ))
    assert record_in(plan_add(silent, handover.snapshot)).args == ""


@given(some.handovers, st.sampled_from(Phase))
def test_a_route_that_is_missing_for_a_moment_is_captured_whole(
    handover: Handover, phase: Phase
) -> None:
    """The kernel takes an IPv4 route away with the first of its netdevs; then that one is lent."""
    netdev, snapshot = handover.netdev, handover.snapshot
    assert netdev is not None
    gateway = ipaddress.ip_address("10.0.0.1")
    hops = (Hop(IfName("other"), 99, gateway), Hop(netdev.ifname, netdev.ifindex, gateway))
    whole = Route(ipaddress.ip_network("10.9.0.0/24"), hops)
    other = Captured(IfName("other"), 99, routes=(whole,))
    lent = attrs.evolve(record_in(plan_of(handover)), captured=other, phase=phase)
    alone = attrs.evolve(snapshot.details, routes=())
    snapshot = attrs.evolve(snapshot, details=alone, multipath=(lent,))
    captured = record_in(plan_add(handover.request, snapshot)).captured
    assert captured is not None
    assert captured.routes == ((whole,) if phase is Phase.ATTACHING else ())


# ---- ADD: what the delegate gets ---------------------------------------------------------------


@given(any_handovers)
def test_the_delegate_is_called_as_we_were(handover: Handover) -> None:
    call, request = call_in(plan_of(handover)), handover.request
    assert (call.plugin, call.verb) == ("host-device", Verb.ADD)
    assert (call.attachment, call.netns) == (request.attachment, request.netns)
    assert call.args == request.invocation.environ["CNI_ARGS"]
    assert call.config == record_in(plan_of(handover)).config


@given(some.configured_handovers)
def test_every_key_but_those_that_we_set_reaches_the_delegate_as_it_was(handover: Handover) -> None:
    """From the bytes of stdin to those of the delegate's stdin."""
    ours = {"ipam", "device", "cniVersion"}
    if handover.netdev is None:
        ours |= {"pciBusID"}
    if handover.request.network.version < "0.3.0":
        ours |= {"prevResult"}
    stdin = encode(handover.request.network.raw).encode()
    request = parse_request(handover.request.invocation, stdin)
    assert isinstance(request, AddRequest)
    call = call_in(plan_add(request, handover.snapshot))
    given_raw = decode_object(stdin, "stdin")
    got = decode_object(encode(call.config).encode(), "the delegate's stdin")
    for key in given_raw.keys() - ours:
        assert json.dumps(got[key]) == json.dumps(given_raw[key])
    assert got.keys() - given_raw.keys() <= ours


@given(some.handovers)
def test_the_delegate_is_given_the_netdev_by_its_name(handover: Handover) -> None:
    """plugins/main/host-device, getLink, goes by `device` first."""
    assert handover.netdev is not None
    assert call_in(plan_of(handover)).config["device"] == handover.netdev.ifname


@given(some.userspace_handovers)
def test_the_delegate_is_given_a_device_without_a_netdev_by_its_address(
    handover: Handover,
) -> None:
    expected = str(handover.request.device.selector.bus_device)
    assert call_in(plan_of(handover)).config["pciBusID"] == expected


@given(any_handovers)
def test_the_delegate_speaks_our_version_or_the_first_that_lists_addresses(
    handover: Handover,
) -> None:
    """A 0.1.0 or 0.2.0 result has one address a family, and plugins fail with more."""
    version = handover.request.network.version
    spoken = call_in(plan_of(handover)).config["cniVersion"]
    assert spoken == ("0.3.0" if version in ("0.1.0", "0.2.0") else version)


@given(some.configured_handovers)
def test_the_configurations_own_ipam_goes_before_the_captured_addresses(handover: Handover) -> None:
    plan, raw = plan_of(handover), handover.request.network.raw
    captured, config = record_in(plan).captured, call_in(plan).config
    if handover.request.device.ipam is not None:
        assert config["ipam"] == raw["ipam"]
    elif captured is None or static_ipam(captured.addresses) is None:
        assert "ipam" not in config
    else:
        assert config["ipam"] == static_ipam(captured.addresses)


@given(native_handovers)
def test_an_ipam_plugin_of_a_native_add_gets_every_key_as_it_was(handover: Handover) -> None:
    ours = {"cniVersion"}
    if handover.request.network.version < "0.3.0":
        ours |= {"prevResult"}
    config, raw = record_in(plan_of(handover)).config, handover.request.network.raw
    assert {key: config[key] for key in raw.keys() - ours} == {
        key: raw[key] for key in raw.keys() - ours
    }
    assert config.keys() - raw.keys() <= ours
    version = handover.request.network.version
    assert config.get("cniVersion", "0.3.0") == max(version, "0.3.0")


@given(some.configured_handovers | native_handovers)
def test_planning_leaves_the_request_as_it_was(handover: Handover) -> None:
    before = json.dumps(handover.request.network.raw)
    plan_of(handover)
    assert json.dumps(handover.request.network.raw) == before


@given(st.none() | some.plugin_names)
def test_an_add_executes_the_delegate_and_one_ipam_plugin(ipam: PluginName | None) -> None:
    own = "static" if ipam is None else ipam
    assert plugins_for(Mover.DELEGATE, ipam) == ("host-device", own)


@given(st.none() | some.plugin_names)
def test_a_native_add_executes_the_configurations_own_ipam_plugin_and_no_other(
    ipam: PluginName | None,
) -> None:
    assert plugins_for(Mover.NATIVE, ipam) == (() if ipam is None else (ipam,))


# ---- ADD: what is refused ----------------------------------------------------------------------


def refusal_of(refused: type[AmdcniError], handover: Handover) -> str:
    with pytest.raises(refused) as refusal:
        plan_of(handover)
    return refusal.value.message


def on_host(
    handover: Handover, change: Callable[[Netdev], Netdev], *more: Netdev, **facts: Any
) -> Handover:
    """The same ADD on a host whose chosen netdev is changed, with more netdevs and facts."""
    chosen = handover.netdev
    assert chosen is not None
    changed = change(chosen)
    netdevs = (
        *(changed if n.ifindex == chosen.ifindex else n for n in handover.snapshot.host.netdevs),
        *more,
    )
    snapshot = attrs.evolve(
        handover.snapshot,
        host=attrs.evolve(handover.snapshot.host, netdevs=netdevs),
        candidates=attrs.evolve(handover.snapshot.candidates, netdevs=netdevs),
        **facts,
    )
    return attrs.evolve(handover, snapshot=snapshot, netdev=changed)


def in_pod(handover: Handover, **changes: Any) -> Handover:
    pod = attrs.evolve(handover.snapshot.pod, **changes)
    return attrs.evolve(handover, snapshot=attrs.evolve(handover.snapshot, pod=pod))


@given(every_handovers)
def test_the_hosts_own_netns_is_no_pod(handover: Handover) -> None:
    message = refusal_of(InvalidEnvironment, in_pod(handover, id=handover.snapshot.host.id))
    assert repr(handover.request.netns) in message


@given(every_handovers, some.netdevs, st.booleans())
def test_an_ifname_that_the_pod_has_already_is_refused(
    handover: Handover, other: Netdev, as_altname: bool
) -> None:
    ifname = handover.request.attachment.ifname
    if as_altname:
        other = attrs.evolve(other, altnames=(*other.altnames, ifname))
    else:
        other = attrs.evolve(other, ifname=ifname)
    netdevs = (*handover.snapshot.pod.netdevs, other)
    message = refusal_of(IfnameTaken, in_pod(handover, netdevs=netdevs))
    assert repr(ifname) in message
    assert repr(handover.request.netns) in message


@given(some.handovers, st.booleans())
def test_what_the_node_needs_is_not_given_away(handover: Handover, carries_another: bool) -> None:
    """What that is, `test_protection` says."""
    assert handover.netdev is not None
    ways = (WayOut(ipaddress.ip_network("::/0"), handover.netdev.ifindex),)
    load = Load(rdma={"rxe0": handover.netdev.ifname})
    handover = on_host(handover, lambda n: n, details=Details(ways_out=ways))
    if carries_another:
        snapshot = attrs.evolve(handover.snapshot, details=Details(), load=load)
        handover = attrs.evolve(handover, snapshot=snapshot)
    message = refusal_of(DeviceProtected, handover)
    assert "carries" in message
    assert ("rxe0" in message) == carries_another


@given(any_handovers)
def test_a_device_that_is_not_on_the_node_is_refused(handover: Handover) -> None:
    assume(handover.request.device.selector.bus_device is not None)
    candidates = attrs.evolve(handover.snapshot.candidates, device=None)
    snapshot = attrs.evolve(handover.snapshot, candidates=candidates)
    message = refusal_of(DeviceNotFound, attrs.evolve(handover, snapshot=snapshot))
    assert str(handover.request.device.selector.bus_device) in message


@given(any_handovers, some.attachments_of(phases=st.just(Phase.ATTACHED)))
def test_a_device_that_a_live_attachment_holds_is_refused_and_its_holder_named(
    handover: Handover, record: Attachment
) -> None:
    """All that the holder left on the host is an empty `net` folder, or nothing on no bus."""
    device = handover.snapshot.candidates.device
    gone = None if device is None else attrs.evolve(device, ifnames=())
    snapshot = attrs.evolve(
        handover.snapshot,
        candidates=attrs.evolve(handover.snapshot.candidates, device=gone),
        records=(record,),
    )
    message = refusal_of(DeviceHeld, attrs.evolve(handover, snapshot=snapshot))
    assert record.id.container_id in message
    assert repr(record.id.ifname) in message
    assert record.since in message


@given(some.handovers, some.lendings, some.macs)
def test_a_netdev_that_is_away_is_held_even_if_another_of_its_device_is_there(
    handover: Handover, lending: Lending, mac: MacAddress
) -> None:
    device, netdev = handover.snapshot.candidates.device, handover.netdev
    captured = lending.record.captured
    assert netdev is not None
    assert captured is not None
    assume(device is not None and device.driver == "ionic" and mac != netdev.mac)
    selector = DeviceSelector(None if device is None else device.bus_device, hwaddr=mac)
    device_asked = attrs.evolve(handover.request.device, selector=selector)
    held = attrs.evolve(
        lending.record,
        key=DeviceKey(selector.bus_device),
        captured=attrs.evolve(captured, mac=mac),
    )
    request = attrs.evolve(handover.request, device=device_asked)
    for record, failure in ((held, DeviceHeld), (lending.record, DeviceNotFound)):
        candidates = handover.snapshot.candidates
        others = tuple(n for n in candidates.netdevs if n.mac != mac)
        snapshot = attrs.evolve(
            handover.snapshot,
            candidates=attrs.evolve(candidates, netdevs=others),
            records=(record,),
        )
        changed = attrs.evolve(handover, request=request, snapshot=snapshot)
        assume(record is held or record.key.bus_device != selector.bus_device)
        assert refusal_of(failure, changed)


@given(some.handovers, some.attachments_of(with_netdev=True))
def test_another_netdev_of_a_device_that_is_held_may_be_given(
    handover: Handover, record: Attachment
) -> None:
    device, netdev = handover.snapshot.candidates.device, handover.netdev
    assert netdev is not None
    assert record.captured is not None
    assume(device is not None and record.captured.ifname not in str(handover))
    snapshot = attrs.evolve(handover.snapshot, records=(record,))
    taken = record_in(plan_add(handover.request, snapshot))
    assert taken.key == DeviceKey(record_in(plan_of(handover)).key.bus_device, netdev.ifname)


# ---- ADD: what it answers ----------------------------------------------------------------------


@given(any_handovers, some.results, st.none() | st.integers(68, 9000), st.integers(2, 99))
def test_a_result_is_the_delegates_with_mtu_and_pci_address_of_our_netdev(
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
def test_without_an_mtu_that_was_seen_the_delegates_own_stays(handover: Handover) -> None:
    record = record_in(plan_of(handover))
    ours = Interface(record.id.ifname, mtu=1400, sandbox=record.netns.path)
    after = confirmed(record, Outcome(Result((ours,)), None, None))
    assert after.result is not None
    assert after.result.interfaces[0].mtu == 1400


@given(any_handovers)
def test_a_delegate_that_answers_nothing_makes_an_empty_result(handover: Handover) -> None:
    assert confirmed(record_in(plan_of(handover)), Outcome()).result == Result()


# ---- giving back -------------------------------------------------------------------------------


def device_of(record: Attachment) -> SysfsDevice | None:
    bus_device = record.key.bus_device
    return None if bus_device is None else SysfsDevice(bus_device)


@given(some.attachments_of(with_netdev=True), st.booleans())
def test_a_netdev_is_released_fetched_restored_and_verified_and_only_then_forgotten(
    record: Attachment, ipam_required: bool
) -> None:
    captured = record.captured
    assert captured is not None
    release = plan_release(record, record.boot_id, device_of(record), ipam_required=ipam_required)
    assert release.work == (
        ReleasePlugins(record, ipam_required),
        BringHome(record, captured),
        RestoreConfiguration(record, captured),
        VerifyHome(record, captured),
    )
    assert release.forget == ForgetRecord(record.key, record.taken_over)


@given(some.attachments_of(with_netdev=True))
def test_a_record_waits_for_the_ipam_plugin_unless_it_is_said_not_to(record: Attachment) -> None:
    first = plan_release(record, record.boot_id, device_of(record)).work[0]
    assert first == ReleasePlugins(record, required=True)


@given(some.attachments_of(with_netdev=False), st.booleans())
def test_a_device_without_a_netdev_is_released_and_forgotten(
    record: Attachment, ipam_required: bool
) -> None:
    release = plan_release(record, record.boot_id, device_of(record), ipam_required=ipam_required)
    assert release.work == (ReleasePlugins(record, ipam_required),)
    assert release.forget == ForgetRecord(record.key, record.taken_over)


@given(some.attachments, st.booleans())
def test_a_release_is_marked_as_begun_if_it_was_not_unfinished_before(
    record: Attachment, plugged: bool
) -> None:
    device = device_of(record) if plugged else None
    mark = plan_release(record, record.boot_id, device).mark
    if record.phase is Phase.ATTACHED:
        assert mark == SaveRecord(attrs.evolve(record, phase=Phase.DETACHING))
    else:
        assert mark is None


@given(some.attachments, some.boot_ids, st.booleans())
def test_a_record_of_an_earlier_boot_restores_nothing_and_is_forgotten(
    record: Attachment, boot_id: str, plugged: bool
) -> None:
    """The node's own boot configuration is right."""
    assume(boot_id != record.boot_id)
    release = plan_release(record, boot_id, device_of(record) if plugged else None)
    assert release.work == (ReleaseIpam(record),)
    assert release.mark is None
    assert release.forget == ForgetRecord(record.key, record.taken_over)


@given(some.attachments)
def test_a_record_whose_device_is_unplugged_is_kept(record: Attachment) -> None:
    """The NIC may be plugged in again."""
    assume(record.key.bus_device is not None)
    release = plan_release(record, record.boot_id, None)
    assert release.work == (ReleasePlugins(record),)
    assert release.forget is None


@given(some.attachments, st.booleans())
def test_a_release_that_was_interrupted_is_planned_as_before(
    record: Attachment, plugged: bool
) -> None:
    device = device_of(record) if plugged else None
    first = plan_release(record, record.boot_id, device)
    begun = record if first.mark is None else first.mark.record
    again = plan_release(begun, record.boot_id, device)
    assert [type(step) for step in again.work] == [type(step) for step in first.work]
    assert again.forget == first.forget
    assert again.mark is None


PLUGIN_STEPS = (ReleasePlugins, ReleaseIpam)


@given(some.attachments, some.boot_ids | st.none(), st.booleans(), st.none() | st.just(5.0))
def test_the_homecoming_and_the_farewell_are_the_whole_release(
    record: Attachment, boot_id: str | None, plugged: bool, limit_s: float | None
) -> None:
    boot_id = boot_id or record.boot_id
    device = device_of(record) if plugged else None
    whole = plan_release(record, boot_id, device, limit_s=limit_s)
    home = plan_homecoming(record, boot_id, device)
    farewell = plan_farewell(record, boot_id, device, limit_s)
    assert not [step for step in home.work if isinstance(step, PLUGIN_STEPS)]
    assert [step for step in farewell.work if not isinstance(step, PLUGIN_STEPS)] == []
    assert sorted(map(repr, (*home.work, *farewell.work))) == sorted(map(repr, whole.work))
    assert (home.mark, farewell.mark, farewell.forget) == (whole.mark, None, whole.forget)
    assert [step.limit_s for step in farewell.work if isinstance(step, PLUGIN_STEPS)] == [limit_s]


@given(some.attachments, st.booleans())
def test_a_homecoming_forgets_only_what_no_plugin_is_to_be_told_of(
    record: Attachment, alive: bool
) -> None:
    device = device_of(record)
    forget = plan_homecoming(record, record.boot_id, device).forget
    # The netdev has come home: the pod's netns is there without it, or has gone.
    pod = Netns(record.netns.path, record.netns.id) if alive else None
    if release_call(record, pod) is not None:
        assert forget is None
    if record.ipam is None and record.captured is not None:
        assert forget == plan_release(record, record.boot_id, device).forget


# ---- who is told of the end --------------------------------------------------------------------


def told(record: Attachment, plugin: str, netns: str) -> PluginCall:
    return PluginCall(PluginName(plugin), Verb.DEL, record.config, record.id, netns, record.args)


def ipam_told(record: Attachment, netns: str) -> PluginCall | None:
    return None if record.ipam is None else told(record, record.ipam, netns)


@given(some.lendings)
def test_the_delegate_is_told_while_our_netdev_is_in_the_pod_under_its_ifname(
    lending: Lending,
) -> None:
    """But for what the kernel would destroy if the delegate were killed on its way."""
    record = attrs.evolve(lending.record, mover=Mover.DELEGATE)
    if dies_with_its_netns(record):
        assert release_call(record, lending.pod) == ipam_told(record, record.netns.path)
    else:
        expected = told(record, "host-device", record.netns.path)
        assert release_call(record, lending.pod) == expected


@given(some.native_handovers)
def test_what_is_made_by_software_is_never_given_to_the_delegate(handover: Handover) -> None:
    device = attrs.evolve(handover.request.device, mover=Mover.DELEGATE)
    handover = attrs.evolve(handover, request=attrs.evolve(handover.request, device=device))
    record = record_in(plan_of(handover))
    assert (record.mover is Mover.NATIVE) == dies_with_its_netns(record)


@given(some.lendings)
def test_after_a_native_add_the_ipam_plugin_alone_is_told(lending: Lending) -> None:
    record = attrs.evolve(lending.record, mover=Mover.NATIVE)
    assert release_call(record, lending.pod) == ipam_told(record, record.netns.path)


@given(some.lendings, some.netdevs, some.ifnames)
def test_the_delegate_is_never_told_of_a_strangers_netdev(
    lending: Lending, stranger: Netdev, renamed: IfName
) -> None:
    """It would take whatever is called CNI_IFNAME out of the pod."""
    record, ours = lending.record, lending.netdev
    assert record.captured is not None
    known = {record.captured.mac, record.captured.permanent_mac, record.pod_mac, None}
    assume(stranger.mac not in known and stranger.permanent_mac not in known)
    assume(stranger.parent is None or stranger.parent != ours.parent)
    assume(renamed != ours.ifname)
    stranger = attrs.evolve(stranger, ifindex=ours.ifindex + 1, ifname=ours.ifname)
    elsewhere = [n for n in lending.pod.netdevs if n != ours]
    gone = attrs.evolve(lending.pod, netdevs=(*elsewhere, stranger))
    moved = attrs.evolve(gone, netdevs=(*gone.netdevs, attrs.evolve(ours, ifname=renamed)))
    for pod in (gone, moved, attrs.evolve(lending.pod, netdevs=tuple(elsewhere))):
        assert release_call(record, pod) == ipam_told(record, record.netns.path)


@given(some.attachments, some.hosts)
def test_without_its_netns_only_the_ipam_plugin_is_told(record: Attachment, found: Netns) -> None:
    """CNI SPEC 1.1 §2, DEL: CNI_NETNS may be empty, and plugins "should generally complete a DEL
    action without error even if some resources are missing".
    """
    assume(not found.id.is_same(record.netns.id))
    for pod in (None, found, attrs.evolve(found, path=record.netns.path)):
        assert release_call(record, pod) == ipam_told(record, "")


@given(some.attachments_of(with_netdev=False), some.hosts)
def test_the_delegate_is_told_of_a_device_without_a_netdev_while_the_netns_is_alive(
    record: Attachment, pod: Netns
) -> None:
    alive = attrs.evolve(pod, path=record.netns.path, id=record.netns.id)
    record = attrs.evolve(record, mover=Mover.DELEGATE)
    assert release_call(record, alive) == told(record, "host-device", record.netns.path)
    native = attrs.evolve(record, mover=Mover.NATIVE)
    assert release_call(native, alive) == ipam_told(native, record.netns.path)


@given(some.attachments, some.verbs, st.booleans())
def test_the_ipam_plugin_is_told_only_if_the_configuration_has_one(
    record: Attachment, verb: Verb, alive: bool
) -> None:
    netns = record.netns.path if alive else ""
    expected = ipam_told(record, netns)
    call = ipam_call(record, verb, netns_alive=alive)
    assert call == (None if expected is None else attrs.evolve(expected, verb=verb))


# ---- names -------------------------------------------------------------------------------------

ascii_names = st.text("abcz019_-.", min_size=1, max_size=15).filter(
    lambda name: name not in (".", "..")
)


def first_taken(name: str, count: int) -> set[str]:
    """The names that would be chosen first, one after the other."""
    taken: set[str] = set()
    for _ in range(count):
        taken.add(free_name(IfName(name), taken))
    return taken


@given(ascii_names, st.integers(0, 120))
def test_a_free_name_is_free_valid_and_like_the_wanted_one(name: str, count: int) -> None:
    wanted, taken = IfName(name), first_taken(name, count)
    chosen = free_name(wanted, taken)
    assert len(taken) == count
    assert chosen not in taken
    assert parse_ifname(chosen) == chosen
    assert chosen.rpartition("_")[0] == name[: len(chosen.rpartition("_")[0])] or chosen == name


@given(some.ifnames, st.sets(some.ifnames, max_size=3))
def test_the_wanted_name_is_chosen_if_it_is_free(wanted: IfName, taken: set[IfName]) -> None:
    assert free_name(wanted, taken - {wanted}) == wanted


@given(ascii_names.filter(lambda name: len(name) < 14))
def test_the_first_other_name_is_the_wanted_one_with_a_1(name: str) -> None:
    assert free_name(IfName(name), {name}) == f"{name}_1"
    assert free_name(IfName(name), {name, f"{name}_1"}) == f"{name}_2"


@pytest.mark.parametrize("name", ["é" * 7, "网卡网卡网"])
def test_a_name_of_other_letters_has_a_free_name_too(name: str) -> None:
    chosen = free_name(IfName(name), {name})
    assert parse_ifname(chosen) == chosen != name


# ---- what is there already ---------------------------------------------------------------------


@given(some.add_requests, some.attachments, some.network_names, some.attachment_ids)
def test_an_add_is_repeated_if_its_record_is_of_the_same_attachment_network_and_netns(
    request: AddRequest, record: Attachment, name: NetworkName, other: AttachmentId
) -> None:
    same = attrs.evolve(
        record,
        phase=Phase.ATTACHED,
        id=request.attachment,
        network=request.network.name,
        netns=attrs.evolve(record.netns, path=request.netns),
    )
    assume(name != request.network.name and other != request.attachment)
    assert is_repeated(same, request)
    for different in (
        attrs.evolve(same, phase=Phase.ATTACHING),
        attrs.evolve(same, phase=Phase.DETACHING),
        attrs.evolve(same, id=other),
        attrs.evolve(same, network=name),
        attrs.evolve(same, netns=attrs.evolve(record.netns, path="/elsewhere")),
    ):
        assert not is_repeated(different, request)


# ---- salvage -----------------------------------------------------------------------------------


@given(some.check_requests, some.lendings)
def test_a_check_asks_the_plugins_that_had_a_part_in_the_add(
    request: CheckRequest, lending: Lending
) -> None:
    native = attrs.evolve(lending.record, mover=Mover.NATIVE)
    call = check_call(request, native, lending.pod)
    if native.ipam is None:
        assert call is None
    else:
        said = {"cniVersion": request.network.version}
        said["prevResult"] = request.network.raw["prevResult"]
        expected = told(native, native.ipam, native.netns.path)
        config = {**native.config, **said}
        assert call == attrs.evolve(expected, verb=Verb.CHECK, config=config)
    delegated = attrs.evolve(native, mover=Mover.DELEGATE)
    call = check_call(request, delegated, lending.pod)
    assert call is not None
    assert (call.plugin, call.verb) == ("host-device", Verb.CHECK)
    assert (call.attachment, call.netns) == (delegated.id, delegated.netns.path)
    assert call.args == delegated.args
    assert call.config == config_for_delegate(request, delegated, lending.pod)


def salvaged(
    request: DelRequest, netdev: Netdev, pod: Netns, clock: Clock, *, damaged: bool = False
) -> Attachment | None:
    """What is made of a pod that has `netdev` under the attachment's name."""
    assert request.selector is not None
    bus_device = request.selector.bus_device
    assert bus_device is not None
    netdev = attrs.evolve(netdev, ifname=request.attachment.ifname)
    others = tuple(n for n in pod.netdevs if netdev.ifname not in (n.ifname, *n.altnames))
    there = attrs.evolve(pod, netdevs=(*others, netdev))
    device = SysfsDevice(bus_device, "virtio-pci", virtio=("virtio3",))
    return salvage(request, device, there, clock, record_damaged=damaged)


dels_with_a_device = some.del_requests.filter(
    lambda request: request.selector is not None and request.selector.bus_device is not None
)


@given(dels_with_a_device, some.netdevs, some.hosts, some.clocks, st.booleans())
def test_a_netdev_on_the_configured_device_is_ours_without_a_record(
    request: DelRequest, netdev: Netdev, pod: Netns, clock: Clock, virtio: bool
) -> None:
    assert request.selector is not None
    parent = "virtio3" if virtio else str(request.selector.bus_device)
    record = salvaged(request, attrs.evolve(netdev, parent=parent), pod, clock)
    assert record is not None
    assert record.captured is not None
    assert record.key == DeviceKey(request.selector.bus_device)
    assert (record.network, record.id) == (request.network.name, request.attachment)
    assert record.netns == NetnsRef(pod.path, pod.id)
    assert (record.mover, record.ipam) == (request.mover, request.ipam)
    assert (record.phase, record.boot_id) == (Phase.DETACHING, clock.boot_id)
    assert (record.read_at_s, record.since) == (clock.now_s, clock.wall)
    assert record.pod_ifindex == netdev.ifindex
    assert record.config["device"] == record.captured.ifname
    assert {**record.config, "device": 0} == {**request.network.raw, "device": 0}


@given(dels_with_a_device, some.netdevs, some.hosts, some.clocks, some.ifnames)
def test_a_netdev_without_a_record_gets_the_name_back_that_the_delegate_left_as_its_alias(
    request: DelRequest, netdev: Netdev, pod: Netns, clock: Clock, host_name: IfName
) -> None:
    """plugins/main/host-device, moveLinkIn: "Set the alias to the original name"."""
    assert request.selector is not None
    ours = attrs.evolve(netdev, parent=str(request.selector.bus_device))
    for alias, expected in (
        (host_name, host_name),
        (None, request.attachment.ifname),
        ("no name at all", request.attachment.ifname),
    ):
        record = salvaged(request, attrs.evolve(ours, alias=alias), pod, clock)
        assert record is not None
        assert record.captured is not None
        assert record.captured.ifname == expected
        assert record.captured.alias is None


@given(dels_with_a_device, some.hosts, some.clocks, some.ifnames)
def test_a_label_that_was_the_name_in_the_pod_becomes_the_name_on_the_host(
    request: DelRequest, pod: Netns, clock: Clock, host_name: IfName
) -> None:
    assert request.selector is not None
    ifname = request.attachment.ifname
    plain = Address(ipaddress.ip_interface("10.0.0.1/24"), label=ifname)
    labelled = attrs.evolve(plain, label=f"{ifname}:x", interface=ipaddress.ip_interface("::/0"))
    other = attrs.evolve(plain, label="other", interface=ipaddress.ip_interface("::/1"))
    within = f"{host_name}:x" if len(f"{host_name}:x".encode()) <= 15 else host_name
    ours = Netdev(
        7,
        ifname,
        alias=host_name,
        parent=str(request.selector.bus_device),
        addresses=(plain, labelled, other),
    )
    record = salvaged(request, ours, pod, clock)
    assert record is not None
    assert record.captured is not None
    labels = [address.label for address in record.captured.addresses]
    assert labels == [host_name, within, "other"]


@given(dels_with_a_device, some.clocks, st.booleans())
def test_what_the_kernel_has_made_in_the_pod_is_not_salvaged(
    request: DelRequest, clock: Clock, reported: bool
) -> None:
    """Since Linux 5.18 it tells who made an address; a `proto` of 3 is its own link-local one."""
    assert request.selector is not None
    proto = 1 if reported else 0
    loopback = Address(ipaddress.ip_interface("127.0.0.1/8"), proto=proto)
    own = Address(ipaddress.ip_interface("10.0.0.1/24"))
    made = Address(ipaddress.ip_interface("fe80::1/64"), scope=253, proto=3 * proto)
    pod = Netns(
        "/run/netns/pod1",
        NetnsId(4, 9),
        (Netdev(1, IfName("lo"), loopback=True, addresses=(loopback,)),),
    )
    ours = Netdev(7, IfName("x"), parent=str(request.selector.bus_device), addresses=(own, made))
    record = salvaged(request, ours, pod, clock)
    assert record is not None
    assert record.captured is not None
    told = [address.interface for address in record.captured.addresses]
    assert told == [address.interface for address in (own, *(() if reported else (made,)))]


@given(dels_with_a_device, some.netdevs, some.hosts, some.clocks, st.booleans())
def test_a_netdev_on_another_device_is_a_stranger_even_if_a_record_was_damaged(
    request: DelRequest, netdev: Netdev, pod: Netns, clock: Clock, damaged: bool
) -> None:
    assert request.selector is not None
    other = attrs.evolve(netdev, parent=f"{request.selector.bus_device}x", alias="eth0")
    assert salvaged(request, other, pod, clock, damaged=damaged) is None


@given(dels_with_a_device, some.netdevs, some.hosts, some.clocks)
def test_a_netdev_on_no_bus_is_ours_only_with_an_alias_and_a_damaged_record(
    request: DelRequest, netdev: Netdev, pod: Netns, clock: Clock
) -> None:
    aliased = attrs.evolve(netdev, parent=None, alias="eth0")
    bare = attrs.evolve(aliased, alias=None)
    assert salvaged(request, aliased, pod, clock, damaged=True) is not None
    assert salvaged(request, aliased, pod, clock, damaged=False) is None
    assert salvaged(request, bare, pod, clock, damaged=True) is None


@given(dels_with_a_device, some.sysfs_devices, some.hosts, some.clocks)
def test_a_pod_without_the_ifname_has_nothing_to_salvage(
    request: DelRequest, device: SysfsDevice, pod: Netns, clock: Clock
) -> None:
    ifname = request.attachment.ifname
    others = tuple(n for n in pod.netdevs if ifname not in (n.ifname, *n.altnames))
    without = attrs.evolve(pod, netdevs=others)
    assert salvage(request, device, without, clock, record_damaged=True) is None
