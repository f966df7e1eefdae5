from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from amdcni.testing import Nic, Node, Pod, skip_reason
from tests import profiles, selection
from tests.netns.agents import agent_on
from tests.netns.runtime import OURS, Runtime

profiles.load(profiles.KERNEL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `make test` play each test, and a few of its cases."""
    here = Path(__file__).parent
    selection.leave_most_cases(item for item in items if item.path.parent == here)


@pytest.fixture(scope="session")
def allowed() -> None:
    """Skip where the machine allows no private network namespaces."""
    if reason := skip_reason():
        pytest.skip(reason)


@pytest.fixture
def node(cni_node: Node) -> Node:
    return cni_node


@pytest.fixture(
    params=[False, pytest.param(True, marks=pytest.mark.thorough)],
    ids=["alone", "through the agent"],
)
def either_way(node: Node, request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test on a node without an agent, and again on one with an agent."""
    with ExitStack() as running:
        if request.param:
            running.enter_context(agent_on(node))
        yield


@pytest.fixture
def nic(cni_nic: Nic) -> Nic:
    return cni_nic


@pytest.fixture
def pod(cni_pod: Pod) -> Pod:
    return cni_pod


@pytest.fixture(scope="session")
def plugin() -> Path:
    """The executable under test, as `make` has installed it."""
    return OURS


@pytest.fixture(params=[pytest.param("delegate", marks=pytest.mark.thorough), "native"])
def mover(request: pytest.FixtureRequest) -> str:
    """The mover of the test: `make test` tries the other one where it matters, see `by_both`."""
    return str(request.param)


@pytest.fixture
def runtime(node: Node, plugin: Path, mover: str) -> Runtime:
    """A runtime whose configuration names the mover; see `by_both`."""
    return Runtime(node, plugin).having(mover=mover)
