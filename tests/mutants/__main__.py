"""Changes the core in thousands of ways and counts the changes that tests notice: `make mutants`.

`python -m tests.mutants` tries every mutant, `python -m tests.mutants amdcni.core.capture` those of
one module or package, or of several.  With `--sample N` it tries N of them, drawn by `--seed S`;
each module has its share.  It prints the survivors and a table, and ends with status 1 if too many
survive.
"""

import argparse
import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from random import Random
from typing import Final

from mutmut.__main__ import CatchOutput, create_mutants
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

_FOLDER: Final = Path("mutants")
"""Where mutmut keeps the mutated copy and the fate of each mutant."""

_WANTED_PERCENT: Final = 90
_COLUMNS: Final = ("killed", "timeout", "survived", "no tests")

_SKIPPED: Final = 34
"""What mutmut notes of a mutant that is not to be tried."""

_Z: Final = 1.96
"""How many standard deviations 95 % of a normal distribution are within, on either side."""


def main(arguments: Sequence[str]) -> int:
    """Try the mutants of these modules, or of all, or a sample; return 1 if too few are killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--sample", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    chosen = parser.parse_args(arguments)
    patterns = [f"{module}.*" for module in chosen.modules]
    # mutmut would keep earlier results although the tests may have changed.
    shutil.rmtree(_FOLDER, ignore_errors=True)
    if chosen.sample is not None:
        _skip_all_but(chosen.sample, Random(chosen.seed), patterns or ["*"])
        # mutmut tries a mutant that is named even if it is to be skipped.
        patterns = []
    command = [str(Path(sys.executable).with_name("mutmut")), "run", *patterns]
    surroundings = {**os.environ, "CI": "true", "HYPOTHESIS_PROFILE": "mutants"}
    subprocess.run(command, env=surroundings, check=True)
    return _report()


def _skip_all_but(size: int, random: Random, patterns: Sequence[str]) -> None:
    """Generate the mutants, and leave a sample of those that match to be tried.

    A sample of all mutants in steps of the same width takes from each module what it has of them.
    """
    with CatchOutput():
        create_mutants(os.cpu_count() or 1)
    modules = [SourceFileMutationData(path=path) for path in sorted(walk_mutatable_files())]
    mutants: list[str] = []
    for module in modules:
        module.load()
        names = sorted(
            mutant
            for mutant in module.exit_code_by_key
            if any(fnmatch(mutant, pattern) for pattern in patterns)
        )
        mutants += random.sample(names, len(names))
    size = min(size, len(mutants))
    sample = {mutants[number * len(mutants) // size] for number in range(size)}
    for module in modules:
        for mutant in module.exit_code_by_key.keys() - sample:
            module.exit_code_by_key[mutant] = _SKIPPED
        module.save()


def _report() -> int:
    counts: dict[str, Counter[str]] = {}
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        fates = {
            mutant: status_by_exit_code[code]
            for mutant, code in data.exit_code_by_key.items()
            if code not in (None, _SKIPPED)
        }
        for mutant, fate in fates.items():
            if fate != "killed":
                print(f"\n{mutant}: {fate}")
                print("\n".join(_changed_lines(get_diff_for_mutant(mutant, path=path))))
        if fates:
            counts[str(path)] = Counter(fates.values())
    total = sum(counts.values(), Counter[str]())
    columns = (*_COLUMNS, *sorted(total.keys() - _COLUMNS))
    print(f"\n{'':44}{'mutants':>9}" + "".join(f"{column:>10}" for column in columns))
    for name, count in {**counts, "all": total}.items():
        print(f"{name:44}{count.total():9}" + "".join(f"{count[column]:10}" for column in columns))
    percent = 100 * total["killed"] / total.total()
    low, high = (100 * end for end in _wilson_interval(total["killed"], total.total()))
    print(
        f"\n{percent:.1f} % are killed; at least {_WANTED_PERCENT} % are required.\n"
        f"If this is a sample, {low:.1f} to {high:.1f} % of all are killed, with 95 % confidence."
    )
    return int(percent < _WANTED_PERCENT)


def _wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The interval that has the true share with 95 % confidence.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference".
    """
    share = successes / trials
    scale = 1 + _Z**2 / trials
    centre = (share + _Z**2 / (2 * trials)) / scale
    margin = _Z / scale * math.sqrt(share * (1 - share) / trials + (_Z / (2 * trials)) ** 2)
    return centre - margin, centre + margin


def _changed_lines(diff: str) -> Iterable[str]:
    for line in diff.splitlines():
        if line[:1] in "+-" and line[:3] not in ("+++", "---"):
            yield f"  {line}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
