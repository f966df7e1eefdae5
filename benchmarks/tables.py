"""The results as tables for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from benchmarks.crowds import VERBS, Crowds
from benchmarks.imports import ROWS, WATCHED, Costs, Loaded
from benchmarks.processes import Pairs, Times, spread_of
from benchmarks.stage import OURS, THEIRS


def process_table(times: Mapping[str, Times]) -> Table:
    table = _table("", OURS.name, THEIRS.name, "difference", "ratio")
    for name, time in times.items():
        table.add_row(name, *_cells(time.wall))
    table.add_section()
    for name, time in times.items():
        table.add_row(f"{name}, CPU", *_cells(time.cpu))
    return table


AIM: Final = 4.5
"""How many times as long as that of `host-device` a whole native ADD on a node may take."""


def cold_start(native_add: Times) -> str:
    """The ratio that counts most, as a sentence."""
    ratio = spread_of(native_add.wall.ratios).median
    return (
        f"A native ADD by the tree takes {ratio:.1f} times as long as that of host-device; "
        f"at most {AIM} is the aim."
    )


def agent_table(calls: Mapping[str, Pairs]) -> Table:
    table = _table("", OURS.name, "beside", "difference", "ratio")
    for name, pairs in sorted(calls.items()):
        table.add_row(name, *_cells(pairs))
    return table


def healing_table(samples: Sequence[float]) -> Table:
    table = _table("", "ms")
    table.add_row("from the death of a pod until its NIC is whole", _spread(samples, 0))
    return table


def warm_table(calls: Mapping[str, Pairs]) -> Table:
    table = _table("", OURS.name, "bare move", "difference", "ratio")
    for verb, pairs in calls.items():
        table.add_row(f"{verb}, native", *_cells(pairs))
    return table


def crowd_table(crowds: Crowds) -> Table:
    table = _table("", "here", "alone", "difference", "ratio")
    for verb in VERBS:
        for name, by_verb in crowds.items():
            table.add_row(f"{verb}, {name}", *_cells(by_verb[verb]))
        table.add_section()
    return table


def _cells(pairs: Pairs) -> list[Text]:
    milliseconds = (pairs.ours_ms, pairs.theirs_ms, pairs.differences_ms)
    return [*(_spread(samples, 1) for samples in milliseconds), _spread(pairs.ratios, 2)]


def _spread(samples: Sequence[float], digits: int) -> Text:
    if not samples:
        return Text("")
    spread = spread_of(samples)
    median, low, high = (f"{v:.{digits}f}" for v in (spread.median, spread.low, spread.high))
    return Text.assemble((median, "bold"), (f"\n{low}..{high}", "dim"))


def import_table(costs: Costs) -> Table:
    table = _table("", *costs)
    for package in ROWS:
        cells = []
        for by_package in costs.values():
            found = by_package[package]
            own = _median(cost.own_ms for cost in found)
            needs = _median(cost.with_needs_ms for cost in found)
            count = found[0].modules
            shown = Text.assemble((f"{own:.1f}", "bold"), f" / {needs:.1f}", (f"{count:5}", "dim"))
            cells.append(shown if count else Text("-"))
        table.add_row(package, *cells)
    return table


def _median(samples: Iterable[float]) -> float:
    return spread_of(list(samples)).median


def loaded_table(calls: Mapping[str, Loaded]) -> Table:
    table = _table("", "exit", *WATCHED)
    for name, call in calls.items():
        marks = ["yes" if package in call.packages else "-" for package in WATCHED]
        table.add_row(name, str(call.exit_status), *marks)
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=box.ROUNDED, border_style="dim", header_style="bold")
    table.add_column(first, style="bold")
    for column in columns:
        table.add_column(column, justify="right")
    return table
