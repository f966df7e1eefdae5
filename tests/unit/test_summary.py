"""The last line of `make test`."""

import subprocess
import sys
from pathlib import Path

from tests.summary import Ended, read_results, summary_of

TESTS = """
import pytest

def test_passes(): pass

def test_fails(): assert False

@pytest.fixture
def broken(): raise ValueError

def test_needs_what_is_broken(broken): pass

@pytest.mark.parametrize("number", range(2))
def test_is_skipped(number): pytest.skip("there is no dummy")

@pytest.mark.skipif(True, reason="there is no bash")
def test_is_marked(): pass
"""


def test_every_test_is_counted_and_skipped_ones_by_reason(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junit-xml=results.xml"]
    subprocess.run(run, cwd=tmp_path, stdout=subprocess.DEVNULL, check=False)
    assert summary_of(read_results(tmp_path / "results.xml")) == (
        "1 passed, 2 failed, 3 skipped: 2 because there is no dummy; 1 because there is no bash"
    )


def test_if_nothing_was_skipped_no_reason_is_shown() -> None:
    assert summary_of([Ended(failed=False, skipped=None)]) == "1 passed, 0 failed, 0 skipped"
