"""How the queues of real NICs are served is as before a pod had them, even if the pod died."""

import pytest

from amdcni.testing import Section
from amdcni.testing.dumps import Subject
from tests.netns.runtime import expect_silence
from tests.vm.guest import Guest
from tests.vm.nics import E1000E, VIRTIO, VMXNET3, Slot

LIMITS = "tx-0/byte_queue_limits"
OF_HOST = (
    *("rx-0/rps_cpus=1", "rx-0/rps_flow_cnt=64"),
    *("gro_flush_timeout=20000", "napi_defer_hard_irqs=2"),
)
OF_POD = (
    *("rx-0/rps_cpus=2", "rx-0/rps_flow_cnt=128"),
    *("gro_flush_timeout=0", "napi_defer_hard_irqs=0", "threaded=1"),
)
HOSTS_LIMITS = (f"{LIMITS}/limit_max=100000", f"{LIMITS}/limit_min=5000", f"{LIMITS}/hold_time=500")
PODS_LIMITS = (f"{LIMITS}/limit_max=9999", f"{LIMITS}/limit_min=7", f"{LIMITS}/hold_time=2000")


def _has_byte_limits(guest: Guest, slot: Slot) -> bool:
    """Return whether the kernel shows byte queue limits of a NIC."""
    return f"{LIMITS}/limit_max" in guest.dump().subjects[Subject(Section.QUEUES, slot.ifname)]


@pytest.mark.parametrize("mover", ["delegate", "native"])
@pytest.mark.parametrize("slot", [E1000E, VIRTIO, VMXNET3], ids=lambda slot: slot.model)
def test_what_a_pod_changed_of_the_queues_is_undone_though_it_died(
    guest: Guest, slot: Slot, mover: str
) -> None:
    guest.mover = mover
    limited = _has_byte_limits(guest, slot)
    guest.host.queues(slot.ifname, *OF_HOST, *(HOSTS_LIMITS if limited else ()))
    guest.host.ip(f"link set {slot.ifname} gso_max_size 30000 gso_max_segs 20")
    before = guest.dump()
    pod = guest.pod("pod1")
    guest.added(slot, pod)
    pod.queues("net1", *OF_POD, *(PODS_LIMITS if limited else ()))
    pod.ip("link set net1 gso_max_size 20000 gso_max_segs 10")
    guest.kill(pod, slot)
    expect_silence(guest.delete(slot, pod))
    assert guest.damage(before) == []
