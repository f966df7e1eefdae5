"""Serves one CNI call like the executable, and lists the modules that it passes; a script.

Usage: `traced_call.py FILE`, with the environment and stdin of a call.  FILE gets a JSON list of
the modules of amdcni whose functions were called, in the order of their first calls.
"""

import json
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from amdcni_shim.__main__ import main

passed: dict[str, None] = {}


def note(frame: FrameType, event: str, _argument: Any) -> None:
    """Note the module of a function that is called; importing it or making a value is no call."""
    if event == "call" and not frame.f_code.co_name.startswith(("<", "__")):
        module = str(frame.f_globals.get("__name__"))
        if module.startswith("amdcni"):
            passed.setdefault(module)


if __name__ == "__main__":
    sys.setprofile(note)
    status = main(os.environ, sys.stdin.buffer, sys.stdout, sys.stderr)
    sys.setprofile(None)
    Path(sys.argv[1]).write_text(json.dumps(list(passed)))
    sys.exit(status)
