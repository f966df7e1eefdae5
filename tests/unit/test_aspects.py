"""Every aspect is in every list."""

from typing import get_type_hints

import attrs

from amdcni.core.capture import ASPECTS, Captured, Details, Identity
from amdcni.core.rules import Rules
from amdcni.effects import aspects


def names_of(cls: type) -> set[str]:
    return {field.name for field in attrs.fields(cls)}


def test_every_field_of_a_record_is_kept_by_an_aspect_or_a_rule() -> None:
    kept = [names_of(get_type_hints(aspect.keep)["return"]) for aspect in ASPECTS]
    assert set().union(*kept) == names_of(Captured) - names_of(Identity) - names_of(Rules)


def test_everything_that_is_compared_is_read_by_an_aspect() -> None:
    read = [names_of(get_type_hints(aspect.read)["return"]) for aspect in aspects.READ]
    assert set().union(*read) == names_of(Details) - {"ways_out", "rules"}
