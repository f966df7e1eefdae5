"""Objects as YAML, with the reasons for what is in them as comments."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import yaml

_WIDTH: Final = 100

# What PyYAML takes for a text, and kubectl, whose YAML is another one, for a number or a boolean.
_NO_TEXT_TO_OTHERS: Final = re.compile(
    "[yYnN]|[-+]?(?:0[oO][0-7_]+|(?:[0-9][0-9_]*[.]?|[.][0-9])[0-9_]*[eE][-+]?[0-9_]+)"
)


@attrs.frozen
class Because:
    """A part of an object, and why it is so: a comment above it."""

    part: Any
    reason: str


def plain(part: Any) -> Any:
    """A part of an object without the reasons: what can be written as JSON."""
    match part:
        case Because(inner, _):
            return plain(inner)
        case Mapping():
            return {key: plain(value) for key, value in part.items()}
        case str():
            return part
        case Sequence():
            return [plain(value) for value in part]
        case _:
            return part


def render(documents: Iterable[Any], header: str) -> str:
    """YAML of several objects, below a comment that is for all of them."""
    texts = ["".join(f"{line}\n" for line in _block(document)) for document in documents]
    return "---\n".join([_commented(header), *texts])


def _commented(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def _block(part: Any) -> Iterator[str]:
    """The lines of a part that begins on a line of its own."""
    match part:
        case Because(inner, reason):
            yield from _reason(reason)
            yield from _block(inner)
        case Mapping() if part:
            for key, value in part.items():
                yield from _entry(f"{_scalar(key)[0]}:", value)
        case Sequence() if part and not isinstance(part, str):
            for value in part:
                yield from _item(value)
        case _:
            yield from _scalar(part)


def _entry(key: str, value: Any) -> Iterator[str]:
    inner, reasons = _unwrapped(value)
    yield from reasons
    if _is_block(inner):
        yield key
        # As kubectl prints them, the items of a list are not indented.
        yield from _block(inner) if not isinstance(inner, Mapping) else _indented(_block(inner))
    else:
        first, *others = _scalar(inner)
        yield f"{key} {first}"
        yield from others


def _item(value: Any) -> Iterator[str]:
    inner, reasons = _unwrapped(value)
    yield from reasons
    lines = list(_block(inner))
    # A reason for the first key of an object has to be above the dash.
    while lines[0].startswith("#"):
        yield lines.pop(0)
    yield f"- {lines[0]}"
    yield from _indented(lines[1:])


def _unwrapped(value: Any) -> tuple[Any, list[str]]:
    reasons: list[str] = []
    while isinstance(value, Because):
        reasons += _reason(value.reason)
        value = value.part
    return value, reasons


def _is_block(part: Any) -> bool:
    return isinstance(part, Mapping | Sequence) and not isinstance(part, str) and bool(part)


def _reason(reason: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(reason, _WIDTH - 20, break_on_hyphens=False)]


def _indented(lines: Iterable[str]) -> Iterator[str]:
    yield from (f"  {line}" if line else line for line in lines)


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as such."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text.strip("\n") and _is_printable(text) else None
    if _NO_TEXT_TO_OTHERS.fullmatch(text):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _is_printable(text: str) -> bool:
    # YAML takes some other characters for ends of lines, too.
    return all(map(str.isprintable, text.split("\n")))


_Dumper.add_representer(str, _represent_text)


def _scalar(part: Any) -> list[str]:
    """The lines of what has no parts."""
    as_it_is = isinstance(part, str) and _is_printable(part)
    text = yaml.dump(part, Dumper=_Dumper, width=float("inf"), allow_unicode=as_it_is)
    return text.removesuffix("...\n").removesuffix("\n").split("\n")
