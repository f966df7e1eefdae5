"""Lets pytest see also the mutants of what is called while modules are imported.

mutmut notes which test calls which function, and forks a worker for every mutant from a process
that has imported all already.  What the codec's modules call at import belongs to every test then,
and its mutants act only in a worker that imports anew.
"""

import importlib
import os
import pkgutil
import sys
from typing import Final

import pytest
from mutmut.state import state

import amdcni.core

_STATS: Final = "stats"
_at_import: Final[set[str]] = set()


def pytest_configure() -> None:
    """In the run that notes, import the core; in a worker, forget it if its import is to differ."""
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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """In the run that notes, every test has called what was called at import."""
    if os.environ["MUTANT_UNDER_TEST"] == _STATS:
        state()._stats.update(_at_import)
