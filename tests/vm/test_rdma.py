"""RDMA devices of real NICs, which follow them into pods and back: soft-RoCE stands for hardware.

The subsystem is loaded with the mode that a test needs: it cannot change while there is a pod.
"""

import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from attrs import frozen

from amdcni.testing import Namespace
from tests.netns.killed import kill
from tests.netns.runtime import addresses, expect_silence, ifnames
from tests.patience import wait_until
from tests.vm.cases import shown
from tests.vm.guest import Guest, Pod, addresses_of
from tests.vm.nics import E1000E, OTHER_E1000E, VIRTIO, Slot
from tests.vm.test_agent import PROGRAM, serves

PROTECTED: Final = 103
MODULES: Final = Path("/modules")
RXE: Final = "rdma_rxe.ko"


@frozen
class Roce:
    """The RDMA subsystem of the machine, with a device for each NIC in `slots`."""

    guest: Guest
    slots: Sequence[Slot]

    def name_of(self, slot: Slot) -> str:
        return f"roce{slot.number}"

    def link(self, slot: Slot) -> None:
        """Have the driver make the device of a NIC."""
        run = ["rdma", "link", "add", self.name_of(slot), "type", "rxe", "netdev"]
        self.guest.host.output_of([*run, *self.guest.ifnames_of(slot)])

    def of(self, there: Namespace) -> dict[str, str | None]:
        """The devices that a namespace can use, each with the netdev of its port if it is there."""
        links = json.loads(there.output_of(["rdma", "-j", "link", "show"]) or "[]")
        return {link["ifname"]: link.get("netdev") for link in links}

    @property
    def at_home(self) -> dict[str, str | None]:
        """Where all devices are while nothing is lent."""
        return {self.name_of(slot): slot.ifname for slot in self.slots}


def load(guest: Guest, mode: str, *parameters: str, driver: str = RXE) -> None:
    """Load the subsystem in a mode, and the driver."""
    order = (MODULES / "rdma-order").read_text().split()
    for name in order:
        more = [f"netns_mode={int(mode == 'shared')}"] if name == "ib_core.ko" else []
        guest.host.output_of(["/bb/insmod", str(MODULES / name), *more])
    guest.host.output_of(["/bb/insmod", str(MODULES / driver), *parameters])


def unload(guest: Guest) -> None:
    """Unload both, which ends every device, wherever it is."""
    order = (MODULES / "rdma-order").read_text().split()
    for name in reversed([*order, RXE]):
        guest.host.output_of(["/bb/rmmod", name.removesuffix(".ko")])


@pytest.fixture
def roce(guest: Guest, request: pytest.FixtureRequest) -> Iterator[Roce]:
    """The subsystem in the exclusive mode, or in that and with the parameters that a test names."""
    if not (MODULES / RXE).exists():
        pytest.skip((MODULES / "no-rdma").read_text())
    load(guest, *getattr(request, "param", ("exclusive",)))
    roce = Roce(guest, (E1000E, OTHER_E1000E, VIRTIO))
    try:
        for slot in roce.slots:
            roce.link(slot)
        yield roce
    finally:
        unload(guest)


def said_by(*arguments: str) -> Any:
    """Return what a command of `amdcni` prints for programs."""
    from amdcni.cli import main

    stdout = io.StringIO()
    main([*arguments, "--json"], stdout, io.StringIO())
    return json.loads(stdout.getvalue())


@pytest.mark.parametrize(("slot", "mover"), [(E1000E, "delegate"), (VIRTIO, "native")], ids=shown)
def test_the_rdma_device_is_in_the_pod_with_the_nic_and_comes_home(
    guest: Guest, roce: Roce, slot: Slot, mover: str
) -> None:
    guest.mover = mover
    pod = guest.pod("pod1")
    promised = {**guest.configuration(slot), "prevResult": guest.added(slot, pod)}
    assert roce.of(pod) == {roce.name_of(slot): "net1"}
    checked = guest.serve("CHECK", promised, container_id=pod.name, netns=pod)
    assert checked.succeeded, checked
    assert roce.name_of(slot) not in roce.of(guest.host)
    expect_silence(guest.delete(slot, pod))
    assert (roce.of(guest.host), roce.of(pod)) == (roce.at_home, {})
    assert guest.damage() == []


def test_both_are_back_and_named_after_the_pod_has_died(guest: Guest, roce: Roce) -> None:
    pods = {slot: guest.pod(f"pod{slot.number}") for slot in (E1000E, VIRTIO)}
    for slot, pod in pods.items():
        guest.added(slot, pod)
        pod.output_of(["rdma", "dev", "set", roce.name_of(slot), "name", f"mine{slot.number}"])
    for slot, pod in pods.items():
        guest.kill(pod, slot)
    assert all(finding["healed"] for finding in guest.heal())
    assert roce.of(guest.host) == roce.at_home
    assert guest.damage() == []


def test_commands_say_the_mode_and_which_rdma_devices_come_back(guest: Guest, roce: Roce) -> None:
    guest.added(E1000E, guest.pod("pod1"))
    (finding,) = [each for each in said_by("doctor") if each["subject"] == "RDMA"]
    assert "the mode is exclusive" in finding["says"]
    for nic in said_by("devices"):
        if nic["device"] in (E1000E.bdf, VIRTIO.bdf):
            lent, (home, back) = nic["device"] == E1000E.bdf, (nic["rdma"], nic["held"])
            assert nic["rdma_mode"] == "exclusive"
            assert home == ([] if lent else [roce.name_of(VIRTIO)])
            assert [each["host_rdma"] for each in back] == ([["roce16"]] if lent else [])


@pytest.fixture
def agent() -> Iterator[None]:
    """An agent at work in the machine."""
    running = Namespace().start([sys.executable, "-c", PROGRAM])
    try:
        wait_until(serves, "the agent serves")
        yield
    finally:
        running.terminate()
        running.communicate()


@pytest.mark.usefixtures("agent")
def test_the_agent_heals_both_because_of_the_link_event(guest: Guest, roce: Roce) -> None:
    pod = guest.pod("pod1")
    guest.added(E1000E, pod)
    pod.output_of(["rdma", "dev", "set", "roce16", "name", "mine"])
    guest.host.ip(f"netns delete {pod.name}")
    wait_until(lambda: not guest.state_files(), "the NIC is whole again")
    assert roce.of(guest.host) == roce.at_home
    assert guest.damage() == []


def die(guest: Guest, command: str, slot: Slot, pod: Pod, at: int) -> bool:
    """Have a call killed before its step of this number; return False if it ended before."""
    child = os.fork()
    if child == 0:
        kill("before", at)
        guest.call(command, slot, container_id=pod.name, netns=pod)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(("command", "mover"), [("ADD", "native"), ("DEL", "delegate")])
def test_a_call_that_is_killed_before_any_step_is_repaired_by_the_next(
    guest: Guest, roce: Roce, command: str, mover: str
) -> None:
    guest.mover = mover
    pod, at, killed = guest.pod("pod1"), 0, True
    while killed:
        at += 1
        if command == "DEL":
            guest.added(VIRTIO, pod)
        killed = die(guest, command, VIRTIO, pod, at)
        assert guest.delete(VIRTIO, pod).succeeded
        assert (roce.of(guest.host), roce.of(pod)) == (roce.at_home, {}), at
        assert guest.damage() == [], at
    assert at > 6


def test_a_killed_add_whose_pod_dies_is_healed(guest: Guest, roce: Roce) -> None:
    pod = guest.pod("pod1")
    # Its RDMA device is in the pod, and its netdev is not.
    assert die(guest, "ADD", VIRTIO, pod, 3)
    assert roce.of(pod) == {roce.name_of(VIRTIO): None}
    guest.kill(pod)
    wait_until(lambda: roce.of(guest.host) == roce.at_home, "the device is home")
    guest.heal()
    assert guest.damage() == []


def test_calls_at_once_move_the_devices_of_all_nics(guest: Guest, roce: Roce) -> None:
    pods = {slot: guest.pod(f"pod{slot.number}") for slot in roce.slots}
    for command in ("ADD", "DEL"):
        calls = [guest.start(command, slot, pod) for slot, pod in pods.items()]
        for call in calls:
            outcome = call.wait()
            assert outcome.succeeded, outcome
        there = {roce.name_of(slot): "net1" for slot in roce.slots} if command == "ADD" else {}
        assert {k: v for pod in pods.values() for k, v in roce.of(pod).items()} == there
    assert roce.of(guest.host) == roce.at_home
    assert guest.damage() == []


def test_what_a_chained_plugin_moves_is_respected_and_what_it_leaves_comes_home(
    guest: Guest, roce: Roce
) -> None:
    pod = guest.pod("pod1")
    guest.host.ip("netns attach home 1")
    name, config = roce.name_of(E1000E), {**guest.configuration(E1000E), "moveRdma": False}
    for left in (True, False):
        added = guest.serve("ADD", config, container_id=pod.name, netns=pod)
        assert added.succeeded, added
        assert name in roce.of(guest.host)
        guest.host.output_of(["rdma", "dev", "set", name, "netns", pod.name])
        if not left:
            pod.output_of(["rdma", "dev", "set", name, "netns", "home"])
        expect_silence(guest.serve("DEL", config, container_id=pod.name, netns=pod))
        assert roce.of(guest.host) == roce.at_home
    assert guest.damage() == []


@pytest.mark.parametrize("roce", [("exclusive", "movable=0")], indirect=True)
def test_a_device_whose_driver_cannot_move_it_fails_the_add_and_nothing_moves(
    guest: Guest, roce: Roce
) -> None:
    pod = guest.pod("pod1")
    refused = guest.add(E1000E, pod)
    refused.expect_error(PROTECTED, "roce16 cannot change its network namespace")
    assert ifnames(pod) == set()
    assert roce.of(guest.host) == roce.at_home
    assert guest.damage() == []


@pytest.mark.parametrize("roce", [("shared",)], indirect=True)
def test_in_the_shared_mode_nothing_moves_and_every_pod_has_all_devices(
    guest: Guest, roce: Roce
) -> None:
    pod = guest.pod("pod1")
    guest.added(E1000E, pod)
    assert roce.of(guest.host).keys() == roce.of(pod).keys() == roce.at_home.keys()
    (finding,) = [each for each in said_by("doctor") if each["subject"] == "RDMA"]
    assert "the mode is shared" in finding["says"]
    expect_silence(guest.delete(E1000E, pod))
    assert roce.of(guest.host) == roce.at_home
    assert guest.damage() == []


def test_after_a_reset_the_nic_goes_back_into_the_pod_with_its_new_rdma_device(
    guest: Guest, roce: Roce
) -> None:
    """The driver makes the RDMA device some time after the netdev."""
    pod = guest.pod("pod1")
    guest.added(E1000E, pod)
    guest.replug(E1000E)
    (finding,) = guest.heal(1)
    assert "roce16 of 0000:00:10.0 is neither on the host nor in" in finding["failure"]
    assert ifnames(pod) == set()
    roce.link(E1000E)
    (finding,) = guest.heal()
    assert (finding["found"], finding["healed"]) == ("reset", True)
    assert addresses(pod) == addresses_of(E1000E)
    assert roce.of(pod) == {"roce16": "net1"}
    expect_silence(guest.delete(E1000E, pod))
    assert roce.of(guest.host) == roce.at_home
    assert guest.damage(replugged=True) == []


def test_soft_roce_as_it_is_in_the_kernel_keeps_its_nic_on_the_host(guest: Guest) -> None:
    """The kernel would destroy it with the move of its netdev."""
    load(guest, "exclusive", driver="debians_rxe.ko")
    try:
        guest.host.output_of(["rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "enp0s16"])
        refused = guest.add(E1000E, guest.pod("pod1"))
        refused.expect_error(PROTECTED, "enp0s16 carries the RDMA device rxe0")
    finally:
        unload(guest)
    assert guest.damage() == []
