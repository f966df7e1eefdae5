"""DEL: what an attachment holds is returned to the host."""

import attrs

from amdcni.core.names import BusDevice, DeviceKey
from amdcni.core.plans.salvage import salvage
from amdcni.core.policy import allows_ipam
from amdcni.core.request import DelRequest
from amdcni.core.steps import Outcome, SaveRecord
from amdcni.ports import Node
from amdcni.verbs import taking_over
from amdcni.verbs.giving_back import give_back, give_back_locked
from amdcni.verbs.healing import heal_unfinished
from amdcni.verbs.looking import (
    LOCK_WAIT_S,
    locked,
    records_about,
    records_held_by,
    records_near,
)


def delete(request: DelRequest, node: Node) -> None:
    """Return to the host what this attachment holds, and only that; nothing to return is a success.

    A configuration that cannot be used keeps nothing from coming back, as otherwise a pod could not
    end; it is a failure only if the attachment holds nothing.
    """
    if not allows_ipam(node.policy, request.ipam):
        request = _without_ipam(request)
    hint = None if request.selector is None else request.selector.bus_device
    held, found = records_near(request.attachment, hint, node), False
    if not held:
        found = _without_record(request, hint, node)
        held = records_held_by(request.attachment, hint, node)
    for record in held:
        give_back_locked(record, node, wait_s=LOCK_WAIT_S)
        found = True
    if request.fault is not None:
        if not found:
            raise request.fault
        node.report("configuration-ignored", reason=request.fault.message)
    heal_unfinished(node)


def _without_record(request: DelRequest, hint: BusDevice | None, node: Node) -> bool:
    """Return to the host what the attachment has without a record; whether there was anything."""
    near = taking_over.find_device(request, node) if hint is None else hint
    found = False
    if near is not None and not node.records_of(near):
        found = _take_over(request, DeviceKey(near), node)
    if hint is not None and not node.records_of(hint):
        found = _salvage(request, DeviceKey(hint), node) or found
    return found


def _without_ipam(request: DelRequest) -> DelRequest:
    """What counts without a record, without the IPAM plugin; a record has its own."""
    raw = {key: value for key, value in request.network.raw.items() if key.casefold() != "ipam"}
    return attrs.evolve(request, ipam=None, network=attrs.evolve(request.network, raw=raw))


def _take_over(request: DelRequest, key: DeviceKey, node: Node) -> bool:
    """Return to the host what the Go plugin lent to the attachment; whether there was anything."""
    if taking_over.find_mapping(key.bus_device, node) is None:
        return False
    with locked(key, node):
        if not records_about(key, node):
            lent = taking_over.begin(request, key.bus_device, node)
            if lent is not None:
                give_back(lent, node)
                return True
    return False


def _salvage(request: DelRequest, key: DeviceKey, node: Node) -> bool:
    """Return to the host our netdev in the pod that has lost its record; whether there was one."""
    device = node.find_device(key.bus_device)
    pod = None if request.netns is None else node.find_netns(request.netns)
    if device is None or pod is None or pod.id == node.host().id:
        return False
    damaged = node.was_damaged(key)
    record = salvage(request, device, pod, node.clock(), record_damaged=damaged)
    if record is not None:
        with locked(key, node):
            if not records_about(key, node):
                node.report("salvaged", **record.facts)
                node.perform(SaveRecord(record), Outcome())
                give_back(record, node)
                return True
    return False
