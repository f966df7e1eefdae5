"""Writes and removes the record."""

from typing import assert_never

import attrs

from amdcni.core.host import names_of
from amdcni.core.names import PciAddress, mark_of
from amdcni.core.plans.recording import confirmed
from amdcni.core.plans.refusals import refuse_lent_kin
from amdcni.core.steps.execution import Outcome
from amdcni.core.steps.records import (
    ConfirmRecord,
    ForgetRecord,
    LookAtKin,
    RecordStep,
    SaveRecord,
)
from amdcni.effects.marks import unmark
from amdcni.ports import Machine


def perform(step: RecordStep, so_far: Outcome, node: Machine) -> Outcome:
    """Make what `step` says true; `so_far` with what that found out."""
    match step:
        case LookAtKin():
            _look_at_kin(node, step)
        case SaveRecord(record):
            node.save(record)
            return attrs.evolve(so_far, saved=record)
        case ConfirmRecord(record):
            attached = confirmed(record, so_far)
            node.save(attached)
            return attrs.evolve(so_far, saved=attached, result=attached.result)
        case ForgetRecord():
            _forget(node, step, so_far)
        case _:
            assert_never(step)
    return so_far


def _look_at_kin(node: Machine, step: LookAtKin) -> None:
    found = (record for each in step.device.kin for record in node.records_of(each))
    new = (record for record in found if record not in step.seen)
    refuse_lent_kin(step.record.id, step.device, new)


def _forget(node: Machine, step: ForgetRecord, so_far: Outcome) -> None:
    """Remove the record, and its mark unless no netdev on the host was seen to have it."""
    key, home = step.key, so_far.home
    if step.taken_over and isinstance(key.bus_device, PciAddress):
        node.forget_mapping(key.bus_device)
    node.remove(key, step.folder)
    # If the process is killed here, the next call finds unfinished work without a record.
    if home is None or mark_of(key) in names_of((home.netdev, *home.others)):
        unmark(node.own, key)
    node.forget(key, step.folder)
