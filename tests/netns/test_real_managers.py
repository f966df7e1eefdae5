"""Real network managers and the plugin: the host is as it was, at once and later."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from amdcni.testing import Dump, Node, Pod, Section, dump
from tests.debian import NotHere
from tests.netns.command import start_amdcni
from tests.netns.managing import MANAGERS, Rail, Unpacked, unpacked
from tests.netns.runtime import BDF, Runtime, damage, expect_silence, plugin_folder
from tests.patience import wait_until

pytestmark = pytest.mark.thorough

RAIL = Rail(1)
LATER_S = 3
"""Managers act within a second of what they see."""


@pytest.fixture(scope="session")
def packages() -> Unpacked:
    """The managers, or a skip that says why they cannot be had."""
    try:
        return unpacked()
    except (NotHere, OSError) as refusal:
        pytest.skip(f"no network managers: {refusal}")


@pytest.fixture(params=MANAGERS)
def manager(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def before(node: Node, packages: Unpacked, manager: str) -> Iterator[Dump]:
    """The node whose NIC a manager has configured."""
    node.add_nic(BDF, "eth1", [], up=False)
    with MANAGERS[manager](node, packages, [RAIL]):
        wait_until(lambda: is_configured(node), f"{manager} configures the NIC")
        time.sleep(LATER_S)
        yield dump(node)


def is_configured(node: Node) -> bool:
    routes = [name for name in dump(node).names(Section.ROUTE) if "table 101" in name]
    return bool(routes and rules_of(node))


def rules_of(node: Node) -> list[str]:
    """The rules that the manager has set."""
    return [name for name in dump(node).names(Section.RULE) if "priority 1010" in name]


def require_whole(before: Dump, node: Node) -> None:
    """Require that the host is as before, at once and later."""
    assert damage(before, node) == []
    time.sleep(LATER_S)
    assert damage(before, node) == []


def test_the_host_is_the_same_after_each_of_five_rounds(
    runtime: Runtime, node: Node, pod: Pod, before: Dump
) -> None:
    for seconds in (0, 1, 0, 3, 1):
        runtime.added(pod)
        time.sleep(seconds)
        expect_silence(runtime.delete(pod))
        require_whole(before, node)


def test_the_rule_of_network_manager_is_gone_while_the_pod_has_the_nic(
    runtime: Runtime, node: Node, pod: Pod, packages: Unpacked
) -> None:
    """Otherwise the other tests would show nothing."""
    node.add_nic(BDF, "eth1", [], up=False)
    with MANAGERS["NetworkManager"](node, packages, [RAIL]):
        wait_until(lambda: is_configured(node), "the NIC is configured")
        runtime.added(pod)
        wait_until(lambda: not rules_of(node), "the rule is removed")
        expect_silence(runtime.delete(pod))
        assert len(rules_of(node)) == 1


def test_a_nic_whose_pod_has_died_is_healed(
    runtime: Runtime, node: Node, pod: Pod, before: Dump
) -> None:
    for seconds in (0, 3):
        runtime.added(pod)
        time.sleep(seconds)
        pod.delete()
        time.sleep(seconds)
        assert start_amdcni(node, "heal").wait().succeeded
        require_whole(before, node)
        pod.create()


def test_a_failed_add_leaves_the_host_as_it_was(
    runtime: Runtime, node: Node, pod: Pod, before: Dump, tmp_path: Path
) -> None:
    for seconds in (0, 2):
        moody = f"[ $CNI_COMMAND = DEL ] || {{ sleep {seconds}; exit 1; }}"
        path = plugin_folder(tmp_path / f"bin{seconds}", moody=moody)
        assert not runtime.having(ipam={"type": "moody"}).add(pod, path=[path]).succeeded
        require_whole(before, node)


def test_two_nics_that_come_and_go_at_once_are_restored(
    runtime: Runtime, node: Node, packages: Unpacked, manager: str
) -> None:
    """Without a metric in its profiles, NetworkManager chooses it by the order of the NICs."""
    second, pods = "0000:c2:00.0", [node.add_pod("pod1"), node.add_pod("pod2")]
    node.add_nic(BDF, "eth1", [], up=False)
    node.add_nic(second, "eth2", [], up=False)
    other = runtime.having(deviceID=second, pciBusID=second)
    with MANAGERS[manager](node, packages, [Rail(1, metric=50), Rail(2, metric=50)]):
        wait_until(lambda: len(rules_of(node)) == 2, f"{manager} configures the NICs")
        time.sleep(LATER_S)
        before = dump(node)
        for command in ("ADD", "DEL") * 3:
            calls = [
                ours.start(command, netns=pod, container_id=pod.name)
                for ours, pod in zip((runtime, other), pods, strict=True)
            ]
            assert [each for each in (call.wait() for call in calls) if not each.succeeded] == []
            if command == "DEL":
                require_whole(before, node)
