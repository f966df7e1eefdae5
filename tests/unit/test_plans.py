"""What each verb would do, as values."""

import json

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.calls import ipam_call, release_call
from amdcni.core.errors import DeviceProtected
from amdcni.core.host import Interrupts, Netdev, Netns, SysfsDevice
from amdcni.core.names import ContainerId, DeviceKey, IfName, NetworkName, PciAddress
from amdcni.core.plans.attach import plan_add
from amdcni.core.plans.recording import confirmed, is_repeated
from amdcni.core.plans.release import plan_farewell, plan_homecoming, plan_release
from amdcni.core.request import AddRequest, DeviceSelector, Mover
from amdcni.core.rules import Rule
from amdcni.core.spec import AttachmentId, Result, Verb
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
    LookAtKin,
    MoveIntoPod,
    Outcome,
    Planned,
    Release,
    ReleaseIpam,
    ReleasePlugins,
    RestoreConfiguration,
    RestoreInterrupts,
    RestoreLink,
    RestoreRules,
    ReturnRdma,
    SaveRecord,
    Step,
    VerifyHome,
    VerifyRdma,
)
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Handover
from tests.unit.handovers import (
    every_handovers,
    in_pod,
    native_handovers,
    on_host,
    plan_of,
    record_in,
)

# ---- ADD


@given(some.handovers)
def test_an_add_records_calls_the_delegate_inspects_and_confirms(handover: Handover) -> None:
    steps = [type(planned.step) for planned in plan_of(handover).steps]
    assert steps == [SaveRecord, DelegateAdd, InspectPod, KeepOtherHops, ConfirmRecord]


@given(some.handovers | some.native_handovers)
def test_routes_are_copied_last_and_only_on_request(handover: Handover) -> None:
    plain = [planned.step for planned in plan_of(handover).steps]
    device = attrs.evolve(handover.request.device, copy_routes=True)
    asked = attrs.evolve(handover, request=attrs.evolve(handover.request, device=device))
    record = record_in(plan_of(handover))
    assert record.captured is not None
    *before, confirm = plain
    copying = CopyRoutes(record, record.captured)
    assert [planned.step for planned in plan_of(asked).steps] == [*before, copying, confirm]


@given(some.userspace_handovers)
def test_without_a_netdev_the_pod_is_not_inspected(handover: Handover) -> None:
    steps = [type(planned.step) for planned in plan_of(handover).steps]
    assert steps == [SaveRecord, DelegateAdd, ConfirmRecord]


@given(some.native_handovers)
def test_a_native_add_records_moves_calls_its_ipam_plugin_configures_and_confirms(
    handover: Handover,
) -> None:
    steps = [type(planned.step) for planned in plan_of(handover).steps]
    asked = [] if handover.request.device.ipam is None else [IpamAdd]
    configured = [MoveIntoPod, *asked, ConfigureInPod, KeepOtherHops]
    assert steps == [SaveRecord, *configured, ConfirmRecord]


@given(some.native_userspace_handovers)
def test_a_native_add_without_a_netdev_only_calls_its_ipam_plugin(handover: Handover) -> None:
    steps = [type(planned.step) for planned in plan_of(handover).steps]
    asked = [] if handover.request.device.ipam is None else [IpamAdd]
    assert steps == [SaveRecord, *asked, ConfirmRecord]


@given(some.native_handovers)
def test_the_netdev_that_was_seen_is_moved_with_the_requested_mtu_and_mac(
    handover: Handover,
) -> None:
    step = plan_of(handover).steps[1].step
    assert isinstance(step, MoveIntoPod)
    assert step.netdev == handover.netdev
    assert step.mtu == handover.request.device.mtu
    assert step.record.pod_mac == handover.request.device.mac


@given(some.native_handovers, st.integers(0, 3), st.booleans())
def test_altnames_that_are_taken_in_the_pod_are_left_out(
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


@given(every_handovers, some.attachments, some.container_ids)
def test_with_sr_iov_the_other_functions_are_looked_at_again_once_the_record_is_written(
    handover: Handover, other: Attachment, another_pod: ContainerId
) -> None:
    request, snapshot = handover.request, handover.snapshot
    device = snapshot.candidates.device
    assume(device is not None and another_pod != request.attachment.container_id)
    assert device is not None
    device = attrs.evolve(device, physfn=PciAddress(0, 0xFE, 0, 0))
    other = attrs.evolve(other, key=DeviceKey(device.physfn))
    candidates = attrs.evolve(snapshot.candidates, device=device)
    snapshot = attrs.evolve(snapshot, candidates=candidates, kin=(other,))
    plan = plan_add(request, snapshot)
    assert plan.steps[1] == Planned(LookAtKin(record_in(plan), device, (other,)))
    lent = attrs.evolve(other, id=attrs.evolve(other.id, container_id=another_pod))
    snapshot = attrs.evolve(snapshot, kin=(lent,), kin_in_use=frozenset({lent.key}))
    with pytest.raises(DeviceProtected, match=f"belongs to the physical function {device.physfn}"):
        plan_add(request, snapshot)


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
            elif not isinstance(step, DelegateAdd | RestoreLink):
                assert step.record == record_in(plan)


WITHOUT_UNDO = (InspectPod, ConfigureInPod, KeepOtherHops, ConfirmRecord)
"""Steps whose only changes are removed by the undo of an earlier step."""


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
def test_the_undo_of_an_add_does_everything_that_a_release_does(handover: Handover) -> None:
    """Except for calling the IPAM plugin of a native ADD that has none."""
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


@given(some.configured_handovers | native_handovers)
def test_planning_does_not_change_the_request(handover: Handover) -> None:
    before = json.dumps(handover.request.network.raw)
    plan_of(handover)
    assert json.dumps(handover.request.network.raw) == before


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
    again = attrs.evolve(same, phase=Phase.ATTACHING, result=Result())
    assert is_repeated(same, request)
    assert is_repeated(again, request)
    for different in (
        attrs.evolve(same, phase=Phase.ATTACHING, result=None),
        attrs.evolve(same, phase=Phase.DETACHING),
        attrs.evolve(same, id=other),
        attrs.evolve(same, network=name),
        attrs.evolve(same, netns=attrs.evolve(record.netns, path="/elsewhere")),
    ):
        assert not is_repeated(different, request)


@given(some.attachments, some.results, some.results)
def test_what_is_attached_again_keeps_the_result_of_its_add(
    record: Attachment, promised: Result, found: Result
) -> None:
    again = attrs.evolve(record, phase=Phase.ATTACHING, result=promised)
    done = confirmed(again, Outcome(result=found, pod_ifindex=7, pod_mtu=9))
    assert (done.phase, done.result, done.pod_ifindex) == (Phase.ATTACHED, promised, 7)


# ---- returning


def device_of(record: Attachment) -> SysfsDevice | None:
    bus_device = record.key.bus_device
    return None if bus_device is None else SysfsDevice(bus_device)


@pytest.mark.parametrize("kept", [None, Interrupts({"40": "0-3"})])
@given(record=some.attachments_of(with_netdev=True), ipam_required=st.booleans())
def test_a_netdev_is_released_brought_home_restored_verified_and_then_forgotten(
    record: Attachment, ipam_required: bool, kept: Interrupts | None
) -> None:
    captured = record.captured
    assert captured is not None
    record = attrs.evolve(record, interrupts=kept)
    release = plan_release(record, record.boot_id, device_of(record), ipam_required=ipam_required)
    rdma = bool(record.rdma)
    assert release.work == (
        *((ReturnRdma(record),) * rdma),
        ReleasePlugins(record, ipam_required),
        BringHome(record, captured),
        RestoreConfiguration(record, captured),
        *(() if kept is None else (RestoreInterrupts(record, kept),)),
        VerifyHome(record, captured),
        *((VerifyRdma(record),) * rdma),
    )
    assert release.forget == ForgetRecord(record.key, record.taken_over)


@given(some.attachments_of(with_netdev=True))
def test_by_default_a_record_stays_until_the_ipam_plugin_succeeds(record: Attachment) -> None:
    work = plan_release(record, record.boot_id, device_of(record)).work
    assert ReleasePlugins(record, required=True) in work


@given(some.attachments_of(with_netdev=False), st.booleans())
def test_a_device_without_a_netdev_is_released_and_forgotten(
    record: Attachment, ipam_required: bool
) -> None:
    release = plan_release(record, record.boot_id, device_of(record), ipam_required=ipam_required)
    assert release.work == (ReleasePlugins(record, ipam_required),)
    assert release.forget == ForgetRecord(record.key, record.taken_over)


@pytest.mark.parametrize("plugged", [True, False])
@pytest.mark.parametrize("destroyed", [True, False])
@given(record=some.attachments)
def test_a_release_is_marked_as_begun_unless_the_record_was_unfinished(
    record: Attachment, plugged: bool, destroyed: bool
) -> None:
    device = device_of(record) if plugged else None
    for phase in Phase:
        found = attrs.evolve(record, phase=phase, result=None)
        mark = plan_release(found, record.boot_id, device, destroyed=destroyed).mark
        begun = SaveRecord(attrs.evolve(found, phase=Phase.DETACHING))
        assert mark == (begun if phase is Phase.ATTACHED else None)


@pytest.mark.parametrize("folder", ["/var/lib/before", None])
@given(record=some.attachments)
def test_a_record_is_removed_from_the_folder_that_it_was_read_from(
    record: Attachment, folder: str | None
) -> None:
    record = attrs.evolve(record, folder=folder)
    forget = plan_release(record, record.boot_id, device_of(record)).forget
    assert forget == ForgetRecord(record.key, record.taken_over, folder)


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
    for limit_s in (None, 5.0):
        release = plan_release(record, record.boot_id, None, limit_s=limit_s)
        assert release.work == (ReleasePlugins(record, limit_s=limit_s),)
        assert release.forget is None


@given(some.attachments, st.booleans(), st.none() | st.just(5.0))
def test_only_plugins_are_called_for_a_netdev_that_was_destroyed(
    record: Attachment, ipam_required: bool, limit_s: float | None
) -> None:
    release = plan_release(
        record,
        record.boot_id,
        device_of(record),
        ipam_required=ipam_required,
        destroyed=True,
        limit_s=limit_s,
    )
    assert release.work == (ReleasePlugins(record, ipam_required, limit_s),)
    assert release.forget is not None
    device = device_of(record)
    assert plan_homecoming(record, record.boot_id, device, destroyed=True).work == ()


@given(some.attachments, st.booleans())
def test_an_interrupted_release_is_planned_again_in_the_same_way(
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
def test_homecoming_and_farewell_add_up_to_the_whole_release(
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
def test_a_homecoming_forgets_the_record_only_if_no_plugin_needs_a_del(
    record: Attachment, alive: bool
) -> None:
    device = device_of(record)
    forget = plan_homecoming(record, record.boot_id, device).forget
    # The netdev is home: the pod's netns exists without it, or is gone.
    pod = Netns(record.netns.path, record.netns.id) if alive else None
    if release_call(record, pod) is not None:
        assert forget is None
    if record.ipam is None and record.captured is not None:
        assert forget == plan_release(record, record.boot_id, device).forget


@given(some.attachments_of(with_netdev=True), st.lists(some.policy_rules, min_size=1, max_size=2))
def test_a_homecoming_that_does_not_wait_leaves_the_policy_rules_and_the_record_for_later(
    record: Attachment, rules: list[Rule]
) -> None:
    assert record.captured is not None
    captured = attrs.evolve(record.captured, rules=tuple(rules))
    record, device = attrs.evolve(record, captured=captured), device_of(record)
    whole = plan_homecoming(record, record.boot_id, device)
    assert whole.work[-1] == RestoreRules(record, captured)
    early = plan_homecoming(record, record.boot_id, device, waits=False)
    assert early == Release(whole.mark, whole.work[:-1], None)
