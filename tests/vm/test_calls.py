"""Calls as runtimes make them: repeated, late, and several at once."""

from tests.netns.runtime import addresses, expect_silence, ifnames
from tests.vm.guest import Guest, addresses_of, pod_named
from tests.vm.nics import E1000E, VIRTIO, VMXNET3


def test_two_processes_at_once_lend_two_nics_and_two_return_them(guest: Guest) -> None:
    pods = {slot: guest.pod(f"pod{slot.number}") for slot in (E1000E, VIRTIO)}
    adds = [guest.start("ADD", slot, pod) for slot, pod in pods.items()]
    for call, (slot, pod) in zip(adds, pods.items(), strict=True):
        outcome = call.wait()
        assert outcome.succeeded, outcome
        assert outcome.answer["interfaces"][0]["pciID"] == slot.bdf
        assert addresses(pod) == addresses_of(slot)
    dels = [guest.start("DEL", slot, pod) for slot, pod in pods.items()]
    for call in dels:
        expect_silence(call.wait())
    assert guest.damage() == []


def test_del_succeeds_before_add_twice_after_it_and_when_the_pod_is_gone(guest: Guest) -> None:
    pod = guest.pod("pod1")
    expect_silence(guest.delete(VIRTIO, pod))
    guest.added(VIRTIO, pod)
    for netns in (pod.netns, pod.netns, None):
        expect_silence(guest.delete(VIRTIO, pod, netns=netns))
    guest.kill(pod)
    for netns in (pod.netns, None):
        expect_silence(guest.delete(VIRTIO, pod, netns=netns))
    assert guest.damage() == []


def test_a_del_for_another_attachment_leaves_the_nic_with_its_holder(guest: Guest) -> None:
    pod = guest.pod("pod1")
    guest.added(VIRTIO, pod)
    expect_silence(guest.delete(VIRTIO, pod_named("another")))
    expect_silence(guest.delete(VIRTIO, pod, container_id="another"))
    expect_silence(guest.delete(VIRTIO, pod, ifname="net2"))
    expect_silence(guest.delete(VMXNET3, pod, container_id="another"))
    assert addresses(pod) == addresses_of(VIRTIO)
    expect_silence(guest.delete(VIRTIO, pod))
    assert guest.damage() == []


def test_a_nic_renamed_in_the_pod_is_found_there(guest: Guest) -> None:
    pod = guest.pod("pod1")
    for slot, name in ((E1000E, "net1"), (VIRTIO, "net2")):
        guest.added(slot, pod, ifname=name)
    # The two swap names, so that only the hardware tells them apart.
    pod.ip_batch(
        [
            *("link set net1 down", "link set net2 down"),
            *("link set net1 name spare", "link set net2 name net1", "link set spare name net2"),
        ]
    )
    for slot, name in ((E1000E, "net1"), (VIRTIO, "net2")):
        expect_silence(guest.delete(slot, pod, ifname=name))
        assert guest.ifnames_of(slot) == [slot.ifname]
    assert ifnames(pod) == set()
    assert guest.damage() == []
