"""Events that come in an unlucky order, or with unlucky contents: no call is lost or mixed up."""

import os
import signal
import time
from pathlib import Path

import pytest

from amdcni.testing import Nic, Node, Pod, dump
from tests.netns.agents import (
    RunningAgent,
    agent_on,
    check_the_socket_often,
    have_few_workers,
    kill_soon,
    preparation,
    socket_of,
    stop_before_the_rest,
)
from tests.netns.runtime import (
    DEBIAN,
    Runtime,
    by_delegate,
    damage,
    expect_silence,
    natively,
    plugin_folder,
    records,
)
from tests.netns.test_agent_accidents import SECOND, lend_and_return, open_files, pausing
from tests.netns.warm import WarmCall
from tests.patience import is_alive, wait_until

TOO_LONG = ["x" * 100_000, "x" * 100_000 + "y" * 200_000]
"""More than a report may have, and more than a socket takes at once."""


@pytest.mark.parametrize("text", TOO_LONG, ids=len)
@natively
def test_a_verb_or_mover_of_any_length_is_answered_as_without_the_agent(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, text: str
) -> None:
    def call() -> list[tuple[int, bytes]]:
        said = [runtime.having(mover=text).add(pod), runtime.having(mover=text).delete(pod)]
        if len(text) < 1 << 17:  # MAX_ARG_STRLEN
            said.append(runtime.call(text, through=["env"]))
        return [(each.exit_status, each.stdout) for each in said]

    alone = call()
    with agent_on(node) as agent:
        assert call() == alone
        assert agent.served() == len(alone)
        lend_and_return(runtime, pod, nic)
        assert "failed" not in agent.end().stderr


@by_delegate
def test_a_call_is_not_confused_with_an_earlier_one_whose_client_was_killed(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    """The main process has the new connection under the number that the old one had."""
    second = node.add_nic(SECOND, "eth2", ["10.0.2.0/31"])
    before = dump(node)
    folder = plugin_folder(
        tmp_path / "plugins",
        host_device=f"""trap '' TERM
if [ "$CNI_COMMAND" = ADD ] && ! [ -e {tmp_path}/waiting ]; then
touch {tmp_path}/waiting; while :; do sleep 0.01; done; fi
exec {DEBIAN}/host-device""",
    )
    with agent_on(node, before=preparation(have_few_workers, 1, 5)) as agent:
        killed = runtime.start("ADD", netns=pod, path=[folder])
        wait_until((tmp_path / "waiting").exists, "the only worker is at work")
        killed.send_signal(signal.SIGKILL)
        elsewhere = runtime.having(deviceID=second.bdf, pciBusID=second.bdf)
        assert elsewhere.added(pod)
        assert agent.served() == len(("ADD", "ADD"))
        expect_silence(elsewhere.delete(pod))
        killed.wait()
    assert damage(before, node) == []


@natively
def test_a_request_whose_client_has_left_before_it_was_read_is_not_begun(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    """All processes of the agent are stopped for a while, as by the freezer of a container."""
    before = dump(node)
    with agent_on(node, before=preparation(stop_before_the_rest)) as agent:
        call = runtime.start("ADD", netns=pod)
        assert isinstance(call, WarmCall)
        wait_until(lambda: any(map(is_stopped, agent.children())), "a worker is stopped")
        (worker,) = filter(is_stopped, agent.children())
        idle = next(pid for pid in agent.children() if pid != worker)
        os.kill(agent.pid, signal.SIGSTOP)
        call.send_signal(signal.SIGKILL)
        wait_until(lambda: not is_alive(call.pid), "the client has ended")
        os.kill(worker, signal.SIGCONT)
        wait_until(lambda: open_files(worker) == open_files(idle), "the worker is idle again")
        lent = records(node)
        os.kill(agent.pid, signal.SIGCONT)
        assert not lent
        call.wait()
        wait_until(agent.is_idle, "all workers are idle")
    assert damage(before, node) == []


def is_stopped(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"


@by_delegate
def test_a_worker_that_cannot_end_after_its_client_was_killed_is_killed_too(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    """Whoever reads the client's stderr has stopped reading, and more was to be written."""
    before = dump(node)
    folder = plugin_folder(
        tmp_path / "plugins",
        host_device=f"""{DEBIAN}/host-device || exit
[ $CNI_COMMAND = VERSION ] || [ -e {tmp_path}/$CNI_COMMAND ] || head -c 1000000 /dev/zero >&2
touch {tmp_path}/$CNI_COMMAND""",
    )
    with agent_on(node, before=preparation(kill_soon)):
        call = runtime.start("ADD", netns=pod, path=[folder])
        wait_until((tmp_path / "ADD").exists, "the plugin has moved the NIC")
        time.sleep(0.2)
        call.send_signal(signal.SIGKILL)
        expect_silence(runtime.delete(pod))
        assert damage(before, node) == []
        call.wait()


# The end


@pytest.mark.thorough
@by_delegate
def test_an_agent_that_waits_for_its_last_call_takes_no_processor(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    before = dump(node)
    folder = pausing(tmp_path / "plugins", before=True)
    with agent_on(node) as agent:
        call = runtime.start("ADD", netns=pod, path=[folder])
        wait_until((folder / "waiting").exists, "the plugin is at work")
        expect_silence(runtime.delete(None, container_id="nobody"))
        agent.call.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        at_first = agent.busy_s()
        time.sleep(1)
        taken_s = agent.busy_s() - at_first
        (folder / "go").touch()
        assert taken_s < 0.1
        assert call.wait().succeeded
        assert agent.call.wait().succeeded
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


def test_an_agent_whose_folder_was_spoilt_ends_when_it_is_asked_to(node: Node) -> None:
    with agent_on(node, before=preparation(check_the_socket_often)) as agent:
        replace_folder(agent)
        socket_of(node).parent.write_text("")
        os.kill(agent.pid, signal.SIGCONT)
        time.sleep(0.5)
        outcome = agent.end()
    assert outcome.succeeded
    assert "event=socket-not-opened" in outcome.stderr


@by_delegate
def test_an_agent_whose_turn_was_taken_minds_its_calls_and_ends_when_it_is_asked_to(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    before = dump(node)
    folder = pausing(tmp_path / "plugins", before=False)
    with agent_on(node, before=preparation(check_the_socket_often)) as agent:
        call = runtime.start("ADD", netns=pod, path=[folder])
        wait_until((folder / "waiting").exists, "the plugin has moved the NIC")
        replace_folder(agent)
        with agent_on(node):
            os.kill(agent.pid, signal.SIGCONT)
            time.sleep(0.5)
            call.send_signal(signal.SIGKILL)
            wait_until(lambda: damage(before, node) == [], "the worker has undone everything")
            call.wait()
            assert agent.end().succeeded


def replace_folder(agent: RunningAgent) -> None:
    """Stop the agent, and take away the folder of its socket."""
    os.kill(agent.pid, signal.SIGSTOP)
    folder = socket_of(agent.node).parent
    folder.rename(folder.with_name("moved"))


# What the client has


@natively
def test_a_client_whose_stderr_takes_nothing_is_served(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    with agent_on(node) as agent:
        noisy = runtime.having(logLevel="debug")
        words = ["sh", "-c", 'exec "$@" 2>/dev/full', "sh"]
        for outcome in (noisy.add(pod, through=words), noisy.delete(pod, through=words)):
            assert outcome.succeeded, outcome
        said = agent.end().stderr
    assert "failed" not in said
    assert "worker-died" not in said
    assert damage(before, node) == []
