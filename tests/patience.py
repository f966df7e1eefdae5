"""Waiting for what is going to happen, however busy this computer is."""

import time
from collections.abc import Callable
from typing import Final

from amdcni.testing.namespaces import PATIENCE_S

__all__ = ["PATIENCE_S", "wait_until"]

_POLL_S: Final = 0.01


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition is true, which takes no time worth speaking of.

    Raises:
        AssertionError: it did not become true; `what` says what stood still.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"for {PATIENCE_S:g} s it has not come about that {what}")
        time.sleep(_POLL_S)
