"""Fixtures that several modules use.

`kernel`, `nic`, `keeper` and `other` are those of `machine`, the node of `two_nics` or the one that
a module defines in its place.

What is under test is imported in the fixtures alone: `tests.mutants` lets a worker import it anew,
after this module.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from sys import gettrace, settrace
from typing import TYPE_CHECKING

import pytest

from tests import profiles, selection

if TYPE_CHECKING:
    from amdcni.effects.store import Store
    from tests.unit.binaries import BuiltTree
    from tests.unit.fake_kernel import Kernel
    from tests.unit.fake_machine import Machine
    from tests.unit.fake_netdevs import Link
    from tests.unit.keeper import Keeper
    from tests.unit.state_folder import Reports

profiles.load(profiles.UNIT)

REPEATING = frozenset(
    f"test_{name}"
    for name in (
        *("killed_calls", "killed_returns", "lifecycle", "others_at_work"),
        *("reattach_killed", "takeover_killed", "two_calls_at_once"),
    )
)
"""The modules that play the same calls at every moment, or in any order."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `make test` play a few cases of what repeats itself."""
    selection.leave_most_cases(item for item in items if item.path.stem in REPEATING)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Measure no coverage where tests repeat themselves: that takes three times as long.

    Other tests have to execute every line, too.  (The marker `no_cover` of pytest-cov does nothing
    in the processes of pytest-xdist.)
    """
    if not (item.get_closest_marker("thorough") or item.path.stem in REPEATING):
        return (yield)
    trace = gettrace()
    settrace(None)
    try:
        return (yield)
    finally:
        settrace(trace)


@pytest.fixture(params=["delegate", "native"])
def machine(request: pytest.FixtureRequest) -> Iterator["Machine"]:
    """A node with two NICs and two pods, on which nothing that a keeper watches may be lost."""
    from tests.unit import two_nics

    machine = two_nics.booted(request.param)
    yield machine
    assert machine.kernel.violations == []


@pytest.fixture
def kernel(machine: "Machine") -> "Kernel":
    return machine.kernel


@pytest.fixture
def nic(machine: "Machine") -> "Link":
    """The first NIC."""
    from tests.unit.two_nics import A

    return machine.kernel.functions[A].links[0]


@pytest.fixture
def keeper(machine: "Machine", nic: "Link") -> "Keeper":
    from tests.unit.keeper import Keeper

    return Keeper(machine, nic)


@pytest.fixture
def other(machine: "Machine") -> "Keeper":
    """The keeper of the second NIC."""
    from tests.unit.keeper import Keeper
    from tests.unit.two_nics import B

    return Keeper(machine, machine.kernel.functions[B].links[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder that does not exist yet."""
    return tmp_path / "state"


@pytest.fixture
def reports() -> "Reports":
    """What `store` has reported."""
    from tests.unit.state_folder import Reports

    return Reports()


@pytest.fixture
def store(folder: Path, reports: "Reports") -> "Store":
    from amdcni.effects.store import Store

    return Store(str(folder), reports)


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """A folder that stands for /sys."""
    return tmp_path / "sys"


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    """A folder for plugins, which is empty."""
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


@pytest.fixture
def tree(tmp_path: Path) -> "BuiltTree":
    """A tree to install."""
    from tests.unit.binaries import build_tree

    return build_tree(tmp_path / "tree", "1.1")


@pytest.fixture
def older(tmp_path: Path) -> "BuiltTree":
    """A tree of an older version."""
    from tests.unit.binaries import build_tree

    return build_tree(tmp_path / "older", "1.0")
