"""Runs plans on a node: all of a plan or none of it, and all that can be done of a release.

The executor knows only one kind of step: a record outlives the work that it describes, so
`ForgetRecord` is not performed once there is a failure.
"""

from collections.abc import Iterable

from amdcni.core.steps import ForgetRecord, Outcome, Plan, Release, Step
from amdcni.ports import Node


def run(plan: Plan, node: Node) -> Outcome:
    """Perform every step of `plan`; if one fails, undo all of them and raise its failure.

    The undo of a step is noted before the step acts: a step that fails may be half done.
    """
    outcome = Outcome()
    undo: list[Step] = []
    try:
        for planned in plan.steps:
            undo[:0] = planned.undo
            outcome = node.perform(planned.step, outcome)
        return outcome
    except BaseException as failure:
        for late in _perform_all(undo, node, Outcome()):
            failure.add_note(f"while undoing: {late}")
        raise


def release(plan: Release, node: Node) -> None:
    """Perform all of `plan` that can be; raise the first failure, with the others as notes."""
    outcome = Outcome()
    if plan.mark is not None:
        try:
            outcome = node.perform(plan.mark, outcome)
        except Exception as failure:
            node.report("release-not-marked", reason=str(failure))
    forget = () if plan.forget is None else (plan.forget,)
    failures = _perform_all((*plan.work, *forget), node, outcome)
    if failures:
        first, *others = failures
        for other in others:
            first.add_note(str(other))
        raise first


def _perform_all(steps: Iterable[Step], node: Node, outcome: Outcome) -> list[Exception]:
    """The failures of `steps`, all of which are tried, except forgetting after a failure."""
    failures: list[Exception] = []
    for step in steps:
        if failures and isinstance(step, ForgetRecord):
            continue
        try:
            outcome = node.perform(step, outcome)
        except Exception as failure:
            failures.append(failure)
    return failures
