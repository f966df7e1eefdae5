"""The tests named in the explanation exist."""

import re
from pathlib import Path

DOCS = Path(__file__).parent


def test_every_named_test_exists() -> None:
    named = re.findall(r"`(test_\w+)`", (DOCS / "explanation/nothing-is-lost.md").read_text())
    sources = "".join(path.read_text() for path in (DOCS.parent / "tests").glob("*/test_*.py"))
    assert named
    assert not {name for name in named if f"def {name}(" not in sources}
