"""Returning a device to the host, for every verb and command that does."""

from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum

from amdcni.core import retry
from amdcni.core.attachment import Attachment
from amdcni.core.condition import Condition
from amdcni.core.errors import AmdcniError, DeviceNotFound
from amdcni.core.identity import dies_with_its_netns, is_plugged
from amdcni.core.names import DeviceKey
from amdcni.core.numbering import in_order_of_return, in_the_way_of
from amdcni.core.plans.release import plan_farewell, plan_homecoming, plan_release
from amdcni.ports import Node
from amdcni.verbs import executor, looking
from amdcni.verbs.looking import find_condition, locked


class Returned(StrEnum):
    """What has become of a device that was to be returned.

    BACK: it is the host's, as it was.
    FORGOTTEN: its record was of an earlier boot, and is gone; the boot has configured the host.
    DESTROYED: it was made by software, and destroyed with its pod; its record is gone.
    UNPLUGGED: it is not in the machine; its record stays.
    ALREADY: another call has returned it in the meantime.
    ANOTHERS: another attachment has it by now, and keeps it.
    """

    BACK = "back"
    FORGOTTEN = "forgotten"
    DESTROYED = "destroyed"
    UNPLUGGED = "unplugged"
    ALREADY = "already"
    ANOTHERS = "another's"


def give_back(record: Attachment, node: Node, *, ipam_required: bool = True) -> Returned:
    """Return the device of `record`, whose lock is held, to the host, and forget the record."""
    _make_way(record, node)
    boot_id, destroyed = node.clock().boot_id, is_destroyed(record, node)
    plan = plan_release(
        record,
        boot_id,
        node.find_device(record.key.bus_device),
        ipam_required=ipam_required,
        destroyed=destroyed,
    )
    _note_away(record.key, node)
    executor.release(plan, node)
    if destroyed:
        _report_destroyed(record, node)
    if plan.forget is None:
        node.report("unplugged", **record.facts)
        return Returned.UNPLUGGED
    if destroyed:
        return Returned.DESTROYED
    return Returned.BACK if record.boot_id == boot_id else Returned.FORGOTTEN


def _make_way(record: Attachment, node: Node) -> None:
    """Bring home first what has come back with a dead pod under the ifindex of this netdev.

    Otherwise the netdev could never have it again.  What is home already, as with GC, needs no way.
    """
    is_home = retry.is_home(node.attempts(record.key), node.clock().boot_id)
    if not is_home and not node.is_netns(record.netns.path):
        for each in in_the_way_of(record, node.records()):
            if find_condition(each, node) is Condition.RETURNED:
                bring_home_at_once([each], node)


def is_destroyed(record: Attachment, node: Node) -> bool:
    """Whether there is nothing to return to the host, because the kernel has destroyed it."""
    if not dies_with_its_netns(record):
        return False
    return find_condition(record.detaching(), node) is Condition.DESTROYED


def _report_destroyed(record: Attachment, node: Node) -> None:
    node.report(
        "destroyed",
        **record.facts,
        ifname=record.host_ifname,
        addresses=" ".join(record.host_addresses),
    )


def give_back_locked(seen: Attachment, node: Node, *, wait_s: float) -> Returned:
    """Return the device of a record to the host, unless another call did so while we waited.

    A failure is noted, so that calls about other devices leave it alone for a while.
    """
    with locked(seen.key, node, wait_s=wait_s, by=seen.id) as record:
        if record is None:
            return Returned.ALREADY
        if record.id != seen.id:
            return Returned.ANOTHERS
        try:
            return give_back(record, node)
        except AmdcniError:
            note_failure(record.key, node, home=False)
            raise


def bring_home(record: Attachment, node: Node, *, waits: bool = True) -> bool:
    """Do every part of the return that needs no plugin; whether nothing is left to do.

    Unless it `waits`, policy rules are left to another time: their owner may need a moment to set
    them.  The lock of the device has to be held.

    Raises: DeviceNotFound if the device has been unplugged since the caller looked.
    """
    clock, destroyed = node.clock(), is_destroyed(record, node)
    device = node.find_device(record.key.bus_device)
    if record.boot_id == clock.boot_id and not is_plugged(record, device):
        raise DeviceNotFound(f"{record.key}: {Condition.UNPLUGGED.about.words}")
    plan = plan_homecoming(record, clock.boot_id, device, destroyed=destroyed, waits=waits)
    _note_away(record.key, node)
    executor.release(plan, node)
    if destroyed:
        _report_destroyed(record, node)
    if plan.forget is None and (waits or not has_rules(record)):
        seen = node.attempts(record.key)
        node.note(record.key, retry.after_homecoming(seen, clock.boot_id, clock.now_s))
    return plan.forget is not None


def has_rules(record: Attachment) -> bool:
    """Whether policy rules are about its netdev, so that their owner may have to be waited for."""
    return record.captured is not None and bool(record.captured.rules)


def _note_away(key: DeviceKey, node: Node) -> None:
    """Withdraw the note that the netdev is home, if any, before the netdev is changed once more.

    Otherwise, what a killed call leaves incomplete would seem to wait for a plugin only.
    """
    clock, seen = node.clock(), node.attempts(key)
    if retry.is_home(seen, clock.boot_id):
        node.note(key, retry.before_homecoming(seen, clock.boot_id, clock.now_s))


def say_farewell(record: Attachment, node: Node, limit_s: float | None) -> None:
    """Tell the plugins that the attachment ends, and forget the record: the netdev is home."""
    boot_id = node.clock().boot_id
    plan = plan_farewell(record, boot_id, node.find_device(record.key.bus_device), limit_s)
    executor.release(plan, node)


def bring_home_at_once(records: Iterable[Attachment], node: Node) -> tuple[Attachment, ...]:
    """Bring home what can come home now; what fails or is locked is left to later calls.

    The owners of policy rules are waited for once every netdev is home.  The result has the records
    in the order in which to release them, earlier failures last.
    """
    records = in_order_of_return(records)
    waiting = [record for record in records if has_rules(record)]
    for waits, group in ((False, records), (True, waiting)):
        for seen in group:
            with suppress(AmdcniError), locked(seen.key, node, wait_s=0) as record:
                if record is not None and record.id == seen.id and looking.is_plugged(record, node):
                    bring_home(record, node, waits=waits)
    return tuple(sorted(records, key=lambda record: _failures_of(record.key, node)))


def _failures_of(key: DeviceKey, node: Node) -> int:
    seen = node.attempts(key)
    return 0 if seen is None or seen.boot_id != node.clock().boot_id else seen.failures


def note_failure(key: DeviceKey, node: Node, *, home: bool) -> None:
    """Put off the next attempt; `home` is whether the netdev is home and only plugins refuse."""
    clock, seen = node.clock(), node.attempts(key)
    node.note(key, retry.after_failure(seen, clock.boot_id, clock.now_s, home=home))


def report_healed(record: Attachment, condition: Condition, node: Node) -> None:
    """Report to the operator that the host has a device back as it was, by a boot or by us."""
    facts = record.facts
    if condition is Condition.OUTDATED:
        node.report("outdated", **facts)
    elif condition is not Condition.DESTROYED:
        node.report("healed", **facts, found=condition, phase=record.phase)
