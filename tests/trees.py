"""The self-contained tree of this checkout, built once in a run of tests."""

import fcntl
import os
from pathlib import Path

import pytest

from distribution import tree
from distribution.commands import CannotBuild
from distribution.wheels import CHECKOUT

ARCHIVES = CHECKOUT / ".archives"
"""Where `make tree` keeps what it has downloaded, too."""


def built_tree(factory: pytest.TempPathFactory) -> Path:
    """Return the tree, which all processes of a parallel run share, or skip if it cannot be built.

    Nobody may change it.
    """
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    target = shared / "built/tree"
    target.parent.mkdir(exist_ok=True)
    with open(shared / "built/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            try:
                tree.build(target, ARCHIVES)
            except CannotBuild as reason:
                pytest.skip(f"no tree can be built: {reason}")
    return target
