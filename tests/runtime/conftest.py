import fcntl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from amdcni.testing import Node
from tests.debian import NotHere
from tests.runtime.field import Field, field_on
from tests.runtime.packages import Unpacked, unpacked

CACHE = Path(__file__).parents[2] / ".runtime"


@pytest.fixture(scope="session")
def packages() -> Unpacked:
    """What the tests run, or a skip that says why it cannot be had."""
    try:
        CACHE.mkdir(exist_ok=True)
        with (CACHE / "lock").open("w") as lock:
            # One session at a time in a checkout downloads.
            fcntl.flock(lock, fcntl.LOCK_EX)
            return unpacked(CACHE)
    except (NotHere, OSError) as refusal:
        pytest.skip(f"no container runtime: {refusal}")


@pytest.fixture
def field(packages: Unpacked, cni_node: Node, tmp_path: Path) -> Iterator[Field]:
    """A node at work, without an agent."""
    try:
        with field_on(cni_node, packages, tmp_path) as field:
            yield field
    except NotHere as refusal:
        pytest.skip(f"no container runtime: {refusal}")


@pytest.fixture(params=[False, True], ids=["alone", "through the agent"])
def either_way(field: Field, request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test on a node without an agent, and again on one with an agent."""
    with ExitStack() as running:
        if request.param:
            running.enter_context(field.agent())
        yield
