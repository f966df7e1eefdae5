"""A preview changes nothing and shows what the ADD will do."""

from typing import Any

import attrs
import pytest

from amdcni.core.errors import DeviceHeld, DeviceNotFound, NetdevLost
from amdcni.core.plans.attach import record_in
from amdcni.core.request import AddRequest
from amdcni.core.spec import Verb
from amdcni.core.steps import SaveRecord
from amdcni.verbs.preview import Preview, preview
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link, address
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for, request_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD2, A, B, add, pod_of, process, reboot


def previewed(machine: Machine, device: str, netns: str, **keys: Any) -> Preview:
    """What an ADD of a NIC to another pod would do."""
    config = config_for(device, **keys)
    request = request_for(machine, Verb.ADD, config, container="other", netns=netns)
    assert isinstance(request, AddRequest)
    node = FakeNode(machine)
    with machine.running(node):
        return preview(request, node)


def test_a_preview_changes_nothing_and_shows_what_the_add_would_do(machine: Machine) -> None:
    add(machine, A)
    machine.kernel.destroy_netns(pod_of(machine))
    before = machine.picture()
    seen = previewed(machine, A, POD2)
    assert machine.picture() == before
    assert [str(record.key) for record in seen.stale] == [A]
    assert seen.plan is not None
    assert record_in(seen.plan).id.container_id == "other"
    assert previewed(machine, B, "/run/netns/not-there-yet").stale == ()


@pytest.mark.parametrize("ipam", [{}, {"ipam": HOST_LOCAL}], ids=["static", "host-local"])
@pytest.mark.parametrize("dead", [True, False], ids=["netns dead", "killed ADD"])
@pytest.mark.parametrize("taken", [False, True], ids=["free", "name taken"])
def test_a_preview_plans_from_the_host_as_it_will_be_after_the_return(
    machine: Machine, kernel: Kernel, ipam: dict[str, Any], dead: bool, taken: bool
) -> None:
    kernel.add_address(nic_of(machine), address("192.0.2.30/24", valid_s=500, preferred_s=400))
    if dead:
        add(machine, A, **ipam)
        kernel.destroy_netns(pod_of(machine))
    else:
        with pytest.raises(Killed):
            ask(machine, Verb.ADD, config_for(A, **ipam), kill_before="before Confirm")
    if taken:
        kernel.add_link("ens1", kind="dummy")
    kernel.now_s += 100
    kernel.moments.clear()
    before = machine.picture()
    seen = previewed(machine, A, POD2, **ipam)
    assert machine.picture() == before
    assert not [what for what in kernel.moments if what.startswith(("lock", "before"))]
    assert seen.plan is not None
    planned = record_in(seen.plan)
    ask(machine, Verb.ADD, config_for(A, **ipam), container="other", netns=POD2)
    (saved,) = [
        step.record
        for step in process(machine).performed
        if isinstance(step, SaveRecord) and step.record.id == planned.id
    ]
    # Only the kernel knows with which ifindex and own addresses it will come back.
    assert planned.captured is not None
    assert saved.captured is not None
    kernels = {"ifindex": saved.captured.ifindex, "eui64": saved.captured.eui64}
    assert attrs.asdict(planned.captured) | kernels == attrs.asdict(saved.captured)
    assert planned.key == saved.key


def test_a_preview_finds_a_netdev_by_kernelpath_although_its_name_will_change(
    machine: Machine, kernel: Kernel
) -> None:
    path = "/sys/devices/pci0000:00/0000:01:00.0/net/ens1"
    machine.kernelpaths[path] = A
    config = config_for(None, kernelpath=path)
    ask(machine, Verb.ADD, config)
    kernel.destroy_netns(pod_of(machine))
    request = request_for(machine, Verb.ADD, config, container="other", netns=POD2)
    assert isinstance(request, AddRequest)
    seen = preview(request, FakeNode(machine))
    assert seen.plan is not None
    assert record_in(seen.plan).host_ifname == "ens1"
    assert record_in(seen.plan).host_addresses


def test_a_preview_plans_for_a_netdev_on_no_bus_after_its_return(
    machine: Machine, kernel: Kernel
) -> None:
    veth = kernel.add_link("uplink7", kind="veth")
    kernel.configure(veth, (address("10.0.7.1/24"),))
    config = config_for(None, device="uplink7")
    with pytest.raises(Killed):
        ask(machine, Verb.ADD, config, kill_before="before Confirm")
    request = request_for(machine, Verb.ADD, config, container="other", netns=POD2)
    assert isinstance(request, AddRequest)
    seen = preview(request, FakeNode(machine))
    assert seen.plan is not None
    assert record_in(seen.plan).host_addresses == ("10.0.7.1/24",)


def nic_of(machine: Machine) -> Link:
    return machine.kernel.functions[A].links[0]


def test_a_preview_of_a_repeated_add_says_that_nothing_is_to_be_done(
    machine: Machine, kernel: Kernel
) -> None:
    add(machine, A)
    request = request_for(machine, Verb.ADD, config_for(A))
    assert isinstance(request, AddRequest)
    assert preview(request, FakeNode(machine)) == Preview((), None)
    kernel.set_up(nic_of(machine), False)
    again = preview(request, FakeNode(machine))
    assert [str(record.key) for record in again.stale] == [A]
    assert again.plan is not None
    assert record_in(again.plan).host_ifname == "ens1"


def test_a_preview_fails_if_the_return_would(machine: Machine, kernel: Kernel) -> None:
    add(machine, A)
    kernel.move(nic_of(machine), pod_of(machine, 2), "stolen")
    kernel.destroy_netns(pod_of(machine))
    with pytest.raises(NetdevLost, match=A):
        previewed(machine, A, POD2)


def test_a_preview_restores_nothing_of_an_earlier_boot(machine: Machine, keeper: Keeper) -> None:
    add(machine, A)
    reboot(machine, keeper)
    machine.kernel.make_netns(POD2)
    seen = previewed(machine, A, POD2)
    assert [str(record.key) for record in seen.stale] == [A]
    assert seen.plan is not None
    assert record_in(seen.plan).host_addresses == ("203.0.113.77/24",)


def test_a_preview_refuses_what_the_add_would_refuse(machine: Machine) -> None:
    add(machine, A)
    with pytest.raises(DeviceHeld):
        previewed(machine, A, POD2)
    with pytest.raises(DeviceNotFound):
        previewed(machine, "0000:ff:00.0", POD2)


def test_a_preview_shows_what_would_not_come_back(machine: Machine) -> None:
    machine.kernel.unsaved = ("the managed neighbour 10.0.0.77",)
    assert previewed(machine, A, POD2).unsaved == machine.kernel.unsaved
