"""What has become of an attachment, judged by its record and by the node as it is now."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import attrs

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.host import Netdev, Netns, SysfsDevice
from amdcni.core.identity import (
    Place,
    dies_with_its_netns,
    find_home,
    find_in_pod,
    is_made_anew,
    is_plugged,
    is_replaced,
)


class Condition(StrEnum):
    """What has become of an attachment.

    HELD: the pod has the device; it may have moved the netdev on, to another netns.
    UNFINISHED: a call about it was interrupted.
    RETURNED: the netdev is on the host, but nobody has returned it: its netns died, or somebody
    has taken it out of its pod.
    RESET: the netdev was made anew on the host while its pod lives, as by a reset of the device, or
    it is on its way into the pod again and that was interrupted.
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
    RESET = "reset"
    ABANDONED = "abandoned"
    OUTDATED = "outdated"
    MISSING = "missing"
    DESTROYED = "destroyed"
    UNPLUGGED = "unplugged"

    @property
    def about(self) -> "About":
        """What is said and done about it."""
        return _ABOUT[self]


@attrs.frozen
class About:
    """What every output says of an attachment in a condition, and what calls make of it.

    `words` say what was found, and `next` what comes then.  `remedy` is for a person, with the
    command that heals for `{heal}` and the record for `{file}`; None if nothing is to be done.
    What is `healable` can be healed from the record alone, without harm to anybody, and is then
    `healed`, in a word.  What is `in_use` is not taken from the attachment.
    """

    words: str
    next: str
    remedy: str | None = None
    healable: bool = False
    in_use: bool = False
    healed: str = "returned"


_ABOUT: Final[Mapping[Condition, About]] = {
    Condition.HELD: About(
        words="the pod has it",
        next="its DEL returns everything",
        in_use=True,
    ),
    Condition.UNFINISHED: About(
        words="a call was interrupted",
        next="the next call on this node, or `amdcni heal`, returns everything",
        remedy="return it: {heal}",
        healable=True,
    ),
    Condition.RETURNED: About(
        words="it is on the host: its pod is gone or has lost it",
        next="`amdcni heal`, or the next ADD of the NIC, restores what it lacks and removes its "
        "record",
        remedy="restore what it lacks, and remove its record: {heal}",
        healable=True,
    ),
    Condition.RESET: About(
        words="it was reset, and its pod, which lives, has lost it",
        next="`amdcni heal` attaches it again, unless somebody has configured it on the host",
        remedy="attach it again: {heal}",
        healable=True,
        in_use=True,
        healed="attached again",
    ),
    Condition.ABANDONED: About(
        words="its pod is gone",
        next="`amdcni heal`, or the next ADD of the device, ends it",
        remedy="forget the record: {heal}",
        healable=True,
        healed="forgotten",
    ),
    Condition.OUTDATED: About(
        words="the node has been rebooted since",
        next="it is forgotten; the boot has configured the host anew",
        remedy="forget the record: {heal}",
        healable=True,
        healed="forgotten",
    ),
    Condition.MISSING: About(
        words="it is neither on the host nor in its pod",
        next="amdcni doctor says what to do",
        remedy="it is in no network namespace that can be seen from here: was it unplugged, or "
        "replaced? If it is gone for good, remove {file}",
    ),
    Condition.DESTROYED: About(
        words="it was made by software, and the kernel destroyed it with its pod",
        next="`amdcni heal` forgets it: create the netdev again, as the boot does",
        remedy="create the netdev again, as the node's boot does, and forget the record: {heal}",
        healable=True,
        healed="forgotten",
    ),
    Condition.UNPLUGGED: About(
        words="it is not in the machine, or another card is in its place",
        next="once it is plugged in again, `amdcni heal` restores everything",
        remedy="plug it in again, then {heal}; if it is gone for good, remove {file}",
        in_use=True,
    ),
}


@attrs.frozen
class Seen:
    """What is seen of an attachment, and all that any output says of it.

    `place` is where the netdev is, if it is neither on the host nor in its pod and can be seen.
    `busy` is whether a call is working on the device.  A netdev that is HELD has `left` if its pod
    lives and does not have it in its own netns any more.
    """

    condition: Condition
    place: Place | None = None
    busy: bool = False
    left: bool = False

    @property
    def words(self) -> str:
        """What was found, in words."""
        if self.busy:
            return "a call is working on it"
        if self.place is not None:
            there = f"it is in {self.place.netns} as {self.place.ifname}"
            return f"{there}, though its pod lives" if self.left else there
        return _LEFT.words if self.left else self.condition.about.words

    @property
    def next(self) -> str:
        """What comes then, in words."""
        if self.place is not None:
            return self.place.way_home(_HEAL)
        return _LEFT.next if self.left else self.condition.about.next

    @property
    def needs_somebody(self) -> bool:
        """Whether nothing happens before a command is given, or the next call is made.

        A call that is at work will end.
        """
        is_well = self.condition.about.remedy is None and not self.left
        return not (is_well or self.busy)

    @property
    def is_healable(self) -> bool:
        """Whether healing is all that it needs."""
        return self.condition.about.healable

    @property
    def is_orphan(self) -> bool:
        """Whether no pod has the device, and no call has begun to return it to the host."""
        of_a_pod = (Condition.HELD, Condition.RESET)
        return not self.busy and self.condition not in (*of_a_pod, Condition.UNFINISHED)

    def remedy(self, heal: str, file: str) -> str | None:
        """What a person is to do; `heal` is the command that heals, `file` that of the record."""
        if not self.needs_somebody:
            return None
        if self.place is not None:
            return self.place.way_home(heal)
        about = _LEFT if self.left else self.condition.about
        return str(about.remedy).format(heal=heal, file=file)


_HEAL: Final = "amdcni heal"

_LEFT: Final = About(
    words="its pod lives, but has it in no network namespace that can be seen",
    next="amdcni doctor says what to do",
    remedy="was it unplugged, or replaced, or moved on by its pod? If it is gone for good, end the "
    "pod, and then remove {file}",
)


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
    home = find_home(record, host.netdevs, device, pod)
    at_home = home is not None
    if _is_due_in(record, pod) and _was_reset(record, home, inside=inside):
        return Condition.RESET
    finished = record.phase is Phase.ATTACHED
    if not finished and (record.captured is None or inside or at_home):
        return Condition.UNFINISHED
    if at_home:
        return Condition.RETURNED
    if finished and _has_it(record, pod, inside=inside):
        replaced = not inside and is_replaced(record, host.netdevs, device)
        return Condition.UNPLUGGED if replaced else Condition.HELD
    if record.captured is None:
        return Condition.ABANDONED
    unseen = record.pod_ifindex is None and record.netns.is_alive_in(pod)
    if dies_with_its_netns(record) and not (is_elsewhere or unseen):
        return Condition.DESTROYED
    return Condition.MISSING


def _is_due_in(record: Attachment, pod: Netns | None) -> bool:
    """Whether a finished ADD has promised the netdev to a pod that is proved to be alive."""
    if record.phase is Phase.DETACHING or record.result is None or pod is None:
        return False
    known = record.netns.id.cookie is not None and pod.id.cookie is not None
    return known and record.netns.is_alive_in(pod)


def _was_reset(record: Attachment, home: Netdev | None, *, inside: bool) -> bool:
    """Whether the pod lacks the netdev only since that was made anew; `home` is it on the host."""
    if record.is_reattaching:
        return inside or home is not None
    return home is not None and is_made_anew(record, home)


def _has_it(record: Attachment, pod: Netns | None, *, inside: bool) -> bool:
    """Whether the pod is alive; it then has the device, perhaps in a netns of its own making.

    Without cookies, a netns is known only together with a netdev that is in it.
    """
    if pod is None or not record.netns.is_alive_in(pod):
        return False
    known = record.netns.id.cookie is not None and pod.id.cookie is not None
    return inside or known or record.captured is None
