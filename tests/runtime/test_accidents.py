"""Whoever dies and whenever, the kubelet's next calls put everything right."""

import os
import signal
from contextlib import suppress

import pytest

from tests.patience import wait_until
from tests.runtime.cri import Refused
from tests.runtime.field import Field
from tests.runtime.gates import Place, kill

pytestmark = pytest.mark.usefixtures("either_way")

at_each_gate = pytest.mark.parametrize(
    "place",
    [
        ("before", "host-device", "eth0"),
        ("before", "static", "eth0"),
        ("after", "host-device", "eth0"),
        ("before", "static", "eth2"),
    ],
    ids="-".join,
)
"""For the first netdev ours calls `host-device`, which calls `static`; for the third ours does."""


def test_sandboxes_outlive_the_runtime(field: Field) -> None:
    sandbox = field.kubelet.run("pod")
    field.runtime.kill()
    field.runtime.start()
    assert field.kubelet.synchronize("pod") == sandbox
    field.require_lent(sandbox)
    field.kubelet.end("pod")
    field.require_whole()


def test_a_sandbox_whose_process_dies_is_followed_by_another(field: Field) -> None:
    sandbox = field.kubelet.run("pod")
    kill(field.machine.inside, field.kubelet.pid_of(sandbox))
    wait_until(lambda: not field.kubelet.is_ready(sandbox), "the runtime has noticed")
    successor = field.kubelet.synchronize("pod")
    assert successor != sandbox
    field.require_lent(successor)
    field.kubelet.end("pod")
    field.require_whole()


@at_each_gate
def test_the_runtime_dies_while_it_starts_a_sandbox(field: Field, place: Place) -> None:
    gate = field.gates.closed(place, "ADD")
    starting = field.kubelet.start_pod("pod")
    gate.wait_for_caller()
    field.runtime.kill()
    gate.open()
    with pytest.raises(Refused):
        starting.wait()
    field.runtime.start()
    field.require_lent(field.kubelet.synchronize("pod"))
    field.kubelet.end("pod")
    field.require_whole()


@at_each_gate
def test_the_runtime_dies_while_it_stops_a_sandbox(field: Field, place: Place) -> None:
    sandbox = field.kubelet.run("pod")
    gate = field.gates.closed(place, "DEL")
    stopping = field.kubelet.start_stop(sandbox)
    gate.wait_for_caller()
    field.runtime.kill()
    gate.open()
    with pytest.raises(Refused):
        stopping.wait()
    field.runtime.start()
    field.kubelet.end("pod")
    field.require_whole()


@at_each_gate
def test_a_plugin_dies_while_a_sandbox_starts(field: Field, place: Place) -> None:
    gate = field.gates.closed(place, "ADD")
    starting = field.kubelet.start_pod("pod")
    kill(field.machine.inside, gate.wait_for_caller())
    gate.open()
    # If it was the agent's, the client has begun anew.
    with suppress(Refused):
        starting.wait()
    field.require_lent(field.kubelet.synchronize("pod"))
    field.kubelet.end("pod")
    field.require_whole()


@at_each_gate
def test_a_plugin_dies_while_a_sandbox_stops(field: Field, place: Place) -> None:
    sandbox = field.kubelet.run("pod")
    gate = field.gates.closed(place, "DEL")
    stopping = field.kubelet.start_stop(sandbox)
    kill(field.machine.inside, gate.wait_for_caller())
    gate.open()
    # If it was the delegate, ours has done its work.
    with suppress(Refused):
        stopping.wait()
    field.kubelet.end("pod")
    field.require_whole()


def test_everything_dies_at_once(field: Field) -> None:
    field.kubelet.run("pod")
    field.runtime.kill()
    for pid in field.machine.processes():
        # What is ended by the death of another may be gone first.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not field.machine.processes(), "every process of the node is gone")
    field.runtime.start()
    field.require_lent(field.kubelet.synchronize("pod"))
    field.kubelet.end("pod")
    field.require_whole()
