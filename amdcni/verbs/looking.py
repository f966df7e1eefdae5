"""What a verb looks at: before it locks a device, and again once it holds the lock."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs

from amdcni.core import identity
from amdcni.core.attachment import Attachment, Phase
from amdcni.core.condition import Condition, Seen, condition_of
from amdcni.core.errors import AmdcniError, DeviceBusy, DeviceNotFound, StateFailure
from amdcni.core.host import Netdev, Netns, SysfsDevice
from amdcni.core.identity import dies_with_its_netns, find_in_pod
from amdcni.core.names import BusDevice, DeviceKey
from amdcni.core.plans.recording import gone, in_transit, is_repeated
from amdcni.core.plans.snapshot import Snapshot
from amdcni.core.policy import Naming, Traits, require_ipam, require_naming, traits_of
from amdcni.core.protection import Surroundings, rests_on
from amdcni.core.request import AddRequest, DeviceSelector
from amdcni.core.resolve import Candidates, fits_record, resolve
from amdcni.core.spec import AttachmentId
from amdcni.ports import Node

LOCK_WAIT_S: Final = 60.0
"""How long a call waits for another one that works on the same device."""


@contextmanager
def locked(
    key: DeviceKey, node: Node, *, wait_s: float = LOCK_WAIT_S, by: AttachmentId | None = None
) -> Iterator[Attachment | None]:
    """Hold the lock of a device, and look again: its record as it is now, None if there is none.

    Several state folders may each have a record of the device; that of `by` is looked for.

    Raises: DeviceBusy when another call holds the lock for longer than `wait_s` seconds.
    """
    with node.lock(key.lock_name, wait_s=wait_s):
        record = node.find_record(key)
        if record is not None and by not in (None, record.id) and key.bus_device is not None:
            held = node.records_of(key.bus_device)
            record = next((each for each in held if each.id == by), record)
        yield record


def is_plugged(record: Attachment, node: Node) -> bool:
    """Whether the device of `record` is in the machine, as far as it is on a bus at all."""
    return identity.is_plugged(record, node.find_device(record.key.bus_device))


def find_condition(record: Attachment, node: Node, host: Netns | None = None) -> Condition:
    """What has become of an attachment; `host` is `node.host()`, read now if it is None."""
    return _judged(record, node.find_pod(record.netns), node, host)


def _judged(record: Attachment, pod: Netns | None, node: Node, host: Netns | None) -> Condition:
    device = node.find_device(record.key.bus_device)
    seen = (record, node.clock().boot_id, host or node.host(), pod, device)
    condition = condition_of(*seen)
    if condition is Condition.MISSING and dies_with_its_netns(record):
        return condition_of(*seen, is_elsewhere=node.find_elsewhere(record) is not None)
    return condition


def see(record: Attachment, node: Node, host: Netns | None = None) -> Seen:
    """What is seen of an attachment, for whatever reports on it; `host` as for `find_condition`."""
    pod = node.find_pod(record.netns)
    condition = _judged(record, pod, node, host)
    is_netdev = condition is Condition.HELD and record.captured is not None
    left = is_netdev and find_in_pod(record, pod) is None
    if left or condition is Condition.MISSING:
        return Seen(condition, node.find_elsewhere(record), left=left)
    return Seen(condition)


def records_about(key: DeviceKey, node: Node) -> tuple[Attachment, ...]:
    """The records of all netdevs of the bus device, or of the netdev on no bus."""
    if key.bus_device is not None:
        return node.records_of(key.bus_device)
    record = node.find_record(key)
    return () if record is None else (record,)


def find_again(record: Attachment, node: Node) -> Attachment | None:
    """The record as it is now, or if it has gone, that which has its place; None without any.

    Several state folders may each have a record of the device.

    Raises: StateFailure if what is there now cannot be read.
    """
    found: Attachment | None = None
    failure = None
    try:
        found = node.find_record(record.key)
    except StateFailure as fault:
        failure = fault
    if failure is None and (found is None or found.id == record.id):
        return found
    others = (each for each in node.records() if (each.key, each.id) == (record.key, record.id))
    same = next(others, found)
    if same is None and failure is not None:
        raise failure
    return same


def records_near(attachment: AttachmentId, hint: BusDevice | None, node: Node) -> list[Attachment]:
    """The records of an attachment where `hint` says, at no cost for those of other devices."""
    near = () if hint is None else node.records_of(hint)
    return [record for record in near if record.id == attachment]


def records_held_by(
    attachment: AttachmentId, hint: BusDevice | None, node: Node
) -> list[Attachment]:
    """The records of an attachment: looked for where `hint` says, otherwise among all."""
    held = records_near(attachment, hint, node)
    return held or [record for record in node.records() if record.id == attachment]


def key_of_request(request: AddRequest, node: Node) -> DeviceKey:
    """The device that the request means.

    The records of the attachment itself come first: its ADD may be a repeated one.  Then a netdev
    on the host that fits is meant and, only if there is none, what is away according to the
    records, starting with what has to be healed.
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
        # Read again: a netdev that has left since the first reading got its record before that.
        away = _records_fitting(selector, node)
        if not away:
            raise
        own = [record for record in away if record.id == request.attachment]
        free = [record for record in away if not find_condition(record, node).about.in_use]
        return (*own, *free, *away)[0].key
    return DeviceKey(None) if netdev is None else _key_of_netdev(netdev, node)


def keeps_changing(request: AddRequest) -> DeviceBusy:
    """The error of an ADD if another device than before is meant each time that it is locked."""
    return DeviceBusy(f"what {request.device.selector} names keeps changing; try again")


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
        device=node.find_device(bus_device),
        at_kernelpath=None if selector.kernelpath is None else node.netdevs_at(selector.kernelpath),
    )


def require_allowed(request: AddRequest, node: Node) -> None:
    """Raise PolicyDenies unless the policy lets this definition name its device and its IPAM."""
    uid, policy = request.invocation.pod_uid, node.policy
    asked = None if policy.naming is Naming.ANY else uid
    allocated = None if asked is None else node.allocated_to(asked)
    require_naming(policy, request.device.selector, allocated, uid)
    require_ipam(policy, request.device.ipam)


def look(
    request: AddRequest,
    key: DeviceKey,
    pod: Netns,
    records: tuple[Attachment, ...],
    node: Node,
) -> Snapshot | None:
    """Everything that the plan depends on, read under the lock of `key`.

    None if another device is meant now than the locked one: names move from one netdev to another.
    """
    host, policy = node.host(), node.policy
    candidates = _candidates(request.device.selector, key.bus_device, host, node)
    snapshot = Snapshot(
        clock=node.clock(),
        host=host,
        pod=pod,
        candidates=candidates,
        records=records,
        policy=policy,
        **_kin_of(candidates.device, node, host),
    )
    try:
        netdev = resolve(request.device.selector, candidates)
    except AmdcniError:
        netdev = None  # The plan can say better why there is none.
    if _means_another(request, key, netdev, node):
        return None
    if netdev is None:
        return snapshot
    earlier = node.multipath_records()
    details = node.details(netdev)
    multipath = node.multipath_records()
    taken = netdev.ifindex in [other.ifindex for other in pod.netdevs]
    renumbered = taken and not node.keeps_ifindexes()
    lost = node.unsaved(netdev, details, renumbered=renumbered)
    load = node.load(host.netdevs, (netdev,))
    around = Surroundings(host.netdevs, load=load)
    return attrs.evolve(
        snapshot,
        details=attrs.evolve(details, unsaved=(*details.unsaved, *lost)),
        load=load,
        rdma=node.rdma(),
        multipath=(*multipath, *gone(earlier, multipath)),
        in_transit=in_transit(earlier, multipath),
        below=() if policy.lending is None else _below(netdev, around, node),
        interrupts=node.interrupts_of(_device_in(candidates)),
    )


def _device_in(candidates: Candidates) -> BusDevice | None:
    return None if candidates.device is None else candidates.device.bus_device


def _kin_of(device: SysfsDevice | None, node: Node, host: Netns) -> dict[str, Any]:
    """What a snapshot has of the functions that control the device or are controlled by it."""
    addresses = () if device is None else device.kin
    kin = tuple(record for address in addresses for record in node.records_of(address))
    in_use = frozenset(
        record.key
        for record in kin
        if record.phase is not Phase.ATTACHED or find_condition(record, node, host).about.in_use
    )
    return {"kin": kin, "kin_in_use": in_use}


def _below(netdev: Netdev, around: Surroundings, node: Node) -> tuple[Traits, ...]:
    """What the policy's rules look at of the netdevs that this one rests on."""
    found = []
    for each in rests_on(netdev, around):
        found.append(traits_of(each, node.find_device(node.bus_device_of(each.ifname))))
    return tuple(found)


def _means_another(request: AddRequest, key: DeviceKey, netdev: Netdev | None, node: Node) -> bool:
    """Whether a device other than that of `key` is meant now.

    `netdev` is what fits on the host now.  If nothing does, a netdev may have left after it had
    been found, and before its bus device was looked up.
    """
    if request.device.selector.bus_device is not None:
        return False
    try:
        now = key_of_request(request, node) if netdev is None else _key_of_netdev(netdev, node)
    except AmdcniError:
        return False
    return now.lock_name != key.lock_name


def is_meant_again(record: Attachment, condition: Condition, request: AddRequest) -> bool:
    """Whether `request` is the ADD that succeeded according to `record`, of the same device.

    The device has to be in the machine.
    """
    if condition not in (Condition.HELD, Condition.RESET):
        return False
    return fits_record(request.device.selector, record) and is_repeated(record, request)
