"""Lets tests also see the mutants of functions that are called at import, and orders the tests.

mutmut records which test calls which function, and forks a worker for every mutant from a process
that has already imported everything.  So what the codec's modules call at import counts as called
by every test, and its mutants take effect only in a worker that imports the modules again.
"""

import importlib
import os
import pkgutil
import re
import sys
from typing import Final

import pytest
from mutmut.state import state

import amdcni.core

_STATS: Final = "stats"
_at_import: Final[set[str]] = set()


def pytest_configure() -> None:
    """In the recording run, import the core; in a worker, forget it if the import is mutated."""
    mutant = os.environ["MUTANT_UNDER_TEST"]
    if mutant == _STATS:
        for module in pkgutil.walk_packages(amdcni.core.__path__, "amdcni.core."):
            importlib.import_module(module.name)
        _at_import.update(state()._stats)
        state()._stats.clear()
    elif mutant.partition("__mutmut_")[0] in _at_import:
        for name in list(sys.modules):
            if name.partition(".")[0] in ("amdcni", "tests") and name != __name__:
                del sys.modules[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In a worker, try first the tests in files that are named like the mutated module.

    They are the likeliest to fail, and the first failure decides; otherwise the fastest come first.
    """
    module = os.environ["MUTANT_UNDER_TEST"].rpartition(".")[0]
    words = set(re.split(r"[._]", module))
    items.sort(key=lambda item: -len(words.intersection(item.path.stem.split("_"))))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """In the recording run, count what was called at import as called by every test."""
    if os.environ["MUTANT_UNDER_TEST"] == _STATS:
        state()._stats.update(_at_import)
