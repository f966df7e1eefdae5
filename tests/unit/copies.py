"""Copies of a node in memory, each made in a fraction of the time that its calls have taken."""

import pickle
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def copies_of(node: T) -> Callable[[], T]:
    """What gives copies of a machine, or of several values that belong to it, as it is now.

    Nothing that happens to one of them, or to the original, happens to another.
    """
    saved = pickle.dumps(node, pickle.HIGHEST_PROTOCOL)

    def copy() -> T:
        copied: T = pickle.loads(saved)
        return copied

    return copy
