"""Returning to the host what no call will return any more."""

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from enum import Enum, auto
from typing import Final

import attrs

from amdcni.core import retry
from amdcni.core.attachment import Attachment, Phase
from amdcni.core.condition import Condition, Seen
from amdcni.core.errors import AmdcniError, DeviceBusy, StateFailure
from amdcni.core.names import DeviceKey
from amdcni.core.numbering import in_order_of_return
from amdcni.core.steps import ForgetRecord, Outcome, SaveRecord
from amdcni.ports import Node
from amdcni.verbs.giving_back import (
    bring_home,
    has_rules,
    note_failure,
    report_healed,
    say_farewell,
)
from amdcni.verbs.looking import find_again, find_condition, is_plugged, see
from amdcni.verbs.reattaching import plan_now, reattach


@attrs.frozen
class Effort:
    """What healing may cost the call in which it happens.

    No device is begun once `total_s` seconds are over, and each plugin may run for
    `plugin_limit_s`.  With `spares`, what has failed recently is left alone.
    """

    total_s: int | None = None
    plugin_limit_s: float | None = None
    spares: bool = False


BY_HAND: Final = Effort()
"""A person wants it: everything is tried, for as long as it takes."""

ROUTINE: Final = Effort(total_s=10, plugin_limit_s=5.0, spares=True)
"""For GC and STATUS, which a runtime calls from time to time, and waits for."""

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
    """Bring home whatever was begun and no process is working on any more, without any plugin.

    What waits for a plugin is not even locked.  What cannot be healed now stays recorded, is
    reported, and hinders nobody else: each failure puts off the next attempt further.
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
            record = None
            try:
                record = node.find_record(key)
                _heal(key, record, node)
            except AmdcniError as failure:
                _report_failure(key, record, failure, node, home=False)


def _heal(key: DeviceKey, record: Attachment | None, node: Node) -> None:
    """Heal one device, whose lock is held; a marker without unfinished work is stale.

    The record of an unplugged device waits for it, without being reported at every call.
    """
    if record is None:
        node.perform(ForgetRecord(key), Outcome())
    elif record.phase is Phase.ATTACHED:
        node.perform(SaveRecord(record), Outcome())
    elif find_condition(record, node) is Condition.RESET:
        reattach(record, node)
    elif is_plugged(record, node):
        outdated = record.boot_id != node.clock().boot_id
        if bring_home(record, node):
            condition = Condition.OUTDATED if outdated else Condition.UNFINISHED
            report_healed(record, condition, node)
        elif not outdated:
            node.report("plugin-due", **record.facts)


def _report_failure(
    key: DeviceKey, record: Attachment | None, failure: AmdcniError, node: Node, *, home: bool
) -> None:
    facts = {"device": str(key)} if record is None else record.facts
    node.report("not-healed", **facts, reason=str(failure))
    note_failure(key, node, home=home)


@attrs.frozen
class Finding:
    """What was found of one attachment, and what became of it.

    What is `seen` to be busy was left to another call, which is working on the device.  `failure`
    is why it could not be healed now, in words; it stays recorded then.
    """

    record: Attachment
    seen: Seen
    healed: bool = False
    failure: str | None = None

    @property
    def condition(self) -> Condition:
        """What was found to have become of it."""
        return self.seen.condition

    @property
    def busy(self) -> bool:
        """Whether it was left to another call."""
        return self.seen.busy

    @property
    def needs_somebody(self) -> bool:
        """Whether it was not healed, and no call is at work on it that might."""
        return self.seen.needs_somebody and not self.healed


Tell = Callable[[Attachment, int, int], None]
"""Called with what is worked on, its number, and how many of such there are."""


def heal(
    node: Node,
    effort: Effort = BY_HAND,
    *,
    except_for: Collection[DeviceKey] = (),
    dry_run: bool = False,
    tell: Tell = lambda *_: None,
) -> tuple[Finding, ...]:
    """Look at every record but those of `except_for`, and heal what needs it; `dry_run` only looks.

    No call is waited for: a device that another call is working on is in good hands.  Each stage is
    gone through for all netdevs before the next one.  `tell` is called before each is begun.
    """
    records = [each for each in node.records() if each.key not in except_for]
    findings = look_at(in_order_of_return(records), node)
    if dry_run:
        return tuple(_foreseen(each, node) for each in findings)
    # A call that was at work a moment ago may have ended.
    findings = tuple(
        _with_busy(each, busy=False) if _is_unwell(each) else each for each in findings
    )
    budget = _Budget(effort, node)
    for stage in _Stage:
        begun = [each for each in findings if _is_to_try(each, stage)]
        tried = {}
        for number, each in enumerate(begun, 1):
            if budget.allows(each.record.key):
                tell(each.record, number, len(begun))
                tried[id(each)] = _tried(each, node, effort, stage)
        findings = tuple(tried.get(id(each), each) for each in findings)
    seen_to = {*except_for, *(each.record.key for each in findings if _is_unwell(each))}
    # Only stale markers are left there.
    _take_up([key for key in node.unfinished() if key not in seen_to], node, effort)
    return findings


def due_again_s(node: Node, findings: Iterable[Finding] = ()) -> int | None:
    """In how many seconds what has failed is tried again at the earliest; None if nothing waits.

    What has failed according to `findings` may not have been noted, as the disk is full.
    """
    clock = node.clock()
    pauses = (
        retry.pause_left_s(node.attempts(key), clock.boot_id, clock.now_s)
        for key in node.unfinished()
    )
    failed = any(each.failure is not None and each.seen.is_healable for each in findings)
    return min(filter(None, pauses), default=retry.FIRST_PAUSE_S if failed else None)


def _foreseen(finding: Finding, node: Node) -> Finding:
    """The finding with what healing would come upon now."""
    if finding.busy:
        return finding
    if finding.condition is Condition.RESET and not finding.record.is_reattaching:
        try:
            plan_now(finding.record, node)
        except AmdcniError as failure:
            return attrs.evolve(finding, failure=str(failure))
    return finding


def _with_busy(finding: Finding, *, busy: bool) -> Finding:
    return attrs.evolve(finding, seen=attrs.evolve(finding.seen, busy=busy))


class _Stage(Enum):
    """What healing does: later stages wait for others, plugins for the longest."""

    HOME = auto()
    RULES = auto()
    PLUGINS = auto()


def _is_to_try(finding: Finding, stage: _Stage) -> bool:
    """Whether to look again, locked: a NIC may have been on its way when it was looked for."""
    if finding.healed or finding.busy or finding.failure is not None:
        return False
    return _is_unwell(finding) and (stage is not _Stage.RULES or has_rules(finding.record))


def _is_unwell(finding: Finding) -> bool:
    return finding.condition.about.healable or finding.condition is Condition.MISSING


def look_at(records: Iterable[Attachment], node: Node) -> tuple[Finding, ...]:
    """What is found of each record; nothing is changed."""
    known = tuple(records)
    if not known:
        return ()
    host = node.host()
    found = (Finding(record, see(record, node, host)) for record in known)
    return tuple(_with_busy(each, busy=_is_at_work(each, node)) for each in found)


def look_again(findings: Iterable[Finding], node: Node) -> tuple[Finding, ...]:
    """What is found now that `findings` were healed as far as possible; what has ended is not."""
    before = tuple(findings)
    if all(each.seen == Seen(Condition.HELD) for each in before):
        return before
    records: dict[tuple[str | None, DeviceKey], Attachment] = {}
    for each in before:
        # What cannot be read now is reported by others.  Where a record has ended, that of another
        # folder may be found twice.
        with suppress(StateFailure):
            found = find_again(each.record, node)
            records |= {} if found is None else {(found.folder, found.key): found}
    return look_at(records.values(), node)


def _is_at_work(finding: Finding, node: Node) -> bool:
    """Whether a call has the lock of a device that needs it."""
    return finding.needs_somebody and node.is_locked(finding.record.key.lock_name)


def _tried(finding: Finding, node: Node, effort: Effort, stage: _Stage) -> Finding:
    """Heal what was found, if it is still so under its lock, as far as the stage."""
    key = finding.record.key
    try:
        with node.lock(key.lock_name, wait_s=0):
            return _tried_locked(finding, node, effort, stage)
    except DeviceBusy:
        return _with_busy(finding, busy=True)
    except AmdcniError as failure:
        node.report("not-healed", **finding.record.facts, reason=str(failure))
        return attrs.evolve(finding, failure=str(failure))


def _tried_locked(finding: Finding, node: Node, effort: Effort, stage: _Stage) -> Finding:
    key, home = finding.record.key, False
    try:
        record = find_again(finding.record, node)
        if record is None:
            return attrs.evolve(finding, healed=True)
        seen = see(record, node)
        if not seen.is_healable:
            missing = seen.condition is Condition.MISSING
            return Finding(record, seen, failure=f"{seen.words}; {seen.next}" if missing else None)
        if seen.condition is Condition.RESET:
            reattach(record, node)
            return Finding(record, seen, healed=True)
        if stage is not _Stage.HOME and record.id == finding.record.id:
            # An earlier stage has begun already, which leaves a record of unfinished work.
            seen = finding.seen
        healed = bring_home(record, node, waits=stage is not _Stage.HOME)
        home = not healed
        if home and stage is _Stage.PLUGINS:
            say_farewell(record, node, effort.plugin_limit_s)
            healed = True
        if healed:
            report_healed(record, seen.condition, node)
        return Finding(record, seen, healed=healed)
    except AmdcniError as refusal:
        _report_failure(key, finding.record, refusal, node, home=home)
        return attrs.evolve(finding, failure=str(refusal))
