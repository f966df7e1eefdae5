"""What the agent reports of its calls and of what it heals: metrics, health, and to systemd."""

import os
import signal
import socket
import sys
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from amdcni.testing import Nic, Node, Pod
from tests.netns.agents import agent_on
from tests.netns.command import AMDCNI
from tests.netns.runtime import Runtime, expect_silence, natively, records
from tests.netns.warm import start_warm
from tests.patience import is_alive, wait_until

READ = (
    "import sys, urllib.request, urllib.error\n"
    "try:\n"
    "    answer = urllib.request.urlopen('http://127.0.0.1:9464' + sys.argv[1])\n"
    "except urllib.error.HTTPError as failure:\n"
    "    answer = failure\n"
    "except urllib.error.URLError:\n"
    "    sys.exit()\n"
    "print(answer.status)\n"
    "print(answer.read().decode())\n"
)
OK = "200"
WITH_METRICS = ("--metrics", "127.0.0.1:9464")


def page(node: Node, path: str) -> tuple[str, str]:
    """Return the status and the text of a page of the agent, both empty if nobody serves it."""
    status, _, text = node.output_of([sys.executable, "-I", "-c", READ, path]).partition("\n")
    return status, text


def samples(node: Node) -> dict[str, float]:
    """Return the metrics of the agent, by their name and the values of their labels."""
    status, text = page(node, "/metrics")
    if status != OK:
        return {}
    families: Any = text_string_to_metric_families(text.rstrip() + "\n")  # type: ignore[no-untyped-call]
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


@natively
def test_calls_and_healings_are_counted_and_attachments_are_shown(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.ip("link set lo up")
    with agent_on(node, *WITH_METRICS):
        wait_until(lambda: page(node, "/readyz")[0] == OK, "the agent is ready")
        runtime.added(pod)
        expect_silence(runtime.delete(pod))
        runtime.add("/run/netns/nothing").expect_error()
        runtime.added(pod)
        wait_until(lambda: samples(node)["amdcni_attachments held"] == 1, "it is shown as held")
        pod.delete()
        wait_until(lambda: not records(node), "the NIC is healed")
        wait_until(lambda: samples(node)["amdcni_healed_total returned"] == 1, "that is counted")
        found = samples(node)
        assert found["amdcni_calls_total native ok ADD"] == len(("first", "second"))
        assert found["amdcni_calls_total native error-4 ADD"] == 1
        assert found["amdcni_calls_total native ok DEL"] == 1
        assert found["amdcni_call_duration_seconds_count ADD"] == len(("first", "second", "wrong"))
        assert found["amdcni_agent_serving"] == 1


@natively
def test_an_agent_whose_reporting_process_is_killed_serves_on_and_starts_another(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.ip("link set lo up")
    with agent_on(node, *WITH_METRICS) as agent:
        wait_until(lambda: page(node, "/readyz")[0] == OK, "the agent is ready")
        for pid in agent.children():
            os.kill(pid, signal.SIGKILL)
        runtime.added(pod)
        expect_silence(runtime.delete(pod))
        wait_until(lambda: page(node, "/readyz")[0] == OK, "another process reports")
        wait_until(agent.serves, "the agent serves")


def test_systemd_is_told_when_the_agent_serves_that_it_is_alive_and_that_it_ends(
    node: Node,
) -> None:
    path = node.root / "run/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        env = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "20000", "PATH": "/usr/bin"}
        agent = start_warm(node, [AMDCNI, "agent", "--metrics", "off"], env=env)
        said = [systemd.recv(4096).decode() for _ in range(4)]
        agent.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in said[-1]:
            said.append(systemd.recv(4096).decode())
    assert agent.wait().succeeded
    assert any(each.startswith("READY=1\nSTATUS=serving") for each in said)
    assert "WATCHDOG=1" in said
    assert not is_alive(agent.pid)
