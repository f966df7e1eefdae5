"""The power fails while pods hold NICs, and only the state folder remains."""

from pathlib import Path

import pytest

from tests.netns.runtime import addresses, expect_silence
from tests.vm.guest import Guest, addresses_of, pod_named
from tests.vm.nics import E1000E, VIRTIO

HELD = {E1000E: "old1", VIRTIO: "old2"}
RECORDS = {slot: f"{slot.bdf}.json" for slot in HELD}


def require_records_of_earlier_boot(guest: Guest, *names: str) -> None:
    records = guest.records()
    assert sorted(records) == sorted(names), "run it together with the test before the reboot"
    now = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert all(record["boot_id"] != now for record in records.values())


def test_two_pods_hold_nics_when_the_power_fails(guest: Guest) -> None:
    for slot, name in HELD.items():
        guest.added(slot, guest.pod(name))
    assert {record["phase"] for record in guest.records().values()} == {"attached"}
    assert sorted(guest.records()) == sorted(RECORDS.values())


@pytest.mark.after_reboot
def test_a_nic_lent_before_the_reboot_is_lent_again_and_the_old_del_changes_nothing(
    guest: Guest,
) -> None:
    require_records_of_earlier_boot(guest, *RECORDS.values())
    pod = guest.pod("pod1")
    guest.added(VIRTIO, pod)
    expect_silence(guest.delete(VIRTIO, pod_named(HELD[VIRTIO])))
    assert addresses(pod) == addresses_of(VIRTIO)
    expect_silence(guest.delete(VIRTIO, pod))
    assert guest.damage(left=[RECORDS[E1000E]]) == []


@pytest.mark.after_reboot
def test_a_del_for_an_attachment_before_the_reboot_keeps_this_boots_configuration(
    guest: Guest,
) -> None:
    require_records_of_earlier_boot(guest, RECORDS[E1000E])
    guest.host.ip(f"address delete {addresses_of(E1000E)[0]} dev {E1000E.ifname}")
    guest.host.ip(f"address add 198.51.100.7/24 dev {E1000E.ifname}")
    before = guest.dump()
    expect_silence(guest.delete(E1000E, pod_named(HELD[E1000E])))
    assert guest.damage(before) == []
