"""What is known of each attachment, and how every command words and names it."""

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import attrs

from amdcni.cli.columns import Column, State, Tone
from amdcni.cli.node import read_records
from amdcni.core.attachment import Attachment
from amdcni.core.condition import Condition, Seen
from amdcni.core.errors import UnknownAttachment
from amdcni.core.identity import Place
from amdcni.core.names import DeviceKey
from amdcni.core.nics import Records
from amdcni.ports import Node, OpenNode
from amdcni.verbs.healing import look_at


@attrs.frozen
class Known:
    """What is known from one file of the state folder: a record and what is seen, or a `fault`."""

    key: DeviceKey
    record: Attachment | None = None
    seen: Seen | None = None
    fault: str | None = None

    @property
    def condition(self) -> Condition | None:
        """What has become of the attachment."""
        return None if self.seen is None else self.seen.condition

    @property
    def place(self) -> Place | None:
        """Where the netdev is, if it is neither on the host nor in its pod."""
        return None if self.seen is None else self.seen.place

    @property
    def busy(self) -> bool:
        """Whether a call is working on the device."""
        return self.seen is not None and self.seen.busy

    @property
    def is_orphan(self) -> bool:
        """Whether no pod has the device, and no call has begun to return it to the host."""
        return self.seen is not None and self.seen.is_orphan

    @property
    def needs_somebody(self) -> bool:
        """Whether nothing happens before a command is given, or the next call is made."""
        return self.fault is not None if self.seen is None else self.seen.needs_somebody

    @property
    def words(self) -> str:
        """What was found, in words."""
        return str(self.fault) if self.seen is None else self.seen.words

    @property
    def about(self) -> str:
        """The device, and its name on the host if it has one there."""
        return about(self.key, self.record)


def about(key: DeviceKey, record: Attachment | None) -> str:
    """A device, and its name on the host if it has one there."""
    name = None if record is None else record.host_ifname
    return str(key) if name in (None, key.ifname) else f"{key} ({name})"


def read_all(node: OpenNode) -> tuple[Known, ...]:
    """Every record with what is seen of it; nothing is changed.

    Raises: StateFailure, KernelRefused.
    """
    return look_at_all(read_records(node), node)


def look_at_all(records: Records, node: Node) -> tuple[Known, ...]:
    """What is seen of every attachment in `records`; raises KernelRefused."""
    known = [Known(each.record.key, each.record, each.seen) for each in look_at(records.read, node)]
    known += [Known(key, fault=fault) for key, fault in records.faults.items()]
    return tuple(sorted(known, key=lambda each: str(each.key)))


# ---- how it is shown

HOLDER: Final = (
    Column("DEVICE", 12),
    Column("NAME", 8),
    Column("NAMESPACE", 9),
    Column("POD", 13),
)
"""The columns that say which NIC it is, and who has it."""


def holder_cells(key: DeviceKey, record: Attachment | None) -> tuple[str, str, str, str]:
    """The cells of `HOLDER`; what the runtime did not call a pod has its container ID."""
    device = key.lock_name
    if record is None:
        return (device, str(key.ifname or ""), "", "")
    name = record.host_ifname or ""
    if record.pod is None:
        return (device, name, "", record.id.short)
    namespace, _, pod = record.pod.partition("/")
    return (device, name, namespace, pod)


IDENTITY: Final = (
    Column("CONTAINER", 13, only_wide=True),
    Column("NETNS", 13, only_wide=True),
    Column("NETWORK", 13, only_wide=True),
)
"""The columns that identify the attachment, in full."""


def identity_cells(record: Attachment | None) -> tuple[str, str, str]:
    """The cells of `IDENTITY`."""
    if record is None:
        return ("", "", "")
    return (record.id.container_id, record.netns.path, record.network)


def state_of(known: Known) -> State:
    """What has become of it, in one word."""
    record = known.record
    match known.condition:
        case None:
            return State("unreadable", Tone.BAD)
        case Condition.HELD:
            return State("attached", Tone.GOOD)
        case Condition.UNFINISHED:
            word = "unfinished" if record is None else record.phase.value
            return State(word, Tone.CHANGING if known.busy else Tone.BAD)
        case Condition.RESET:
            return State("reset", Tone.CHANGING if known.busy else Tone.BAD)
        case _:
            return State("busy", Tone.CHANGING) if known.busy else State("orphan", Tone.BAD)


def age_of(since: str, now: datetime | None = None) -> str:
    """How long ago that moment, in ISO 8601, was: the largest unit of which there are two."""
    now = now or datetime.now(UTC)
    try:
        then = datetime.fromisoformat(since)
        seconds = max(0, int((now - then.astimezone(UTC)).total_seconds()))
    except (ValueError, OverflowError):
        return "?"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


# ---- what somebody has to do


def needs(known: Sequence[Known], aside: Sequence[str], data_dir: str | None) -> Iterator[str]:
    """A sentence on each NIC that needs somebody, and at the end the commands for them.

    `aside` are sentences on damaged records, which need a person too.
    """
    waiting = [each for each in known if each.needs_somebody]
    yield from (f"{each.about}: {each.words}" for each in waiting)
    yield from aside
    yield from commands(waiting, len(aside), data_dir)


def commands(waiting: Sequence[Known], aside: int, data_dir: str | None) -> Iterator[str]:
    """How many NICs need somebody, and the commands for them.

    `aside` is the number of damaged records.
    """
    healable = [each.key for each in waiting if _is_healable(each)]
    others = len(waiting) - len(healable) + aside
    where = "" if data_dir is None else f" --data-dir {shlex.quote(data_dir)}"
    if healable:
        one = f" {shlex.quote(str(healable[0]))}" if len(healable) == 1 else ""
        yield f"{counted(len(healable))} somebody: amdcni heal{one}{where}"
    if others:
        yield f"{counted(others)} somebody to look: amdcni doctor{where}"


def _is_healable(known: Known) -> bool:
    return known.seen is not None and known.seen.is_healable


def counted(number: int) -> str:
    """How many NICs need something."""
    return "1 NIC needs" if number == 1 else f"{number} NICs need"


# ---- how it is named


def find_named(
    text: str, known: Sequence[Known], aside: Sequence[str] = (), *, inside: bool = True
) -> tuple[Known, ...]:
    """What `text` names: one NIC, or all NICs of one pod or container.

    It may be the device, its name on the host, the pod's name, with or without its namespace, or
    the start of a container ID; if it is none of these and `inside` counts, the name in the pod.
    `aside` are sentences on damaged records, one of which may be meant.

    Raises: UnknownAttachment if it names nothing, or may name several things.
    """
    meanings = _meanings(text, known, _outside)
    if inside and not meanings:
        meanings = _meanings(text, known, _inside)
    if not meanings:
        devices = ", ".join(str(each.key) for each in known) or "none"
        more = "".join(f"; {fault}" for fault in aside)
        raise UnknownAttachment(
            f"no attachment is known as {text!r}; the devices are {devices}{more}"
        )
    named = frozenset.union(*meanings.values())
    found = tuple(each for each in known if each.key in named)
    if any(keys != named for keys in meanings.values()):
        raise _ambiguous(text, found)
    return found


def require_one(text: str, found: Collection[Known]) -> None:
    """Raise UnknownAttachment unless all that `text` names is on one device."""
    if len({each.key.lock_name for each in found}) > 1:
        raise _ambiguous(text, found)


def _ambiguous(text: str, found: Iterable[Known]) -> UnknownAttachment:
    candidates = "; ".join(
        each.about if each.record is None else f"{each.about} of {each.record.lent_to}"
        for each in found
    )
    return UnknownAttachment(f"{text!r} may mean several NICs, so name one of them: {candidates}")


def names_device(text: str, known: Known) -> bool:
    """Whether `text` is the device, or the name that its netdev has on the host."""
    device = known.key.lock_name
    if text in (str(known.key), device):
        return True
    name = known.key.ifname if known.record is None else known.record.host_ifname
    return name is not None and text in (name, f"{device}@{name}")


_Meaning = tuple[str, str]
"""A kind of name, and what of that kind is named."""


def _outside(text: str, known: Known) -> Iterator[_Meaning]:
    if names_device(text, known):
        yield "device", known.key.lock_name
    record = known.record
    if record is None:
        return
    if record.pod is not None and text in (record.pod, record.pod.partition("/")[2]):
        yield "pod", record.pod
    if text and record.id.container_id.startswith(text):
        yield "container", record.id.container_id


def _inside(text: str, known: Known) -> Iterator[_Meaning]:
    if known.record is not None and known.record.id.ifname == text:
        yield "name in a pod", str(known.key)


def _meanings(
    text: str, known: Iterable[Known], namer: Callable[[str, Known], Iterator[_Meaning]]
) -> dict[_Meaning, frozenset[DeviceKey]]:
    """All that `text` may mean, and the NICs of each."""
    found: dict[_Meaning, frozenset[DeviceKey]] = {}
    for each in known:
        for meaning in namer(text, each):
            found[meaning] = found.get(meaning, frozenset()) | {each.key}
    return found
