"""Changes the core in thousands of ways and counts the changes that tests notice: `make mutants`.

`python -m tests.mutants` tries every mutant, `python -m tests.mutants amdcni.core.capture` those of
one module or package, or of several.  It prints the survivors and a table, and ends with status 1
if too many survive.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

_FOLDER: Final = Path("mutants")
"""Where mutmut keeps the mutated copy and the fate of each mutant."""

_WANTED_PERCENT: Final = 90
_COLUMNS: Final = ("killed", "timeout", "survived", "no tests")


def main(arguments: Sequence[str]) -> int:
    """Try the mutants of these modules, or of all; return 1 if too few are killed."""
    if any(argument.startswith("-") for argument in arguments):
        sys.exit("usage: python -m tests.mutants [MODULE]...")
    chosen = [f"{module}.*" for module in arguments]
    # mutmut would keep earlier results although the tests may have changed.
    shutil.rmtree(_FOLDER, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("mutmut")), "run", *chosen]
    surroundings = {**os.environ, "CI": "true", "HYPOTHESIS_PROFILE": "mutants"}
    subprocess.run(command, env=surroundings, check=True)
    return _report()


def _report() -> int:
    counts: dict[str, Counter[str]] = {}
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        fates = {
            mutant: status_by_exit_code[code]
            for mutant, code in data.exit_code_by_key.items()
            if code is not None
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
    print(f"\n{percent:.1f} % are killed; at least {_WANTED_PERCENT} % are required.")
    return int(percent < _WANTED_PERCENT)


def _changed_lines(diff: str) -> Iterable[str]:
    for line in diff.splitlines():
        if line[:1] in "+-" and line[:3] not in ("+++", "---"):
            yield f"  {line}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
