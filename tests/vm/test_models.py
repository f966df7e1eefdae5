"""An ordinary ADD and DEL of each model of NIC: host before = host after."""

from tests.netns.runtime import addresses, expect_silence, ifnames
from tests.vm.cases import each_model
from tests.vm.guest import Guest, addresses_of, peers_of
from tests.vm.nics import Slot


@each_model
def test_a_nic_of_each_model_works_in_its_pod_and_is_restored(
    guest: Guest, slot: Slot, mover: str
) -> None:
    guest.mover = mover
    pod = guest.pod("pod1")
    (interface,) = guest.added(slot, pod)["interfaces"]
    assert (interface["name"], interface["mac"]) == ("net1", slot.mac)
    assert (interface["mtu"], interface["pciID"]) == (1500, slot.bdf)
    assert guest.ifnames_of(slot) == []
    assert addresses(pod) == addresses_of(slot)
    guest.await_answers(pod, peers_of(slot))
    expect_silence(guest.delete(slot, pod))
    assert ifnames(pod) == set()
    assert guest.damage() == []
