"""Runs plans on a node: all of a plan or nothing of it, and all that can be done of a release.

The executor knows no step but one: a record outlives the work that it describes, so `ForgetRecord`
is not performed while a failure is on the table.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from amdcni.core.attachment import Attachment
from amdcni.core.host import Netns, SysfsDevice
from amdcni.core.names import BusDevice, DeviceKey, IfName, PluginName
from amdcni.core.plans import Clock
from amdcni.core.spec import Json
from amdcni.core.steps import ForgetRecord, Outcome, Plan, PluginCall, Release, Step


class Node(Protocol):
    """A node as the commands see it: facts to read, steps to perform, and nothing to decide.

    `amdcni.effects.node` is the real one; a test may bring another.
    """

    def clock(self) -> Clock:
        """The time, and the boot that it belongs to."""

    def host(self) -> Netns:
        """The network namespace that this process is in, with all of its netdevs."""

    def find_netns(self, path: str) -> Netns | None:
        """The network namespace at `path`, with its netdevs; None if there is none."""

    def default_routes(self, ifindex: int) -> tuple[int, ...]:
        """The ifindexes of the host's default routes in the main table, one for each.

        Empty if none of them goes through `ifindex`: then the others are of no interest.
        """

    def find_device(self, bus_device: BusDevice) -> SysfsDevice | None:
        """What sysfs says of the device; None if it is not plugged in."""

    def bus_device_of(self, ifname: IfName) -> BusDevice | None:
        """The device that the host's netdev hangs on; None for one without."""

    def netdevs_at(self, kernelpath: str) -> tuple[IfName, ...]:
        """The names of the netdevs below a path of /sys/devices."""

    def lock(self, device: str, *, wait_s: float) -> AbstractContextManager[None]:
        """Excludes other calls from `device`; raises DeviceBusy when `wait_s` seconds are over."""

    def records_of(self, bus_device: BusDevice) -> tuple[Attachment, ...]:
        """The records of one bus device."""

    def find_record(self, key: DeviceKey) -> Attachment | None:
        """The record of `key`."""

    def records(self) -> tuple[Attachment, ...]:
        """All records."""

    def unfinished(self) -> tuple[DeviceKey, ...]:
        """The keys of the records whose work was begun and not ended, at no cost for the others."""

    def was_damaged(self, key: DeviceKey) -> bool:
        """Whether a record of `key` was found damaged and set aside, by this call or earlier."""

    def perform(self, step: Step, so_far: Outcome) -> Outcome:
        """Make true what `step` says; give `so_far` with what has been found out by it."""

    def call(self, call: PluginCall) -> Json:
        """Execute another CNI plugin and give its answer, an empty object for a silent verb."""

    def find_plugin(self, name: PluginName) -> str:
        """The path of a plugin's executable; raises PluginNotFound."""

    def versions_of(self, name: PluginName) -> tuple[str, ...]:
        """The CNI versions that a plugin says it speaks; raises PluginNotFound, PluginBroken."""

    def require_ready(self) -> None:
        """Raise NotAvailable, saying why, if this node could not carry out an ADD."""

    def report(self, event: str, **facts: object) -> None:
        """Tell the operator of something that is no failure of this call."""


def run(plan: Plan, node: Node) -> Outcome:
    """Perform every step of `plan`; if one fails, take all of them back and raise its failure.

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
        for late in _perform_all(undo, node):
            failure.add_note(f"while undoing: {late}")
        raise


def release(plan: Release, node: Node) -> None:
    """Perform all of `plan` that can be; raise the first failure, with the others as notes."""
    if plan.mark is not None:
        try:
            node.perform(plan.mark, Outcome())
        except Exception as failure:
            node.report("release-not-marked", reason=str(failure))
    forget = () if plan.forget is None else (plan.forget,)
    failures = _perform_all((*plan.work, *forget), node)
    if failures:
        first, *others = failures
        for other in others:
            first.add_note(str(other))
        raise first


def _perform_all(steps: Iterable[Step], node: Node) -> list[Exception]:
    """The failures of `steps`, all of which are tried, but for the forgetting after a failure."""
    failures: list[Exception] = []
    for step in steps:
        if failures and isinstance(step, ForgetRecord):
            continue
        try:
            node.perform(step, Outcome())
        except Exception as failure:
            failures.append(failure)
    return failures
