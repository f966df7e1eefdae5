"""The agent beside real hardware: NICs that come home, and NICs that are plugged in again."""

import json
import sys
from collections.abc import Iterator

import pytest

from amdcni.testing import Namespace, differences
from amdcni_agent.asking import ask
from tests.netns.runtime import addresses, expect_silence, ifnames
from tests.patience import wait_until
from tests.vm.guest import STATE, Guest, addresses_of, peers_of
from tests.vm.nics import E1000E, LENDABLE, VIRTIO

SOCKET = "/run/amdcni/agent.sock"
PROGRAM = (
    "import sys; from tests.netns.agents import look_only_at_events; look_only_at_events(); "
    "from amdcni.cli import main; "
    "sys.exit(main(['agent', '--metrics', 'off'], sys.stdout, sys.stderr))"
)
"""An agent that looks at its start, and then only because of an event."""


def serves() -> bool:
    """Return whether the agent answers and has nothing to do."""
    about = ask(SOCKET)
    return about is not None and about["workers"]["working"] == 0


@pytest.fixture(scope="module")
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
def test_all_nics_whose_pods_die_are_healed_because_of_their_link_events(guest: Guest) -> None:
    guest.mover = "native"
    pods = {slot: guest.pod(f"pod{slot.number}") for slot in LENDABLE}
    for slot, pod in pods.items():
        guest.added(slot, pod)
    for pod in pods.values():
        guest.host.ip(f"netns delete {pod.name}")
    wait_until(lambda: not guest.state_files(), "all NICs are whole again")
    assert guest.damage() == []
    # The runtime sends the DELs all the same.
    for slot, pod in pods.items():
        expect_silence(guest.delete(slot, pod))
    assert guest.damage() == []


@pytest.mark.usefixtures("agent")
def test_a_nic_that_is_plugged_in_again_goes_back_into_its_living_pod_by_itself(
    guest: Guest,
) -> None:
    """Its netdev is one level below the device; `test_replug` has all models, without agent."""
    pod, slot = guest.pod("pod1"), VIRTIO
    result = guest.added(slot, pod)
    guest.replug(slot, awaited=False)
    wait_until(lambda: "net1" in ifnames(pod), "the NIC is in its pod again")
    wait_until(serves, "the look has ended")
    assert addresses(pod) == addresses_of(slot)
    guest.await_answers(pod, peers_of(slot))
    config = {**guest.configuration(slot), "prevResult": result}
    expect_silence(guest.serve("CHECK", config, container_id=pod.name, netns=pod))
    expect_silence(guest.delete(slot, pod))
    assert guest.damage(replugged=True) == []


@pytest.mark.usefixtures("agent")
def test_another_card_in_the_slot_stays_on_the_host_whoever_looks(guest: Guest) -> None:
    """A machine has no second card for a slot, so the record is made one of another card."""
    pod = guest.pod("pod1")
    guest.added(E1000E, pod)
    path = STATE / f"{E1000E.bdf}.json"
    record = json.loads(path.read_bytes())
    record["hardware"]["serial"] = "0123456789abcdef"
    path.write_text(json.dumps(record))
    guest.replug(E1000E)
    before = guest.dump()
    wait_until(serves, "the look has ended")
    assert ifnames(pod) == set()
    assert differences(before, guest.dump()) == []
    (finding,) = guest.heal()
    assert (finding["found"], finding["healed"]) == ("unplugged", False)
