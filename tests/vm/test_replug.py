"""NICs that are made anew while their pod lives: unplugged and plugged in again, or reloaded."""

import json
from typing import Any

import pytest

from amdcni.testing import differences
from tests.netns.runtime import addresses, expect_silence, ifnames
from tests.vm.cases import each_model
from tests.vm.guest import STATE, Guest, Pod, addresses_of, peers_of
from tests.vm.nics import E1000E, VIRTIO, Slot


def expect_attached_again(guest: Guest, slot: Slot, pod: Pod, result: Any) -> None:
    """Heal, and require that the pod has its NIC with all that ADD promised."""
    assert ifnames(pod) == set()
    (finding,) = guest.heal()
    assert (finding["found"], finding["healed"]) == ("reset", True), finding
    assert addresses(pod) == addresses_of(slot)
    guest.await_answers(pod, peers_of(slot))
    config = {**guest.configuration(slot), "prevResult": result}
    checked = guest.serve("CHECK", config, container_id=pod.name, netns=pod)
    assert checked.succeeded, checked


@each_model
def test_a_nic_that_is_plugged_in_again_goes_back_into_its_living_pod(
    guest: Guest, slot: Slot, mover: str
) -> None:
    guest.mover = mover
    pod = guest.pod("pod1")
    result = guest.added(slot, pod)
    guest.replug(slot)
    expect_attached_again(guest, slot, pod, result)
    expect_silence(guest.delete(slot, pod))
    assert guest.damage(replugged=True) == []


def test_a_nic_whose_driver_is_loaded_again_goes_back_into_its_living_pod(guest: Guest) -> None:
    pod = guest.pod("pod1")
    result = guest.added(E1000E, pod)
    for _ in range(2):
        guest.bind(E1000E, E1000E.driver)
        expect_attached_again(guest, E1000E, pod, result)
    guest.bind(E1000E, E1000E.driver)
    expect_silence(guest.delete(E1000E, pod))
    assert guest.damage(replugged=True) == []


@pytest.mark.parametrize("serial", [True, False], ids=["serial", "address"])
def test_another_card_in_the_slot_stays_on_the_host_and_is_reported(
    guest: Guest, serial: bool
) -> None:
    """A machine has no second card for a slot, so the record is made one of another card."""
    pod = guest.pod("pod1")
    guest.added(E1000E, pod)
    path = STATE / f"{E1000E.bdf}.json"
    record = json.loads(path.read_bytes())
    if serial:
        assert "serial" in record["hardware"]
        record["hardware"]["serial"] = "0123456789abcdef"
    else:
        del record["hardware"]["serial"]
        record["captured"]["permanent_mac"] = "52:54:00:00:00:77"
    path.write_text(json.dumps(record))
    guest.replug(E1000E)
    before = guest.dump()
    (finding,) = guest.heal()
    assert (finding["found"], finding["healed"]) == ("unplugged", False)
    assert differences(before, guest.dump()) == []
    assert ifnames(pod) == set()


def test_a_replugged_nic_that_somebody_has_configured_stays_on_the_host(guest: Guest) -> None:
    pod = guest.pod("pod1")
    result = guest.added(VIRTIO, pod)
    guest.replug(VIRTIO)
    (ifname,) = guest.ifnames_of(VIRTIO)
    guest.host.ip(f"address add 192.0.2.7/24 dev {ifname}")
    (finding,) = guest.heal(1)
    assert (finding["found"], finding["healed"]) == ("reset", False)
    assert "192.0.2.7/24" in finding["failure"]
    assert addresses(guest.host, ifname) == ["192.0.2.7/24"]
    guest.host.ip(f"address delete 192.0.2.7/24 dev {ifname}")
    expect_attached_again(guest, VIRTIO, pod, result)
    expect_silence(guest.delete(VIRTIO, pod))
    assert guest.damage(replugged=True) == []
