"""The life of a node with an agent: start, rotation of logs, upgrade, reboot; and what it takes."""

import json
import os
from pathlib import Path

import pytest

from amdcni.testing import Nic, Node, Pod, dump
from tests.netns.agents import RunningAgent, agent_on, look_only_at_events, preparation
from tests.netns.command import run_amdcni
from tests.netns.runtime import (
    Runtime,
    addresses,
    by_delegate,
    damage,
    expect_silence,
    natively,
    record_of,
    records,
)
from tests.patience import wait_until

NO_AGENT = 3
MOST_KIB = 60 * 1024
"""What all processes of the agent may take together."""
GROWTH_KIB = 1024
"""What a process may take more after many calls: one worker may only have looked before."""


def test_the_agent_may_start_long_after_the_runtime_and_end_before_it(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    with agent_on(node) as agent:
        expect_silence(runtime.delete(pod))
        assert damage(before, node) == []
        runtime.added(pod)
        assert agent.served() == len(("DEL", "ADD"))
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


def test_an_agent_that_is_upgraded_leaves_what_is_lent_as_it_is(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    with agent_on(node):
        result = runtime.added(pod)
        lent = record_of(node).read_bytes()
    with agent_on(node) as upgraded:
        expect_silence(runtime.check(pod, result))
        assert record_of(node).read_bytes() == lent
        assert addresses(pod) == list(nic.addresses)
        expect_silence(runtime.delete(pod))
        assert upgraded.served() == len(("CHECK", "DEL"))
    assert damage(before, node) == []


@natively
def test_after_a_downgrade_a_record_of_a_newer_version_is_reported_and_left_alone(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    with agent_on(node):
        runtime.added(pod)
    path = record_of(node)
    lent = path.read_bytes()
    newer = json.dumps({**json.loads(lent), "format": 99}).encode()
    path.write_bytes(newer)
    with agent_on(node, before=preparation(look_only_at_events)) as agent:
        wait_until(agent.is_idle, "it has looked")
        assert path.read_bytes() == newer
        assert addresses(pod) == list(nic.addresses)
        path.write_bytes(lent)
        expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
def test_after_a_reboot_with_a_nic_lent_the_agent_forgets_what_the_boot_has_made_anew(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    pod.delete()
    path = record_of(node)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "boot_id": "an earlier boot"}))
    with agent_on(node):
        wait_until(lambda: not records(node), "the record is forgotten")


@natively
def test_a_log_file_that_is_rotated_is_made_anew_for_the_next_line(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    log = node.root / "var/lib/cni/amd-host-device/log"
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    logging = runtime.having(logLevel="info", logFile="/var/lib/cni/amd-host-device/log")
    with agent_on(node) as agent:
        logging.added(pod)
        log.rename(log.with_name("log.1"))
        assert logging.delete(pod).succeeded
        assert agent.served() == len(("ADD", "DEL"))
    for path, verb in ((log.with_name("log.1"), "ADD"), (log, "DEL")):
        assert f"verb={verb}" in path.read_text()


@by_delegate
def test_status_says_whether_the_agent_serves_what_is_lent_and_what_needs_attention(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    said = run_amdcni(node, "status")
    assert said.returncode == NO_AGENT
    assert said.stdout.decode().splitlines()[:2] == [
        "The agent does not serve: calls do their work themselves, and no NIC is healed in "
        "between.",
        "Start it: systemctl start amdcni-agent, or look at the pod of its DaemonSet; "
        "by hand: amdcni agent",
    ]
    with agent_on(node, before=preparation(look_only_at_events)) as agent:
        said = run_amdcni(node, "status")
        assert (said.returncode, said.stderr) == (0, b"")
        assert f"The agent serves (process {agent.pid})".encode() in said.stdout
        runtime.added(pod)
        said = run_amdcni(node, "status", "--json")
        status = json.loads(said.stdout)
        assert said.returncode == 0
        assert status["attachments"]["held"] == 1
        assert status["needs"] == []
        assert status["agent"]["pid"] == agent.pid
    pod.delete()
    said = run_amdcni(node, "status")
    assert said.returncode == 1
    assert b"Needs attention:" in said.stdout
    assert b"0000:c1:00.0" in said.stdout
    said = run_amdcni(node, "status", "--data-dir", "/var/lib/cni/another")
    assert said.returncode == NO_AGENT
    assert b"0000:c1:00.0" not in said.stdout
    expect_silence(runtime.delete(None))


# What it takes


@pytest.mark.thorough
@natively
def test_neither_memory_nor_descriptors_nor_children_grow_with_the_calls(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    """Only the records of what is lent are kept."""
    before = dump(node)
    with agent_on(node) as agent:

        def call(number: int) -> None:
            for _ in range(number):
                runtime.added(pod)
                expect_silence(runtime.delete(pod))
                for _ in range(10):
                    runtime.call("STATUS", container_id=None, ifname=None)
            wait_until(agent.is_idle, "all workers are idle")

        call(30)
        at_first = taken(agent)
        call(20)
        at_last = taken(agent)
        # Now and then a look makes another worker necessary.
        assert len(at_last) <= len(at_first) + 2
        assert files_of(at_last, agent) == files_of(at_first, agent)
        assert kib(at_last) / len(at_last) < kib(at_first) / len(at_first) + GROWTH_KIB
        assert kib(at_first) < MOST_KIB
    assert damage(before, node) == []


def kib(processes: dict[int, tuple[int, int]]) -> int:
    """Return the memory of all processes together."""
    return sum(each for each, _ in processes.values())


def files_of(processes: dict[int, tuple[int, int]], agent: RunningAgent) -> tuple[int, int]:
    """Return how many files the main process has open without one for each other, and the others.

    The second number is that of the process with the most of them.
    """
    others = [files for pid, (_, files) in processes.items() if pid != agent.pid]
    return processes[agent.pid][1] - len(others), max(others)


def taken(agent: RunningAgent) -> dict[int, tuple[int, int]]:
    """Return the memory of each process of an agent in KiB, shared pages once, and its files."""
    found = {}
    for pid in (agent.pid, *agent.children()):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        (kib,) = [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
        found[pid] = (kib, len(os.listdir(f"/proc/{pid}/fd")))
    return found
