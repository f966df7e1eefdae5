"""Whatever befalls the agent or its client in the middle of a call: the same answer and effect."""

import itertools
import os
import signal
from pathlib import Path

import pytest

from amdcni.testing import Nic, Node, Pod, dump
from tests.netns.agents import (
    RunningAgent,
    agent_on,
    check_the_socket_often,
    have_few_workers,
    let_nobody_read_stderr,
    preparation,
    socket_of,
    speak_another_protocol,
    start_agent,
)
from tests.netns.runtime import (
    DEBIAN,
    TRY_AGAIN,
    Runtime,
    addresses,
    by_delegate,
    damage,
    expect_silence,
    natively,
    plugin_folder,
    records,
)
from tests.netns.warm import to_die
from tests.patience import is_alive, wait_until

SECOND = "0000:c2:00.0"
WORKER_DIED = "event=worker-died"


def lend_and_return(runtime: Runtime, pod: Pod, nic: Nic) -> None:
    """Call ADD, CHECK and DEL, each of which must succeed and do its work."""
    result = runtime.added(pod)
    assert addresses(pod) == list(nic.addresses)
    expect_silence(runtime.check(pod, result))
    expect_silence(runtime.delete(pod))


def pausing(folder: Path, *, before: bool) -> Path:
    """Make plugins whose host-device waits for a file, before or after its work, on its first ADD.

    While it waits there is a file `waiting`.
    """
    wait = (
        f'if [ "$CNI_COMMAND" = ADD ] && ! [ -e {folder}/waiting ]; then '
        f"touch {folder}/waiting; until [ -e {folder}/go ]; do sleep 0.01; done; fi"
    )
    work = f"{DEBIAN}/host-device"
    script = f"{wait}; exec {work}" if before else f"{work} || exit; {wait}"
    return plugin_folder(folder, host_device=script)


# The worker


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
@pytest.mark.parametrize("moment", ["before", pytest.param("after", marks=pytest.mark.thorough)])
def test_a_worker_killed_at_any_step_changes_neither_answer_nor_effect(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, verb: str, moment: str
) -> None:
    before = dump(node)
    promised = runtime.added(pod)
    expect_silence(runtime.delete(pod))
    for number in itertools.count(1):
        if verb == "DEL":
            runtime.added(pod)
        with agent_on(node, before=to_die((moment, number))) as agent:
            if verb == "ADD":
                assert runtime.added(pod) == promised
                assert addresses(pod) == list(nic.addresses)
            else:
                expect_silence(runtime.delete(pod))
                assert damage(before, node) == []
            said = agent.end().stderr
        expect_silence(runtime.delete(pod))
        assert damage(before, node) == []
        if WORKER_DIED not in said:
            break
    assert number > len(("save", "move", "confirm"))


@pytest.mark.thorough
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_a_worker_killed_at_any_change_changes_neither_answer_nor_effect(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, verb: str
) -> None:
    before = dump(node)
    for number in itertools.count(1):
        if verb == "DEL":
            runtime.added(pod)
        with agent_on(node, before=to_die(("change", number))) as agent:
            if verb == "ADD":
                runtime.added(pod)
                assert addresses(pod) == list(nic.addresses)
            expect_silence(runtime.delete(pod))
            said = agent.end().stderr
        # A look that is killed, too, may leave a stale marker, which the next call takes away.
        expect_silence(runtime.delete(pod))
        assert damage(before, node) == []
        if WORKER_DIED not in said:
            break
    assert number > len(("save", "move", "confirm"))


def test_a_worker_that_a_signal_ends_gives_no_answer_and_the_client_does_the_work(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    del nic
    before = dump(node)
    folder = pausing(tmp_path / "plugins", before=False)
    with agent_on(node) as agent:
        call = runtime.having(mover="delegate").start("ADD", netns=pod, path=[folder])
        wait_until((folder / "waiting").exists, "the plugin is at work")
        (folder / "go").touch()
        for pid in agent.children():
            os.kill(pid, signal.SIGTERM)
        assert call.wait().succeeded
        expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


# The main process


@by_delegate
@pytest.mark.parametrize("before_work", [True, False], ids=["before the move", "after the move"])
@pytest.mark.parametrize("whom", ["the main process", "all processes"])
def test_an_agent_killed_in_the_middle_of_an_add_changes_nothing_for_the_caller(
    runtime: Runtime,
    node: Node,
    nic: Nic,
    pod: Pod,
    tmp_path: Path,
    before_work: bool,
    whom: str,
) -> None:
    before = dump(node)
    folder = pausing(tmp_path / "plugins", before=before_work)
    with agent_on(node) as agent:
        call = runtime.start("ADD", netns=pod, path=[folder])
        wait_until((folder / "waiting").exists, "the plugin is at work")
        workers = agent.children()
        agent.kill()
        if whom == "all processes":
            for pid in workers:
                kill(pid)
        (folder / "go").touch()
        outcome = call.wait()
    assert outcome.succeeded, outcome
    assert addresses(pod) == list(nic.addresses)
    wait_until(lambda: not any(map(is_alive, workers)), "the workers have ended")
    assert addresses(pod) == list(nic.addresses)
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


def kill(pid: int) -> None:
    """Kill a process that may have ended already."""
    if is_alive(pid):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.thorough
def test_an_agent_that_is_stopped_delays_calls_and_changes_nothing_else(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    with agent_on(node) as agent:
        os.kill(agent.pid, signal.SIGSTOP)
        lend_and_return(runtime, pod, nic)
        os.kill(agent.pid, signal.SIGCONT)
        lend_and_return(runtime, pod, nic)
        assert agent.served() == len(("ADD", "CHECK", "DEL"))
    assert damage(before, node) == []


@by_delegate
def test_an_agent_that_is_stopped_at_work_still_answers_the_call(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    before = dump(node)
    folder = pausing(tmp_path / "plugins", before=True)
    with agent_on(node) as agent:
        call = runtime.start("ADD", netns=pod, path=[folder])
        wait_until((folder / "waiting").exists, "the plugin is at work")
        os.kill(agent.pid, signal.SIGSTOP)
        (folder / "go").touch()
        assert call.wait().succeeded
        os.kill(agent.pid, signal.SIGCONT)
        assert addresses(pod) == list(nic.addresses)
        expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


def test_an_agent_of_another_protocol_leaves_the_work_to_the_client(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    for number in (0, 2):
        agent = start_agent(node, before=preparation(speak_another_protocol, number))
        wait_until(socket_of(node).exists, "the agent listens")
        lend_and_return(runtime, pod, nic)
        wait_until(agent.catches_signals, "the agent can be asked to end")
        said = agent.end()
        assert said.succeeded, said
    assert damage(before, node) == []


# The client


@by_delegate
def test_a_client_that_is_killed_ends_its_call_as_a_signal_would(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    before = dump(node)
    folder = pausing(tmp_path / "plugins", before=False)
    with agent_on(node) as agent:
        call = runtime.start("ADD", netns=pod, path=[folder])
        wait_until((folder / "waiting").exists, "the plugin has moved the NIC")
        call.send_signal(signal.SIGKILL)
        call.wait()
        wait_until(lambda: damage(before, node) == [], "the worker has undone everything")
        lend_and_return(runtime, pod, nic)
        assert agent.serves()
    assert damage(before, node) == []


@by_delegate
def test_a_call_whose_client_was_killed_while_it_waited_is_never_begun(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    second = node.add_nic(SECOND, "eth2", ["10.0.2.0/31"])
    before = dump(node)
    folder = pausing(tmp_path / "plugins", before=True)
    with agent_on(node, before=preparation(have_few_workers, 1, 5)) as agent:
        call = runtime.start("ADD", netns=pod, path=[folder])
        wait_until((folder / "waiting").exists, "the only worker is at work")
        elsewhere = runtime.having(deviceID=second.bdf, pciBusID=second.bdf)
        waiting = elsewhere.start("ADD", netns=pod, container_id="other", ifname="net2")
        wait_until(lambda: (agent.about() or {}).get("waiting") == 1, "a call waits")
        waiting.send_signal(signal.SIGKILL)
        waiting.wait()
        wait_until(lambda: (agent.about() or {}).get("waiting") == 0, "it waits no more")
        (folder / "go").touch()
        assert call.wait().succeeded
        expect_silence(runtime.delete(pod))
        assert agent.served() == len(("ADD", "DEL"))
    assert damage(before, node) == []


# Many calls


@pytest.mark.thorough
@by_delegate
def test_a_call_that_finds_all_workers_busy_waits_and_then_does_its_work_itself(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    second = node.add_nic(SECOND, "eth2", ["10.0.2.0/31"])
    other = node.add_pod("pod2")
    before = dump(node)
    folder = pausing(tmp_path / "plugins", before=True)
    with agent_on(node, before=preparation(have_few_workers, 1, 5)) as agent:
        call = runtime.start("ADD", netns=pod, path=[folder])
        wait_until((folder / "waiting").exists, "the only worker is at work")
        elsewhere = runtime.having(deviceID=second.bdf, pciBusID=second.bdf)
        lend_and_return(elsewhere, other, second)
        assert agent.served() == 1
        (folder / "go").touch()
        assert call.wait().succeeded
        expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@by_delegate
def test_a_call_for_which_too_many_wait_is_to_be_tried_again(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    before = dump(node)
    folder = pausing(tmp_path / "plugins", before=True)
    with agent_on(node, before=preparation(have_few_workers, 1, 1)) as agent:
        call = runtime.start("ADD", netns=pod, path=[folder])
        wait_until((folder / "waiting").exists, "the only worker is at work")
        waiting = runtime.start("DEL", netns=None, container_id="nobody")
        wait_until(lambda: (agent.about() or {}).get("waiting") == 1, "a call waits")
        runtime.add(pod, container_id="other").expect_error(TRY_AGAIN, "too many calls")
        (folder / "go").touch()
        assert call.wait().succeeded
        expect_silence(waiting.wait())
        expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
def test_workers_keep_nothing_of_the_calls_that_they_have_served(
    runtime: Runtime, node: Node, nic: Nic
) -> None:
    before = dump(node)
    with agent_on(node) as agent:
        lent = runtime
        opened: list[dict[int, list[str]]] = []
        for number in range(6):
            pod = node.add_pod(f"pod-{number}")
            lend_and_return(lent, pod, nic)
            pod.delete()
            wait_until(agent.is_idle, "all workers are idle")
            opened.append({pid: open_files(pid) for pid in agent.children()})
        assert opened[0] == opened[-1]
        assert "left over" not in agent.end().stderr
    assert damage(before, node) == []


def open_files(pid: int) -> list[str]:
    """Return what the descriptors of a process are, without their numbers in the kernel."""
    folder = Path(f"/proc/{pid}/fd")
    return sorted(os.readlink(folder / name).partition(":[")[0] for name in os.listdir(folder))


@natively
def test_an_agent_whose_log_nobody_reads_serves_and_ends_as_usual(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    with agent_on(node, before=preparation(let_nobody_read_stderr)) as agent:
        lend_and_return(runtime, pod, nic)
        assert agent.served() == len(("ADD", "CHECK", "DEL"))
        assert agent.end().exit_status == 0
    assert damage(before, node) == []


# The socket


@pytest.mark.parametrize("how", ["removed", "replaced"])
@natively
def test_a_socket_that_is_removed_or_replaced_costs_no_call_and_is_bound_anew(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, how: str
) -> None:
    before = dump(node)
    with agent_on(node, before=preparation(check_the_socket_often)) as agent:
        socket_of(node).unlink()
        if how == "replaced":
            socket_of(node).touch()
        lend_and_return(runtime, pod, nic)
        wait_until(agent.serves, "the agent serves again")
        lend_and_return(runtime, pod, nic)
    assert damage(before, node) == []


def test_a_folder_that_belongs_to_somebody_else_is_not_used(node: Node) -> None:
    folder = socket_of(node).parent
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    said = start_agent(node).call.wait()
    assert said.exit_status == 1
    assert "is not a folder of this user" in said.stderr
    assert os.listdir(folder) == []


# Two agents


@natively
def test_a_second_agent_takes_over_without_a_lost_call(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    with agent_on(node) as first:
        second = start_agent(node)
        wait_until(second.catches_signals, "the second agent waits for its turn")
        lend_and_return(runtime, pod, nic)
        assert first.serves()
        calls = [runtime.start("DEL", netns=pod) for _ in range(20)]
        first.call.send_signal(signal.SIGTERM)
        calls += [runtime.start("DEL", netns=pod) for _ in range(20)]
        assert [o for o in (call.wait() for call in calls) if not o.succeeded] == []
        wait_until(second.serves, "the second agent serves")
        lend_and_return(runtime, pod, nic)
        assert second.served() >= len(("ADD", "CHECK", "DEL"))
        assert second.end().succeeded
    assert damage(before, node) == []


@by_delegate
def test_an_agent_that_is_to_end_waits_for_its_calls_while_another_one_serves(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    second = node.add_nic(SECOND, "eth2", ["10.0.2.0/31"])
    other = node.add_pod("pod2")
    before = dump(node)
    folder = pausing(tmp_path / "plugins", before=True)
    with agent_on(node) as first:
        call = runtime.start("ADD", netns=pod, path=[folder])
        wait_until((folder / "waiting").exists, "the plugin is at work")
        first.call.send_signal(signal.SIGTERM)
        next_agent = start_agent(node)
        wait_until(next_agent.serves, "the next agent serves")
        lend_and_return(runtime.having(deviceID=second.bdf, pciBusID=second.bdf), other, second)
        assert is_alive(first.pid)
        (folder / "go").touch()
        assert call.wait().succeeded
        assert first.call.wait().succeeded
        expect_silence(runtime.delete(pod))
        next_agent.end()
    assert damage(before, node) == []
    assert not records(node)


def test_an_agent_that_waits_for_its_turn_ends_when_it_is_asked_to(node: Node) -> None:
    with agent_on(node):
        second: RunningAgent = start_agent(node)
        wait_until(second.catches_signals, "the second agent waits for its turn")
        assert second.end().succeeded
