"""Fuzzes the edge of the executable: `python -m tests.fuzz MINUTES`, or `make fuzz-edge`.

Guided by coverage, atheris derives new calls from the seeds and from what earlier runs kept in
.fuzz/corpus.  The first that breaks the law of `edge.py` ends the run and is kept in .fuzz/found;
`python -m tests.fuzz FILE...` tries files again, without atheris.
"""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Final

from tests.fuzz import cage, inputs
from tests.fuzz.stage import CHECKOUT
from tests.fuzz.watch import OWN

_KEPT: Final = CHECKOUT / ".fuzz"
_KINDS: Final = ("corpus", "found")

_FLAGS: Final = (
    "-timeout=25",  # Longer than the plugin waits for anything in the cage.
    "-rss_limit_mb=1500",  # The law has its own limit; this one protects the machine.
    "-max_len=16384",
    "-print_final_stats=1",
    "-reload=0",
    f"-artifact_prefix={OWN}/found/",
)


def fuzz(minutes: float) -> int:
    """Fuzz for some minutes; return 1 if an input has broken the law."""
    corpus = _KEPT / "corpus"
    earlier = [path.read_bytes() for path in sorted(corpus.glob("*"))]
    begin = [*map(inputs.encode, inputs.seeds()), *earlier]
    seconds = max(1, round(minutes * 60))
    flags = ["fuzz", *_FLAGS, f"-max_total_time={seconds}", f"{OWN}/corpus"]
    return run(flags, begin)


def run(arguments: Sequence[str], tried: Iterable[bytes]) -> int:
    """Serve calls on a node in a cage, keep what is found, and return the exit status."""
    command = cage.command_in_cage([sys.executable, "-m", "tests.fuzz.stage", *arguments])
    stage = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with stage:
        assert stage.stdin is not None
        assert stage.stdout is not None
        assert stage.stderr is not None
        # The cage must not have the terminal itself.
        errors = threading.Thread(target=_show, args=(stage.stderr,))
        errors.start()
        with stage.stdin:
            stage.stdin.writelines(base64.b64encode(data) + b"\n" for data in tried)
        for line in stage.stdout:
            _keep(json.loads(line))
        errors.join()
    return stage.returncode


def _show(errors: IO[bytes]) -> None:
    for line in errors:
        text = line.decode("utf-8", "backslashreplace").rstrip("\n")
        if not text.startswith("INFO: Instrumenting"):
            print("".join(c if c.isprintable() else repr(c)[1:-1] for c in text), flush=True)


def _keep(said: dict[str, str]) -> None:
    """Write what comes out of the cage to a file whose name is ours to choose."""
    if said.get("kind") not in _KINDS:
        return
    data = base64.b64decode(said["data"])
    name = "".join(c for c in said["name"] if c.isalnum() or c == "-")
    path = _KEPT / said["kind"] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if said["kind"] == "found":
        print(f"found: {path}: {inputs.parse(data)}")


def main(arguments: Sequence[str]) -> int:
    """Fuzz for the given minutes if the only argument is a number; otherwise, try these files."""
    match arguments:
        case [minutes] if minutes.replace(".", "", 1).isdecimal():
            return fuzz(float(minutes))
        case [_, *_]:
            return run(["replay"], [Path(path).read_bytes() for path in arguments])
        case _:
            sys.exit("usage: python -m tests.fuzz MINUTES | FILE...")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
