"""Measures starts and whole calls, and those of plain host-device, in one run: `make bench`.

Times of different machines, or of one machine on different days, cannot be compared; ratios can.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import attrs
from rich.console import Console

from amdcni.testing import NotAllowedHere, ThrowawayError
from benchmarks import agent, crowds, imports, processes, tables
from benchmarks.stage import OURS, THEIRS, TREE, stage
from benchmarks.tracing import Tracer

T = TypeVar("T")


def main() -> int:
    arguments = _arguments()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 100
    for plugin in (OURS, THEIRS, TREE, agent.LAUNCHER):
        if not plugin.exists():
            print(
                f"Nothing can be measured: {plugin} is missing; try make venv launcher tree",
                file=sys.stderr,
            )
            return 2
    try:
        results = _measure(console, arguments.rounds)
    except NotAllowedHere as refusal:
        print(f"Nothing can be measured: {refusal}; try it as root", file=sys.stderr)
        return 2
    except ThrowawayError as failure:
        print(f"A measured call failed: {failure}", file=sys.stderr)
        return 1
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rounds", type=_positive, default=15, help="how many rounds (default: 15)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples to FILE")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("not a positive number")
    return number


def _measure(console: Console, rounds: int) -> dict[str, Any]:
    """Measure and show everything; return the results for programs."""
    with stage() as here:
        kinds = crowds.measure(here, max(1, rounds // 3))
        crowded = _watched(console, "crowded nodes", 4, kinds)
        console.print(
            "\n[bold]Crowded nodes[/], in ms of processor time: native calls, beside the same on "
            "a node without other routes and netdevs."
        )
        console.print(tables.crowd_table(crowded))
    with stage() as here:
        times = _watched(console, "whole processes", rounds, processes.measure(here, rounds))
        console.print(
            f"\n[bold]Whole processes[/], in ms: the median of {rounds} rounds, with the "
            "quartiles below. Difference and ratio are those of the two calls in a round."
        )
        console.print(tables.process_table(times))
        console.print(tables.cold_start(times["ADD, native, tree"]))

        warm = processes.warm(here, rounds)
        console.print(
            f"\n[bold]Inside one process[/] that has loaded everything, in ms, {rounds} rounds: "
            "native calls, beside the least that is possible, a bare move under another name by "
            "pyroute2 of the same NIC, which is up and has its addresses both ways."
        )
        console.print(tables.warm_table(warm))

        calls = _watched(console, "calls through the agent", rounds, agent.measure(here, rounds))
        console.print(
            f"\n[bold]Through the agent[/], whole processes in ms, {rounds} rounds; `bare move` is "
            f"`ip link set ... netns ...` alone, and {agent.LIMIT} is the processor time of the "
            "client, not of the agent."
        )
        console.print(tables.agent_table(calls))
        times_healed = max(2, rounds // 3)
        healed = _watched(console, "healing", times_healed, agent.heal(here, times_healed))
        console.print(tables.healing_table(healed))

        # From here on every Python in the node is slower.
        tracer = Tracer(here.node)
        costs = _watched(console, "imports", rounds, imports.measure(here, tracer, rounds))
        console.print(
            f"\n[bold]Imports of {OURS.name}[/], native, in ms: the package's own modules / these "
            "with what they are the first to need; then the number of modules. Measured with "
            "-X importtime, which itself takes time."
        )
        console.print(tables.import_table(costs))

        loaded = imports.loaded(here, tracer)
        console.print("\n[bold]What each call loads[/]")
        console.print(tables.loaded_table(loaded))
    return {
        "machine": _machine(),
        "rounds": rounds,
        "crowded": {
            name: {verb: attrs.asdict(pairs) for verb, pairs in by_verb.items()}
            for name, by_verb in crowded.items()
        },
        "warm": {verb: attrs.asdict(pairs) for verb, pairs in warm.items()},
        "processes": {name: attrs.asdict(time) for name, time in times.items()},
        "agent": {name: attrs.asdict(pairs) for name, pairs in calls.items()},
        "healing_ms": healed,
        "imports": {
            verb: {package: [attrs.asdict(cost) for cost in found] for package, found in by.items()}
            for verb, by in costs.items()
        },
        "loaded": {name: attrs.asdict(call) for name, call in loaded.items()},
    }


def _watched(console: Console, what: str, rounds: int, steps: Iterator[T]) -> T:
    """The last of `steps`, whose progress is shown on a terminal."""
    # Drawn rarely, in order not to disturb what is measured.
    with console.status(f"{what} ...", refresh_per_second=1) as status:
        for number, step in enumerate(steps, start=1):
            status.update(f"{what}: round {number} of {rounds}")
            last = step
    return last


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }


if __name__ == "__main__":
    sys.exit(main())
