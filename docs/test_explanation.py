"""The tests named in the explanation exist."""

import re
from pathlib import Path

DOCS = Path(__file__).parent
TESTS = DOCS.parent / "tests"


def test_every_named_test_exists() -> None:
    named = re.findall(r"`(test_\w+)`", (DOCS / "explanation/nothing-is-lost.md").read_text())
    sources = "".join(path.read_text() for path in TESTS.glob("*/test_*.py"))
    assert named
    assert not {name for name in named if f"def {name}(" not in sources}


def test_every_test_that_is_named_with_its_file_is_in_that_file() -> None:
    pages = "".join(path.read_text() for path in DOCS.rglob("*.md"))
    named = set(re.findall(r"`tests/(\w+/test_\w+\.py)::(\w+)`", pages))
    assert pages.count("::test_") == len(re.findall(r"`tests/\w+/test_\w+\.py::test_\w+`", pages))
    assert named
    assert {
        f"{file}::{name}"
        for file, name in named
        if not (TESTS / file).is_file() or f"def {name}(" not in (TESTS / file).read_text()
    } == set()


def test_every_cannot_has_a_test() -> None:
    """Each item below "cannot" or "can" of nobody, on the page about who can do what."""
    page = (DOCS / "explanation/security.md").read_text()
    lists = re.findall(r"^(?:It cannot|Nobody.* can)\n\n((?:- .*\n)+)", page, re.MULTILINE)
    assert len(lists) == 8
    assert [item for each in lists for item in each.splitlines() if "::test_" not in item] == []
