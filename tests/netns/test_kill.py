"""SIGKILL anywhere in ADD, DEL and their undo, and around the delegate: nothing is lost."""

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amdcni.testing import Node, Pod, dump
from amdcni.testing.strategies import BUILT_IN_TRAFFIC
from tests.netns.runtime import (
    BDF,
    DEBIAN,
    TRY_AGAIN,
    Runtime,
    addresses,
    by_delegate,
    damage,
    expect_silence,
    ifnames,
    plugin_folder,
    records,
)
from tests.netns.warm import Moment
from tests.patience import wait_until

SECOND = "0000:c2:00.0"
ADDRESSES = ["10.0.0.0/31", "10.0.0.5/24", "fd00::8/64"]

ADD_STEPS = {
    "delegate": ("SaveRecord", "DelegateAdd", "InspectPod", "KeepOtherHops", "ConfirmRecord"),
    "native": ("SaveRecord", "MoveIntoPod", "ConfigureInPod", "KeepOtherHops", "ConfirmRecord"),
}
DEL_STEPS = (
    *("SaveRecord", "ReleasePlugins", "BringHome"),
    *("RestoreConfiguration", "VerifyHome", "ForgetRecord"),
)
UNDO_STEPS = DEL_STEPS[1:]


def boundaries(mover: str, steps: tuple[str, ...], first: int = 1) -> list[Any]:
    """Return where a call can be killed: before each step, numbered from `first`, or at the end.

    The steps of a DEL and an undo are the same for both movers.
    """
    marks = [] if steps == ADD_STEPS[mover] or mover == "native" else [pytest.mark.thorough]
    numbers = range(first, first + len(steps))
    ends = [("before", number, step) for number, step in zip(numbers, steps, strict=True)]
    return [
        pytest.param(mover, (moment, number), id=f"{mover}, {moment} {step}", marks=marks)
        for moment, number, step in (*ends, ("after", numbers[-1], steps[-1]))
    ]


def killed_at(by_delegate: list[Any], natively: list[Any]) -> pytest.MarkDecorator:
    """Return the mark that runs a test once for each boundary of each mover."""
    return pytest.mark.parametrize(("mover", "at"), [*by_delegate, *natively], indirect=["mover"])


@pytest.fixture(autouse=True)
def nic(node: Node) -> None:
    """A NIC with attributes that only a record preserves."""
    words = ["10.0.0.0/31 label eth1:fabric metric 70", "10.0.0.5/24 scope link", "fd00::8/64"]
    node.add_nic(BDF, "eth1", words, peer_addresses=["10.0.0.1/31"])
    node.ip("link set eth1 alias fabric")
    for command in BUILT_IN_TRAFFIC["actions that send to netdevs"]:
        node.tc(command)


@pytest.fixture
def other(node: Node) -> Pod:
    """Another container's pod."""
    return node.add_pod("pod2")


def is_killed(runtime: Runtime, command: str, pod: Pod, at: Moment, path: Path = DEBIAN) -> bool:
    """Have a call killed at a moment; return False if it ended successfully before."""
    outcome = runtime.start_to_die(at, command, netns=pod, path=[path]).wait()
    assert outcome.exit_status in (0, -signal.SIGKILL), outcome
    return not outcome.succeeded


# The next call


def add_again(runtime: Runtime, pod: Pod, other: Pod) -> None:
    """Repeat the ADD, which must give the pod everything, and call DEL."""
    runtime.added(pod)
    assert sorted(addresses(pod)) == ADDRESSES
    assert pod.ping("10.0.0.1")
    expect_silence(runtime.delete(pod))


def delete(runtime: Runtime, pod: Pod, other: Pod) -> None:
    """Call DEL."""
    assert runtime.delete(pod).succeeded


def add_another(runtime: Runtime, pod: Pod, other: Pod) -> None:
    """Call ADD for another container, which gets everything or an error that names the holder;
    then call DEL for both."""
    outcome = runtime.add(other, container_id="other")
    if outcome.succeeded:
        assert sorted(addresses(other)) == ADDRESSES
    else:
        outcome.expect_error(TRY_AGAIN, "container-1")
        assert sorted(addresses(pod)) == ADDRESSES
    for container_id, netns in (("other", other), ("container-1", pod)):
        expect_silence(runtime.delete(netns, container_id=container_id))


Sequel = Callable[[Runtime, Pod, Pod], None]
SEQUELS: tuple[Sequel, ...] = (add_again, delete, add_another)
sequels = pytest.mark.parametrize("sequel", SEQUELS, ids=lambda sequel: sequel.__name__)


def sequel_to(at: Moment, mover: str) -> Sequel:
    """Return another next call for each boundary; the unit tests try all of them at each."""
    return SEQUELS[(at[1] + (mover == "native")) % len(SEQUELS)]


@killed_at(*(boundaries(mover, steps) for mover, steps in ADD_STEPS.items()))
def test_after_an_add_killed_between_steps_the_next_call_loses_nothing(
    runtime: Runtime, pod: Pod, other: Pod, at: Moment, mover: str
) -> None:
    before = dump(runtime.node)
    assert is_killed(runtime, "ADD", pod, at)
    sequel_to(at, mover)(runtime, pod, other)
    assert damage(before, runtime.node) == []


@killed_at(*(boundaries(mover, DEL_STEPS) for mover in ADD_STEPS))
def test_after_a_del_killed_between_steps_the_next_call_loses_nothing(
    runtime: Runtime, pod: Pod, other: Pod, at: Moment, mover: str
) -> None:
    before = dump(runtime.node)
    runtime.added(pod)
    assert is_killed(runtime, "DEL", pod, at)
    sequel_to(at, mover)(runtime, pod, other)
    assert damage(before, runtime.node) == []


@killed_at(boundaries("delegate", UNDO_STEPS, first=3), boundaries("native", UNDO_STEPS, first=4))
def test_an_undo_killed_between_steps_is_finished_by_the_retry(
    runtime: Runtime, pod: Pod, other: Pod, tmp_path: Path, at: Moment
) -> None:
    before = dump(runtime.node)
    moody = plugin_folder(tmp_path / "bin", moody="[ $CNI_COMMAND = DEL ] || exit 1")
    failing = runtime.having(ipam={"type": "moody"}, cniVersion="1.0.0")
    assert is_killed(failing, "ADD", pod, at, path=moody)
    add_again(runtime, pod, other)
    assert damage(before, runtime.node) == []


@killed_at(*(boundaries(mover, steps)[:-1] for mover, steps in ADD_STEPS.items()))
def test_a_killed_add_is_healed_by_a_call_about_another_device(
    runtime: Runtime, pod: Pod, at: Moment
) -> None:
    before = dump(runtime.node)
    assert is_killed(runtime, "ADD", pod, at)
    stranger = runtime.having(deviceID="0000:c9:00.0", pciBusID="0000:c9:00.0")
    assert stranger.delete(None, container_id="stranger").succeeded
    assert damage(before, runtime.node) == []
    assert ifnames(pod) == set()


def test_a_record_is_on_disk_before_the_kernel_is_changed(runtime: Runtime, pod: Pod) -> None:
    assert is_killed(runtime, "ADD", pod, ("before", 2))
    assert records(runtime.node)[f"{BDF}.json"]["phase"] == "attaching"
    assert "eth1" in ifnames(runtime.node)


@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_a_call_killed_before_any_system_call_of_a_step_loses_nothing(
    runtime: Runtime, pod: Pod, other: Pod, command: str, mover: str
) -> None:
    before = dump(runtime.node)
    # Odd numbers with one mover, even ones with the other: they have most of the steps in common.
    for number in itertools.count(1 if mover == "delegate" else 2, 2):
        if command == "DEL":
            runtime.added(pod)
        killed = is_killed(runtime, command, pod, ("change", number))
        SEQUELS[number // 2 % len(SEQUELS)](runtime, pod, other)
        assert damage(before, runtime.node) == [], f"killed before change {number}"
        if not killed:
            break
    # Writing one record takes four: write it, flush it, rename it, flush its folder.
    assert number > 10


@pytest.fixture
def second(runtime: Runtime) -> Runtime:
    """Calls about another NIC, through which the same route and the same group have a hop."""
    runtime.node.add_nic(SECOND, "eth2", ["10.0.1.0/31"])
    hops = "nexthop via 10.0.0.1 dev eth1 nexthop via 10.0.1.1 dev eth2"
    for command in (
        f"route add 203.0.113.0/24 {hops}",
        "nexthop add id 1 via 10.0.0.1 dev eth1",
        "nexthop add id 2 via 10.0.1.1 dev eth2",
        "nexthop add id 3 group 1,3/2,5",
        "route add 198.51.100.0/24 nhid 3",
    ):
        runtime.node.ip(command)
    return runtime.having(deviceID=SECOND, pciBusID=SECOND)


@pytest.mark.parametrize("step", DEL_STEPS)
def test_a_killed_del_does_not_block_the_del_of_the_routes_other_nic(
    runtime: Runtime, second: Runtime, pod: Pod, other: Pod, step: str
) -> None:
    before = dump(runtime.node)
    runtime.added(pod)
    second.added(other)
    assert is_killed(second, "DEL", other, ("before", DEL_STEPS.index(step) + 1))
    assert runtime.delete(pod).succeeded
    assert second.delete(other).succeeded
    assert damage(before, runtime.node) == []


@pytest.mark.parametrize("step", DEL_STEPS)
def test_a_killed_del_does_not_block_the_add_of_the_routes_other_nic(
    runtime: Runtime, second: Runtime, pod: Pod, other: Pod, step: str
) -> None:
    before = dump(runtime.node)
    second.added(other)
    assert is_killed(second, "DEL", other, ("before", DEL_STEPS.index(step) + 1))
    runtime.added(pod)
    assert runtime.delete(pod).succeeded
    assert second.delete(other).succeeded
    assert damage(before, runtime.node) == []


@pytest.mark.thorough
@by_delegate
def test_no_file_of_a_killed_del_outlives_the_next_call(
    runtime: Runtime, second: Runtime, pod: Pod
) -> None:
    before = dump(runtime.node)
    killed, number = True, 20
    while killed:
        number += 1
        runtime.added(pod)
        killed = is_killed(runtime, "DEL", pod, ("change", number))
        assert runtime.delete(None, container_id="stranger").succeeded
        assert damage(before, runtime.node) == [], f"killed before change {number}"
    assert number > 22


# A delegate that outlives its caller


OUTLIVING = {
    "before it moves": f'kill -9 $PPID; sleep 0.5; exec "{DEBIAN}/host-device"',
    "after it moved": f'"{DEBIAN}/host-device"; kill -9 $PPID; sleep 0.3',
}


@by_delegate
@sequels
@pytest.mark.parametrize("script", OUTLIVING.values(), ids=list(OUTLIVING))
def test_the_next_call_waits_for_a_delegate_that_outlives_its_caller(
    runtime: Runtime, pod: Pod, other: Pod, tmp_path: Path, script: str, sequel: Sequel
) -> None:
    before = dump(runtime.node)
    path = plugin_folder(tmp_path / "bin", host_device=f"touch $0.on; {script}")
    outcome = runtime.having(cniVersion="1.0.0").add(pod, path=[path])
    assert (path / "host-device.on").exists()
    assert (outcome.exit_status, outcome.stdout) == (-signal.SIGKILL, b"")
    sequel(runtime, pod, other)
    assert damage(before, runtime.node) == []


# Signals that terminate


@by_delegate
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_add_that_is_terminated_undoes_its_work_and_answers(
    runtime: Runtime, pod: Pod, other: Pod, tmp_path: Path, number: signal.Signals
) -> None:
    before = dump(runtime.node)
    script = f"{DEBIAN}/host-device; [ $CNI_COMMAND = ADD ] && exec sleep 1000"
    path = plugin_folder(tmp_path / "bin", host_device=script)
    call = runtime.having(cniVersion="1.0.0").start("ADD", netns=pod, path=[path])
    wait_until(lambda: ifnames(pod) == {"net1"}, "the pod has the NIC")
    call.send_signal(number)
    call.wait().expect_error(TRY_AGAIN, number.name)
    assert damage(before, runtime.node) == []
    add_again(runtime, pod, other)
    assert damage(before, runtime.node) == []


@by_delegate
def test_a_del_that_is_terminated_loses_nothing(runtime: Runtime, pod: Pod, tmp_path: Path) -> None:
    before = dump(runtime.node)
    path = plugin_folder(tmp_path / "bin", host_device="touch $0.on; exec sleep 1000")
    runtime.added(pod)
    call = runtime.start("DEL", netns=pod, path=[path])
    wait_until((path / "host-device.on").exists, "host-device has begun")
    call.send_signal(signal.SIGTERM)
    call.wait().expect_error(TRY_AGAIN, "SIGTERM")
    assert runtime.delete(pod).succeeded
    assert damage(before, runtime.node) == []
