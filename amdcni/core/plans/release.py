"""The plan that returns a device to the host, for DEL, GC, healing, or the undo of an ADD."""

from typing import Final

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.calls import owes_plugins
from amdcni.core.capture import Captured
from amdcni.core.host import SysfsDevice
from amdcni.core.identity import is_plugged
from amdcni.core.steps import (
    BringHome,
    ForgetRecord,
    Release,
    ReleaseIpam,
    ReleasePlugins,
    RestoreConfiguration,
    RestoreInterrupts,
    RestoreRules,
    ReturnRdma,
    SaveRecord,
    Step,
    VerifyHome,
    VerifyRdma,
)


def plan_release(
    record: Attachment,
    boot_id: str,
    device: SysfsDevice | None,
    *,
    ipam_required: bool = True,
    destroyed: bool = False,
    limit_s: float | None = None,
) -> Release:
    """Plan the return of the device of `record`, from the record and the bus device alone.

    The record stays until the IPAM plugin, too, has released its addresses.  Only the next holder
    of the device does not wait for that (`ipam_required` False): the host is complete without it.

    A record of an earlier boot restores nothing: the node's own boot configuration is right.  If
    the netdev was `destroyed`, nothing is left to restore.  `device` is what sysfs says of the
    device; if it is not plugged in, the record stays.  A plugin may run for `limit_s` seconds; None
    means the usual limit.
    """
    finished = record.phase is Phase.ATTACHED or record.is_reattaching
    mark = SaveRecord(record.detaching()) if finished else None
    forget = ForgetRecord(record.key, taken_over=record.taken_over, folder=record.folder)
    if record.boot_id != boot_id:
        return Release(None, (ReleaseIpam(record, limit_s),), forget)
    if not is_plugged(record, device):
        return Release(mark, (ReleasePlugins(record, limit_s=limit_s),), None)
    if destroyed:
        return Release(mark, (ReleasePlugins(record, ipam_required, limit_s),), forget)
    return Release(mark, give_back(record, ipam_required, limit_s), forget)


def plan_homecoming(
    record: Attachment,
    boot_id: str,
    device: SysfsDevice | None,
    *,
    destroyed: bool = False,
    waits: bool = True,
) -> Release:
    """The part of `plan_release` that needs no plugin: a plugin that hangs keeps no netdev away.

    Unless it `waits`, nor does it need others who set policy rules.  The record stays if something
    is left to do (`plan_farewell`, or this again).
    """
    whole = plan_release(record, boot_id, device, destroyed=destroyed)
    work = tuple(step for step in whole.work if not isinstance(step, _FAREWELLS))
    if not waits and any(isinstance(step, RestoreRules) for step in work):
        work = tuple(step for step in work if not isinstance(step, RestoreRules))
        return Release(whole.mark, work, None)
    return Release(whole.mark, work, None if owes_plugins(record) else whole.forget)


def plan_farewell(
    record: Attachment, boot_id: str, device: SysfsDevice | None, limit_s: float | None
) -> Release:
    """The rest of `plan_release` once all of `plan_homecoming` has succeeded."""
    whole = plan_release(record, boot_id, device, limit_s=limit_s)
    work = tuple(step for step in whole.work if isinstance(step, _FAREWELLS))
    return Release(None, work, whole.forget)


_FAREWELLS: Final = (ReleasePlugins, ReleaseIpam)
"""The steps that execute plugins."""


def give_back(
    record: Attachment, ipam_required: bool = True, limit_s: float | None = None
) -> tuple[Step, ...]:
    """The steps that undo all that a mover does: plugins are called, and the netdev comes home.

    A plugin may take the netdev to the host, so the RDMA devices leave the pod before it is called.
    """
    farewell = ReleasePlugins(record, ipam_required, limit_s)
    if record.captured is None:
        return (farewell,)
    return _home(record, record.captured, farewell)


def homecoming(record: Attachment, captured: Captured) -> tuple[Step, ...]:
    """The steps after which the netdev is on the host as it was, with its RDMA devices."""
    return _home(record, captured)


def _home(record: Attachment, captured: Captured, *first: Step) -> tuple[Step, ...]:
    """Bring the netdev home after `first`: its RDMA devices, if any, leave the pod before it.

    Policy rules come last, since they may have to wait for their owner.
    """
    kept = record.interrupts
    steps: tuple[Step, ...] = (
        *first,
        BringHome(record, captured),
        RestoreConfiguration(record, captured),
        *(() if kept is None else (RestoreInterrupts(record, kept),)),
        VerifyHome(record, captured),
    )
    if record.rdma:
        steps = (ReturnRdma(record), *steps, VerifyRdma(record))
    return (*steps, RestoreRules(record, captured)) if captured.rules else steps
