"""What has become of an attachment, judged by its record and by the node as it is now."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.host import Netns, SysfsDevice
from amdcni.core.identity import dies_with_its_netns, find_home, find_in_pod, is_plugged


class Condition(StrEnum):
    """What has become of an attachment.

    HELD: the pod has the device.
    UNFINISHED: a call about it was interrupted.
    RETURNED: the netdev is on the host, but nobody has returned it: it is bare, because its netns
    died.
    ABANDONED: the pod is gone, and had a device without a netdev.
    OUTDATED: the record is of an earlier boot.
    MISSING: the netdev is not on the host, and its pod is gone or, after interrupted work, no
    longer has it; who has it is not known.
    DESTROYED: a netdev made by software no longer exists: the kernel destroys it with its netns.
    UNPLUGGED: the device is not in the machine, or another card is in its place.
    """

    HELD = "held"
    UNFINISHED = "unfinished"
    RETURNED = "returned"
    ABANDONED = "abandoned"
    OUTDATED = "outdated"
    MISSING = "missing"
    DESTROYED = "destroyed"
    UNPLUGGED = "unplugged"


IN_WORDS: Final[Mapping[Condition, str]] = {
    Condition.HELD: "the pod has it",
    Condition.UNFINISHED: "a call was interrupted",
    Condition.RETURNED: "it is on the host, bare: its pod is gone",
    Condition.ABANDONED: "its pod is gone",
    Condition.OUTDATED: "the node has been rebooted since",
    Condition.MISSING: "it is neither on the host nor in its pod",
    Condition.DESTROYED: "it was made by software, and the kernel destroyed it with its pod",
    Condition.UNPLUGGED: "it is not in the machine",
}
"""What every output says of an attachment in that condition."""

HEALABLE: Final = frozenset(
    {
        Condition.UNFINISHED,
        Condition.RETURNED,
        Condition.ABANDONED,
        Condition.DESTROYED,
        Condition.OUTDATED,
    }
)
"""What can be healed from the record alone, without harm to anybody.

A missing netdev might still be in use; it stays recorded.
"""


def condition_of(
    record: Attachment,
    boot_id: str,
    host: Netns,
    pod: Netns | None,
    device: SysfsDevice | None,
    *,
    is_elsewhere: bool = True,
) -> Condition:
    """What has become of the attachment.

    `pod` is the pod's netns as it is now, `device` is what sysfs says of the device.
    `is_elsewhere` is whether the netdev may be in some other netns; it matters for one that is
    neither on the host nor in its pod.

    A living pod may still have what an interrupted ADD gave it, if it removed the mark.
    """
    if record.boot_id != boot_id:
        return Condition.OUTDATED
    if not is_plugged(record, device):
        return Condition.UNPLUGGED
    inside = find_in_pod(record, pod) is not None
    at_home = not inside and find_home(record, host.netdevs, device, pod) is not None
    finished = record.phase is Phase.ATTACHED
    if not finished and (record.captured is None or inside or at_home):
        return Condition.UNFINISHED
    if at_home:
        return Condition.RETURNED
    if finished and _has_it(record, pod, inside=inside):
        return Condition.HELD
    if record.captured is None:
        return Condition.ABANDONED
    unseen = record.pod_ifindex is None and record.netns.is_alive_in(pod)
    if dies_with_its_netns(record) and not (is_elsewhere or unseen):
        return Condition.DESTROYED
    return Condition.MISSING


def _has_it(record: Attachment, pod: Netns | None, *, inside: bool) -> bool:
    """Whether the pod is alive; it then has the device, perhaps in a netns of its own making.

    Without cookies, a netns is known only together with a netdev that is in it.
    """
    if pod is None or not record.netns.is_alive_in(pod):
        return False
    known = record.netns.id.cookie is not None and pod.id.cookie is not None
    return inside or known or record.captured is None
