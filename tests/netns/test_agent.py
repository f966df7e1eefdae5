"""Calls through the agent: the same answers and effects as without it, whatever befalls it."""

import re
from pathlib import Path

import attrs
import pytest

from amdcni.testing import PLAIN_ENVIRONMENT, Nic, Node, Outcome, Pod, dump
from tests.netns.agents import agent_on
from tests.netns.runtime import (
    DEBIAN,
    OURS,
    STATIC,
    Runtime,
    addresses,
    by_both,
    by_delegate,
    damage,
    expect_silence,
    ifnames,
    plugin_folder,
    records,
)

DEVICE_NOT_FOUND = 101

A_TIME = re.compile(rb"\d{4}-\d\d-\d\dT[\d:+]+")

Said = tuple[str, int, bytes]


def everything(runtime: Runtime, pod: Pod) -> list[Said]:
    """Make a call of each verb and kind of outcome; return what each answered."""
    said: list[Said] = []

    def note(name: str, outcome: Outcome) -> Outcome:
        said.append((name, outcome.exit_status, A_TIME.sub(b"then", outcome.stdout)))
        return outcome

    note("STATUS", runtime.call("STATUS", container_id=None, ifname=None))
    result = note("ADD", runtime.add(pod)).answer
    note("ADD again", runtime.add(pod))
    note("ADD of another", runtime.add(pod, container_id="other"))
    note("CHECK", runtime.check(pod, result))
    note("CHECK of another", runtime.check(pod, result, container_id="other"))
    held = [{"containerID": "container-1", "ifname": "net1"}]
    collected = runtime.having(**{"cni.dev/valid-attachments": held})
    note("GC", collected.call("GC", container_id=None, ifname=None))
    note("DEL", runtime.delete(pod))
    note("DEL again", runtime.delete(pod))
    note(
        "ADD of nothing", runtime.having(deviceID="0000:ff:00.0", pciBusID="0000:ff:00.0").add(pod)
    )
    note("ADD of a wrong configuration", runtime.having(mover="sideways", copyRoutes=7).add(pod))
    note("ADD to nothing", runtime.add("/run/netns/nothing"))
    note("ADD without a name", runtime.add(pod, ifname=""))
    return said


@by_both
def test_every_verb_answers_and_does_the_same_with_the_agent_as_without(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    alone = everything(runtime, pod)
    assert damage(before, node) == []
    with agent_on(node) as agent:
        assert everything(runtime, pod) == alone
        assert agent.served() == len(alone)
    assert damage(before, node) == []


@pytest.mark.parametrize("executable", [OURS, STATIC], ids=lambda path: path.name)
def test_both_executables_forward_their_calls(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, executable: Path
) -> None:
    if not executable.exists():
        pytest.skip("make launcher has not built the static launcher")
    before = dump(node)
    started = attrs.evolve(runtime, plugin=executable)
    with agent_on(node) as agent:
        result = started.added(pod, env=PLAIN_ENVIRONMENT)
        assert result["ips"]
        expect_silence(started.delete(pod, env=PLAIN_ENVIRONMENT))
        assert agent.served() == len(("ADD", "DEL"))
    assert damage(before, node) == []


# Where the client is


def in_private_mounts(node: Node, script: str, runtime: Runtime, verb: str, path: str) -> Outcome:
    """Call the plugin in a mount namespace of its own, which a shell script has changed before."""
    words = ["unshare", "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh"]
    return runtime.call(verb, netns=path, through=words)


@pytest.mark.parametrize("path", ["/mnt/only-here", "/run/netns/pod2"])
def test_a_netns_path_that_only_the_client_can_see_leads_where_the_client_says(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, path: str
) -> None:
    """In the second case another pod's netns is at that path where the agent is."""
    other = node.add_pod("pod2")
    before = dump(node)
    script = f"mount -t tmpfs tmpfs /mnt; touch /mnt/only-here; mount --bind {pod.netns} {path}"
    with agent_on(node) as agent:
        outcome = in_private_mounts(node, script, runtime, "ADD", path)
        result = outcome.expect_result()
        assert {each.get("sandbox") for each in result["interfaces"]} == {path}
        assert addresses(pod) == list(nic.addresses)
        assert ifnames(other) == set()
        (record,) = records(node).values()
        assert record["netns"]["path"] == path
        checked = runtime.having(prevResult=result)
        expect_silence(in_private_mounts(node, script, checked, "CHECK", path))
        expect_silence(in_private_mounts(node, script, runtime, "DEL", path))
        assert agent.served() == len(("ADD", "CHECK", "DEL"))
    assert damage(before, node) == []


def test_a_path_at_which_the_client_sees_no_netns_is_none(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    with agent_on(node):
        script = "mount -t tmpfs tmpfs /run/netns"
        outcome = in_private_mounts(node, script, runtime, "ADD", pod.netns)
    outcome.expect_error(None, "not a network namespace")
    assert damage(before, node) == []


def test_a_client_in_another_network_namespace_is_not_served(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    with agent_on(node) as agent:
        outcome = runtime.add(pod, through=["unshare", "--net"])
        assert agent.served() == 0
    outcome.expect_error(DEVICE_NOT_FOUND)


@by_delegate
def test_plugins_get_the_environment_the_folder_and_the_umask_of_the_client(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    folder = plugin_folder(
        tmp_path / "plugins",
        host_device=f'echo "$FLAVOUR $(pwd) $(umask)" >> {tmp_path}/seen\n'
        f"exec {DEBIAN}/host-device",
    )
    with agent_on(node) as agent:
        words = ["sh", "-c", 'cd /usr/lib; umask 027; exec "$@"', "sh"]
        env = {**PLAIN_ENVIRONMENT, "FLAVOUR": "peach"}
        outcome = runtime.add(pod, path=[folder], through=words, env=env)
        assert outcome.succeeded, outcome
        assert agent.served() == 1
        expect_silence(runtime.delete(pod))
    assert set((tmp_path / "seen").read_text().splitlines()) == {"peach /usr/lib 0027"}


@by_delegate
def test_log_lines_and_what_plugins_write_go_to_the_stderr_of_the_client(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    folder = plugin_folder(
        tmp_path / "plugins", host_device=f"echo peach >&2\nexec {DEBIAN}/host-device"
    )
    with agent_on(node) as agent:
        outcome = runtime.having(logLevel="info").add(pod, path=[folder])
        assert "peach" in outcome.stderr
        assert "event=done" in outcome.stderr
        expect_silence(runtime.delete(pod))
        said = agent.end().stderr
    assert "peach" not in said
