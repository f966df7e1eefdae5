"""Serves one CNI call like the executable, and records what it opens and lists; a script.

Usage: `watched_call.py FILE`, with the environment and stdin of a call.  FILE gets a JSON list of
paths in the order of access, without those of modules.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from amdcni_shim.__main__ import main

WATCHED = ("open", "os.listdir", "os.scandir")


def watch(seen: list[str]) -> None:
    """Record in `seen` everything that this process opens and lists from now on."""

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in WATCHED and isinstance(arguments[0], str | os.PathLike):
            path = os.fspath(arguments[0])
            if not path.endswith((".py", ".pyc")):
                seen.append(path)

    sys.addaudithook(note)


if __name__ == "__main__":
    paths: list[str] = []
    watch(paths)
    status = main(os.environ, sys.stdin.buffer, sys.stdout, sys.stderr)
    Path(sys.argv[1]).write_text(json.dumps(paths[:]))
    sys.exit(status)
