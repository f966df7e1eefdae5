"""Keys of a configuration that nobody knows, and that look like a known one written wrong."""

from collections.abc import Iterator
from typing import Final

import attrs

from amdcni.core.formats.configurations import known_keys
from amdcni.core.spec import Json

_ALIKE: Final = 0.75
"""How much of two keys has to agree, from 0 to 1."""

_OTHERS: Final = frozenset(
    {
        *("type", "args", "capabilities", "prevResult", "plugins", "cniVersions"),
        *("ipMasq", "disableCheck", "disableGC", "loadOnlyInlinedPlugins"),
    }
)
"""What CNI gives a meaning to, and we do not read."""


@attrs.frozen
class Misspelt:
    """An unknown key, with its JSON path, and the known key that was probably meant."""

    path: str
    key: str
    meant: str

    def __str__(self) -> str:
        return f"{self.path}: the key {self.key!r} is not known; did you mean {self.meant!r}?"


def misspelt_keys(raw: Json) -> tuple[Misspelt, ...]:
    """The unknown keys that look like one of ours; the others are meant for somebody else."""
    parts = {"$": (raw, known_keys()), "$.runtimeConfig": (raw.get("runtimeConfig"), _RUNTIME)}
    return tuple(
        Misspelt(f"{path}.{key}", key, meant)
        for path, (members, ours) in parts.items()
        if isinstance(members, dict)
        for key in members
        for meant in _meant_by(key, ours)
    )


_RUNTIME: Final = known_keys("runtimeConfig")


def _meant_by(key: str, ours: frozenset[str]) -> Iterator[str]:
    if key in ours | _OTHERS or "/" in key:
        # A key with a domain belongs to that domain's owner.
        return
    from difflib import get_close_matches

    known = {each.casefold(): each for each in sorted(ours | _OTHERS)}
    text = key.casefold()
    swapped = [each for each in known if sorted(each) == sorted(text)]
    for close in [*swapped, *get_close_matches(text, known, cutoff=_ALIKE)][:1]:
        if known[close] in ours:
            yield known[close]
