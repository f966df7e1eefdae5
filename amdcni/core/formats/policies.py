"""The node's policy as JSON, which people write: every fault is named, and no key is guessed."""

import re
from typing import Any, Final

import attrs

from amdcni.core.codec.converter import choose, keys_of, structure
from amdcni.core.codec.text import decode_object, shown
from amdcni.core.errors import InvalidConfiguration
from amdcni.core.names import FilePath, PluginName
from amdcni.core.policy import Conditions, Lending, Naming, Policy, Rule, Verdict

_WHAT: Final = "the policy"

_WILD: Final = re.compile(r"[*?\[]")
_ID: Final = (re.compile(r"0x[0-9a-f]{4}", re.IGNORECASE), "0x1dd8")
_FORMS: Final = {
    "address": (
        re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|[^.:]+\.[^.:]+\.[0-9]+", re.I),
        "0000:c1:00.0",
    ),
    "vendor": _ID,
    "device": _ID,
}
"""What these look like without wildcards: a rule with anything else would silently deny nothing."""


@attrs.frozen
class _Lending:
    otherwise: Verdict
    rules: tuple[dict[str, Any], ...] = ()


@attrs.frozen
class _Policy:
    folders: tuple[FilePath, ...] = ()
    naming: Naming = Naming.ANY
    lending: _Lending | None = None
    ipam: tuple[PluginName, ...] | None = None


choose(Verdict, Naming)


def parse_policy(data: bytes) -> Policy:
    """The policy that a file holds.

    Raises: UndecodableInput, InvalidConfiguration for anything that is not wholly understood: a
    rule that was misspelt must not lend what it was to deny.
    """
    raw = decode_object(data, _WHAT, unique=True)
    _refuse_unknown(raw, _Policy, "$")
    if isinstance(raw.get("lending"), dict):
        _refuse_unknown(raw["lending"], _Lending, "$.lending")
    read = structure(raw, _Policy, InvalidConfiguration, _WHAT)
    for folder in read.folders:
        if any(part in ("", ".", "..") for part in folder.split("/")[1:]):
            raise InvalidConfiguration(f"{_WHAT}: $.folders: {folder!r} is no plain folder")
    lending = None
    if read.lending is not None:
        rules = tuple(
            _rule(rule, f"$.lending.rules[{number}]")
            for number, rule in enumerate(read.lending.rules)
        )
        lending = Lending(rules, read.lending.otherwise)
    return Policy(read.folders, read.naming, lending, read.ipam)


def _rule(raw: dict[str, Any], at: str) -> Rule:
    verdicts = [verdict for verdict in Verdict if verdict.value in raw]
    unknown = sorted(set(raw) - {"allow", "deny", "why"})
    why = raw.get("why")
    if len(verdicts) != 1 or unknown or not (why is None or isinstance(why, str)):
        raise InvalidConfiguration(
            f'{_WHAT}: {at} has to have either "allow" or "deny", and may have a text "why"'
        )
    conditions = raw[verdicts[0].value]
    at = f"{at}.{verdicts[0].value}"
    if not isinstance(conditions, dict) or not conditions:
        raise InvalidConfiguration(
            f"{_WHAT}: {at} is {shown(conditions)}, not an object with a condition"
        )
    _refuse_unknown(conditions, Conditions, at)
    patterns = {key: _patterns(value, f"{at}.{key}") for key, value in conditions.items()}
    for key in patterns.keys() & _FORMS.keys():
        form, example = _FORMS[key]
        for pattern in patterns[key]:
            if not _WILD.search(pattern) and not form.fullmatch(pattern):
                raise InvalidConfiguration(
                    f"{_WHAT}: {at}.{key}: {pattern!r} fits nothing; write it like {example!r}"
                )
    return Rule(verdicts[0], Conditions(**patterns), why)


def _patterns(value: Any, at: str) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t for t in texts):
        raise InvalidConfiguration(
            f"{_WHAT}: {at} is {shown(value)}, not a pattern or a list of patterns"
        )
    return tuple(texts)


def _refuse_unknown(raw: dict[str, Any], cls: type, at: str) -> None:
    unknown = sorted(set(raw) - set(keys_of(cls)))
    if unknown:
        known = ", ".join(keys_of(cls))
        raise InvalidConfiguration(
            f"{_WHAT}: {at} has the unknown key {unknown[0]!r}; the keys are {known}"
        )
