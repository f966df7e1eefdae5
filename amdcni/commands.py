"""The verbs: read what is there, plan, run, and make the answer.

Each takes a request and a node, and gives what the runtime gets or raises an `AmdcniError`.
"""

from collections.abc import Collection, Iterable
from functools import partial
from typing import Final

import attrs

from amdcni import execute, healing, takeover
from amdcni.core import calls, forecast, plans
from amdcni.core import check as checks
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Details
from amdcni.core.condition import Condition
from amdcni.core.errors import (
    AmdcniError,
    CheckFailed,
    DeviceBusy,
    DeviceNotFound,
    Failures,
    InvalidEnvironment,
    NotAvailable,
    PluginNotFound,
    UnknownAttachment,
)
from amdcni.core.host import Netdev, Netns, NetnsId
from amdcni.core.names import BusDevice, DeviceKey, PluginName
from amdcni.core.request import (
    AddRequest,
    CheckRequest,
    DelRequest,
    DeviceSelector,
    GcRequest,
    Request,
    StatusRequest,
)
from amdcni.core.resolve import Candidates, fits_record, resolve
from amdcni.core.spec import AttachmentId, Result, Verb
from amdcni.core.steps import Outcome, Plan, PluginCall, SaveRecord
from amdcni.core.versions import GC_AND_STATUS_SINCE
from amdcni.healing import (
    bring_home_at_once,
    device_of,
    find_condition,
    give_back,
    give_back_locked,
    heal_unfinished,
    is_destroyed,
    report_healed,
)
from amdcni.node import Node
from amdcni.settling import find_settled

LOCK_WAIT_S: Final = 60.0
"""How long a call waits for another one that works on the same device."""


def serve(request: Request, node: Node) -> Result | None:
    """Carry out `request`; the result of an ADD, None for the verbs that answer nothing."""
    match request:
        case AddRequest(prev_result=previous):
            result = add(request, node)
            return result if previous is None else result.after(previous)
        case DelRequest():
            delete(request, node)
        case CheckRequest():
            check(request, node)
        case GcRequest():
            gc(request, node)
        case StatusRequest():
            status(request, node)
    return None


# ---- ADD ---------------------------------------------------------------------------------------


def add(request: AddRequest, node: Node) -> Result:
    """Hand the device to the attachment; on any failure the host is exactly as it was."""
    if not node.is_netns(request.netns):
        raise InvalidEnvironment(f"CNI_NETNS {request.netns!r} is not a network namespace")
    for plugin in calls.plugins_for(request.device.mover, request.device.ipam):
        node.find_plugin(plugin)
    heal_unfinished(node)
    for _ in range(_MOST_ATTEMPTS):
        key = _key_to_lock(request, node)
        with node.lock(key.lock_name, wait_s=LOCK_WAIT_S):
            result = _add_locked(request, key, node)
        if result is not None:
            return result
    raise DeviceBusy(f"what {request.device.selector} names keeps changing; try again")


_MOST_ATTEMPTS: Final = 5
"""How often an ADD starts over because its device has become another before it was locked."""


def _add_locked(request: AddRequest, key: DeviceKey, node: Node) -> Result | None:
    """Do the work of an ADD whose device is locked; None if the selector names another one now."""
    done = _settle_earlier(request, key, node)
    if done is not None:
        return done
    pod = node.find_netns(request.netns)
    if pod is None:
        raise InvalidEnvironment(f"CNI_NETNS {request.netns!r} has gone")
    snapshot = _snapshot(request, key, pod, _records_about(key, node), node)
    if snapshot is None:
        return None
    plan = plans.plan_add(request, snapshot)
    for what in snapshot.details.unsaved:
        node.report("not-saved", device=str(key), what=what)
    return execute.run(plan, node).result or Result()


def _key_to_lock(request: AddRequest, node: Node) -> DeviceKey:
    """The device that the request means.

    The records of the attachment itself go first: its ADD may be a repeated one.  Then a netdev on
    the host that fits is meant, and only where there is none, what the records tell to be away, at
    first what is to be healed.
    """
    selector = request.device.selector
    if selector.bus_device is not None:
        return DeviceKey(selector.bus_device)
    for record in _records_fitting(selector, node):
        if record.id == request.attachment:
            return record.key
    try:
        netdev = resolve(selector, _candidates(selector, None, node.host(), node))
    except DeviceNotFound:
        # Read anew: a netdev that has gone since the first reading has left its record before.
        away = _records_fitting(selector, node)
        if not away:
            raise
        own = [record for record in away if record.id == request.attachment]
        free = [record for record in away if find_condition(record, node) not in _IN_USE]
        return (*own, *free, *away)[0].key
    return DeviceKey(None) if netdev is None else _key_of_netdev(netdev, node)


def _records_fitting(selector: DeviceSelector, node: Node) -> list[Attachment]:
    return [record for record in node.records() if fits_record(selector, record)]


def _key_of_netdev(netdev: Netdev, node: Node) -> DeviceKey:
    """What is locked for a netdev on the host."""
    bus_device = node.bus_device_of(netdev.ifname)
    return DeviceKey(bus_device, None if bus_device else netdev.ifname)


def _candidates(
    selector: DeviceSelector, bus_device: BusDevice | None, host: Netns, node: Node
) -> Candidates:
    return Candidates(
        netdevs=host.netdevs,
        device=None if bus_device is None else node.find_device(bus_device),
        at_kernelpath=None if selector.kernelpath is None else node.netdevs_at(selector.kernelpath),
    )


def _records_about(key: DeviceKey, node: Node) -> tuple[Attachment, ...]:
    if key.bus_device is not None:
        return node.records_of(key.bus_device)
    record = node.find_record(key)
    return () if record is None else (record,)


_IN_USE: Final = (Condition.HELD, Condition.UNPLUGGED)
"""The conditions in which a device is not taken from an attachment."""


def _settle_earlier(request: AddRequest, key: DeviceKey, node: Node) -> Result | None:
    """Heal what earlier calls left of the device; the result if this very ADD is done already.

    A runtime does not repeat an ADD without a DEL, unless the first was killed before it could
    answer; then the same answer is right if all is as promised, and else the work is done anew.
    """
    for record in _records_about(key, node):
        condition = find_condition(record, node)
        if condition in _IN_USE:
            if condition is not Condition.HELD or not _is_meant_again(record, request):
                continue
            netns, promised = record.netns, checks.promised_by(record)
            pod = find_settled(partial(node.find_pod, netns), record, promised, node)
            if record.result is not None and checks.is_as_promised(record, pod):
                return record.result
        give_back(record, node, ipam_required=False)
        report_healed(record, condition, node)
    if not _records_about(key, node):
        lent = takeover.begin(request, key.bus_device, node)
        if lent is not None:
            give_back(lent, node, ipam_required=False)
    return None


def _is_meant_again(record: Attachment, request: AddRequest) -> bool:
    """Whether `request` is the very ADD that `record` tells the success of, of the same device."""
    return fits_record(request.device.selector, record) and plans.is_repeated(record, request)


def _snapshot(
    request: AddRequest,
    key: DeviceKey,
    pod: Netns,
    records: tuple[Attachment, ...],
    node: Node,
) -> plans.Snapshot | None:
    """Everything that the plan depends on, read under the lock of `key`.

    None if another device is meant now than what is locked: names go from one netdev to another.
    """
    host = node.host()
    candidates = _candidates(request.device.selector, key.bus_device, host, node)
    snapshot = plans.Snapshot(
        clock=node.clock(),
        host=host,
        pod=pod,
        candidates=candidates,
        records=records,
    )
    try:
        netdev = resolve(request.device.selector, candidates)
    except AmdcniError:
        netdev = None  # The plan knows better why there is none.
    if _means_another(request, key, netdev, node):
        return None
    if netdev is None:
        return snapshot
    details = node.details(netdev)
    renumbered = netdev.ifindex in [other.ifindex for other in pod.netdevs]
    lost = node.unsaved(netdev, details, renumbered=renumbered)
    return attrs.evolve(
        snapshot,
        details=attrs.evolve(details, unsaved=(*details.unsaved, *lost)),
        load=node.load(host.netdevs, (netdev,)),
        multipath=node.multipath_records() if details.routes else (),
    )


def _means_another(request: AddRequest, key: DeviceKey, netdev: Netdev | None, node: Node) -> bool:
    """Whether another device is meant now than that of `key`.

    `netdev` is what fits on the host now.  Where nothing does, a netdev may have left after it had
    been found, and before its bus device was asked for.
    """
    if request.device.selector.bus_device is not None:
        return False
    try:
        now = _key_to_lock(request, node) if netdev is None else _key_of_netdev(netdev, node)
    except AmdcniError:
        return False
    return now.lock_name != key.lock_name


@attrs.frozen
class Preview:
    """What an ADD would do now: give back what is `stale` of the device, and carry out `plan`.

    `plan` is None if this very ADD has been done and all is as promised: its result is answered.
    `unsaved` tells in words what of the netdev no record can hold.
    """

    stale: tuple[Attachment, ...]
    plan: Plan | None
    unsaved: tuple[str, ...] = ()


def preview(request: AddRequest, node: Node) -> Preview:
    """What `add` would do now; nothing is changed, waited for, or needed of the pod yet.

    A netns that is not there counts as an empty one.

    Raises: what `add` raises before it changes anything, or if it can give back what is stale.
    """
    for plugin in calls.plugins_for(request.device.mover, request.device.ipam):
        node.find_plugin(plugin)
    key = _key_to_lock(request, node)
    stale: list[Attachment] = []
    live: list[Attachment] = []
    for record in _records_about(key, node):
        condition = find_condition(record, node)
        in_use = condition in _IN_USE
        if condition is Condition.HELD and _is_meant_again(record, request):
            there = node.find_pod(record.netns)
            if record.result is not None and checks.is_as_promised(record, there):
                return Preview((), None)
            in_use = False
        (live if in_use else stale).append(record)
    lent = None if live else takeover.foresee(request, key.bus_device, node)
    stale += [] if lent is None else [lent]
    pod = node.find_netns(request.netns) or Netns(request.netns, NetnsId(0, 0))
    snapshot = _snapshot(request, key, pod, tuple(live), node)
    if snapshot is None:
        raise DeviceBusy(f"what {request.device.selector} names keeps changing; try again")
    snapshot = _healed(request.device.selector, snapshot, stale, node)
    plan = plans.plan_add(request, snapshot)
    return Preview(tuple(stale), plan, snapshot.details.unsaved)


def _healed(
    selector: DeviceSelector, snapshot: plans.Snapshot, stale: Collection[Attachment], node: Node
) -> plans.Snapshot:
    """The snapshot as it will be once what is `stale` has been given back."""
    details: dict[int, Details] = {}
    for record in stale:
        outdated = record.boot_id != snapshot.clock.boot_id
        if outdated or record.captured is None or is_destroyed(record, node):
            continue
        pod, device = node.find_pod(record.netns), device_of(record, node)
        found = forecast.find_netdev(record, snapshot.host, pod, device)
        others, elapsed_s = snapshot.host.netdevs, record.elapsed_s(snapshot.clock.now_s)
        seen = node.details(found.netdev) if found.on_host else Details()
        netdev = forecast.netdev_at_home(record.captured, found, others, elapsed_s)
        details[netdev.ifindex] = forecast.details_at_home(
            record.captured, netdev, seen, others, elapsed_s
        )
        snapshot = forecast.after(snapshot, record, found, netdev)
    if not details:
        return snapshot
    chosen = resolve(selector, snapshot.candidates)
    if chosen is None:
        return snapshot
    known = details.get(chosen.ifindex) or node.details(chosen)
    multipath = node.multipath_records() if known.routes else ()
    return attrs.evolve(
        snapshot,
        details=known,
        multipath=tuple(each for each in multipath if each not in stale),
    )


# ---- DEL, GC -----------------------------------------------------------------------------------


def delete(request: DelRequest, node: Node) -> None:
    """Take back what this attachment holds, and only that; nothing to take back is a success.

    A configuration that cannot be used keeps nothing from coming back, since a pod could not end
    then; it is a failure only if the attachment holds nothing.
    """
    hint = None if request.selector is None else request.selector.bus_device
    near = takeover.find_device(request, node) if hint is None else hint
    found = False
    if near is not None and not node.records_of(near):
        found = _take_over(request, DeviceKey(near), node)
    if hint is not None and not node.records_of(hint):
        found = _salvage(request, DeviceKey(hint), node) or found
    for record in _records_held_by(request.attachment, hint, node):
        give_back_locked(record, node, wait_s=LOCK_WAIT_S)
        found = True
    if request.fault is not None:
        if not found:
            raise request.fault
        node.report("configuration-ignored", reason=request.fault.message)
    heal_unfinished(node)


def _records_held_by(
    attachment: AttachmentId, hint: BusDevice | None, node: Node
) -> Iterable[Attachment]:
    """The records of an attachment: looked for where `hint` says, and else among all."""
    near = () if hint is None else node.records_of(hint)
    held = [record for record in near if record.id == attachment]
    return held or [record for record in node.records() if record.id == attachment]


def _take_over(request: DelRequest, key: DeviceKey, node: Node) -> bool:
    """Give back what the Go plugin lent to the attachment; whether there was something."""
    if takeover.find_mapping(key.bus_device, node) is None:
        return False
    with node.lock(key.lock_name, wait_s=LOCK_WAIT_S):
        if not _records_about(key, node):
            lent = takeover.begin(request, key.bus_device, node)
            if lent is not None:
                give_back(lent, node)
                return True
    return False


def _salvage(request: DelRequest, key: DeviceKey, node: Node) -> bool:
    """Give back a netdev of ours that is in the pod and has lost its record; whether one was."""
    device = None if key.bus_device is None else node.find_device(key.bus_device)
    pod = None if request.netns is None else node.find_netns(request.netns)
    if device is None or pod is None or pod.id == node.host().id:
        return False
    damaged = node.was_damaged(key)
    record = plans.salvage(request, device, pod, node.clock(), record_damaged=damaged)
    if record is not None:
        with node.lock(key.lock_name, wait_s=LOCK_WAIT_S):
            if not _records_about(key, node):
                node.report("salvaged", device=str(key), holder=str(record.id))
                node.perform(SaveRecord(record), Outcome())
                give_back(record, node)
                return True
    return False


def gc(request: GcRequest, node: Node) -> None:
    """Release every attachment of the network that is not valid; without a list, none.

    Whatever the list says, what can be healed is healed.
    """
    if request.valid is None:
        healing.heal(node, healing.ROUTINE)
        return
    failures, network = Failures(), request.network.name
    stale = [r for r in node.records() if r.network == network and r.id not in request.valid]
    # No netdev waits for the plugins of another.
    for record in bring_home_at_once(stale, node):
        with failures:
            give_back_locked(record, node, wait_s=LOCK_WAIT_S)
    if request.ipam is not None:
        with failures:
            _call_if_known(
                PluginCall(request.ipam, Verb.GC, request.network.raw, None, "", ""), node
            )
    healing.heal(node, healing.ROUTINE, besides=[record.key for record in stale])
    failures.raise_first()


# ---- CHECK, STATUS -----------------------------------------------------------------------------


def check(request: CheckRequest, node: Node) -> None:
    """Raise CheckFailed, listing every difference, unless the attachment is as promised."""
    held = _records_held_by(request.attachment, request.device.selector.bus_device, node)
    record = next(iter(held), None)
    if record is None:
        raise UnknownAttachment(f"no device is attached as {request.attachment}")
    promised = checks.promised_to(request, record)
    pod = find_settled(partial(node.find_netns, request.netns), record, promised, node)
    problems = checks.problems(request, record, pod)
    if problems or pod is None:
        raise CheckFailed("; ".join(problems))
    call = calls.check_call(request, record, pod)
    if call is not None:
        node.call(call)


def status(request: StatusRequest, node: Node) -> None:
    """Raise NotAvailable, or what a plugin below says, if an ADD could not work now.

    A runtime asks from time to time; what can be healed is healed then.
    """
    node.require_ready()
    healing.heal(node, healing.ROUTINE)
    for plugin in calls.plugins_for(request.mover, request.ipam):
        _require_plugin(plugin, request, node)


def _require_plugin(plugin: PluginName, request: StatusRequest, node: Node) -> None:
    try:
        node.find_plugin(plugin)
    except PluginNotFound as failure:
        raise NotAvailable(failure.message) from None
    _call_if_known(PluginCall(plugin, Verb.STATUS, request.network.raw, None, "", ""), node)


def _call_if_known(call: PluginCall, node: Node) -> None:
    """Pass GC or STATUS on to a plugin, unless it is from before CNI 1.1, which brought them."""
    if GC_AND_STATUS_SINCE in node.versions_of(call.plugin):
        node.call(call)
