"""`make test` plays every kernel test, with a few of its cases."""

from typing import Any

import attrs

from tests.selection import EVERY, leave_most_cases


@attrs.define
class Item:
    """What `leave_most_cases` knows of a pytest.Item."""

    nodeid: str
    marks: list[str] = attrs.field(factory=list)

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None

    def add_marker(self, name: str) -> None:
        self.marks.append(name)


def played(items: list[Any]) -> list[str]:
    leave_most_cases(items)
    return [item.nodeid for item in items if not item.marks]


def test_of_many_cases_the_first_and_every_eighth_after_it_are_played() -> None:
    cases = [Item(f"test_a.py::test_a[{number}]") for number in range(2 * EVERY + 1)]
    assert played([*cases]) == [f"test_a.py::test_a[{n}]" for n in (0, EVERY, 2 * EVERY)]


def test_every_test_is_played_whatever_its_first_case_is() -> None:
    by_hand = Item("test_a.py::test_a[slow]", ["thorough"])
    others = [Item("test_a.py::test_a[fast]"), Item("test_a.py::test_b"), Item("test_b.py::test_b")]
    assert played([by_hand, *others]) == [item.nodeid for item in others]
