"""The pytest plugin: fixtures for tests of CNI plugins, and the options of the conformance suite.

pytest loads it wherever amdcni is installed, by the entry point `pytest11`.  Therefore it imports
nothing but pytest before something of it is used, and all of its names begin with `cni`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import amdcni.testing


@pytest.fixture
def cni_node() -> Iterator["amdcni.testing.Node"]:
    """A throwaway node for one test, or a skip that says why there is none."""
    from amdcni.testing.isolation import skip_reason
    from amdcni.testing.node import throwaway_node

    reason = skip_reason()
    if reason is not None:
        pytest.skip(reason)
    with throwaway_node() as fresh:
        yield fresh


@pytest.fixture
def cni_nic(cni_node: "amdcni.testing.Node") -> "amdcni.testing.Nic":
    """A NIC of the node: `eth1`, PCI address 0000:c1:00.0, with 10.0.0.0/31 and fd00::8/64."""
    return cni_node.add_nic("0000:c1:00.0", "eth1", ["10.0.0.0/31", "fd00::8/64"])


@pytest.fixture
def cni_pod(cni_node: "amdcni.testing.Node") -> "amdcni.testing.Pod":
    """A pod of the node, with its network namespace at /run/netns/pod1."""
    return cni_node.add_pod("pod1")
