"""The pytest plugin: fixtures for tests of CNI plugins, and the options of the conformance suite.

pytest loads it wherever amdcni is installed, through the entry point `pytest11`.  So it imports
nothing but pytest until it is used, and all of its names begin with `cni`.
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the conformance suite; pytest calls this."""
    group = parser.getgroup("cni", "CNI plugins (amdcni.testing.conformance)")
    group.addoption("--cni-plugin", metavar="PATH", help="the executable of the plugin to judge")
    group.addoption(
        "--cni-config",
        metavar="FILE",
        help="its network configuration, or a list that contains it",
    )
    group.addoption(
        "--cni-path",
        metavar="DIRS",
        help="CNI_PATH, where to find the plugins that it calls (default: the usual folders)",
    )
    group.addoption("--cni-ifname", metavar="NAME", help="CNI_IFNAME (default: net1)")
    group.addoption(
        "--cni-timeout",
        metavar="SECONDS",
        type=float,
        help="how long a call may take before it is killed (default: 60)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of clauses; pytest calls this."""
    config.addinivalue_line(
        "markers", "cni_clause(section, verb, level): the test of a clause of the CNI specification"
    )
