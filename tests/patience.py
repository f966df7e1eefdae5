"""Waits for what is about to happen, however busy this computer is."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from amdcni.testing.namespaces import PATIENCE_S

__all__ = ["PATIENCE_S", "is_alive", "wait_until"]

_POLL_S: Final = 0.01


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition is true.

    Raises:
        AssertionError: it did not become true; `what` says in words what was awaited.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {PATIENCE_S:g} s: {what}")
        time.sleep(_POLL_S)


def is_alive(pid: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
