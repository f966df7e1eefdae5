"""Calls as runtimes reorder, repeat, delay and lose them, on the real kernel: nothing is lost.

Drawn from `runtime_calls`; `test_any_order.py` adds kills, full disks and simultaneous calls.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.spec import Verb
from amdcni.testing import Pod, dump, throwaway_node
from amdcni.testing.strategies import NetnsSaid, RuntimeCall, runtime_calls
from tests.netns.command import output_of_amdcni
from tests.netns.runtime import DEBIAN, TRY_AGAIN, Runtime, damage, ifnames
from tests.netns.three_nics import BDFS, furnished

NICS = tuple(BDFS)[:2]
CONTAINERS = 3

pytestmark = pytest.mark.usefixtures("allowed")


@define
class Field:
    """A node on which runtimes work, what they know, and who must have which NIC."""

    runtime: Runtime
    pods: dict[int, Pod] = field(factory=dict)
    gone: set[int] = field(factory=set)
    results: dict[int, Any] = field(factory=dict)
    holders: dict[int, int] = field(factory=dict)
    """The container that holds each device, by the device's number."""

    def carry_out(self, call: RuntimeCall) -> None:
        """Make a call, and require the right outcome."""
        if call.container is None:
            self._for_no_container(call)
            return
        pod = self._pod_of(call)
        runtime = self.runtime.having(**dict.fromkeys(("deviceID", "pciBusID"), self._bdf(call)))
        said: Any = {"container_id": f"container-{call.container}"}
        said["netns"] = pod if call.netns is NetnsSaid.PATH else None
        result = self.results.get(call.container)
        if call.has_result and result is not None:
            runtime = runtime.having(prevResult=result)
        elif call.verb is Verb.CHECK:
            return  # The ADD has failed, so the runtime never calls CHECK.
        outcome = evolve(runtime, stdin=call.edited).call(call.verb.value, **said)
        match call.verb:
            case Verb.ADD:
                holder = self.holders.get(call.device, call.container)
                if holder != call.container and holder not in self.gone:
                    assert outcome.error_code == TRY_AGAIN, outcome
                    return
                assert outcome.succeeded, outcome
                self.holders[call.device] = call.container
                if not call.answer_is_lost:
                    self.results[call.container] = outcome.answer
            case Verb.CHECK:
                holds = self.holders.get(call.device) == call.container
                assert outcome.succeeded == holds, outcome
            case _:
                holds = self.holders.get(call.device) == call.container
                assert outcome.succeeded or (call.edited is not None and not holds), outcome
                if self.holders.get(call.device) == call.container:
                    del self.holders[call.device]

    def _for_no_container(self, call: RuntimeCall) -> None:
        runtime = self.runtime.having("deviceID", "pciBusID")
        if call.verb is Verb.GC:
            valid = [
                {"containerID": f"container-{number}", "ifname": "net1"} for number in call.valid
            ]
            runtime = runtime.having(**{"cni.dev/valid-attachments": valid})
        nobody: Any = {"container_id": "", "ifname": "", "netns": "", "path": [DEBIAN]}
        outcome = runtime.call(call.verb.value, **nobody)
        assert outcome.succeeded, outcome
        ended = self.gone | (set() if call.verb is Verb.STATUS else self._unlisted(call))
        self.holders = {nic: who for nic, who in self.holders.items() if who not in ended}

    def _unlisted(self, call: RuntimeCall) -> set[int]:
        return set(range(CONTAINERS)) - set(call.valid)

    def _pod_of(self, call: RuntimeCall) -> Pod:
        number = call.container
        assert number is not None
        if number not in self.pods:
            self.pods[number] = self.runtime.node.add_pod(f"pod{number}")
        if call.netns_is_gone and number not in self.gone:
            self.pods[number].delete()
            self.gone.add(number)
        return self.pods[number]

    def _bdf(self, call: RuntimeCall) -> str:
        return BDFS[NICS[call.device]]

    def are_where_they_should_be(self) -> None:
        """Require that each NIC is in the pod of its holder, and only there."""
        for number, pod in self.pods.items():
            if number not in self.gone:
                held = number in self.holders.values()
                assert ifnames(pod) == ({"net1"} if held else set())


@given(
    st.sampled_from(["delegate", "native"]),
    runtime_calls(containers=CONTAINERS, devices=len(NICS)),
)
def test_whatever_runtimes_reorder_repeat_and_lose_the_host_is_restored(
    plugin: Path, mover: str, calls: Sequence[RuntimeCall]
) -> None:
    with throwaway_node() as node:
        furnished(node)
        before = dump(node)
        at_work = Field(Runtime(node, plugin).having(mover=mover))
        for call in calls:
            at_work.carry_out(call)
            at_work.are_where_they_should_be()
        # Pods without a DEL end, and the operator heals the node.
        for number, pod in at_work.pods.items():
            if number not in at_work.gone:
                pod.delete()
        output_of_amdcni(node, "heal")
        assert damage(before, node) == []
