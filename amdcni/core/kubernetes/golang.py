"""JSON as Go's encoding/json writes it, which is what plugins and annotations get."""

import json
from typing import Any


def to_go_json(value: Any, *, sort_keys: bool = False, indent: int | None = None) -> str:
    """`value` as Go writes a struct, or, with `sort_keys`, a map; compact without `indent`."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(
        value, sort_keys=sort_keys, indent=indent, separators=separators, ensure_ascii=False
    )
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
