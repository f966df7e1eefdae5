"""Giving devices back: because a call asks for it, or because nobody will any more."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from enum import StrEnum
from typing import Final

import attrs

from amdcni import execute
from amdcni.core import identity, plans, retry
from amdcni.core.attachment import Attachment, Phase
from amdcni.core.condition import HEALABLE, Condition, condition_of
from amdcni.core.errors import AmdcniError, DeviceBusy
from amdcni.core.host import Netns, SysfsDevice
from amdcni.core.identity import dies_with_its_netns
from amdcni.core.names import DeviceKey
from amdcni.core.steps import ForgetRecord, Outcome, SaveRecord
from amdcni.node import Node


class Returned(StrEnum):
    """What has become of a device that was to be given back.

    BACK: it is the host's, as it was.
    FORGOTTEN: its record was of an earlier boot, and is gone; the boot has configured the host.
    DESTROYED: it was made by software, and destroyed with its pod; its record is gone.
    UNPLUGGED: it is not in the machine; its record stays.
    ALREADY: another call has given it back meanwhile.
    ANOTHERS: another attachment has it meanwhile, and keeps it.
    """

    BACK = "back"
    FORGOTTEN = "forgotten"
    DESTROYED = "destroyed"
    UNPLUGGED = "unplugged"
    ALREADY = "already"
    ANOTHERS = "another's"


def give_back(record: Attachment, node: Node, *, ipam_required: bool = True) -> Returned:
    """Give back the device of `record`, whose lock is held, and forget the record."""
    boot_id, destroyed = node.clock().boot_id, is_destroyed(record, node)
    plan = plans.plan_release(
        record,
        boot_id,
        device_of(record, node),
        ipam_required=ipam_required,
        destroyed=destroyed,
    )
    execute.release(plan, node)
    if destroyed:
        _report_destroyed(record, node)
    if plan.forget is None:
        node.report("unplugged", device=str(record.key), holder=str(record.id))
        return Returned.UNPLUGGED
    if destroyed:
        return Returned.DESTROYED
    return Returned.BACK if record.boot_id == boot_id else Returned.FORGOTTEN


def is_destroyed(record: Attachment, node: Node) -> bool:
    """Whether there is nothing to give back, because the kernel has destroyed it."""
    if not dies_with_its_netns(record):
        return False
    return find_condition(record.detaching(), node) is Condition.DESTROYED


def _report_destroyed(record: Attachment, node: Node) -> None:
    node.report(
        "destroyed",
        device=str(record.key),
        holder=str(record.id),
        ifname=record.host_ifname,
        addresses=" ".join(record.host_addresses),
    )


def give_back_locked(seen: Attachment, node: Node, *, wait_s: float) -> Returned:
    """Give back the device of a record, unless another call has done so while we waited.

    A failure is noted, so that calls about other devices leave it alone for a while.
    """
    with node.lock(seen.key.lock_name, wait_s=wait_s):
        record = node.find_record(seen.key)
        if record is not None and record.id != seen.id and seen.key.bus_device is not None:
            # State folders of their own may each have a record of the device.
            held = node.records_of(seen.key.bus_device)
            record = next((each for each in held if each.id == seen.id), record)
        if record is None:
            return Returned.ALREADY
        if record.id != seen.id:
            return Returned.ANOTHERS
        try:
            return give_back(record, node)
        except AmdcniError:
            _note_failure(record.key, node, home=False)
            raise


def bring_home(record: Attachment, node: Node) -> bool:
    """Do all of giving back that needs no plugin; whether nothing is left to do.

    The lock of the device has to be held.
    """
    clock, destroyed = node.clock(), is_destroyed(record, node)
    device = device_of(record, node)
    plan = plans.plan_homecoming(record, clock.boot_id, device, destroyed=destroyed)
    execute.release(plan, node)
    if destroyed:
        _report_destroyed(record, node)
    if plan.forget is None:
        seen = node.attempts(record.key)
        node.note(record.key, retry.after_homecoming(seen, clock.boot_id, clock.now_s))
    return plan.forget is not None


def say_farewell(record: Attachment, node: Node, limit_s: float | None) -> None:
    """Tell the plugins that the attachment ends, and forget the record: the netdev is home."""
    boot_id = node.clock().boot_id
    plan = plans.plan_farewell(record, boot_id, device_of(record, node), limit_s)
    execute.release(plan, node)


def bring_home_at_once(records: Iterable[Attachment], node: Node) -> tuple[Attachment, ...]:
    """Bring home what can be now; what fails or is locked is left to those who come again.

    Returns the records in the order in which to give them back: those that failed before are last.
    """
    records = tuple(records)
    for seen in records:
        with suppress(AmdcniError), node.lock(seen.key.lock_name, wait_s=0):
            record = node.find_record(seen.key)
            if record is not None and record.id == seen.id and is_plugged(record, node):
                bring_home(record, node)
    return tuple(sorted(records, key=lambda record: _failures_of(record.key, node)))


def _failures_of(key: DeviceKey, node: Node) -> int:
    seen = node.attempts(key)
    return 0 if seen is None or seen.boot_id != node.clock().boot_id else seen.failures


def _note_failure(key: DeviceKey, node: Node, *, home: bool) -> None:
    clock, seen = node.clock(), node.attempts(key)
    node.note(key, retry.after_failure(seen, clock.boot_id, clock.now_s, home=home))


def device_of(record: Attachment, node: Node) -> SysfsDevice | None:
    """What sysfs says of the record's device now; None if it has none or is not plugged in."""
    bus_device = record.key.bus_device
    return None if bus_device is None else node.find_device(bus_device)


def is_plugged(record: Attachment, node: Node) -> bool:
    """Whether the device of `record` is in the machine, as far as it is on a bus at all."""
    return identity.is_plugged(record, device_of(record, node))


# ---- what calls about other devices do ---------------------------------------------------------


@attrs.frozen
class Effort:
    """What healing may cost the call in which it happens.

    No device is begun once `total_s` seconds are over, and each plugin may work `plugin_limit_s`.
    With `spares`, what has failed lately is left alone.
    """

    total_s: int | None = None
    plugin_limit_s: float | None = None
    spares: bool = False


BY_HAND: Final = Effort()
"""A person wants it: everything is tried, for as long as it takes."""

ROUTINE: Final = Effort(total_s=10, plugin_limit_s=5.0, spares=True)
"""For GC and STATUS, which a runtime asks from time to time, and waits for."""

BESIDE: Final = Effort(total_s=3, spares=True)
"""For ADD and DEL, which are about one device, and execute no plugin for another."""


class _Budget:
    """How much of an effort is left."""

    def __init__(self, effort: Effort, node: Node) -> None:
        self._effort = effort
        self._node = node
        self._begun_s = node.clock().now_s

    def allows(self, key: DeviceKey) -> bool:
        """Whether the device may be begun now."""
        clock, effort = self._node.clock(), self._effort
        if effort.total_s is not None and clock.now_s >= self._begun_s + effort.total_s:
            return False
        seen = self._node.attempts(key) if effort.spares else None
        return retry.is_due(seen, clock.boot_id, clock.now_s)


def heal_unfinished(node: Node) -> None:
    """Bring home whatever was begun and has no process at it any more, without any plugin.

    What waits for a plugin is not even locked.  What cannot be healed now stays recorded, is
    reported, and hinders nobody else: each failure makes the next attempt rarer.
    """
    boot_id = node.clock().boot_id
    keys = [k for k in node.unfinished() if not retry.is_home(node.attempts(k), boot_id)]
    _take_up(keys, node, BESIDE)


def _take_up(keys: Iterable[DeviceKey], node: Node, effort: Effort) -> None:
    budget = _Budget(effort, node)
    for key in keys:
        if not budget.allows(key):
            continue
        with suppress(DeviceBusy), node.lock(key.lock_name, wait_s=0):
            try:
                _heal(key, node)
            except AmdcniError as failure:
                _report_failure(key, failure, node, home=False)


def _heal(key: DeviceKey, node: Node) -> None:
    """Heal one device, whose lock is held; a mark without unfinished work is in vain.

    The record of an unplugged device waits for it, without a word at every call.
    """
    record = node.find_record(key)
    if record is None:
        node.perform(ForgetRecord(key), Outcome())
    elif record.phase is Phase.ATTACHED:
        node.perform(SaveRecord(record), Outcome())
    elif is_plugged(record, node):
        outdated = record.boot_id != node.clock().boot_id
        if bring_home(record, node):
            condition = Condition.OUTDATED if outdated else Condition.UNFINISHED
            report_healed(record, condition, node)
        elif not outdated:
            node.report("plugin-due", device=str(key), holder=str(record.id))


def _report_failure(key: DeviceKey, failure: AmdcniError, node: Node, *, home: bool) -> None:
    node.report("not-healed", device=str(key), reason=str(failure))
    _note_failure(key, node, home=home)


def report_healed(record: Attachment, condition: Condition, node: Node) -> None:
    """Tell the operator that the host has a device back as it was, by a boot or by us."""
    facts = {"device": str(record.key), "holder": str(record.id)}
    if condition is Condition.OUTDATED:
        node.report("outdated", **facts)
    elif condition is not Condition.DESTROYED:
        node.report("healed", **facts, found=condition, phase=record.phase)


# ---- everything --------------------------------------------------------------------------------


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


def heal(
    node: Node,
    effort: Effort = BY_HAND,
    *,
    besides: Collection[DeviceKey] = (),
    dry_run: bool = False,
) -> tuple[Finding, ...]:
    """Look at every record, `besides` these, and heal what needs it; with `dry_run`, only look.

    Nothing is waited for: a device at which another call is at work is in good hands.  All netdevs
    are brought home before the first plugin is executed.
    """
    findings = look_at([each for each in node.records() if each.key not in besides], node)
    if dry_run:
        return tuple(
            attrs.evolve(each, busy=_is_to_try(each) and is_at_work(each, node))
            for each in findings
        )
    budget = _Budget(effort, node)
    for plugins in (False, True):
        findings = tuple(
            _tried(each, node, effort, plugins=plugins)
            if _is_to_try(each) and budget.allows(each.record.key)
            else each
            for each in findings
        )
    seen_to = {*besides, *(each.record.key for each in findings if _is_unwell(each))}
    # What is left there are marks in vain.
    _take_up([key for key in node.unfinished() if key not in seen_to], node, effort)
    return findings


def is_at_work(finding: Finding, node: Node) -> bool:
    """Whether a call has the lock of an attachment's device now."""
    return node.is_locked(finding.record.key.lock_name)


def _is_to_try(finding: Finding) -> bool:
    """Whether its lock will tell more: a NIC may have been on its way when it was looked for."""
    if finding.healed or finding.busy or finding.failure is not None:
        return False
    return _is_unwell(finding)


def _is_unwell(finding: Finding) -> bool:
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


def _tried(finding: Finding, node: Node, effort: Effort, *, plugins: bool) -> Finding:
    """Heal what was found, if it is so still once its lock is held; `plugins` too if it is said."""
    key = finding.record.key
    try:
        with node.lock(key.lock_name, wait_s=0):
            return _tried_locked(finding, node, effort, plugins=plugins)
    except DeviceBusy:
        return attrs.evolve(finding, busy=True)
    except AmdcniError as failure:
        node.report("not-healed", device=str(key), reason=str(failure))
        return attrs.evolve(finding, failure=str(failure))


def _tried_locked(finding: Finding, node: Node, effort: Effort, *, plugins: bool) -> Finding:
    key, home = finding.record.key, False
    try:
        record = node.find_record(key)
        if record is None:
            return attrs.evolve(finding, healed=True)
        condition = find_condition(record, node)
        if condition not in HEALABLE:
            failure = _NOWHERE if condition is Condition.MISSING else None
            return Finding(record, condition, failure=failure)
        healed = bring_home(record, node)
        home = not healed
        if home and plugins:
            say_farewell(record, node, effort.plugin_limit_s)
            healed = True
        if healed:
            report_healed(record, condition, node)
        return Finding(record, condition, healed=healed)
    except AmdcniError as refusal:
        _report_failure(key, refusal, node, home=home)
        return attrs.evolve(finding, failure=str(refusal))
