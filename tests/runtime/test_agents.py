"""Agents come and go, between calls of the runtime and during them."""

import signal

import pytest

from tests.patience import wait_until
from tests.runtime.cri import Pending
from tests.runtime.field import Field
from tests.runtime.gates import Gate, Place

during = pytest.mark.parametrize(
    "place", [("before", "host-device", "eth0"), ("before", "static", "eth2")], ids="-".join
)


def starting_up_to(gate: Gate, field: Field) -> Pending:
    """Start a sandbox, up to a gate."""
    starting = field.kubelet.start_pod("pod")
    gate.wait_for_caller()
    return starting


def finish(field: Field, starting: Pending) -> None:
    """Require that a sandbox starts and ends as if nothing had happened."""
    field.require_lent(starting.wait()["pod_sandbox_id"])
    field.kubelet.end("pod")
    field.require_whole()


def test_calls_go_through_the_agent(field: Field) -> None:
    with field.agent() as agent:
        field.kubelet.run("pod")
        # For each of three NICs.
        assert agent.served() == 3
        field.kubelet.end("pod")
        assert agent.served() > 3
        field.require_whole()


def test_an_agent_comes_and_goes_between_calls(field: Field) -> None:
    with field.agent() as agent:
        sandbox = field.kubelet.run("pod")
        agent.process.kill()
        field.require_lent(sandbox)
        field.kubelet.end("pod")
        field.require_whole()
    sandbox = field.kubelet.run("pod")
    with field.agent():
        field.require_lent(sandbox)
        field.kubelet.end("pod")
        field.require_whole()


@during
def test_an_agent_that_dies_during_a_call_loses_nothing(field: Field, place: Place) -> None:
    gate = field.gates.closed(place, "ADD")
    with field.agent() as agent:
        starting = starting_up_to(gate, field)
        agent.process.kill()
        gate.open()
        finish(field, starting)


@during
def test_an_agent_that_dies_during_a_stop_loses_nothing(field: Field, place: Place) -> None:
    with field.agent() as agent:
        sandbox = field.kubelet.run("pod")
        gate = field.gates.closed(place, "DEL")
        stopping = field.kubelet.start_stop(sandbox)
        gate.wait_for_caller()
        agent.process.kill()
        gate.open()
        stopping.wait()
    field.kubelet.end("pod")
    field.require_whole()


def test_an_agent_that_stands_still_holds_up_no_sandbox(field: Field) -> None:
    with field.agent() as agent:
        agent.process.send(signal.SIGSTOP)
        finish(field, field.kubelet.start_pod("pod"))
        agent.process.send(signal.SIGCONT)


@during
def test_another_agent_takes_over_during_a_call(field: Field, place: Place) -> None:
    gate = field.gates.closed(place, "ADD")
    with field.agent() as old:
        starting = starting_up_to(gate, field)
        new = field.start_agent()
        old.process.send(signal.SIGTERM)
        # It ends after the calls that it has begun.
        gate.open()
        finish(field, starting)
        wait_until(new.serves, "the new one serves")
        sandbox = field.kubelet.run("pod")
        assert new.served() >= 3
        field.require_lent(sandbox)
        field.kubelet.end("pod")
        field.require_whole()
        new.process.end()
