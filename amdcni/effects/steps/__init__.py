"""The steps of `amdcni.core.steps`, performed on a node: modules of the same names.

They work on any `Machine`: the real one is `amdcni.effects.node`.
"""

from typing import assert_never

from amdcni.core.steps.after_move import AfterMoveStep
from amdcni.core.steps.delegate import DelegateStep
from amdcni.core.steps.execution import Outcome, Step
from amdcni.core.steps.farewell import FarewellStep
from amdcni.core.steps.homecoming import HomecomingStep
from amdcni.core.steps.native import NativeStep
from amdcni.core.steps.rdma import RdmaStep
from amdcni.core.steps.records import RecordStep
from amdcni.core.steps.rules import RuleStep
from amdcni.effects.steps import after_move, delegate, farewell, homecoming, native, records
from amdcni.ports import Machine


def perform(step: Step, so_far: Outcome, node: Machine) -> Outcome:
    """Make what `step` says true; `so_far` with what that found out."""
    if isinstance(step, RecordStep):
        return records.perform(step, so_far, node)
    if isinstance(step, RdmaStep):
        # Few nodes have such devices in a mode in which they can move.
        from amdcni.effects.steps import rdma

        return rdma.perform(step, so_far, node)
    if isinstance(step, DelegateStep):
        return delegate.perform(step, so_far, node)
    if isinstance(step, NativeStep):
        return native.perform(step, so_far, node)
    if isinstance(step, AfterMoveStep):
        return after_move.perform(step, so_far, node)
    if isinstance(step, FarewellStep):
        return farewell.perform(step, so_far, node)
    if isinstance(step, HomecomingStep):
        return homecoming.perform(step, so_far, node)
    if isinstance(step, RuleStep):
        # Few netdevs have policy rules.
        from amdcni.effects.steps import rules

        return rules.perform(step, so_far, node)
    assert_never(step)
