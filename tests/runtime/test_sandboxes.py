"""Sandboxes of a real container runtime, whose calls nobody has arranged."""

import pytest

from tests.runtime.cri import Refused
from tests.runtime.field import Field

pytestmark = pytest.mark.usefixtures("either_way")


def test_a_sandbox_gets_its_nics_and_returns_them(field: Field) -> None:
    sandbox = field.kubelet.run("pod")
    field.require_lent(sandbox)
    field.kubelet.end("pod")
    field.require_whole()


def test_nics_go_from_sandbox_to_sandbox(field: Field) -> None:
    for name in ("pod-a", "pod-b", "pod-a"):
        field.require_lent(field.kubelet.run(name))
        field.kubelet.end(name)
        field.require_whole()


def test_a_sandbox_is_refused_what_another_one_has(field: Field) -> None:
    sandbox = field.kubelet.run("holder")
    with pytest.raises(Refused, match="is held by container"):
        field.kubelet.run("latecomer")
    field.require_lent(sandbox)
    field.kubelet.end("latecomer")
    field.kubelet.end("holder")
    field.require_lent(field.kubelet.run("latecomer"))
    field.kubelet.end("latecomer")
    field.require_whole()


def test_stops_and_removals_can_be_repeated_and_left_out(field: Field) -> None:
    sandbox = field.kubelet.run("pod")
    for _ in range(2):
        field.kubelet.start_stop(sandbox).wait()
    field.require_whole()
    other = field.kubelet.run("other")
    # A late removal of the first sandbox is no business of the NICs' new owner.
    for _ in range(2):
        field.runtime.cri.call("RemovePodSandbox", pod_sandbox_id=sandbox)
    field.require_lent(other)
    field.runtime.cri.call("RemovePodSandbox", pod_sandbox_id=other)
    field.require_whole()
