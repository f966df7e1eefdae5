"""Records as the state folder holds them; attributes keep their names."""

from typing import Any, Final

import attrs

from amdcni.core.attachment import FORMAT, Attachment, Phase
from amdcni.core.codec.converter import choose, spell, structure, unstructure
from amdcni.core.codec.text import MAX_DEPTH, decode_object, shown
from amdcni.core.errors import DamagedRecord, StateTooNew, UndecodableInput
from amdcni.core.request import Mover
from amdcni.core.rules import Rule
from amdcni.core.spec import Json

MAX_RECORD_BYTES: Final = 16 * 1024 * 1024
"""A record holds a configuration, in ASCII: two bytes of UTF-8 become the six of `\\u00e9`.

It also holds all routes of the netdev, of which a router has many.
"""

_WHAT: Final = "the record"

MAX_RECORD_DEPTH: Final = MAX_DEPTH + 1
"""The configuration is one level below the record."""

choose(Phase, Mover)
spell(Attachment, read_from=None, folder=None)
spell(Rule, strange=None)


def attachment_to_json(attachment: Attachment) -> dict[str, Any]:
    """The record as JSON; attributes keep their names, `format` is always there.

    Keys that a newer version wrote into the file from which the record was read are kept, at every
    level: going back to an older version, and on again, loses nothing.
    """
    written = {"format": attachment.format, **unstructure(attachment)}
    raw = attachment.read_from
    if raw is None or _has_all_members(written, raw):
        return written
    known = unstructure(structure(raw, Attachment, DamagedRecord, _WHAT))
    kept: dict[str, Any] = _with_unknown(written, known, raw)
    return kept


def _has_all_members(written: Json, raw: Json) -> bool:
    """Whether nothing of `raw` is missing in `written`, which mostly differs in a word or two."""
    return all(
        key in written and (written[key] == value or not isinstance(value, dict | list))
        for key, value in raw.items()
    )


def _with_unknown(written: Any, known: Any, raw: Any) -> Any:
    """`written` with the members of `raw` that are not in `known`, which is what we read of `raw`.

    The members of a list are matched by position, and so only while the list is as it was read.
    """
    if known == raw:
        return written
    if isinstance(written, dict) and isinstance(known, dict) and isinstance(raw, dict):
        unknown = {key: raw[key] for key in raw.keys() - known.keys() - written.keys()}
        inner = {
            key: _with_unknown(value, known.get(key), raw.get(key))
            for key, value in written.items()
        }
        return {**inner, **unknown}
    if isinstance(written, list) and isinstance(raw, list) and written == known:
        return [_with_unknown(*each) for each in zip(written, known, raw, strict=True)]
    return written


def parse_attachment(data: bytes) -> Attachment:
    """The record that a file of the state folder holds.

    Raises: DamagedRecord for anything that is not one, StateTooNew for one of a newer format.
    """
    try:
        raw = decode_object(data, _WHAT, max_bytes=MAX_RECORD_BYTES, max_depth=MAX_RECORD_DEPTH)
    except UndecodableInput as fault:
        raise DamagedRecord(fault.message) from None
    written = raw.get("format")
    if type(written) is int and written > FORMAT:
        raise StateTooNew(f"the record has format {written}; this version reads up to {FORMAT}")
    if written != FORMAT:
        raise DamagedRecord(f"the record has no known format: {shown(written)}")
    return attrs.evolve(structure(raw, Attachment, DamagedRecord, _WHAT), read_from=raw)
