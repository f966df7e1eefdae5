"""JSON text: strict in what it reads, plain ASCII in what it writes."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

from amdcni.core.errors import UndecodableInput

MAX_INPUT_BYTES: Final = 1024 * 1024
"""More than any configuration has; a larger input is refused before it is parsed.

As Python values, JSON can take thirty times as much memory.
"""

MAX_DEPTH: Final = 100
"""Deeper than any configuration, and far from what any of our own recursions can take."""


def decode_object(
    data: bytes,
    what: str,
    *,
    max_bytes: int = MAX_INPUT_BYTES,
    max_depth: int = MAX_DEPTH,
    unique: bool = False,
) -> dict[str, Any]:
    """The JSON object that `data` holds; `what` names it in errors.

    With `unique`, no object may have a key twice; without, the last one counts.

    Raises: UndecodableInput for anything else: other bytes, other JSON values, NaN, and inputs too
    large or too deep to be meant.
    """
    value = _decode(data, what, max_bytes, max_depth, _once if unique else None)
    if not isinstance(value, dict):
        raise UndecodableInput(f"{what} is {shown(value)}, not a JSON object")
    return value


def decode_list(data: bytes, what: str) -> list[Any]:
    """The JSON list that `data` holds; otherwise as `decode_object`."""
    value = _decode(data, what, MAX_INPUT_BYTES, MAX_DEPTH)
    if not isinstance(value, list):
        raise UndecodableInput(f"{what} is {shown(value)}, not a JSON list")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {name!r} is there twice")
    return found


def _decode(
    data: bytes,
    what: str,
    max_bytes: int,
    max_depth: int,
    make: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None,
) -> Any:
    if len(data) > max_bytes:
        raise UndecodableInput(f"{what} is larger than {max_bytes} bytes")
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_constant=_refuse,
            parse_float=_finite,
            object_pairs_hook=make,
        )
    except UnicodeDecodeError as fault:
        raise UndecodableInput(f"{what} is not UTF-8: {fault}") from None
    except RecursionError:
        raise UndecodableInput(f"{what} is nested too deeply") from None
    except json.JSONDecodeError as fault:
        raise UndecodableInput(f"{what} is not JSON: {_in_words(fault)}") from None
    except ValueError as fault:
        raise UndecodableInput(f"{what} is not JSON: {fault}") from None
    if _is_deeper(value, max_depth):
        raise UndecodableInput(f"{what} is nested too deeply")
    return value


def _in_words(fault: json.JSONDecodeError) -> str:
    """The fault, with what people take from other languages called by its name."""
    if fault.doc.startswith(("#", "//", "/*"), fault.pos):
        return f"a comment, which JSON does not have: {_place_of(fault)}"
    # From Python 3.13 on, the fault is at the comma; before, it is at what follows.
    comma = max(0, fault.doc[: fault.pos + 1].rfind(","))
    found = _COMMA_BEFORE_CLOSING.match(fault.doc, comma)
    if found is not None and found.end() > fault.pos:
        closing = json.JSONDecodeError(fault.msg, fault.doc, found.start(1))
        return f"a comma before the closing {found[1]!r}: {_place_of(closing)}"
    return str(fault)


_COMMA_BEFORE_CLOSING: Final = re.compile(r",\s*([]}])")


def _place_of(fault: json.JSONDecodeError) -> str:
    return f"line {fault.lineno} column {fault.colno}"


def _is_deeper(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [inner for each in level for inner in _members(each)]
        if not level:
            return False
    return True


def _members(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON value")


_INFINITY: Final = float("inf")


def _finite(text: str) -> float:
    value = float(text)
    if abs(value) == _INFINITY:
        raise ValueError(f"the number {text[:20]} is out of range")
    return value


def encode(value: Mapping[str, Any]) -> str:
    """`value` as one line of JSON in ASCII, so that it survives any locale and any log."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def shown(value: object) -> str:
    """`value` for an error message: its kind in the words of JSON, and its beginning."""
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    kinds |= {int: "a number", float: "a number", type(None): "null"}
    text = json.dumps(value)
    return f"{kinds[type(value)]} ({text if len(text) <= 60 else text[:57] + '...'})"
