"""The plan that gives a device back, be it for DEL, GC, healing, or the undo of an ADD."""

from typing import Final

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.calls import owes_plugins
from amdcni.core.capture import Captured
from amdcni.core.host import (
    SysfsDevice,
)
from amdcni.core.identity import is_plugged
from amdcni.core.steps import (
    BringHome,
    ForgetRecord,
    Release,
    ReleaseIpam,
    ReleasePlugins,
    RestoreConfiguration,
    SaveRecord,
    Step,
    VerifyHome,
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
    """Give the device of `record` back, from the record and the bus device alone.

    The record stays until the IPAM plugin, too, has taken its addresses back.  Only the next holder
    of the device does not wait for that (`ipam_required` False): the host is whole without.

    A record of an earlier boot restores nothing: the node's own boot configuration is right.  Of a
    netdev that was `destroyed` nothing is left to restore.  The record of a device that is not
    plugged in, `device` being what sysfs says of it, stays.  A plugin may work `limit_s` seconds;
    None is as long as any.
    """
    mark = SaveRecord(record.detaching()) if record.phase is Phase.ATTACHED else None
    forget = ForgetRecord(record.key, taken_over=record.taken_over, folder=record.folder)
    if record.boot_id != boot_id:
        return Release(None, (ReleaseIpam(record, limit_s),), forget)
    if not is_plugged(record, device):
        return Release(mark, (ReleasePlugins(record, limit_s=limit_s),), None)
    if destroyed:
        return Release(mark, (ReleasePlugins(record, ipam_required, limit_s),), forget)
    return Release(mark, give_back(record, ipam_required, limit_s), forget)


def plan_homecoming(
    record: Attachment, boot_id: str, device: SysfsDevice | None, *, destroyed: bool = False
) -> Release:
    """As much of `plan_release` as needs no plugin: a plugin that hangs keeps no netdev away.

    The record stays if a plugin is still to be told (`plan_farewell`).
    """
    whole = plan_release(record, boot_id, device, destroyed=destroyed)
    work = tuple(step for step in whole.work if not isinstance(step, _FAREWELLS))
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
    """The steps that undo all that a mover does: the plugins are told, the netdev comes home."""
    home = () if record.captured is None else homecoming(record, record.captured)
    return (ReleasePlugins(record, ipam_required, limit_s), *home)


def homecoming(record: Attachment, captured: Captured) -> tuple[Step, ...]:
    """The steps after which the netdev is on the host as it was."""
    return (
        BringHome(record, captured),
        RestoreConfiguration(record, captured),
        VerifyHome(record, captured),
    )
