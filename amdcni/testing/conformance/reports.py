"""The findings for people: as text for a terminal, and as Markdown and HTML files."""

import html
import textwrap
from collections.abc import Iterator, Sequence
from typing import IO, Final

from attrs import frozen

from amdcni.testing.conformance.clauses import Level
from amdcni.testing.conformance.findings import Finding, Verdict


@frozen
class Judgement:
    """What has been found of a plugin; `no_add` is why no ADD has worked, None if one has.

    `not_tried` is how many clauses of the suite are not among the findings.
    """

    plugin: str
    findings: Sequence[Finding]
    no_add: str | None = None
    not_tried: int = 0

    def those(self, verdict: Verdict) -> list[Finding]:
        """The findings of a verdict; what must be comes before what should be."""
        found = [each for each in self.findings if each.verdict is verdict]
        return sorted(found, key=lambda each: each.level != Level.MUST)

    @property
    def broken(self) -> int:
        """How many clauses fail that the specification insists on."""
        return sum(each.level == Level.MUST for each in self.those(Verdict.FAILED))

    @property
    def is_judged(self) -> bool:
        """Whether the findings say enough: without an ADD that works, most clauses say nothing."""
        return self.no_add is None and bool(self.findings)

    @property
    def summary(self) -> str:
        """One line for whoever searches a log: CONFORMS, DOES NOT CONFORM or NOT JUDGED."""
        failed = self.those(Verdict.FAILED)
        what = "DOES NOT CONFORM" if self.broken else "CONFORMS"
        if not self.is_judged:
            what = "NOT JUDGED"
        counts = [f"{len(self.those(Verdict.PASSED))} passed", f"{len(failed)} failed"]
        if failed:
            counts[1] += f" ({self.broken} must)"
        counts.append(f"{len(self.those(Verdict.NOT_APPLICABLE))} not applicable")
        if self.not_tried:
            counts.append(f"{self.not_tried} not tried")
        return f"{self.plugin} {what}: {', '.join(counts)}"

    @property
    def warning(self) -> str | None:
        """What makes the findings say little; None if nothing does."""
        if self.no_add is None:
            return None
        return (
            "No ADD has worked, so the plugin is not judged. Is the configuration right, and does "
            f"this machine have what the plugin needs? The first ADD: {self.no_add}"
        )


_WIDTH: Final = 80
_ORDER: Final = (Verdict.FAILED, Verdict.NOT_APPLICABLE, Verdict.PASSED)
"""In files, what needs somebody comes first; on a terminal it comes last, where the eyes are."""

_EVIDENCE_CHARACTERS: Final = {
    Verdict.FAILED: 1200,
    Verdict.NOT_APPLICABLE: 400,
    Verdict.PASSED: 200,
}
_STYLES: Final = {
    Verdict.PASSED: "green",
    Verdict.FAILED: "bold red",
    Verdict.NOT_APPLICABLE: "dim",
}


def print_text(judgement: Judgement, stdout: IO[str], *, only_failed: bool = False) -> None:
    """Print all findings, those that failed last and with their evidence, and a summary."""
    from rich.console import Console

    console = Console(file=stdout, highlight=False, soft_wrap=True)

    def show(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False)

    if judgement.warning is not None:
        show(_filled(judgement.warning, "Warning: ", " " * 9), "yellow")
        show("")
    for verdict in () if only_failed else (Verdict.PASSED, Verdict.NOT_APPLICABLE):
        for finding in judgement.those(verdict):
            show(_filled(finding.clause, f"{verdict:14}  ", _COLUMN), _STYLES[verdict])
            if verdict is Verdict.NOT_APPLICABLE:
                show(_filled(_evidence(finding), _COLUMN, _COLUMN), "dim")
    for finding in judgement.those(Verdict.FAILED):
        show("")
        show(_filled(finding.clause, "FAILED  ", _INDENT), _STYLES[Verdict.FAILED])
        show(_filled(_obligation(finding), _INDENT, _INDENT))
        show(_filled(f"seen: {_evidence(finding)}", _INDENT, _INDENT))
    show("")
    show(judgement.summary, "bold")


_COLUMN: Final = " " * 16
_INDENT: Final = " " * 8


def _filled(text: str, first: str, others: str) -> str:
    """The text in lines that fit a terminal of 80 columns, with what each begins with."""
    lines: list[str] = []
    for line in text.splitlines() or [""]:
        before = others if lines else first
        lines += textwrap.wrap(
            line, _WIDTH, initial_indent=before, subsequent_indent=others, break_on_hyphens=False
        )
    return "\n".join(lines)


def _obligation(finding: Finding) -> str:
    return f"{finding.section} ({finding.level.upper()}): {finding.says}"


def _evidence(finding: Finding) -> str:
    text, most = finding.evidence, _EVIDENCE_CHARACTERS[finding.verdict]
    return text if len(text) <= most else f"{text[:most]}..."


def as_markdown(judgement: Judgement) -> str:
    """The judgement as a Markdown page, such as for the summary of a CI job."""
    return "\n".join(_markdown_lines(judgement)) + "\n"


def _markdown_lines(judgement: Judgement) -> Iterator[str]:
    yield from (f"# {_cell(judgement.plugin)}: CNI SPEC 1.1", "", f"**{_cell(judgement.summary)}**")
    if judgement.warning is not None:
        yield from ("", f"> {_cell(judgement.warning)}")
    for verdict in _ORDER:
        found = judgement.those(verdict)
        if found:
            yield from ("", f"## {verdict.capitalize()}", "")
            yield from ("| clause | section | level | seen |", "| --- | --- | --- | --- |")
            for each in found:
                cells = (each.clause, each.section, each.level, _evidence(each))
                yield f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """The text as it is, in a cell of a table: nothing in it is Markdown or HTML."""
    plain = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{each}" if each in "\\`*_[]|#~" else each for each in plain)


def as_html(judgement: Judgement) -> str:
    """The judgement as an HTML page that needs no other file."""
    title = html.escape(f"{judgement.plugin}: CNI SPEC 1.1")
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f"<p><strong>{html.escape(judgement.summary)}</strong></p>",
    ]
    if judgement.warning is not None:
        parts.append(f'<p class="warning">{html.escape(judgement.warning)}</p>')
    for verdict in _ORDER:
        found = judgement.those(verdict)
        if found:
            name = verdict.replace(" ", "-")
            heads = "".join(f"<th>{head}</th>" for head in ("clause", "obligation", "seen"))
            parts.append(f"<h2>{verdict.capitalize()}</h2>")
            parts.append(f'<table class="{name}"><tr>{heads}</tr>')
            for each in found:
                cells = (each.clause, _obligation(each), _evidence(each))
                row = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
                parts.append(f"<tr>{row}</tr>")
            parts.append("</table>")
    parts.append("</body></html>")
    return "\n".join(parts) + "\n"


_STYLE: Final = (
    "body{font:16px/1.5 sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top;"
    "overflow-wrap:anywhere;white-space:pre-wrap}"
    ".failed td:first-child{color:#b00020;font-weight:bold}.warning{color:#8a5a00}"
)
