"""All traffic control of a NIC is restored, attribute by attribute, as `tc` shows it."""

import itertools
import time
from collections.abc import Iterable

import pytest

from amdcni.testing import Node, Pod, Section, differences, dump
from amdcni.testing.strategies import BUILT_IN_TRAFFIC
from tests.netns.runtime import BDF, TRY_AGAIN, Runtime, by_both, damage, expect_silence, natively

TRAFFIC = (Section.QDISC, Section.TRAFFIC_CLASS, Section.CHAIN, Section.FILTER)


MIRRORING = (
    "qdisc add dev eth1 clsact",
    "filter add dev eth1 ingress prio 9 u32 match u32 0 0 action mirred egress mirror dev ifb0",
    "filter add dev eth1 ingress prio 9 u32 match u32 1 1 action mirred egress mirror dev lo",
)


@pytest.fixture(autouse=True)
def nic(node: Node) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31", "fd00::8/64"])


def set_traffic(node: Node, commands: Iterable[str]) -> None:
    bare = dump(node)
    for command in commands:
        node.tc(command)
    assert differences(bare, dump(node), sections=TRAFFIC) != []


@by_both
@pytest.mark.parametrize("name", BUILT_IN_TRAFFIC)
def test_traffic_control_is_the_same_before_and_after(
    runtime: Runtime, node: Node, pod: Pod, name: str
) -> None:
    set_traffic(node, BUILT_IN_TRAFFIC[name])
    before = dump(node)
    outcome = runtime.add(pod)
    assert (outcome.exit_status, outcome.stderr) == (0, "")
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
def test_a_filter_sends_to_the_netdev_that_has_the_name_of_its_target_now(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.ip("link add ifb0 index 70 type veth peer name far0")
    set_traffic(node, MIRRORING)
    before = dump(node)
    runtime.added(pod)
    node.ip("link delete ifb0")
    node.ip("link add ifb0 index 71 type veth peer name far0")
    node.ip("link add stranger index 70 type veth peer name far1")
    expect_silence(runtime.delete(pod))
    assert differences(before, dump(node), sections=TRAFFIC) == []


@natively
def test_without_its_target_a_filter_is_reported_and_waits_and_all_else_is_restored(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.ip("link add ifb0 type veth peer name far0")
    set_traffic(node, MIRRORING)
    before = dump(node)
    runtime.added(pod)
    node.ip("link delete ifb0")
    node.ip("link add stranger type veth peer name far1")
    outcome = runtime.delete(pod)
    outcome.expect_error(TRY_AGAIN, "it sends to ifb0, which is not on the host")
    shown = node.tc("filter show dev eth1 ingress")
    assert "device lo" in shown
    assert "stranger" not in shown
    node.ip("link delete stranger")
    node.ip("link add ifb0 type veth peer name far0")
    expect_silence(runtime.delete(pod))
    assert differences(before, dump(node), sections=TRAFFIC) == []


@natively
def test_a_block_that_another_netdev_shares_is_joined_again_and_left_as_it_is(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.ip("link add other type veth peer name far")
    set_traffic(node, BUILT_IN_TRAFFIC["a block that is shared"])
    node.tc("qdisc add dev other ingress_block 21 egress_block 22 clsact")
    runtime.added(pod)
    node.tc("filter replace block 22 handle 800::800 prio 5 protocol ip u32 match u32 9 9")
    before = node.tc("filter show block 21"), node.tc("filter show block 22")
    assert runtime.delete(pod).succeeded
    assert (node.tc("filter show block 21"), node.tc("filter show block 22")) == before
    assert "ingress_block 21 egress_block 22" in node.tc("qdisc show dev eth1")


REDIRECTING = (
    "qdisc add dev other clsact",
    "filter add dev other ingress prio 9 u32 match u32 0 0 action mirred egress mirror index 7"
    " dev eth1 pipe action mirred ingress redirect index 8 dev eth1",
    "filter add dev other ingress prio 9 u32 match u32 1 1 action mirred egress mirror dev gone",
)


@by_both
def test_filters_of_other_netdevs_send_to_the_nic_again(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    for name in ("other", "gone"):
        node.ip(f"link add {name} type veth peer name far-{name}")
    set_traffic(node, (*REDIRECTING, *BUILT_IN_TRAFFIC["actions that send to netdevs"]))
    node.ip("link delete gone")
    before = dump(node)
    runtime.added(pod)
    assert "eth1" not in node.tc("filter show dev other ingress")
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@pytest.mark.thorough
@natively
def test_an_action_that_was_made_in_the_place_of_one_that_sent_to_the_nic_stays_as_it_is(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    for name in ("other", "gone"):
        node.ip(f"link add {name} type veth peer name far-{name}")
    set_traffic(node, REDIRECTING[:2])
    runtime.added(pod)
    node.tc("qdisc delete dev other clsact")
    time.sleep(3)
    for command in REDIRECTING[:2]:
        node.tc(command.replace("eth1", "gone"))
    node.ip("link delete gone")
    before = dump(node)
    assert runtime.delete(pod).succeeded
    assert differences(before, dump(node), sections=[Section.FILTER]) == []


@pytest.mark.thorough
@natively
@pytest.mark.parametrize("name", ["the only table of u32 with a late number", "chains"])
def test_a_del_killed_at_any_change_restores_all_traffic_control_the_next_time(
    runtime: Runtime, node: Node, pod: Pod, name: str
) -> None:
    set_traffic(node, BUILT_IN_TRAFFIC[name])
    before = dump(node)
    for number in itertools.count(1):
        runtime.added(pod)
        killed = runtime.start_to_die(("change", number), "DEL", netns=pod).wait()
        assert runtime.delete(pod).succeeded
        assert damage(before, node) == [], f"killed before change {number}"
        if killed.succeeded:
            break
    assert number > 10
