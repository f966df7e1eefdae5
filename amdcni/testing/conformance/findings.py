"""What became of each clause, and the table and JSON that tell it."""

from collections.abc import Sequence
from enum import StrEnum
from typing import IO, Any

import pytest
from attrs import asdict, frozen

from amdcni.testing.conformance.clauses import Clause
from amdcni.testing.conformance.stage import Spoken

_PREFIX = "cni."


class Verdict(StrEnum):
    """What became of a clause."""

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
    """Return what a finding takes as pytest's user properties, which go into JUnit files too."""
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
    """Say what was seen: the failure, the reason for skipping, or the last call."""
    if failure is not None:
        said = str(failure.value)
        return said.removeprefix("Skipped: ") if report.skipped else said
    return str(calls[-1]) if calls else ""


class Collector:
    """A pytest plugin that collects the findings of a run."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the finding out of a report; pytest calls this."""
        said = {
            key.removeprefix(_PREFIX): str(value)
            for key, value in report.user_properties
            if key.startswith(_PREFIX)
        }
        if said and (report.when == "call" or not report.passed):
            self.findings.append(Finding(verdict=_verdict_of(report), **said))


def _verdict_of(report: pytest.TestReport) -> Verdict:
    if report.skipped:
        return Verdict.NOT_APPLICABLE
    return Verdict.PASSED if report.passed else Verdict.FAILED


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return the findings for programs."""
    return [asdict(finding) for finding in findings]


_STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.NOT_APPLICABLE: "dim"}
_SHOWN_CHARACTERS = {Verdict.PASSED: 60, Verdict.FAILED: 400, Verdict.NOT_APPLICABLE: 160}


def print_table(findings: Sequence[Finding], title: str, stdout: IO[str]) -> None:
    """Print a row for each finding, and how many there are of each verdict.

    Evidence is shortened, above all where all is well; JSON has all of it.
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
