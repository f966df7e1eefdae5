"""The verbs: read what is there, plan, run, and make the answer.

Each takes a request and a node, and gives what the runtime gets or raises an `AmdcniError`.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from amdcni import execute, healing, takeover
from amdcni.core import calls, plans
from amdcni.core import check as checks
from amdcni.core.attachment import Attachment
from amdcni.core.condition import Condition
from amdcni.core.errors import (
    AmdcniError,
    CheckFailed,
    Failures,
    InvalidEnvironment,
    NotAvailable,
    PluginNotFound,
    UnknownAttachment,
)
from amdcni.core.host import Netns, NetnsId
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
from amdcni.core.resolve import Candidates, resolve
from amdcni.core.spec import AttachmentId, Result, Verb
from amdcni.core.steps import Outcome, Plan, PluginCall, SaveRecord
from amdcni.core.versions import GC_AND_STATUS_SINCE
from amdcni.healing import (
    find_condition,
    give_back,
    give_back_locked,
    heal_unfinished,
    report_healed,
)
from amdcni.node import Node

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
    selector = request.device.selector
    key = _key_to_lock(selector, node)
    with node.lock(key.lock_name, wait_s=LOCK_WAIT_S):
        done = _settle_earlier(request, key, node)
        if done is not None:
            return done
        pod = node.find_netns(request.netns)
        if pod is None:
            raise InvalidEnvironment(f"CNI_NETNS {request.netns!r} has gone")
        snapshot = _snapshot(request, key, pod, _records_about(key, node), node)
        plan = plans.plan_add(request, snapshot)
        for what in snapshot.details.unsaved:
            node.report("not-saved", device=str(key), what=what)
        return execute.run(plan, node).result or Result()


def _key_to_lock(selector: DeviceSelector, node: Node) -> DeviceKey:
    """The device that `selector` means, looked for in the records if it is not on the host."""
    if selector.bus_device is not None:
        return DeviceKey(selector.bus_device)
    if selector.ifname is not None:
        for record in node.records():
            if record.host_ifname == selector.ifname:
                return record.key
    host = node.host()
    netdev = resolve(selector, _candidates(selector, None, host, node))
    if netdev is None:
        return DeviceKey(None)
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
            if not plans.is_repeated(record, request):
                continue
            pod = node.find_netns(record.netns.path)
            if record.result is not None and checks.is_as_promised(record, pod):
                return record.result
        give_back(record, node, ipam_required=False)
        report_healed(record, condition, node)
    if not _records_about(key, node):
        lent = takeover.begin(request, key.bus_device, node)
        if lent is not None:
            give_back(lent, node, ipam_required=False)
    return None


def _snapshot(
    request: AddRequest,
    key: DeviceKey,
    pod: Netns,
    records: tuple[Attachment, ...],
    node: Node,
) -> plans.Snapshot:
    """Everything that the plan depends on, read under the lock of `key`."""
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
    if netdev is None:
        return snapshot
    details = node.details(netdev)
    return attrs.evolve(
        snapshot,
        details=details,
        load=node.load(host.netdevs, (netdev,)),
        multipath=node.multipath_records() if details.routes else (),
    )


@attrs.frozen
class Preview:
    """What an ADD would do now: give back what is `stale` of the device, and carry out `plan`."""

    stale: tuple[Attachment, ...]
    plan: Plan


def preview(request: AddRequest, node: Node) -> Preview:
    """What `add` would do now; nothing is changed, waited for, or needed of the pod yet.

    A netns that is not there counts as an empty one.

    Raises: what `add` raises before it changes anything.
    """
    for plugin in calls.plugins_for(request.device.mover, request.device.ipam):
        node.find_plugin(plugin)
    key = _key_to_lock(request.device.selector, node)
    records = _records_about(key, node)
    stale = tuple(r for r in records if find_condition(r, node) not in _IN_USE)
    live = tuple(record for record in records if record not in stale)
    pod = node.find_netns(request.netns) or Netns(request.netns, NetnsId(0, 0))
    return Preview(stale, plans.plan_add(request, _snapshot(request, key, pod, live, node)))


# ---- DEL, GC -----------------------------------------------------------------------------------


def delete(request: DelRequest, node: Node) -> None:
    """Take back what this attachment holds, and only that; nothing to take back is a success."""
    hint = None if request.selector is None else request.selector.bus_device
    near = takeover.find_device(request, node) if hint is None else hint
    if near is not None and not node.records_of(near):
        _take_over(request, DeviceKey(near), node)
    if hint is not None and not node.records_of(hint):
        _salvage(request, DeviceKey(hint), node)
    for record in _records_held_by(request.attachment, hint, node):
        give_back_locked(record, node, wait_s=LOCK_WAIT_S)
    heal_unfinished(node)


def _records_held_by(
    attachment: AttachmentId, hint: BusDevice | None, node: Node
) -> Iterable[Attachment]:
    """The records of an attachment: looked for where `hint` says, and else among all."""
    near = () if hint is None else node.records_of(hint)
    held = [record for record in near if record.id == attachment]
    return held or [record for record in node.records() if record.id == attachment]


def _take_over(request: DelRequest, key: DeviceKey, node: Node) -> None:
    """Give back what the Go plugin lent to the attachment."""
    if takeover.find_mapping(key.bus_device, node) is None:
        return
    with node.lock(key.lock_name, wait_s=LOCK_WAIT_S):
        if not _records_about(key, node):
            lent = takeover.begin(request, key.bus_device, node)
            if lent is not None:
                give_back(lent, node)


def _salvage(request: DelRequest, key: DeviceKey, node: Node) -> None:
    """Give back a netdev of ours that is in the pod and has no record any more."""
    device = None if key.bus_device is None else node.find_device(key.bus_device)
    pod = None if request.netns is None else node.find_netns(request.netns)
    if device is None or pod is None or pod.id == node.host().id:
        return
    damaged = node.was_damaged(key)
    record = plans.salvage(request, device, pod, node.clock(), record_damaged=damaged)
    if record is not None:
        with node.lock(key.lock_name, wait_s=LOCK_WAIT_S):
            if not _records_about(key, node):
                node.report("salvaged", device=str(key), holder=str(record.id))
                node.perform(SaveRecord(record), Outcome())
                give_back(record, node)


def gc(request: GcRequest, node: Node) -> None:
    """Release every attachment of the network that is not valid; without a list, none.

    Whatever the list says, what can be healed is healed.
    """
    if request.valid is None:
        healing.heal(node)
        return
    failures = Failures()
    for record in node.records():
        if record.network == request.network.name and record.id not in request.valid:
            with failures:
                give_back_locked(record, node, wait_s=LOCK_WAIT_S)
    if request.ipam is not None:
        with failures:
            _call_if_known(
                PluginCall(request.ipam, Verb.GC, request.network.raw, None, "", ""), node
            )
    healing.heal(node)
    failures.raise_first()


# ---- CHECK, STATUS -----------------------------------------------------------------------------


def check(request: CheckRequest, node: Node) -> None:
    """Raise CheckFailed, listing every difference, unless the attachment is as promised."""
    held = _records_held_by(request.attachment, request.device.selector.bus_device, node)
    record = next(iter(held), None)
    if record is None:
        raise UnknownAttachment(f"no device is attached as {request.attachment}")
    pod = node.find_netns(request.netns)
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
    healing.heal(node)
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
