"""Records as the state folder holds them; attributes keep the names that they have here."""

from typing import Any, Final

from amdcni.core.attachment import FORMAT, Attachment
from amdcni.core.codec.converter import structure, unstructure
from amdcni.core.codec.text import MAX_DEPTH, decode_object, shown
from amdcni.core.errors import DamagedRecord, StateTooNew, UndecodableInput

MAX_RECORD_BYTES: Final = 16 * 1024 * 1024
"""A record holds a configuration, in ASCII: two bytes of UTF-8 become the six of `\\u00e9`.

It also holds all routes of the netdev, and those of a router are many.
"""

MAX_RECORD_DEPTH: Final = MAX_DEPTH + 1
"""The configuration is one level below the record."""


def attachment_to_json(attachment: Attachment) -> dict[str, Any]:
    """The record as JSON; attributes keep their names, `format` is always there."""
    return {"format": attachment.format, **unstructure(attachment)}


def parse_attachment(data: bytes) -> Attachment:
    """The record that a file of the state folder holds.

    Raises: DamagedRecord for anything that is not one, StateTooNew for one of a newer format.
    """
    try:
        raw = decode_object(
            data, "the record", max_bytes=MAX_RECORD_BYTES, max_depth=MAX_RECORD_DEPTH
        )
    except UndecodableInput as fault:
        raise DamagedRecord(fault.message) from None
    written = raw.get("format")
    if type(written) is int and written > FORMAT:
        raise StateTooNew(f"the record has format {written}; this version reads up to {FORMAT}")
    if written != FORMAT:
        raise DamagedRecord(f"the record has no known format: {shown(written)}")
    return structure(raw, Attachment, DamagedRecord, "the record")
