"""What `ethtool` sets of real drivers: a pod changes it, and the host has it as before."""

import json

import pytest

from amdcni.testing import Section, differences
from amdcni.testing.strategies import EthtoolChanges
from tests.netns.runtime import expect_silence
from tests.vm.cases import shown
from tests.vm.guest import STATE, Guest
from tests.vm.nics import E1000E, VIRTIO, VMXNET3, Slot

EVEN, ALL_ON_ONE = ",".join(["0", "1"] * 64), ",".join(["1"] * 128)

BY_HOST: dict[Slot, EthtoolChanges] = {
    E1000E: (
        ("rings", "rx", "512"),
        ("rings", "tx", "1024"),
        ("coalescing", "rx-usecs", "77"),
        ("pause", "autoneg", "0"),
        ("pause", "tx", "0"),
        ("feature", "tx-tcp-segmentation", "off"),
        ("message level", "mask", "3"),
        ("link", "speed", "100"),
    ),
    VIRTIO: (("link", "speed", "1000"), ("feature", "rx-gro", "off")),
    VMXNET3: (
        ("rings", "rx", "512"),
        ("wake-on-LAN", "modes", "32"),
        ("feature", "tx-tcp-segmentation", "off"),
        ("RSS table", "", ALL_ON_ONE),
    ),
}
"""What an administrator sets, in the words of `Namespace.ethtool`."""

BY_POD: dict[Slot, EthtoolChanges] = {
    E1000E: (
        ("rings", "rx", "128"),
        ("rings", "tx", "256"),
        ("coalescing", "rx-usecs", "20"),
        ("pause", "autoneg", "1"),
        ("feature", "tx-tcp-segmentation", "on"),
        ("feature", "rx-gro", "off"),
        ("feature", "rx-vlan-hw-parse", "off"),
        ("message level", "mask", "7"),
        ("link", "autoneg", "1"),
    ),
    VIRTIO: (("link", "speed", "100"), ("feature", "rx-gro", "on")),
    VMXNET3: (
        ("rings", "rx", "256"),
        ("rings", "rx-jumbo", "256"),
        ("wake-on-LAN", "modes", "2"),
        ("feature", "tx-tcp-segmentation", "on"),
        ("feature", "rx-lro", "off"),
        ("RSS table", "", EVEN),
    ),
}
"""What a pod then sets instead."""


def set_all(guest: Guest, slot: Slot) -> None:
    for kind, name, value in BY_HOST[slot]:
        guest.host.ethtool(slot.ifname, kind, name, value)


@pytest.mark.parametrize(
    ("slot", "by"),
    [(E1000E, "DEL"), (VIRTIO, "healing"), (VMXNET3, "DEL of a dead pod")],
    ids=shown,
)
def test_a_pod_shrank_the_ring_and_turned_an_offload_on_and_the_host_has_it_as_before(
    guest: Guest, slot: Slot, by: str
) -> None:
    set_all(guest, slot)
    before = guest.dump()
    pod = guest.pod("pod1")
    guest.added(slot, pod)
    for kind, name, value in BY_POD[slot]:
        pod.ethtool("net1", kind, name, value)
    if by != "DEL":
        guest.kill(pod, slot)
    if by == "healing":
        (finding,) = guest.heal()
        assert finding["healed"]
    else:
        expect_silence(guest.delete(slot, pod))
    assert guest.damage(before) == []


@pytest.mark.parametrize("slot", [E1000E, VMXNET3], ids=shown)
def test_a_nic_that_was_down_has_its_settings_again(guest: Guest, slot: Slot) -> None:
    """The kernel's own qdisc of a NIC that is down differs with whether it has been up here."""
    guest.host.ip(f"link set {slot.ifname} down")
    set_all(guest, slot)
    before = guest.dump()
    pod = guest.pod("pod1")
    guest.added(slot, pod)
    for kind, name, value in BY_POD[slot]:
        pod.ethtool("net1", kind, name, value)
    expect_silence(guest.delete(slot, pod))
    assert differences(before, guest.dump(), sections=[Section.ETHTOOL, Section.NETDEV]) == []


def test_a_nic_that_was_reset_comes_back_with_the_settings_of_the_host(guest: Guest) -> None:
    set_all(guest, E1000E)
    before = guest.dump()
    pod = guest.pod("pod1")
    guest.added(E1000E, pod)
    guest.replug(E1000E)
    (finding,) = guest.heal()
    assert (finding["found"], finding["healed"]) == ("reset", True)
    expect_silence(guest.delete(E1000E, pod))
    assert guest.damage(before, replugged=True) == []


def test_a_setting_that_a_driver_refuses_is_named_and_keeps_no_nic_away(guest: Guest) -> None:
    """The record is made one of a ring that the driver cannot have."""
    pod = guest.pod("pod1")
    guest.added(E1000E, pod)
    path = STATE / f"{E1000E.bdf}.json"
    record = json.loads(path.read_bytes())
    record["captured"]["ethtool"]["rings/rx"] = 8192
    path.write_text(json.dumps(record))
    outcome = guest.delete(E1000E, pod)
    assert outcome.succeeded, outcome
    assert "rx ring is 256, was 8192" in outcome.stderr
    assert "requested ring size exceeds maximum" in outcome.stderr
    assert guest.damage() == []
