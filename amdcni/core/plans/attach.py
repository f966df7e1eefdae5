"""The plan of an ADD."""

from typing import assert_never

from amdcni.core.attachment import Attachment
from amdcni.core.calls import add_call, ipam_call
from amdcni.core.errors import (
    DeviceNotFound,
)
from amdcni.core.host import (
    Netdev,
    Netns,
    names_of,
)
from amdcni.core.plans.recording import record_of
from amdcni.core.plans.refusals import (
    held_by,
    refuse_bad_pod,
    refuse_come_back,
    refuse_denied,
    refuse_held,
    refuse_lent_kin,
)
from amdcni.core.plans.release import give_back, homecoming
from amdcni.core.plans.snapshot import Snapshot
from amdcni.core.protection import refuse_protected
from amdcni.core.request import AddRequest, DeviceSelector, Mover
from amdcni.core.resolve import fits_record, resolve
from amdcni.core.spec import Verb
from amdcni.core.steps import (
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
    MoveRdma,
    Plan,
    Planned,
    ReleasePlugins,
    ReturnRdma,
    SaveRecord,
)


def plan_add(request: AddRequest, snapshot: Snapshot) -> Plan:
    """The whole of ADD: hand the selected device to the attachment.

    Raises: whatever forbids it, before anything has changed: InvalidEnvironment, IfnameTaken,
    DeviceHeld, DeviceNotFound, DeviceAmbiguous, DeviceProtected, PolicyDenies.
    """
    selector = request.device.selector
    refuse_held(selector, snapshot)
    refuse_bad_pod(request, snapshot.host, snapshot.pod)
    netdev = _chosen(selector, snapshot)
    refuse_come_back(netdev, snapshot)
    refuse_denied(netdev, snapshot)
    if netdev is not None:
        refuse_protected(netdev, snapshot.surroundings)
    in_use = (each for each in snapshot.kin if each.key in snapshot.kin_in_use)
    refuse_lent_kin(request.attachment, snapshot.candidates.device, in_use)
    record = record_of(request, snapshot, netdev)
    for other in snapshot.records:
        if other.key == record.key:
            raise held_by(other)
    match record.mover:
        case Mover.DELEGATE:
            handing_over = _by_delegate(record, netdev)
        case Mover.NATIVE:
            handing_over = _by_ourselves(record, netdev, snapshot.pod, request.device.mtu)
        case _:
            assert_never(record.mover)
    return Plan(
        (
            Planned(SaveRecord(record), undo=(ForgetRecord(record.key),)),
            *_alone(record, snapshot),
            *rdma_before(record, moved=request.device.move_rdma),
            *handing_over,
            *routes_after(record, copied=request.device.copy_routes),
            Planned(ConfirmRecord(record)),
        )
    )


def _alone(record: Attachment, snapshot: Snapshot) -> tuple[Planned, ...]:
    """With SR-IOV, a second look: another ADD may have begun since the first, and either sees it.

    Each of the two has written its record before it looks again.
    """
    device = snapshot.candidates.device
    if device is None or not device.kin:
        return ()
    return (Planned(LookAtKin(record, device, snapshot.kin)),)


def record_in(plan: Plan) -> Attachment:
    """The record that a plan of `plan_add` begins with."""
    (record,) = [p.step.record for p in plan.steps if isinstance(p.step, SaveRecord)]
    return record


def _by_delegate(record: Attachment, netdev: Netdev | None) -> tuple[Planned, ...]:
    """The mover `delegate`: it does all the work, and we check."""
    delegated = Planned(DelegateAdd(add_call(record), record, netdev), undo=give_back(record))
    if record.captured is None:
        return (delegated,)
    return (delegated, Planned(InspectPod(record)))


def _by_ourselves(
    record: Attachment, netdev: Netdev | None, pod: Netns, mtu: int | None
) -> tuple[Planned, ...]:
    """The mover `native`: the IPAM plugin, if any, runs when the netdev is in the pod and up."""
    call = ipam_call(record, Verb.ADD, netns_alive=True)
    lease = () if call is None else (Planned(IpamAdd(record, call), (ReleasePlugins(record),)),)
    captured = record.captured
    if netdev is None or captured is None:
        return lease
    taken = names_of(pod.netdevs) | {record.id.ifname}
    in_the_way = tuple(name for name in netdev.altnames if name in taken)
    move = MoveIntoPod(record, netdev, in_the_way, mtu)
    return (
        Planned(move, undo=homecoming(record, captured)),
        *lease,
        Planned(ConfigureInPod(record)),
    )


def rdma_before(record: Attachment, *, moved: bool) -> tuple[Planned, ...]:
    """What is due for the RDMA devices of the record's netdev before that is in the pod."""
    if not (record.rdma and moved):
        return ()
    return (Planned(MoveRdma(record), undo=(ReturnRdma(record),)),)


def routes_after(record: Attachment, *, copied: bool) -> tuple[Planned, ...]:
    """What is due for the netdev's routes once it is in the pod."""
    captured = record.captured
    if captured is None:
        return ()
    kept = Planned(KeepOtherHops(record, captured))
    return (kept, Planned(CopyRoutes(record, captured))) if copied else (kept,)


def _chosen(selector: DeviceSelector, snapshot: Snapshot) -> Netdev | None:
    """The netdev that is meant; if it is away, the records say who holds it, in a DeviceHeld."""
    try:
        return resolve(selector, snapshot.candidates)
    except DeviceNotFound:
        for record in snapshot.records:
            if fits_record(selector, record):
                raise held_by(record) from None
        raise
