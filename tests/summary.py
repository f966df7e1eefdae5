"""The last line of `make test` and `make test-all`: how many tests passed, and why others did not.

Usage: `python -m tests.summary RESULTS.xml...`, with files written by pytest's `--junit-xml`.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from attrs import frozen


@frozen
class Ended:
    """How one test ended: failed, skipped with the reason, or neither."""

    failed: bool
    skipped: str | None


def read_results(path: Path) -> list[Ended]:
    """Return how each test of a run ended."""
    found = []
    for case in ElementTree.parse(path).iter("testcase"):
        reasons = [skipped.get("message", "") for skipped in case.iter("skipped")]
        failed = case.find("failure") is not None or case.find("error") is not None
        found.append(Ended(failed, reasons[0] if reasons else None))
    return found


def summary_of(results: Iterable[Ended]) -> str:
    """Return one line that counts the tests, and the skipped ones by reason."""
    known = list(results)
    reasons = Counter(each.skipped for each in known if each.skipped is not None)
    failed = sum(each.failed for each in known)
    passed = len(known) - failed - reasons.total()
    line = f"{passed} passed, {failed} failed, {reasons.total()} skipped"
    counted = [f"{count} because {reason}" for reason, count in reasons.most_common()]
    return f"{line}: {'; '.join(counted)}" if counted else line


def main(paths: Sequence[str]) -> None:
    print(summary_of(ended for path in paths for ended in read_results(Path(path))))


if __name__ == "__main__":
    main(sys.argv[1:])
