"""The outcome of each clause, and the table and JSON that show it."""

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
    plain = "".join(
        each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in said
    )
    return plain if len(plain) <= _MOST_CHARACTERS else f"{plain[:_MOST_CHARACTERS]}..."


class Collector:
    """A pytest plugin that passes the findings on the wanted clauses of a run to `report`.

    `only` and `skip` are words of their sentences.
    """

    def __init__(
        self, report: Callable[[Finding], None], only: Sequence[str] = (), skip: Sequence[str] = ()
    ) -> None:
        self._report = report
        self._only, self._skip = tuple(map(_plain, only)), tuple(map(_plain, skip))
        self.count = 0
        self.ended_by: BaseException | None = None
        """What ended the run early: an interrupt, or what `pytest.exit` says."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Remove the clauses that are not wanted; pytest calls this."""
        items[:] = [item for item in items if self._wants(item)]

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
        if said and (report.when == "call" or not report.passed):
            self.count += 1
            self._report(Finding(verdict=_verdict_of(report), **said))

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
def shown_while_found(found: list[Finding], stderr: IO[str]) -> Iterator[Callable[[Finding], None]]:
    """Give a function that adds a finding to `found`, and shows progress on a terminal."""
    if not stderr.isatty():
        yield found.append
        return
    from rich.console import Console

    with Console(file=stderr).status("Judging ...") as status:

        def report(finding: Finding) -> None:
            found.append(finding)
            status.update(f"Judging ... {len(found)} clauses, the last: {finding.clause}")

        yield report


_STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.NOT_APPLICABLE: "dim"}
_SHOWN_CHARACTERS = {Verdict.PASSED: 60, Verdict.FAILED: 400, Verdict.NOT_APPLICABLE: 160}


def print_table(findings: Sequence[Finding], title: str, stdout: IO[str]) -> None:
    """Print a row for each finding, and how many there are of each verdict.

    Evidence is shortened, most of all where a clause passes; JSON has all of it.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stdout)
    table = Table(title=title, title_justify="left")
    table.add_column("verdict", max_width=10)
    table.add_column("clause", ratio=5)
    table.add_column("SPEC 1.1", ratio=3)
    table.add_column("evidence", ratio=6, overflow="fold")
    for finding in findings:
        evidence, most = finding.evidence, _SHOWN_CHARACTERS[finding.verdict]
        table.add_row(
            Text(finding.verdict, style=_STYLES[finding.verdict]),
            finding.clause,
            f"{finding.section} ({finding.level})",
            Text(evidence if len(evidence) <= most else f"{evidence[:most]}..."),
        )
    console.print(table)
    verdicts = [finding.verdict for finding in findings]
    summary = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in Verdict)
    console.print(summary, highlight=False)
