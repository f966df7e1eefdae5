"""Serves one CNI call like the executable, and kills itself on the way; a script.

Usage: `killed_call.py before|after|change N`, with the environment and stdin of a call.  The
process is killed before or after its N-th step, or before the N-th system call in its steps that
changes something.  A call that ends earlier ends as usual.
"""

import os
import signal
import sys
from types import FrameType
from typing import Any, Final

from amdcni.core.steps import Outcome, Step
from amdcni.effects.node import LinuxNode
from amdcni.effects.rtnetlink import Request, Rtnetlink
from amdcni_shim.__main__ import main

CHANGES: Final = frozenset({"fsync", "rename", "unlink", "fork_exec", "write"})
"""C functions that write files and start plugins; `Rtnetlink.ask` changes the kernel."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill(moment: str, number: int) -> None:
    """Make every node in this process kill it at the moment with this number."""
    perform, ask = LinuxNode.perform, Rtnetlink.ask
    steps = changes = 0

    def change() -> None:
        nonlocal changes
        changes += 1
        if changes == number:
            die()

    def watch(_: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and function.__name__ in CHANGES:
            change()

    def die_or_ask(self: Rtnetlink, request: Request) -> None:
        if sys.getprofile() is watch:
            change()
        ask(self, request)

    def perform_or_die(self: LinuxNode, step: Step, so_far: Outcome) -> Outcome:
        nonlocal steps
        steps += 1
        if (moment, steps) == ("before", number):
            die()
        if moment == "change":
            sys.setprofile(watch)
        outcome = perform(self, step, so_far)
        sys.setprofile(None)
        if (moment, steps) == ("after", number):
            die()
        return outcome

    LinuxNode.perform = perform_or_die  # type: ignore[method-assign]
    Rtnetlink.ask = die_or_ask  # type: ignore[method-assign]


if __name__ == "__main__":
    kill(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(os.environ, sys.stdin.buffer, sys.stdout, sys.stderr))
