"""Forty processes at once: no record or address is lost, and a device has one holder."""

import random
import signal
import time
from collections import Counter

import pytest

from amdcni.testing import Nic, Node, Outcome, Pod, dump
from tests.netns.runtime import TRY_AGAIN, Runtime, addresses, by_both, damage, records

PROCESSES = 40


def test_exactly_one_of_forty_containers_gets_a_device(
    runtime: Runtime, nic: Nic, node: Node
) -> None:
    before = dump(node)
    pods = [node.add_pod(f"pod{number}") for number in range(4)]
    calls = {
        f"container-{number}": runtime.start(
            "ADD", netns=pods[number % len(pods)], container_id=f"container-{number}"
        )
        for number in range(PROCESSES)
    }
    outcomes = {container_id: call.wait() for container_id, call in calls.items()}
    (winner,) = (container_id for container_id, done in outcomes.items() if done.succeeded)
    for container_id, outcome in outcomes.items():
        if container_id != winner:
            outcome.expect_error(TRY_AGAIN, winner)
    assert [record["id"]["containerID"] for record in records(node).values()] == [winner]
    pod = pods[int(winner.removeprefix("container-")) % len(pods)]
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]
    assert runtime.delete(pod, container_id=winner).succeeded
    assert damage(before, node) == []


def test_forty_dels_of_one_attachment_all_succeed_and_restore_the_host(
    runtime: Runtime, nic: Nic, node: Node, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    calls = [runtime.start("DEL", netns=pod) for _ in range(PROCESSES)]
    outcomes = [call.wait() for call in calls]
    assert [outcome for outcome in outcomes if not outcome.succeeded] == []
    assert damage(before, node) == []


@pytest.fixture
def rails(node: Node) -> list[Nic]:
    """Eight NICs, as in a typical AI node."""
    return [
        node.add_nic(f"0000:c{number}:00.0", f"rail{number}", [f"10.0.{number}.0/31"])
        for number in range(8)
    ]


def test_forty_adds_and_dels_at_once_on_eight_nics_lose_nothing(
    runtime: Runtime, rails: list[Nic], node: Node
) -> None:
    before = dump(node)
    pods = [node.add_pod(f"pod{number}") for number in range(len(rails))]
    for _ in range(PROCESSES // len(rails)):
        of_rail = [runtime.having(deviceID=nic.bdf, pciBusID=nic.bdf) for nic in rails]
        adds = [rail.start("ADD", netns=pod) for rail, pod in zip(of_rail, pods, strict=True)]
        assert_succeeded([call.wait() for call in adds])
        assert set(records(node)) == {f"{nic.bdf}.json" for nic in rails}
        dels = [rail.start("DEL", netns=pod) for rail, pod in zip(of_rail, pods, strict=True)]
        assert_succeeded([call.wait() for call in dels])
    assert damage(before, node) == []


def assert_succeeded(outcomes: list[Outcome]) -> None:
    """Require that all succeeded, and show those that did not."""
    assert [outcome for outcome in outcomes if not outcome.succeeded] == []


def test_forty_calls_of_twenty_containers_in_any_order_leave_the_host_restored(
    runtime: Runtime, rails: list[Nic], node: Node
) -> None:
    before = dump(node)
    pods = [node.add_pod(f"pod{number}") for number in range(len(rails))]
    calls = []
    for number in range(PROCESSES // 2):
        rail = rails[number % len(rails)]
        of_rail = runtime.having(deviceID=rail.bdf, pciBusID=rail.bdf)
        pod, container_id = pods[number % len(pods)], f"container-{number}"
        calls.append(of_rail.start("ADD", netns=pod, container_id=container_id))
        calls.append(of_rail.start("DEL", netns=pod, container_id=container_id))
    codes = Counter(call.wait().error_code for call in calls)
    # A second ADD for a pod may find that the first still has the device, or its ifname.
    assert set(codes) <= {None, TRY_AGAIN, 104}
    for number in range(PROCESSES // 2):
        rail = rails[number % len(rails)]
        of_rail = runtime.having(deviceID=rail.bdf, pciBusID=rail.bdf)
        pod = pods[number % len(pods)]
        assert of_rail.delete(pod, container_id=f"container-{number}").succeeded
    assert damage(before, node) == []


def test_the_next_container_gets_the_device_that_a_del_is_about_to_free(
    runtime: Runtime, nic: Nic, node: Node, pod: Pod
) -> None:
    before = dump(node)
    other = node.add_pod("pod2")
    for _ in range(5):
        runtime.added(pod)
        leaving = runtime.start("DEL", netns=pod)
        outcome = runtime.add(other, container_id="next")
        assert leaving.wait().succeeded
        if not outcome.succeeded:
            outcome.expect_error(TRY_AGAIN, "container-1")
            runtime.added(other, container_id="next")
        assert addresses(other) == ["10.0.0.0/31", "fd00::8/64"]
        assert runtime.delete(other, container_id="next").succeeded
    assert damage(before, node) == []


@by_both
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_calls_killed_at_any_time_while_others_run_lose_nothing(
    runtime: Runtime, rails: list[Nic], node: Node, seed: int
) -> None:
    before = dump(node)
    chance = random.Random(seed)
    pods = [node.add_pod(f"pod{number}") for number in range(len(rails))]
    of_rail = [runtime.having(deviceID=nic.bdf, pciBusID=nic.bdf) for nic in rails]
    for command in ("ADD", "DEL", "ADD"):
        calls = [rail.start(command, netns=pod) for rail, pod in zip(of_rail, pods, strict=True)]
        for call in chance.sample(calls, len(calls) // 2):
            time.sleep(chance.uniform(0, 0.6))
            # A delegate that it started lives on in its own session.
            call.send_signal(signal.SIGKILL)
        for call in calls:
            call.wait()
    outcomes = [rail.delete(pod) for rail, pod in zip(of_rail, pods, strict=True)]
    assert_succeeded(outcomes)
    assert damage(before, node) == []
