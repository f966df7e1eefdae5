"""What a clause is: an obligation of the specification, and the test that is named after it."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

import pytest
from attrs import frozen

from amdcni.core.spec import Verb

MARK = "cni_clause"
_T = TypeVar("_T")
_Test = TypeVar("_Test", bound=Callable[..., None])


class Level(StrEnum):
    """How much the specification insists (RFC 2119)."""

    MUST = "must"
    SHOULD = "should"


@frozen
class Clause:
    """An obligation: where it stands in CNI SPEC 1.1, which verb it is about, how strict it is.

    `verb` is None for one that is about several.  `name` is the name of its test, without `test_`,
    and `says` its text, with what is quoted of the specification in quotation marks.
    """

    name: str
    section: str
    says: str
    verb: Verb | None
    level: Level

    @property
    def sentence(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ")


def clause(
    section: str, verb: Verb | None = None, level: Level = Level.MUST, *, says: str
) -> Callable[[_Test], _Test]:
    """Mark a test as that of a clause, see `Clause`."""
    return pytest.mark.cni_clause(section=section, verb=verb, level=level, says=says)


def find_clause(item: pytest.Item) -> Clause | None:
    """Return the clause that a test is of, or None for any other test."""
    mark = item.get_closest_marker(MARK)
    if mark is None:
        return None
    said: dict[str, Any] = dict(mark.kwargs)
    return Clause(item.name.removeprefix("test_"), **said)


def not_applicable(reason: str) -> NoReturn:
    """End the test of a clause that does not concern this plugin."""
    pytest.skip(reason)


def fail(fault: str) -> NoReturn:
    """Fail the clause with what is wrong."""
    pytest.fail(fault, pytrace=False)


def require(condition: object, otherwise: str) -> None:
    """Fail the clause with what is wrong, unless a condition holds."""
    if not condition:
        fail(otherwise)


def require_none(faults: Iterable[str]) -> None:
    """Fail the clause with all of its faults, if there are any."""
    if found := list(faults):
        fail("; ".join(found))


def try_each(values: Iterable[_T], trial: Callable[[_T], object]) -> None:
    """Try all values that a clause is about, and fail with what is wrong for each.

    The clause is not applicable if it is not applicable to any of them.
    """
    faults, skipped, tried = [], None, False
    for value in values:
        try:
            trial(value)
        except (AssertionError, pytest.fail.Exception) as failure:
            faults.append(f"with {value!r}: {failure}")
        except pytest.skip.Exception as reason:
            skipped = reason
        else:
            tried = True
    require_none(faults)
    if skipped is not None and not tried:
        raise skipped
