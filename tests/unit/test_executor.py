"""Laws of the executor: all of a plan or none of it, and as much of a release as possible."""

import ipaddress
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured
from amdcni.core.errors import AmdcniError, KernelRefused, TryAgainLater
from amdcni.core.host import Address, NetnsId
from amdcni.core.names import ContainerId, DeviceKey, IfName, NetworkName, PciAddress
from amdcni.core.spec import AttachmentId, Verb
from amdcni.core.steps import (
    BringHome,
    ForgetRecord,
    InspectPod,
    Outcome,
    Plan,
    Planned,
    Release,
    ReleasePlugins,
    SaveRecord,
    Step,
)
from amdcni.verbs import executor
from tests.unit.fake_machine import Machine
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_runtime import ask, config_for
from tests.unit.keeper import Keeper

DEVICE = "0000:01:00.0"

# The executor knows only ForgetRecord and looks into no step: a few are enough.
RECORDS = [
    Attachment(
        network=NetworkName("fabric"),
        id=AttachmentId(ContainerId(f"pod{number}"), IfName("net1")),
        netns=NetnsRef(f"/run/netns/pod{number}", NetnsId(4, number)),
        key=DeviceKey(PciAddress(0, number, 0, 0)),
        phase=Phase.ATTACHING,
        boot_id="boot-1",
        read_at_s=0,
        since="",
        config={},
    )
    for number in range(1, 4)
]
CAPTURED = Captured(IfName("ens1"), 2)

records = st.sampled_from(RECORDS)
saves: SearchStrategy[SaveRecord] = st.builds(SaveRecord, records)
forgets: SearchStrategy[ForgetRecord] = records.map(lambda record: ForgetRecord(record.key))
other_steps: SearchStrategy[Step] = st.one_of(
    saves,
    st.builds(InspectPod, records),
    st.builds(ReleasePlugins, records),
    st.builds(BringHome, records, st.just(CAPTURED)),
)
steps: SearchStrategy[Step] = other_steps | forgets
plans: SearchStrategy[Plan] = st.lists(
    st.builds(Planned, steps, st.lists(steps, max_size=3).map(tuple)), max_size=5
).map(lambda planned: Plan(tuple(planned)))
releases: SearchStrategy[Release] = st.builds(
    Release, st.none() | saves, st.lists(other_steps, max_size=5).map(tuple), st.none() | forgets
)


class ScriptedNode(FakeNode):
    """Notes the steps that it should perform, and fails at the ordinals in `failures`."""

    def __init__(self, failures: Mapping[int, BaseException]) -> None:
        super().__init__(Machine())
        self.failures = failures
        self.tried: list[Step] = []

    def perform(self, step: Step, so_far: Outcome) -> Outcome:
        ordinal = len(self.tried)
        self.tried.append(step)
        if ordinal in self.failures:
            raise self.failures[ordinal]
        return attrs.evolve(so_far, pod_ifindex=(so_far.pod_ifindex or 0) + 1)


@st.composite
def failing(draw: DrawFn) -> dict[int, BaseException]:
    """Failures by ordinal; each says which it is."""
    ordinals = draw(st.sets(st.integers(0, 12), max_size=6))
    kinds = st.sampled_from([AmdcniError, KernelRefused, TryAgainLater, RuntimeError])
    return {ordinal: draw(kinds)(f"failure {ordinal}") for ordinal in ordinals}


def notes_of(failure: BaseException) -> list[str]:
    return list(getattr(failure, "__notes__", []))


# ---- run


@given(plans)
def test_a_plan_that_succeeds_performs_its_steps_in_order_and_nothing_else(plan: Plan) -> None:
    node = ScriptedNode({})
    outcome = executor.run(plan, node)
    assert node.tried == [planned.step for planned in plan.steps]
    assert (outcome.pod_ifindex or 0) == len(plan.steps)


@given(plans, failing())
def test_a_failure_undoes_the_steps_in_reverse_order_including_the_failed_one(
    plan: Plan, failures: dict[int, BaseException]
) -> None:
    first = min(failures, default=len(plan.steps))
    node = ScriptedNode(failures)
    if first >= len(plan.steps):
        executor.run(plan, node)
        return
    with pytest.raises(type(failures[first])) as raised:
        executor.run(plan, node)
    assert raised.value is failures[first]
    expected: list[Step] = [planned.step for planned in plan.steps[: first + 1]]
    late: list[str] = []
    for planned in reversed(plan.steps[: first + 1]):
        for undo in planned.undo:
            if late and isinstance(undo, ForgetRecord):
                continue
            if len(expected) in failures:
                late.append(f"while undoing: failure {len(expected)}")
            expected.append(undo)
    assert node.tried == expected
    assert notes_of(raised.value) == late


def test_after_a_failed_undo_the_record_stays_and_the_undo_goes_on() -> None:
    record = RECORDS[0]
    undo = (ReleasePlugins(record), ForgetRecord(record.key), BringHome(record, CAPTURED))
    node = ScriptedNode({0: AmdcniError("the step"), 1: AmdcniError("the first undo")})
    with pytest.raises(AmdcniError, match="the step"):
        executor.run(Plan((Planned(SaveRecord(record), undo),)), node)
    assert node.tried == [SaveRecord(record), undo[0], undo[2]]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interruption_is_undone_like_a_failure(interruption: type[BaseException]) -> None:
    key = DeviceKey.parse(DEVICE)
    plan = Plan((Planned(ForgetRecord(key), undo=(ForgetRecord(key),)),))
    node = ScriptedNode({0: interruption()})
    with pytest.raises(interruption):
        executor.run(plan, node)
    assert len(node.tried) == 2


# ---- release


@given(releases, failing())
def test_every_step_of_a_release_is_tried_and_the_first_failure_is_raised(
    release: Release, failures: dict[int, BaseException]
) -> None:
    node = ScriptedNode(failures)
    offset = 0 if release.mark is None else 1
    expected: list[Step] = [] if release.mark is None else [release.mark]
    expected += release.work
    failed = [n for n in sorted(failures) if offset <= n < offset + len(release.work)]
    if not failed and release.forget is not None:
        if len(expected) in failures:
            failed = [len(expected)]
        expected.append(release.forget)
    if failed:
        first, *others = failed
        with pytest.raises(type(failures[first])) as raised:
            executor.release(release, node)
        assert raised.value is failures[first]
        assert notes_of(raised.value) == [f"failure {n}" for n in others]
    else:
        executor.release(release, node)
    assert node.tried == expected
    assert bool(node.events) == (release.mark is not None and 0 in failures)


@given(releases, failing())
def test_a_record_is_forgotten_only_after_all_the_work_that_it_describes(
    release: Release, failures: dict[int, BaseException]
) -> None:
    node = ScriptedNode(failures)
    with suppress(Exception):
        executor.release(release, node)
    start = 0 if release.mark is None else 1
    worked = not any(n in failures for n in range(start, start + len(release.work)))
    forgot = any(isinstance(step, ForgetRecord) for step in node.tried)
    assert forgot == (worked and release.forget is not None)


@given(releases)
def test_a_mark_that_cannot_be_set_is_reported_and_stops_nothing(release: Release) -> None:
    marked = release.mark is not None
    node = ScriptedNode({0: AmdcniError("disk full")} if marked else {})
    executor.release(release, node)
    assert node.reported == ([("release-not-marked", {"reason": "disk full"})] if marked else [])


# ---- with a kernel


def new_node() -> tuple[Machine, Keeper]:
    machine = Machine()
    (link,) = machine.kernel.plug(DEVICE, "ens1").links
    machine.kernel.configure(link, (Address(ipaddress.ip_interface("192.0.2.1/31")),))
    machine.kernel.make_netns("/run/netns/pod1")
    return machine, Keeper(machine, link)


def test_a_killed_process_undoes_nothing() -> None:
    machine, keeper = new_node()
    with pytest.raises(Killed):
        ask(machine, Verb.ADD, config_for(DEVICE), kill_at=12)
    assert not keeper.is_whole()
    assert machine.disk.records()[DEVICE]["phase"] == "attaching"


class Interrupter:
    """Raises, as a signal handler does, before line number `at` that `function` executes."""

    def __init__(self, function: Callable[..., object], at: int) -> None:
        self.code = function.__code__
        self.left = at
        self.line: int | None = None

    def __enter__(self) -> "Interrupter":
        self.before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._trace_line if frame.f_code is self.code else None

    def _trace_line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and self.line is None:
            if self.left == 0:
                self.line = frame.f_lineno
                raise TryAgainLater("ended by SIGTERM")
            self.left -= 1
        return self._trace_line


def lines_after_which_a_signal_leaves_something_half_done() -> list[int]:
    lines = []
    for at in range(1000):
        machine, keeper = new_node()
        interrupter = Interrupter(executor.run, at)
        try:
            with interrupter:
                ask(machine, Verb.ADD, config_for(DEVICE))
        except TryAgainLater:
            if not keeper.is_whole() or machine.disk.files or machine.disk.markers:
                lines.append(interrupter.line or 0)
        else:
            return lines
    raise AssertionError("the call never ends")


def test_a_signal_at_any_line_of_the_executor_leaves_nothing_half_done() -> None:
    assert lines_after_which_a_signal_leaves_something_half_done() == []
