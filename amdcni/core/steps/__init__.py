"""The steps that plans are made of: each says what will be true, and may be performed again.

A step whose work is done already does nothing.  So an undo may follow a step that failed half way,
and a retry may follow an undo that was killed.

Each module has a few steps with their words; the module of the same name in `amdcni.effects.steps`
performs them.
"""

from amdcni.core.steps.after_move import CopyRoutes, KeepOtherHops
from amdcni.core.steps.delegate import DelegateAdd, InspectPod
from amdcni.core.steps.execution import Home, Outcome, Plan, Planned, Release, Step
from amdcni.core.steps.farewell import ReleaseIpam, ReleasePlugins
from amdcni.core.steps.homecoming import (
    BringHome,
    RestoreConfiguration,
    RestoreInterrupts,
    VerifyHome,
)
from amdcni.core.steps.native import ConfigureInPod, IpamAdd, MoveIntoPod, RestoreLink
from amdcni.core.steps.rdma import MoveRdma, ReturnRdma, VerifyRdma
from amdcni.core.steps.records import ConfirmRecord, ForgetRecord, LookAtKin, SaveRecord
from amdcni.core.steps.rules import RestoreRules

__all__ = [
    "BringHome",
    "ConfigureInPod",
    "ConfirmRecord",
    "CopyRoutes",
    "DelegateAdd",
    "ForgetRecord",
    "Home",
    "InspectPod",
    "IpamAdd",
    "KeepOtherHops",
    "LookAtKin",
    "MoveIntoPod",
    "MoveRdma",
    "Outcome",
    "Plan",
    "Planned",
    "Release",
    "ReleaseIpam",
    "ReleasePlugins",
    "RestoreConfiguration",
    "RestoreInterrupts",
    "RestoreLink",
    "RestoreRules",
    "ReturnRdma",
    "SaveRecord",
    "Step",
    "VerifyHome",
    "VerifyRdma",
]
