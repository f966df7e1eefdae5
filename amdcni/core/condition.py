"""What has become of an attachment, by its record and by the node as it is now."""

from enum import StrEnum
from typing import Final

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.host import Netns, SysfsDevice
from amdcni.core.resolve import find_home


class Condition(StrEnum):
    """What has become of an attachment.

    HELD: the pod has the device.
    UNFINISHED: a call about it was interrupted.
    RETURNED: the netdev is on the host and nobody has given it back: bare, by a netns that died.
    ABANDONED: the pod is gone, and had a device without a netdev.
    OUTDATED: the record is of an earlier boot.
    MISSING: the pod is gone, and the netdev is not on the host; who has it is not known.
    UNPLUGGED: the device is not in the machine.
    """

    HELD = "held"
    UNFINISHED = "unfinished"
    RETURNED = "returned"
    ABANDONED = "abandoned"
    OUTDATED = "outdated"
    MISSING = "missing"
    UNPLUGGED = "unplugged"


HEALABLE: Final = frozenset(
    {Condition.UNFINISHED, Condition.RETURNED, Condition.ABANDONED, Condition.OUTDATED}
)
"""What can be healed from the record alone, without harm to anybody.

What is missing might still be in use; it stays recorded.
"""


def condition_of(
    record: Attachment, boot_id: str, host: Netns, pod: Netns | None, device: SysfsDevice | None
) -> Condition:
    """What has become of the attachment.

    `pod` is what is found at the record's netns path now, `device` what sysfs says of the device.
    """
    if record.boot_id != boot_id:
        return Condition.OUTDATED
    if record.key.bus_device is not None and device is None:
        return Condition.UNPLUGGED
    if record.phase is not Phase.ATTACHED:
        return Condition.UNFINISHED
    if find_home(record, host.netdevs, device) is not None:
        return Condition.RETURNED
    if record.netns.is_alive_in(pod):
        return Condition.HELD
    return Condition.ABANDONED if record.captured is None else Condition.MISSING
