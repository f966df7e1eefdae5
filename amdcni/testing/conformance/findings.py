"""The outcome of each clause, and how it is collected from a run of pytest."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import IO, Any

import pytest
from attrs import asdict, frozen

from amdcni.testing.conformance.clauses import Clause, find_clause
from amdcni.testing.conformance.stage import Spoken

_PREFIX = "cni."
_MOST_CHARACTERS = 4000


class Verdict(StrEnum):
    """The outcome of a clause."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@frozen
class Finding:
    """A clause with its verdict; the evidence is what was seen, or why it does not apply.

    `section`, `says`, `verb` and `level` are those of the clause; `verb` is empty for several.
    """

    clause: str
    section: str
    says: str
    verb: str
    level: str
    verdict: Verdict
    evidence: str


def properties_of(clause: Clause, evidence: str) -> list[tuple[str, object]]:
    """Return what makes a finding as pytest's user properties, which go into JUnit files too."""
    said = {
        "clause": clause.sentence,
        "section": clause.section,
        "says": clause.says,
        "verb": clause.verb or "",
        "level": clause.level,
        "evidence": evidence,
    }
    return [(_PREFIX + key, str(value)) for key, value in said.items()]


@frozen
class Adds:
    """What became of ADDs: whether one worked, and the first answer of one that did not."""

    worked: bool = False
    refused: str | None = None

    def and_then(self, later: "Adds") -> "Adds":
        """What became of these and later ones."""
        return Adds(self.worked or later.worked, self.refused or later.refused)

    def after(self, rehearsed: "Adds") -> "Adds":
        """What became of these: one may have been refused on purpose, but not in the rehearsal.

        So why ADD fails is what was said there.
        """
        if self == Adds():
            return self
        return Adds(self.worked or rehearsed.worked, rehearsed.refused)

    @property
    def why_none_worked(self) -> str | None:
        """Why no ADD has ever worked; None if one has, or none was tried."""
        return None if self.worked else self.refused


def adds_of(calls: Sequence[Spoken]) -> Adds:
    """What became of the ADDs among these calls."""
    found = Adds()
    for call in calls:
        # One without a command is no ADD, whatever it was meant to be.
        if call.environ.get("CNI_COMMAND") == "ADD":
            worked = call.outcome.succeeded
            found = found.and_then(Adds(worked, None if worked else _printable(str(call.outcome))))
    return found


def evidence_of(
    report: pytest.TestReport,
    failure: "pytest.ExceptionInfo[BaseException] | None",
    calls: Sequence[Spoken],
) -> str:
    """Say what was seen: the failure, the reason for skipping, or the last call.

    What cannot be printed is escaped, and what is too long shortened.
    """
    if failure is None:
        said = str(calls[-1]) if calls else ""
    elif isinstance(failure.value, (AssertionError, pytest.fail.Exception, pytest.skip.Exception)):
        said = str(failure.value)
    else:
        # The tests read answers as specified; this one is not.
        answer = f"{calls[-1]}: " if calls else ""
        said = f"{answer}it cannot be read: {failure.exconly()}"
    return _printable(said)


def _printable(said: str) -> str:
    plain = "".join(
        each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in said
    )
    return plain if len(plain) <= _MOST_CHARACTERS else f"{plain[:_MOST_CHARACTERS]}..."


Report = Callable[[Finding, int], None]
"""What is called with each finding, and with the number of clauses that are tried."""


class Collector:
    """A pytest plugin that passes the findings on the wanted clauses of a run to `report`.

    `only` and `skip` are words of their sentences.
    """

    def __init__(self, report: Report, only: Sequence[str] = (), skip: Sequence[str] = ()) -> None:
        self._report = report
        self._wanted = 0
        self._left_out = 0
        self._only, self._skip = tuple(map(_plain, only)), tuple(map(_plain, skip))
        self.count = 0
        self.adds = Adds()
        self.ended_by: BaseException | None = None
        """What ended the run early: an interrupt, or what `pytest.exit` says."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Remove the clauses that are not wanted; pytest calls this."""
        wanted = [item for item in items if self._wants(item)]
        self._wanted, self._left_out = len(wanted), len(items) - len(wanted)
        items[:] = wanted

    @property
    def not_tried(self) -> int:
        """How many clauses were not wanted, or had not been tried when the run ended."""
        return self._left_out + self._wanted - self.count

    def _wants(self, item: pytest.Item) -> bool:
        clause = find_clause(item)
        sentence = "" if clause is None else _plain(clause.sentence)
        wanted = not self._only or any(words in sentence for words in self._only)
        return wanted and not any(words in sentence for words in self._skip)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Pass the finding in a report on; pytest calls this."""
        said = {
            key.removeprefix(_PREFIX): str(value)
            for key, value in report.user_properties
            if key.startswith(_PREFIX)
        }
        for _, value in report.user_properties:
            if isinstance(value, Adds):
                self.adds = self.adds.and_then(value)
        if said and (report.when == "call" or not report.passed):
            self.count += 1
            self._report(Finding(verdict=_verdict_of(report), **said), self._wanted)

    def pytest_keyboard_interrupt(self, excinfo: "pytest.ExceptionInfo[BaseException]") -> None:
        """Keep what ended the run; pytest calls this."""
        self.ended_by = excinfo.value


def _plain(words: str) -> str:
    return words.lower().replace("_", " ")


def _verdict_of(report: pytest.TestReport) -> Verdict:
    if report.skipped:
        return Verdict.NOT_APPLICABLE
    return Verdict.PASSED if report.passed else Verdict.FAILED


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return the findings for programs."""
    return [asdict(finding) for finding in findings]


@contextlib.contextmanager
def shown_while_found(found: list[Finding], stderr: IO[str]) -> Iterator[Report]:
    """Give a function that adds a finding to `found`, and shows progress on a terminal."""
    if not stderr.isatty():
        yield lambda finding, _: found.append(finding)
        return
    from rich.console import Console

    with Console(file=stderr).status("Judging ...") as status:

        def report(finding: Finding, count: int) -> None:
            found.append(finding)
            status.update(f"Judging ... {len(found)}/{count}: {finding.clause}")

        yield report
