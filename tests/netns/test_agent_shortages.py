"""An agent that lacks processes or descriptors goes on, takes no processor, and costs no call."""

import os
import signal
import socket
import time
from contextlib import ExitStack

import pytest

from amdcni.testing import Nic, Node, Pod, dump
from tests.netns.agents import (
    agent_on,
    fail_to_fork,
    have_few_descriptors,
    ignore_the_end_of_children,
    preparation,
    socket_of,
)
from tests.netns.runtime import Runtime, damage, natively
from tests.netns.test_agent_accidents import lend_and_return
from tests.patience import wait_until

A_WHILE_S = 1.0
FEW_S = 0.3


@pytest.mark.thorough
@natively
def test_an_agent_that_gets_no_process_goes_on_and_costs_no_call(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    with agent_on(node, before=preparation(fail_to_fork, 3)) as agent:
        lend_and_return(runtime, pod, nic)
        wait_until(agent.children, "a worker has been started")
        lend_and_return(runtime, pod, nic)
        assert agent.served()
    assert damage(before, node) == []


@natively
def test_an_agent_without_descriptors_goes_on_and_costs_neither_calls_nor_the_processor(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    with agent_on(node, before=preparation(have_few_descriptors, 40)) as agent:
        with ExitStack() as idle:
            for _ in range(60):
                connection = idle.enter_context(socket.socket(socket.AF_UNIX))
                connection.setblocking(False)
                connection.connect_ex(str(socket_of(node)))
            lend_and_return(runtime, pod, nic)
            at_first = agent.busy_s()
            time.sleep(A_WHILE_S)
            assert agent.busy_s() - at_first < FEW_S
        wait_until(agent.serves, "the agent serves again")
        lend_and_return(runtime, pod, nic)
    assert damage(before, node) == []


@natively
def test_an_agent_whose_parent_ignored_the_end_of_its_children_serves(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    with agent_on(node, before=preparation(ignore_the_end_of_children)) as agent:
        for pid in agent.children():
            os.kill(pid, signal.SIGKILL)
        lend_and_return(runtime, pod, nic)
        assert agent.serves()
    assert damage(before, node) == []
