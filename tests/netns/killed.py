"""Kills this process, which serves one call, on the way."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from amdcni.core.steps import Outcome, Step
from amdcni.effects.node import LinuxNode
from amdcni.effects.rtnetlink import Request, Rtnetlink

CHANGES: Final = frozenset({"fsync", "rename", "unlink", "fork_exec", "write"})
"""C functions that write files and start plugins; `Rtnetlink.ask` changes the kernel."""


KILLED_AT: Final = "AMDCNI_TEST_KILLED_AT"
"""The variable in which a call says when the worker that serves it is to be killed."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def killing(moment: str, number: int) -> Iterator[None]:
    """Do what `kill` does until the end of the `with`."""
    perform, ask = LinuxNode.perform, Rtnetlink.ask
    kill(moment, number)
    try:
        yield
    finally:
        LinuxNode.perform, Rtnetlink.ask = perform, ask  # type: ignore[method-assign]
        sys.setprofile(None)


def kill(moment: str, number: int) -> None:
    """Make every node in this process kill it before or after its step with this number.

    With the moment `change` it dies before the system call with this number of those in its steps
    that change something.
    """
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
