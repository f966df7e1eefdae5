"""Sees to it that the policy rules of a netdev are there again."""

from collections.abc import Collection
from typing import Final

from amdcni.core import rules
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused, RestoreIncomplete
from amdcni.core.host import names_of
from amdcni.core.rules import RuleChange
from amdcni.core.steps.execution import Home, Outcome
from amdcni.core.steps.rules import RuleStep
from amdcni.ports import Machine

_POLL_S: Final = 0.05
_POLLS: Final = 40
"""Two seconds: NetworkManager sets its rules half a second after the netdev is back."""


def perform(step: RuleStep, so_far: Outcome, node: Machine) -> Outcome:
    """Put back what nobody else puts back; `so_far` as it is.

    Without the netdev, it is too early: the record stays until that is back.
    """
    if so_far.home is not None:
        _restore(node, step.record, step.captured, so_far.home)
    return so_far


def _restore(node: Machine, record: Attachment, captured: Captured, home: Home) -> None:
    """Set what is still missing after the wait.

    Raises: RestoreIncomplete, if the kernel refuses it.
    """
    netdev = node.own.find_by_index(home.netdev.ifindex)
    names = names_of([] if netdev is None else [netdev])
    due, refused = _awaited(node, captured, names), []
    for change in due:
        try:
            node.own.set_rule(change)
        except KernelRefused as failure:
            refused.append(failure.message)
    lacking = rules.due(captured, names, node.own.rules()) if due else ()
    if lacking:
        node.report("not-restored", **record.facts, aspect="rules")
    if lacking and refused:
        words = "; ".join([*(change.describe() for change in lacking), *refused])
        raise RestoreIncomplete(f"{record.key} is not yet as it was on the host: {words}")


def _awaited(node: Machine, captured: Captured, names: Collection[str]) -> tuple[RuleChange, ...]:
    """What is still due once the owner of what is missing has had the time to set it."""
    for polls_left in reversed(range(_POLLS + 1)):
        due = rules.due(captured, names, node.own.rules())
        if not (polls_left and any(change.is_missing for change in due)):
            break
        node.pause(_POLL_S)
    return due
