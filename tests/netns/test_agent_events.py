"""What the agent posts to an API server of what happens on a node, and that nobody waits for it."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from amdcni.testing import Nic, Node, Pod, dump
from amdcni.testing.namespaces import PLAIN_ENVIRONMENT, kill
from tests.netns.agents import agent_on, start_agent
from tests.netns.resets import reset
from tests.netns.runtime import Runtime, damage, expect_silence, ifnames, natively, records
from tests.netns.test_agent_life import MOST_KIB, kib, taken
from tests.netns.test_agent_reports import OK, WITH_METRICS, page, samples
from tests.patience import wait_until
from tests.unit import fake_api_server

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl makes the certificates"
)

PORT = "6443"
UID = "0b0b0b0b-0000-4000-8000-000000000001"
ARGS = f"IgnoreUnknown=true;K8S_POD_NAMESPACE=team-a;K8S_POD_NAME=job-1;K8S_POD_UID={UID}"
IN_A_CLUSTER = {
    **PLAIN_ENVIRONMENT,
    "KUBERNETES_SERVICE_HOST": "127.0.0.1",
    "KUBERNETES_SERVICE_PORT": PORT,
    "NODE_NAME": "node-1",
}
LISTENS = "import socket; socket.create_connection(('127.0.0.1', int('6443'))).close()"


@frozen
class Cluster:
    """An API server on the node, and the folder of the agent's service account."""

    node: Node
    folder: Path

    @property
    def words(self) -> tuple[str, ...]:
        """The words with which an agent posts there, and serves metrics."""
        return (*WITH_METRICS, "--service-account", str(self.folder))

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.folder / "events.json").read_text())
        return found

    def find(self, reason: str, kind: str) -> dict[str, Any] | None:
        """The one event with this reason on an object of this kind."""
        found = [
            each
            for each in self.events()
            if each["reason"] == reason and each["involvedObject"]["kind"] == kind
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def awaited(self, reason: str, kind: str = "Pod") -> dict[str, Any]:
        wait_until(lambda: self.find(reason, kind), f"{reason} is posted on a {kind}")
        event = self.find(reason, kind)
        assert event is not None
        return event

    def misbehave(self, how: str) -> None:
        (self.folder / "fault").write_text(how)


@pytest.fixture
def cluster(node: Node, tmp_path: Path) -> Iterator[Cluster]:
    fake_api_server.make_certificates(tmp_path, "IP:127.0.0.1")
    (tmp_path / "token").write_text("secret-token\n")
    node.ip("link set lo up")
    listens = [sys.executable, "-I", "-c", LISTENS]
    program = [sys.executable, "-I", fake_api_server.__file__, str(tmp_path), "127.0.0.1", PORT]
    with node.start(program) as server:
        try:
            wait_until(lambda: node.run(listens).returncode == 0, "it listens")
            yield Cluster(node, tmp_path)
        finally:
            kill(server)


@natively
def test_pod_and_node_learn_what_becomes_of_a_nic(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cluster: Cluster
) -> None:
    with agent_on(node, *cluster.words, env=IN_A_CLUSTER) as agent:
        runtime.added(pod, args=ARGS)
        pod.delete()
        healed = cluster.awaited("NICHealed")
        on_node = cluster.awaited("NICHealed", "Node")
        wait_until(lambda: not records(node), "the NIC is healed")
        said = agent.end().stderr
    assert healed["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "team-a",
        "name": "job-1",
        "uid": UID,
    }
    assert healed["type"] == "Normal"
    assert nic.bdf in healed["message"]
    assert "its pod is gone" in healed["message"]
    assert on_node["involvedObject"]["name"] == "node-1"
    assert on_node["metadata"]["namespace"] == "default"
    assert "event=events-posted" in said
    assert "secret-token" not in said


@natively
def test_a_nic_that_was_reset_and_put_back_is_told_of(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cluster: Cluster
) -> None:
    with agent_on(node, *cluster.words, env=IN_A_CLUSTER):
        runtime.added(pod, args=ARGS)
        reset(node, nic, pod)
        node.ip("link add other0 type bridge")
        node.ip("link del other0")
        assert cluster.awaited("NICReattached")["type"] == "Warning"
        assert "net1" in ifnames(pod)


@natively
def test_a_lost_nic_is_told_of_once(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cluster: Cluster
) -> None:
    with agent_on(node, *cluster.words, env=IN_A_CLUSTER):
        runtime.added(pod, args=ARGS)
        stranger = node.add_pod("stranger")
        pod.ip(f"link set net1 name rail7 netns {stranger.name}")
        runtime.call("STATUS", container_id=None, ifname=None)
        lost = cluster.awaited("NICLost")
        assert cluster.awaited("NICLost", "Node")["count"] == 1
        assert lost["count"] == 1
        assert f"it is in {stranger.netns} as rail7, though its pod lives" in lost["message"]


@pytest.mark.thorough
@natively
def test_a_name_that_is_taken_and_what_could_not_be_restored_are_told_of(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cluster: Cluster
) -> None:
    """The route needs an address of another netdev, which goes meanwhile."""
    node.ip("address add 10.99.0.1/32 dev lo")
    node.ip("route add 192.0.2.0/24 dev eth1 src 10.99.0.1")
    with agent_on(node, *cluster.words, env=IN_A_CLUSTER):
        runtime.added(pod, args=ARGS)
        node.ip("address del 10.99.0.1/32 dev lo")
        node.ip("link add eth1 type bridge")
        node.learn(nic, "eth1_1")
        node.forget(nic, "eth1")
        assert not runtime.delete(pod, args=ARGS).succeeded
        taken_name = cluster.awaited("NICNameTaken")
        assert "its name, eth1; it is called eth1_1 now" in taken_name["message"]
        missing = cluster.awaited("NICNotRestored")
        assert missing["message"].endswith("not as it was: routes")
        assert cluster.awaited("NICNotRestored", "Node")["type"] == "Warning"
        not_healed = cluster.awaited("NICNotHealed")
        assert "192.0.2.0/24" in not_healed["message"]


@natively
def test_a_refused_add_is_counted_in_one_event_however_often_it_is_tried(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cluster: Cluster
) -> None:
    tries = 5
    other = node.add_pod("pod2")
    with agent_on(node, *cluster.words, env=IN_A_CLUSTER):
        runtime.added(pod)
        for number in range(tries):
            runtime.add(other, container_id=f"try-{number}", args=ARGS).expect_error(11, "held")
        # An error of the call is no refusal of the NIC.
        runtime.add("/run/netns/nothing", args=ARGS).expect_error(4)
        wait_until(lambda: cluster.awaited("NICAttachRefused")["count"] == tries, "all are counted")
        refused = cluster.awaited("NICAttachRefused")
        assert "is held by container" in refused["message"]
        assert cluster.find("NICAttachRefused", "Node") is None
        expect_silence(runtime.delete(pod))


@natively
def test_an_api_server_that_is_mute_holds_up_neither_calls_nor_metrics(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cluster: Cluster
) -> None:
    before = dump(node)
    cluster.misbehave("mute")
    with agent_on(node, *cluster.words, env=IN_A_CLUSTER) as agent:
        runtime.added(pod)
        tries = ("first", "second", "third")
        for each in tries:
            refused = runtime.add(node.add_pod(each), args=ARGS, container_id=each)
            refused.expect_error(11)
            assert page(node, "/metrics")[0] == OK
        name = "amdcni_calls_total native error-11 ADD"
        wait_until(lambda: samples(node)[name] == len(tries), "all are counted")
        assert page(node, "/healthz")[0] == OK
        expect_silence(runtime.delete(pod))
        assert agent.serves()
        # An event that is not posted yet does not hold up the end either.
        assert agent.end().succeeded
    assert cluster.events() == []
    assert damage(before, node) == []


@natively
def test_an_api_server_that_comes_late_gets_what_has_happened(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cluster: Cluster
) -> None:
    cluster.misbehave("500")
    with agent_on(node, *cluster.words, env=IN_A_CLUSTER) as agent:
        runtime.added(pod, args=ARGS)
        pod.delete()
        wait_until(lambda: not records(node), "the NIC is healed")
        (cluster.folder / "fault").unlink()
        cluster.awaited("NICHealed")
        cluster.awaited("NICHealed", "Node")
        wait_until(
            lambda: samples(node)["amdcni_events_posted_total"] == len(("pod", "node")), "counted"
        )
        assert samples(node)["amdcni_events_dropped_total"] == 0
        assert agent.serves()


@natively
def test_the_agent_needs_no_metrics_to_post_events(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cluster: Cluster
) -> None:
    words = ("--metrics", "off", "--service-account", str(cluster.folder))
    with agent_on(node, *words, env=IN_A_CLUSTER):
        runtime.added(pod, args=ARGS)
        pod.delete()
        cluster.awaited("NICHealed")


def test_only_the_reporting_process_has_the_service_account(node: Node, cluster: Cluster) -> None:
    with agent_on(node, *cluster.words, env=IN_A_CLUSTER) as agent:
        wait_until(lambda: page(node, "/readyz")[0] == OK, "the agent is ready")

        def has_it(pid: int) -> bool:
            targets = []
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(FileNotFoundError):
                    targets.append(os.readlink(f"/proc/{pid}/fd/{name}"))
            return str(cluster.folder) in targets

        children = agent.children()
        assert has_it(agent.pid)
        assert [has_it(pid) for pid in children].count(True) == 1
        assert len(children) > 1
        assert kib(taken(agent)) < MOST_KIB


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        ((), PLAIN_ENVIRONMENT, "KUBERNETES_SERVICE_HOST is not set"),
        (("--service-account", "/nowhere"), IN_A_CLUSTER, "no service account is in '/nowhere'"),
    ],
)
def test_outside_a_cluster_nothing_is_posted_and_that_is_said_once(
    node: Node, words: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    with agent_on(node, "--metrics", "off", *words, env=env) as agent:
        log = agent.end().stderr
    assert log.count("event=events-off") == 1
    assert said in log


def test_events_may_be_turned_off_or_be_asked_for(node: Node, cluster: Cluster) -> None:
    with agent_on(node, *cluster.words, "--events", "off", env=IN_A_CLUSTER) as agent:
        wait_until(lambda: page(node, "/readyz")[0] == OK, "the agent is ready")
        assert "event=events" not in agent.end().stderr
    refused = start_agent(node, "--events", "on").call.wait()
    assert refused.exit_status == 1
    assert "KUBERNETES_SERVICE_HOST is not set" in refused.stderr
