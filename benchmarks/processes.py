"""Whole processes: amd-host-device beside plain host-device, alternating in one run."""

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from attrs import field, frozen

from benchmarks.stage import OURS, PYTHON, THEIRS, TREE, Job, Run, Stage

VERBS: Final = ("ADD", "DEL", "VERSION")
NATIVE: Final = {
    "ADD, native": (OURS, "ADD"),
    "DEL, native": (OURS, "DEL"),
    "ADD, native, tree": (TREE, "ADD"),
    "DEL, native, tree": (TREE, "DEL"),
}
"""Calls by the mover `native`, and the verbs of `host-device` that do the same."""
BARE: Final = "python3"
_WARM: Final = Path(__file__).with_name("warm.py")


@frozen
class Spread:
    """The median of samples, with the quartiles below and above."""

    low: float
    median: float
    high: float


def spread_of(samples: Sequence[float]) -> Spread:
    if len(samples) == 1:
        return Spread(samples[0], samples[0], samples[0])
    return Spread(*statistics.quantiles(samples, n=4, method="inclusive"))


@frozen
class Pairs:
    """Times of two processes, in the order of the rounds, or of one: `theirs_ms` is empty then."""

    ours_ms: list[float] = field(factory=list)
    theirs_ms: list[float] = field(factory=list)

    @property
    def ratios(self) -> list[float]:
        """Ours divided by theirs, round by round: what disturbs a round disturbs both."""
        return [a / b for a, b in zip(self.ours_ms, self.theirs_ms, strict=False)]

    @property
    def differences_ms(self) -> list[float]:
        """Ours minus theirs, round by round."""
        return [a - b for a, b in zip(self.ours_ms, self.theirs_ms, strict=False)]


@frozen
class Times:
    """How long processes took, and how much of a processor they used with their children."""

    wall: Pairs = field(factory=Pairs)
    cpu: Pairs = field(factory=Pairs)

    def note(self, ours: Run, theirs: Run | None) -> None:
        self.wall.ours_ms.append(ours.wall_s * 1000)
        self.cpu.ours_ms.append(ours.cpu_s * 1000)
        if theirs is not None:
            self.wall.theirs_ms.append(theirs.wall_s * 1000)
            self.cpu.theirs_ms.append(theirs.cpu_s * 1000)


def measure(stage: Stage, rounds: int) -> Iterator[dict[str, Times]]:
    """All times so far, after each round; a first round only warms up the caches."""
    times = {name: Times() for name in (*VERBS, *NATIVE, BARE)}
    for number in range(rounds + 1):
        seen = _round(stage, ours_first=number % 2 == 0)
        if number == 0:
            continue
        for name, (ours, theirs) in seen.items():
            times[name].note(ours, theirs)
        yield times


def _round(stage: Stage, *, ours_first: bool) -> dict[str, tuple[Run, Run | None]]:
    ours = [stage.call(OURS, verb, stage.ours()) for verb in VERBS]
    natively = stage.ours(mover="native")
    ours += [stage.call(plugin, verb, natively) for plugin, verb in NATIVE.values()]
    theirs = [stage.call(THEIRS, verb, stage.theirs()) for verb in VERBS]
    if ours_first:
        runs = stage.run([*ours, *theirs, *stage.repair()])
        ours_ran, theirs_ran = runs[: len(ours)], runs[len(ours) : len(ours) + len(theirs)]
    else:
        runs = stage.run([*theirs, *stage.repair(), *ours])
        ours_ran, theirs_ran = runs[-len(ours) :], runs[: len(theirs)]
    (bare,) = stage.run([Job([str(PYTHON), "-I", "-c", "pass"])])
    by_verb = dict(zip(VERBS, theirs_ran, strict=True))
    verbs = (*VERBS, *(verb for _, verb in NATIVE.values()))
    beside = [by_verb[verb] for verb in verbs]
    paired = zip(ours_ran, beside, strict=True)
    return {**dict(zip((*VERBS, *NATIVE), paired, strict=True)), BARE: (bare, None)}


def warm(stage: Stage, rounds: int) -> dict[str, Pairs]:
    """Native calls inside one process that has loaded everything, beside bare netlink moves."""
    asked = {
        "config": stage.ours(mover="native"),
        "env": stage.environ(),
        "ifname": stage.nic.ifname,
        "rounds": rounds,
    }
    answer = stage.node.output_of([str(PYTHON), str(_WARM)], stdin=json.dumps(asked).encode())
    seen = json.loads(answer)
    return {"ADD": Pairs(seen["ADD"], seen["move"]), "DEL": Pairs(seen["DEL"], seen["return"])}
