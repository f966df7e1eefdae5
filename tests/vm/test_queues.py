"""How real NICs are served, queues and interrupts, is as before a pod had them, even if it died."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from amdcni.testing import Section
from amdcni.testing.dumps import Subject
from tests.netns.runtime import expect_silence
from tests.vm.cases import each_model, shown
from tests.vm.guest import Guest
from tests.vm.nics import E1000E, OTHER_E1000E, VIRTIO, VMXNET3, Slot

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


@each_model
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


def _interrupts_of(slot: Slot) -> list[str]:
    return sorted(os.listdir(f"/sys/bus/pci/devices/{slot.bdf}/msi_irqs"), key=int)


def _cpus_of(numbers: Iterable[str]) -> dict[str, str]:
    return {number: Path(f"/proc/irq/{number}/smp_affinity_list").read_text() for number in numbers}


def _assign(numbers: Iterable[str], cpu: int) -> dict[str, str]:
    """Let interrupts go to one CPU, and return where they go then: a driver may keep some."""
    for number in numbers:
        with suppress(OSError):
            Path(f"/proc/irq/{number}/smp_affinity_list").write_text(f"{cpu}\n")
    return _cpus_of(numbers)


@pytest.mark.parametrize("slot", [E1000E, VIRTIO, VMXNET3], ids=shown)
def test_the_interrupts_of_a_nic_go_where_they_went_before_a_pod_had_it(
    guest: Guest, slot: Slot
) -> None:
    numbers = _interrupts_of(slot)
    unassigned = _cpus_of(numbers)
    before = _assign(numbers, 0)
    assert set(before.values()) & {"0\n"}
    pod = guest.pod("pod1")
    guest.added(slot, pod)
    assert _assign(numbers, 1) != before
    guest.kill(pod, slot)
    expect_silence(guest.delete(slot, pod))
    assert _cpus_of(_interrupts_of(slot)) == before
    _restore(unassigned)


def test_interrupts_that_the_host_assigned_meanwhile_are_left_alone(guest: Guest) -> None:
    numbers, others = _interrupts_of(E1000E), _interrupts_of(OTHER_E1000E)
    unassigned = _cpus_of([*numbers, *others])
    _assign([*numbers, *others], 0)
    pod = guest.pod("pod1")
    guest.added(E1000E, pod)
    now = _assign([*numbers, *others], 1)
    expect_silence(guest.delete(E1000E, pod))
    assert _cpus_of(now) == now
    _restore(unassigned)


def _restore(interrupts: Mapping[str, str]) -> None:
    for number, cpus in interrupts.items():
        with suppress(OSError):
            Path(f"/proc/irq/{number}/smp_affinity_list").write_text(cpus)
