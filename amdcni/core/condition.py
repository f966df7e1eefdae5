"""What has become of an attachment, by its record and by the node as it is now."""

from enum import StrEnum
from typing import Final

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.host import Netns, SysfsDevice
from amdcni.core.resolve import find_home, find_in_pod


class Condition(StrEnum):
    """What has become of an attachment.

    HELD: the pod has the device.
    UNFINISHED: a call about it was interrupted.
    RETURNED: the netdev is on the host and nobody has given it back: bare, by a netns that died.
    ABANDONED: the pod is gone, and had a device without a netdev.
    OUTDATED: the record is of an earlier boot.
    MISSING: the netdev is not on the host, and its pod is gone or, of interrupted work, has it no
    more; who has it is not known.
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
    at_home = find_home(record, host.netdevs, device) is not None
    alive = record.netns.is_alive_in(pod)
    if record.phase is not Phase.ATTACHED:
        inside = alive and pod is not None and find_in_pod(record, pod.netdevs) is not None
        within_reach = record.captured is None or at_home or inside
        return Condition.UNFINISHED if within_reach else Condition.MISSING
    if at_home:
        return Condition.RETURNED
    if alive:
        return Condition.HELD
    return Condition.ABANDONED if record.captured is None else Condition.MISSING
