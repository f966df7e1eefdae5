"""udev renames a NIC that comes home, and sets what its `.link` file says; so does amdcni."""

from collections.abc import Iterator

import pytest

from amdcni.testing import Dump
from tests.netns.runtime import expect_silence
from tests.vm.cases import shown
from tests.vm.guest import Guest
from tests.vm.nics import E1000E, OTHER_E1000E, VIRTIO, Slot
from tests.vm.udev import settle, udev, udevadm

LINKS = {
    E1000E: "MTUBytes=1400\nAlternativeName=rail16",
    OTHER_E1000E: "MTUBytes=1420\nAlternativeName=rail17\nAlias=the second rail",
    VIRTIO: "MTUBytes=1450\nAlternativeName=rail18",
}


@pytest.fixture
def before(guest: Guest) -> Iterator[Dump]:
    """The host once udev has configured the NICs."""
    with udev(LINKS):
        for slot in LINKS:
            guest.touch(slot)
        paths = [f"/sys/class/net/{slot.ifname}" for slot in LINKS]
        udevadm("trigger", "--settle", "--action=add", *paths)
        renew_qdiscs(guest, *LINKS)
        altnames = {
            link["ifname"]: link.get("altnames") for link in guest.host.ip_json("link show")
        }
        for slot in LINKS:
            assert altnames[slot.ifname] == [f"rail{slot.number}"]
        yield guest.dump()
        guest.host.ip_batch(
            [
                command
                for slot in LINKS
                for command in (
                    f"link property del dev {slot.ifname} altname rail{slot.number}",
                    f"link set {slot.ifname} mtu 1500 alias ''",
                )
            ]
        )


def renew_qdiscs(guest: Guest, *slots: Slot) -> None:
    """Have the kernel make its own qdiscs again: they keep their quantum when the MTU changes."""
    commands = [
        f"qdisc {verb} dev {slot.ifname} root pfifo" for slot in slots for verb in ("add", "delete")
    ]
    guest.host.output_of(["tc", "-batch", "-"], stdin="\n".join(commands).encode())


@pytest.mark.parametrize(
    ("slot", "mover"),
    [(E1000E, "native"), (OTHER_E1000E, "delegate"), (VIRTIO, "native")],
    ids=shown,
)
def test_udev_and_a_del_do_not_fight(guest: Guest, before: Dump, slot: Slot, mover: str) -> None:
    guest.mover, pod = mover, guest.pod("pod1")
    for _ in range(2):
        guest.added(slot, pod)
        expect_silence(guest.delete(slot, pod))
        settle()
        assert guest.damage(before) == []


@pytest.mark.parametrize(
    ("slot", "mover", "at_once"),
    [(OTHER_E1000E, "native", True), (E1000E, "delegate", False), (VIRTIO, "native", False)],
    ids=shown,
)
def test_a_nic_that_udev_names_after_the_death_of_its_pod_is_restored(
    guest: Guest, before: Dump, slot: Slot, mover: str, at_once: bool
) -> None:
    guest.mover, pod = mover, guest.pod("pod1")
    guest.added(slot, pod)
    guest.kill(pod, slot)
    if not at_once:
        settle()
        assert guest.ifnames_of(slot) == [slot.ifname]
    expect_silence(guest.delete(slot, pod))
    settle()
    assert guest.damage(before) == []


@pytest.mark.parametrize("change", ["mtu 1300", "alias mine"])
def test_what_was_changed_by_hand_since_udev_has_set_it_comes_back(
    guest: Guest, before: Dump, change: str
) -> None:
    guest.mover = "native"
    guest.host.ip(f"link set {OTHER_E1000E.ifname} {change}")
    renew_qdiscs(guest, OTHER_E1000E)
    changed, pod = guest.dump(), guest.pod("pod1")
    guest.added(OTHER_E1000E, pod)
    expect_silence(guest.delete(OTHER_E1000E, pod))
    settle()
    assert guest.damage(changed) == []
