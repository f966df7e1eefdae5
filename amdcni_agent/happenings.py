"""What happens to NICs and pods that Kubernetes events tell of, and in which words: pure.

A worker makes these from what is logged; the reporting process posts them.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import attrs

from amdcni.core import errors
from amdcni.core.condition import Condition, Seen
from amdcni.core.identity import Place
from amdcni.core.names import IfName

MAX_WORDS_BYTES: Final = 1000
"""Kubernetes allows a message 1024 bytes."""

_NAME: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAMESPACE: Final = re.compile(rf"(?=.{{1,63}}\Z){_NAME}\Z")
_DOTTED: Final = re.compile(rf"(?=.{{1,253}}\Z){_NAME}(\.{_NAME})*\Z")
_UID: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9]{0,127}\Z")
_LONG_ID: Final = re.compile(r"\b([0-9a-f]{13})[0-9a-f]{51}\b")
_SHORT: Final = 13
"""So many digits of a container ID are what `crictl ps` shows."""


class Happening(StrEnum):
    """What has happened."""

    REFUSED = "refused"
    HEALED = "healed"
    REATTACHED = "reattached"
    NOT_HEALED = "not-healed"
    LOST = "lost"
    UNPLUGGED = "unplugged"
    DESTROYED = "destroyed"
    NAME_TAKEN = "name-taken"
    NOT_RESTORED = "not-restored"
    NOT_SAVED = "not-saved"
    SALVAGED = "salvaged"
    RECORD_DAMAGED = "record-damaged"


def is_object_name(text: str) -> bool:
    """Whether a node or a pod can have this name (a DNS subdomain, RFC 1123)."""
    return _DOTTED.match(text) is not None


@attrs.frozen
class Pod:
    """A pod, as its runtime named it; without its UID, `kubectl describe` does not find events."""

    namespace: str = attrs.field(validator=attrs.validators.matches_re(_NAMESPACE))
    name: str = attrs.field(validator=attrs.validators.matches_re(_DOTTED))
    uid: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.matches_re(_UID))
    )


def _check_words(_: object, field: "attrs.Attribute[str]", value: str) -> None:
    if not value.isprintable() or len(value.encode()) > MAX_WORDS_BYTES:
        raise ValueError(f"{field.name} is too long, or not printable")


@attrs.frozen
class Happened:
    """Something has happened to what `subject` names: a device, a NIC of a pod, or a file.

    `pod` is None if no pod is concerned, or the runtime did not say which.
    """

    what: Happening
    subject: str = attrs.field(validator=_check_words)
    words: str = attrs.field(validator=_check_words)
    pod: Pod | None = None


def in_short(text: str) -> str:
    """A text that fits into an event, all of it printable, and with short container IDs."""
    printable = "".join(each if each.isprintable() else "?" for each in text)
    shortened = _LONG_ID.sub(r"\1", printable)
    return shortened.encode()[:MAX_WORDS_BYTES].decode(errors="ignore")


REFUSALS: Final = frozenset(
    name
    for name, cls in vars(errors).items()
    if isinstance(cls, type)
    and cls is not errors.TryAgainLater
    and issubclass(
        cls,
        errors.DeviceNotFound
        | errors.DeviceAmbiguous
        | errors.DeviceProtected
        | errors.IfnameTaken
        | errors.TryAgainLater,
    )
)
"""The errors by which ADD refuses a NIC; all others are about the call, or about the node."""


def find_happened(event: str, facts: Mapping[str, object]) -> Happened | None:
    """What an event of the log tells of; None if it is of no interest to the cluster."""
    said = {name: str(fact) for name, fact in facts.items() if fact is not None}
    what = _find_kind(event, said)
    if what is None:
        return None
    subject, words = _subject_of(what, said), _words_of(what, said)
    return Happened(what, in_short(subject), in_short(words), _find_pod(said))


def _find_kind(event: str, said: Mapping[str, str]) -> Happening | None:
    match event:
        case "failed":
            is_refused = said.get("verb") == "ADD" and said.get("error") in REFUSALS
            return Happening.REFUSED if is_refused else None
        case "needs-attention":
            condition = Condition(said["found"])
            if condition is Condition.UNPLUGGED:
                return Happening.UNPLUGGED
            # What a pod holds needs somebody only if it is not in there any more.
            lost = condition in (Condition.MISSING, Condition.HELD)
            return Happening.LOST if lost else None
        case _:
            return Happening(event) if event in _LOGGED else None


_LOGGED: Final = frozenset(each.value for each in Happening) - {"refused", "lost"}


def _find_pod(said: Mapping[str, str]) -> Pod | None:
    """The pod, unless nothing in a cluster can be called so."""
    namespace, _, name = said.get("pod", "").partition("/")
    if not _NAMESPACE.match(namespace) or not _DOTTED.match(name):
        return None
    uid = said.get("pod_uid", "")
    return Pod(namespace, name, uid if _UID.match(uid) else None)


def _subject_of(what: Happening, said: Mapping[str, str]) -> str:
    match what:
        case Happening.REFUSED:
            return said.get("holder", "").rpartition("/")[2]
        case Happening.RECORD_DAMAGED:
            return said.get("path", "")
        case _:
            return said.get("device", "")


def _words_of(what: Happening, said: Mapping[str, str]) -> str:
    """One sentence for people, about the NIC and its pod."""
    reason = said.get("reason", "")
    match what:
        case Happening.REFUSED:
            return f"ADD of {_subject_of(what, said)} was refused: {reason}"
        case Happening.RECORD_DAMAGED:
            return f"the record {said.get('path')} is damaged: {reason}"
        case Happening.NOT_SAVED:
            return f"{said.get('device')}: {said.get('what')} will not come back after the pod"
        case _:
            return f"{_nic(said)}: {_fate(what, said)}"


def _nic(said: Mapping[str, str]) -> str:
    """The NIC and its holder."""
    device, (container, _, ifname) = said.get("device", ""), said.get("holder", "").rpartition("/")
    return f"{device} ({ifname} of container {container[:_SHORT]})" if container else device


def _fate(what: Happening, said: Mapping[str, str]) -> str:
    """What has become of a NIC."""
    match what:
        case Happening.HEALED:
            about = Condition(said["found"]).about
            return f"{about.words}; it was {about.healed}"
        case Happening.REATTACHED:
            about = Condition.RESET.about
            return f"{about.words}; it was {about.healed}"
        case Happening.LOST | Happening.UNPLUGGED | Happening.DESTROYED:
            seen = _seen(what, said)
            had = f"; the host had {said.get('ifname')} {said.get('addresses')}"
            return f"{seen.words}; {seen.next}{had if what is Happening.DESTROYED else ''}"
        case Happening.NAME_TAKEN:
            was, now = said.get("was"), said.get("now")
            return f"another netdev on the host has its name, {was}; it is called {now} now"
        case Happening.NOT_RESTORED:
            return f"it is on the host, but not as it was: {said.get('what', said.get('aspect'))}"
        case Happening.SALVAGED:
            return "it had no record, and got back to the host what it had in the pod"
        case _:
            return f"not healed: {said.get('reason')}"


def _seen(what: Happening, said: Mapping[str, str]) -> Seen:
    if what is not Happening.LOST:
        return Seen(_CONDITIONS[what])
    condition, netns = Condition(said["found"]), said.get("in_netns")
    place = None if netns is None else Place(netns, IfName(said.get("in_netns_as", "")))
    return Seen(condition, place, left=condition is Condition.HELD)


_CONDITIONS: Final = {
    Happening.UNPLUGGED: Condition.UNPLUGGED,
    Happening.DESTROYED: Condition.DESTROYED,
}
