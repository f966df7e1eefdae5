"""Giving devices back: because a call asks for it, or because nobody will any more."""

from collections.abc import Collection, Iterable
from typing import Final

import attrs

from amdcni import execute
from amdcni.core import plans
from amdcni.core.attachment import Attachment, Phase
from amdcni.core.condition import HEALABLE, Condition, condition_of
from amdcni.core.errors import AmdcniError, DeviceBusy
from amdcni.core.host import Netns, SysfsDevice
from amdcni.core.identity import dies_with_its_netns, is_plugged
from amdcni.core.names import DeviceKey
from amdcni.core.steps import ForgetRecord, Outcome, SaveRecord
from amdcni.node import Node


def give_back(record: Attachment, node: Node, *, ipam_required: bool = True) -> None:
    """Give back the device of `record`, whose lock is held, and forget the record."""
    facts = {"device": str(record.key), "holder": str(record.id)}
    device, destroyed = device_of(record, node), _is_destroyed(record, node)
    plan = plans.plan_release(
        record,
        node.clock().boot_id,
        device,
        ipam_required=ipam_required,
        destroyed=destroyed,
    )
    execute.release(plan, node)
    if destroyed:
        lost = " ".join(record.host_addresses)
        node.report("destroyed", **facts, ifname=record.host_ifname, addresses=lost)
    if plan.forget is None:
        node.report("unplugged", **facts)


def _is_destroyed(record: Attachment, node: Node) -> bool:
    """Whether there is nothing to give back, because the kernel has destroyed it."""
    gone = dies_with_its_netns(record) and find_condition(record.detaching(), node)
    return gone is Condition.DESTROYED


def give_back_locked(seen: Attachment, node: Node, *, wait_s: float) -> None:
    """Give back the device of a record, unless another call has done so while we waited."""
    with node.lock(seen.key.lock_name, wait_s=wait_s):
        record = node.find_record(seen.key)
        if record is not None and record.id != seen.id and seen.key.bus_device is not None:
            # State folders of their own may each have a record of the device.
            held = node.records_of(seen.key.bus_device)
            record = next((each for each in held if each.id == seen.id), None)
        if record is not None and record.id == seen.id:
            give_back(record, node)


def device_of(record: Attachment, node: Node) -> SysfsDevice | None:
    """What sysfs says of the record's device now; None if it has none or is not plugged in."""
    bus_device = record.key.bus_device
    return None if bus_device is None else node.find_device(bus_device)


def heal_unfinished(node: Node, *, besides: Collection[DeviceKey] = ()) -> None:
    """Take up every work that was begun and has no process at it any more, `besides` of these.

    What cannot be healed now stays recorded, is reported, and hinders nobody else.
    """
    for key in node.unfinished():
        if key in besides:
            continue
        try:
            with node.lock(key.lock_name, wait_s=0):
                _heal(key, node)
        except DeviceBusy:
            continue
        except AmdcniError as failure:
            node.report("not-healed", device=str(key), reason=str(failure))


def _heal(key: DeviceKey, node: Node) -> None:
    """Heal one device, whose lock is held; a mark without unfinished work is in vain.

    The record of an unplugged device waits for it, without a word at every call.
    """
    record = node.find_record(key)
    if record is None:
        node.perform(ForgetRecord(key), Outcome())
    elif record.phase is Phase.ATTACHED:
        node.perform(SaveRecord(record), Outcome())
    elif is_plugged(record, device_of(record, node)):
        give_back(record, node)
        report_healed(record, Condition.UNFINISHED, node)


def report_healed(record: Attachment, condition: Condition, node: Node) -> None:
    """Tell the operator that the host has a device back as it was, by a boot or by us."""
    facts = {"device": str(record.key), "holder": str(record.id)}
    if condition is Condition.OUTDATED:
        node.report("outdated", **facts)
    elif condition is not Condition.DESTROYED:
        node.report("healed", **facts, found=condition, phase=record.phase)


@attrs.frozen
class Finding:
    """What was found of one attachment, and what became of it.

    `busy` tells that it was left to another call, which is at work on the device.  `failure` is why
    it could not be healed now, in words; it stays recorded then.
    """

    record: Attachment
    condition: Condition
    healed: bool = False
    busy: bool = False
    failure: str | None = None


def heal(node: Node, *, dry_run: bool = False) -> tuple[Finding, ...]:
    """Look at every record, and heal what needs it; with `dry_run`, only look.

    Nothing is waited for: a device at which another call is at work is in good hands.
    """
    findings = look_at(node.records(), node)
    if dry_run:
        return tuple(
            attrs.evolve(each, busy=_is_to_try(each) and is_at_work(each, node))
            for each in findings
        )
    healed = tuple(_healed(each, node) if _is_to_try(each) else each for each in findings)
    # What is left there are marks in vain.
    heal_unfinished(node, besides={each.record.key for each in findings})
    return healed


def is_at_work(finding: Finding, node: Node) -> bool:
    """Whether a call has the lock of an attachment's device now."""
    try:
        with node.lock(finding.record.key.lock_name, wait_s=0):
            return False
    except DeviceBusy:
        return True


def _is_to_try(finding: Finding) -> bool:
    """Whether its lock will tell more: a NIC may have been on its way when it was looked for."""
    return finding.condition in HEALABLE or finding.condition is Condition.MISSING


def look_at(records: Iterable[Attachment], node: Node) -> tuple[Finding, ...]:
    """What is found of each record; nothing is changed."""
    known = tuple(records)
    if not known:
        return ()
    host = node.host()
    return tuple(Finding(record, find_condition(record, node, host)) for record in known)


def find_condition(record: Attachment, node: Node, host: Netns | None = None) -> Condition:
    """What has become of an attachment; `host` is `node.host()`, read now if it is None."""
    pod, device = node.find_pod(record.netns), device_of(record, node)
    seen = (record, node.clock().boot_id, host or node.host(), pod, device)
    condition = condition_of(*seen)
    if condition is Condition.MISSING and dies_with_its_netns(record):
        return condition_of(*seen, is_elsewhere=node.find_elsewhere(record) is not None)
    return condition


_NOWHERE: Final = "it is neither on the host nor in its pod; amdcni doctor tells what to do"


def _healed(finding: Finding, node: Node) -> Finding:
    """Heal what was found, if it is so still once its lock is held."""
    key = finding.record.key
    try:
        with node.lock(key.lock_name, wait_s=0):
            record = node.find_record(key)
            if record is None:
                return attrs.evolve(finding, healed=True)
            condition = find_condition(record, node)
            if condition in HEALABLE:
                give_back(record, node)
                report_healed(record, condition, node)
            failure = _NOWHERE if condition is Condition.MISSING else None
            return Finding(record, condition, healed=condition in HEALABLE, failure=failure)
    except DeviceBusy:
        return attrs.evolve(finding, busy=True)
    except AmdcniError as failure:
        node.report("not-healed", device=str(key), reason=str(failure))
        return attrs.evolve(finding, failure=str(failure))
