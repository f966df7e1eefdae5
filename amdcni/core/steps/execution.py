"""What steps form, and what performing them finds out."""

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Details
from amdcni.core.host import Netdev
from amdcni.core.spec import Result
from amdcni.core.steps.after_move import AfterMoveStep
from amdcni.core.steps.delegate import DelegateStep
from amdcni.core.steps.farewell import FarewellStep
from amdcni.core.steps.homecoming import HomecomingStep
from amdcni.core.steps.native import NativeStep
from amdcni.core.steps.rdma import RdmaStep
from amdcni.core.steps.records import ForgetRecord, RecordStep, SaveRecord
from amdcni.core.steps.rules import RuleStep

Step = (
    RecordStep
    | RdmaStep
    | DelegateStep
    | NativeStep
    | AfterMoveStep
    | FarewellStep
    | HomecomingStep
    | RuleStep
)


@attrs.frozen
class Planned:
    """A step, and the steps that undo it, in their order; noted before the step acts."""

    step: Step
    undo: tuple[Step, ...] = ()


@attrs.frozen
class Plan:
    """Steps that all succeed or are all undone."""

    steps: tuple[Planned, ...]


@attrs.frozen
class Release:
    """Steps that are all tried, whatever fails among them, and then the record is forgotten.

    `mark` shows later calls that this work has begun.  If it cannot be written, the work is done
    all the same: the existing record is enough to start again.  `forget` is performed only if all
    of `work` succeeded; it is None if the record has to stay even then.
    """

    mark: SaveRecord | None
    work: tuple[Step, ...]
    forget: ForgetRecord | None


@attrs.frozen
class Home:
    """A netdev that is back on the host, as it was seen there, and the other netdevs.

    `whole` is what was read when nothing was missing any more; None before that.
    """

    netdev: Netdev
    others: tuple[Netdev, ...] = ()
    whole: Details | None = None


@attrs.frozen
class Outcome:
    """What the steps of a plan have found out so far; `saved` is the record that is on disk."""

    result: Result | None = None
    pod_ifindex: int | None = None
    pod_mtu: int | None = None
    home: Home | None = None
    saved: Attachment | None = None
