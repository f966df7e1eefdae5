from pathlib import Path

import pytest

from amdcni.testing import Nic, Node, Pod
from amdcni.testing.fixtures import node, plugin
from tests.netns.runtime import BDF, Runtime

__all__ = ["node", "plugin"]


@pytest.fixture
def nic(node: Node) -> Nic:
    return node.add_nic(BDF, "eth1", ["10.0.0.0/31", "fd00::8/64"])


@pytest.fixture
def pod(node: Node) -> Pod:
    return node.add_pod("pod1")


@pytest.fixture(params=["delegate", "native"])
def mover(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def runtime(node: Node, plugin: Path, mover: str) -> Runtime:
    """One whose configuration names the mover; see `by_delegate` and `natively`."""
    return Runtime(node, plugin).having(mover=mover)
