"""RDMA devices follow their NIC into the pod and come home before it, whatever happens."""

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amdcni.core.errors import DeviceBusy, RdmaImmovable, RestoreIncomplete
from amdcni.core.host import Netdev, SysfsDevice
from amdcni.core.names import IfName, PciAddress
from amdcni.core.plans.release import plan_homecoming, plan_release
from amdcni.core.rdma import (
    Rdma,
    RdmaDevice,
    RdmaFile,
    RdmaMode,
    Seen,
    find_rdma,
    is_elsewhere,
    rdma_devices_of,
)
from amdcni.core.steps import (
    BringHome,
    DelegateAdd,
    MoveIntoPod,
    MoveRdma,
    ReleasePlugins,
    ReturnRdma,
    SaveRecord,
    VerifyHome,
    VerifyRdma,
)
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Handover, Lending
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link
from tests.unit.fake_rdma import Hca
from tests.unit.handovers import plan_of, record_in
from tests.unit.keeper import Keeper
from tests.unit.resets import findings_of
from tests.unit.two_nics import A, B, add, delete, heal, pod_of, process

NIC, TWIN = Netdev(7, IfName("ens1")), Netdev(8, IfName("ens2"))
PCI = PciAddress(0, 0xC1, 0, 0)
ROCE = RdmaDevice(1, "rocep193s0", "0000000000000007", str(PCI))

# ---- which devices


@given(some.rdma_device_lists(1, 4))
def test_a_device_is_found_in_any_crowd(devices: tuple[RdmaDevice, ...]) -> None:
    for device in devices:
        assert find_rdma(device, devices) == device
        assert find_rdma(attrs.evolve(device, name="renamed0"), devices) == device


@given(some.rdma_device_lists(1, 4), st.integers(0, 2**31))
def test_one_that_was_made_anew_is_known_by_its_guid(
    devices: tuple[RdmaDevice, ...], index: int
) -> None:
    device, *others = devices
    assume(index not in [each.index for each in devices])
    new = attrs.evolve(device, index=index, name="ibdev7", parent="0000:01:00.0")
    found = find_rdma(device, [*others, new])
    assert found == (None if device.guid is None else new)


@given(some.rdma_devices)
def test_a_device_with_another_guid_or_on_another_function_is_another_one(
    device: RdmaDevice,
) -> None:
    device = attrs.evolve(device, guid="0000000000000001", parent="0000:01:00.0")
    for stranger in (
        attrs.evolve(device, guid="0000000000000002"),
        attrs.evolve(device, parent="0000:02:00.0"),
    ):
        assert find_rdma(device, [stranger]) is None
        assert find_rdma(device, [stranger, device]) == device


def test_of_two_with_its_guid_none_is_taken() -> None:
    device = RdmaDevice(1, "rocep1s0", "0000000000000007")
    twins = [attrs.evolve(device, index=index, name=f"ibdev{index}") for index in (2, 3)]
    assert find_rdma(device, twins) is None


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (RdmaFile("uverbs0", "rocep193s0"), True),
        (RdmaFile("uverbs0", "mine", "0000:c1:00.0"), True),
        (RdmaFile("uverbs0", "mine"), False),
        (RdmaFile("uverbs0", "mine", "0000:c2:00.0"), False),
        # That of another device, which is on the host.
        (RdmaFile("uverbs0", "second0", "0000:c1:00.0"), False),
    ],
)
def test_a_device_that_has_a_file_and_is_not_on_the_host_is_elsewhere(
    file: RdmaFile, expected: bool
) -> None:
    host = [RdmaDevice(2, "second0", parent="0000:c1:00.0")]
    assert is_elsewhere(ROCE, [file], host) is expected
    assert not is_elsewhere(attrs.evolve(ROCE, parent=None), [attrs.evolve(file, rdma="x")], host)
    assert not is_elsewhere(ROCE, [], host)


def devices_of(
    seen: Seen, *names: str, mode: RdmaMode = RdmaMode.EXCLUSIVE, moved: bool = True
) -> tuple[RdmaDevice, ...]:
    device = SysfsDevice(PCI, "ionic", tuple(map(IfName, names)), virtio=("virtio3",))
    rdma = Rdma(mode, (seen,))
    return rdma_devices_of(NIC, (NIC, TWIN), device, rdma, moved=moved)


def test_the_devices_of_a_netdev_have_a_port_on_it_or_are_of_its_function() -> None:
    assert devices_of(Seen(ROCE, frozenset({7})), "ens1", "ens2") == (ROCE,)
    assert devices_of(Seen(ROCE), "ens1") == (ROCE,)
    elsewhere = attrs.evolve(ROCE, parent=None)
    assert devices_of(Seen(elsewhere, frozenset({7})), "ens1") == (elsewhere,)
    assert devices_of(Seen(elsewhere), "ens1") == ()
    below = attrs.evolve(ROCE, parent="virtio3")
    assert devices_of(Seen(below), "ens1") == (below,)
    assert devices_of(Seen(ROCE, frozenset({8})), "ens1", "ens2") == ()
    assert (
        rdma_devices_of(NIC, (NIC,), None, Rdma(RdmaMode.EXCLUSIVE, (Seen(ROCE),)), moved=True)
        == ()
    )


def test_in_the_shared_mode_no_device_follows() -> None:
    assert devices_of(Seen(ROCE, frozenset({7})), "ens1", mode=RdmaMode.SHARED) == ()


@pytest.mark.parametrize("seen", [Seen(ROCE, frozenset({7, 8})), Seen(ROCE)])
def test_a_device_that_also_serves_another_netdev_cannot_follow(seen: Seen) -> None:
    with pytest.raises(RdmaImmovable, match="rocep193s0 also serves ens2") as refusal:
        devices_of(seen, "ens1", "ens2")
    assert '"moveRdma": false' in refusal.value.message
    assert devices_of(seen, "ens1", "ens2", moved=False) == ()


# ---- plans

with_rdma = some.rdma_handovers | some.native_rdma_handovers


@given(with_rdma)
def test_every_rdma_device_of_the_nic_and_no_other_is_in_the_record(handover: Handover) -> None:
    assert handover.netdev is not None
    own = handover.netdev.ifindex
    expected = tuple(
        seen.device
        for seen in handover.snapshot.rdma.seen
        if own in seen.ifindexes or not seen.ifindexes
    )
    assert record_in(plan_of(handover)).rdma == expected != ()


@given(with_rdma)
def test_rdma_devices_are_moved_after_the_record_and_before_the_netdev(handover: Handover) -> None:
    plan = plan_of(handover)
    kinds = [type(planned.step) for planned in plan.steps]
    moving = plan.steps[kinds.index(MoveRdma)]
    assert moving.step == MoveRdma(record_in(plan))
    assert moving.undo == (ReturnRdma(record_in(plan)),)
    assert kinds[0] is SaveRecord
    assert kinds[kinds.index(MoveRdma) + 1] in (DelegateAdd, MoveIntoPod)


@given(with_rdma)
def test_with_move_rdma_false_they_are_recorded_and_stay(handover: Handover) -> None:
    device = attrs.evolve(handover.request.device, move_rdma=False)
    left = attrs.evolve(handover, request=attrs.evolve(handover.request, device=device))
    assert record_in(plan_of(left)).rdma == record_in(plan_of(handover)).rdma
    kinds = [type(planned.step) for planned in plan_of(handover).steps]
    kinds.remove(MoveRdma)
    assert [type(planned.step) for planned in plan_of(left).steps] == kinds


@given(with_rdma)
def test_wherever_an_add_fails_rdma_devices_leave_the_pod_before_the_netdev(
    handover: Handover,
) -> None:
    undo: list[type] = []
    for planned in plan_of(handover).steps:
        undo[:0] = [type(step) for step in planned.undo]
        if BringHome in undo:
            assert undo.index(ReturnRdma) < undo.index(BringHome)
        if MoveRdma is type(planned.step):
            assert ReturnRdma in undo


@given(some.lendings, some.rdma_device_lists(0, 2))
def test_a_release_brings_rdma_devices_home_before_the_netdev_and_looks_at_them_last(
    lending: Lending, devices: tuple[RdmaDevice, ...]
) -> None:
    record = attrs.evolve(lending.record, rdma=devices)
    device = record.key.bus_device
    seen = None if device is None else SysfsDevice(device)
    for plan in (
        plan_release(record, record.boot_id, seen),
        plan_homecoming(record, record.boot_id, seen),
    ):
        kinds = [type(step) for step in plan.work if not isinstance(step, ReleasePlugins)]
        if devices:
            assert kinds[:2] == [ReturnRdma, BringHome]
            assert kinds[-2:] == [VerifyHome, VerifyRdma]
            assert plan.work[0] == ReturnRdma(record)
        else:
            assert not {ReturnRdma, VerifyRdma} & set(kinds)


# ---- on a node


@pytest.fixture
def hca(kernel: Kernel) -> Hca:
    """The RDMA device of the first NIC."""
    (hca,) = kernel.rdma.hcas
    return hca


def moves_of(machine: Machine) -> list[str]:
    words = ("move the RDMA device", "move ens1", "move net1")
    return [moment for moment in machine.kernel.moments if moment.startswith(words)]


def test_the_rdma_device_is_in_the_pod_with_the_nic_and_leaves_it_first(
    machine: Machine, keeper: Keeper, hca: Hca, nic: Link
) -> None:
    add(machine)
    assert hca.space is nic.space is pod_of(machine)
    assert moves_of(machine)[0] == "move the RDMA device roce-ens1"
    (recorded,) = machine.disk.records()[A]["rdma"]
    assert recorded == {"index": 1, "name": "roce-ens1", "guid": hca.guid, "parent": A}
    machine.kernel.moments.clear()
    delete(machine)
    assert moves_of(machine)[0] == "move the RDMA device roce-ens1"
    assert keeper.is_whole()
    assert machine.disk.files == {}


def test_every_rdma_device_of_the_nic_goes_along(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca, nic: Link
) -> None:
    second = kernel.rdma.plug("roce-second", nic)
    keeper.remember()
    add(machine)
    assert hca.space is second.space is pod_of(machine)
    delete(machine)
    assert keeper.is_whole()


def test_the_rdma_device_of_another_nic_stays(machine: Machine, kernel: Kernel, hca: Hca) -> None:
    other = kernel.rdma.plug("roce-ens2", kernel.functions[B].links[0])
    add(machine)
    assert (hca.space, other.space) == (pod_of(machine), kernel.host)


def test_one_that_cannot_move_fails_the_add_before_the_netdev_has_moved(
    machine: Machine, keeper: Keeper, hca: Hca
) -> None:
    hca.movable = False
    with pytest.raises(RdmaImmovable, match="roce-ens1"):
        add(machine)
    assert moves_of(machine) == ["move the RDMA device roce-ens1"]
    assert keeper.is_whole()
    assert machine.disk.files == {}


def test_if_the_second_cannot_move_the_first_comes_home(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca, nic: Link
) -> None:
    kernel.rdma.plug("roce-second", nic).movable = False
    keeper.remember()
    with pytest.raises(RdmaImmovable):
        add(machine)
    assert hca.space is kernel.host
    assert keeper.is_whole()
    assert machine.disk.files == {}


def test_in_the_shared_mode_nothing_moves_and_nothing_is_recorded(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca
) -> None:
    kernel.rdma.exclusive = False
    add(machine)
    assert hca.space is kernel.host
    assert "rdma" not in machine.disk.records()[A]
    assert not any("RDMA" in moment for moment in kernel.moments)
    delete(machine)
    assert keeper.is_whole()


# ---- a chained plugin


def test_what_a_chained_plugin_has_moved_and_left_in_the_pod_comes_home(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca
) -> None:
    add(machine, moveRdma=False)
    assert hca.space is kernel.host
    kernel.rdma.move(hca, pod_of(machine))
    delete(machine, moveRdma=False)
    assert keeper.is_whole()


def test_what_a_chained_plugin_has_brought_home_is_not_moved_again(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca
) -> None:
    add(machine, moveRdma=False)
    kernel.rdma.move(hca, pod_of(machine))
    kernel.rdma.move(hca, kernel.host)
    kernel.moments.clear()
    delete(machine, moveRdma=False)
    assert not any("RDMA" in moment for moment in kernel.moments)
    assert keeper.is_whole()


def test_what_is_in_the_pod_already_is_not_moved_again(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca
) -> None:
    """Somebody moves it between the look of the ADD and its step."""
    pod = pod_of(machine)

    def another(what: str) -> None:
        if what == "before MoveRdma":
            hca.space = pod

    kernel.interrupts.append(another)
    add(machine)
    assert not any(moment.startswith("move the RDMA") for moment in kernel.moments)
    kernel.interrupts.remove(another)
    delete(machine)
    assert keeper.is_whole()


# ---- names


def test_the_pod_renames_it_and_the_host_has_its_name_again(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca
) -> None:
    add(machine)
    kernel.rdma.rename(hca, "mine")
    delete(machine)
    assert hca.name == "roce-ens1"
    assert keeper.is_whole()


def test_a_name_that_another_device_has_taken_is_reported(
    machine: Machine, kernel: Kernel, hca: Hca
) -> None:
    add(machine)
    kernel.rdma.rename(hca, "mine")
    kernel.rdma.plug("roce-ens1", kernel.functions[B].links[0])
    delete(machine)
    assert (hca.space, hca.name) == (kernel.host, "mine")
    assert machine.disk.files == {}
    facts = dict(process(machine).reported)["rdma-name-taken"]
    assert (facts["was"], facts["now"]) == ("roce-ens1", "mine")


@pytest.mark.parametrize("changed", [True, False])
def test_another_number_of_its_file_is_reported(machine: Machine, hca: Hca, changed: bool) -> None:
    """The container was given the file that the device had before."""
    hca.files_change = changed
    add(machine)
    reported = dict(process(machine).reported).get("rdma-renumbered", {})
    seen = (reported.get("was"), reported.get("now"))
    assert seen == (("uverbs1", "uverbs101") if changed else (None, None))


# ---- pods that die, NICs that are reset


def test_if_the_pod_dies_the_device_gets_its_name_back(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca
) -> None:
    add(machine)
    kernel.rdma.rename(hca, "mine")
    kernel.destroy_netns(pod_of(machine))
    assert hca.space is kernel.host
    heal(machine)
    assert keeper.is_whole()


def test_a_device_that_has_gone_for_good_is_reported_and_keeps_no_record(
    machine: Machine, kernel: Kernel, nic: Link
) -> None:
    """Its driver was unloaded; when it is loaded again, the device is on the host by itself."""
    add(machine)
    kernel.rdma.unplug(A)
    delete(machine)
    assert (nic.name, machine.disk.files) == ("ens1", {})
    assert dict(process(machine).reported)["rdma-lost"]["rdma"] == "roce-ens1"


def test_after_a_reset_the_new_device_goes_into_the_pod_again(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca, nic: Link
) -> None:
    add(machine)
    kernel.reset(A)
    assert hca.space is kernel.host
    assert heal(machine) == {A: ("reset", True)}
    assert hca.space is nic.space is pod_of(machine)
    (recorded,) = machine.disk.records()[A]["rdma"]
    assert (recorded["index"], recorded["name"]) == (hca.index, "roce-ens1")
    delete(machine)
    assert keeper.is_whole()


def test_after_a_reset_the_nic_waits_for_its_rdma_device(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca, nic: Link
) -> None:
    """Its driver makes it after the netdev; without it the NIC is not what the pod was promised."""
    add(machine)
    kernel.reset(A)
    kernel.rdma.hcas.remove(hca)
    (finding,) = findings_of(machine)
    assert "roce-ens1 of 0000:01:00.0 is neither on the host nor in" in (finding.failure or "")
    assert nic.space is kernel.host
    kernel.rdma.hcas.append(hca)
    assert heal(machine)[A][1]
    assert hca.space is nic.space is pod_of(machine)
    delete(machine)
    assert keeper.is_whole()


def test_after_a_reset_a_device_that_is_left_to_others_stays(
    machine: Machine, kernel: Kernel, hca: Hca, nic: Link
) -> None:
    add(machine, moveRdma=False)
    kernel.reset(A)
    assert heal(machine) == {A: ("reset", True)}
    assert (nic.space, hca.space) == (pod_of(machine), kernel.host)


def test_a_device_in_a_namespace_that_cannot_be_seen_keeps_the_record(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca, nic: Link
) -> None:
    """A path that is not found from here proves nothing; the device has a file all the same."""
    add(machine)
    kernel.rdma.rename(hca, "mine")
    kernel.move(nic, kernel.host)
    del kernel.paths["/run/netns/pod1"]
    with pytest.raises(RestoreIncomplete, match="roce-ens1 is still in another network namespace"):
        delete(machine)
    assert set(machine.disk.files) == {A}
    hca.space = kernel.host
    delete(machine)
    assert keeper.is_whole()
    assert machine.disk.files == {}


# ---- one at a time


def test_an_add_does_not_wait_for_ever_for_another_move(
    machine: Machine, keeper: Keeper, hca: Hca
) -> None:
    machine.locks.add("rdma")
    with pytest.raises(DeviceBusy):
        add(machine)
    assert machine.disk.files == {}
    assert keeper.is_whole()


def test_while_another_call_moves_one_the_netdev_comes_home_and_the_record_stays(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca, nic: Link
) -> None:
    add(machine)
    machine.locks.add("rdma")
    with pytest.raises(DeviceBusy) as refusal:
        delete(machine)
    assert any(
        "roce-ens1 is still in another network namespace" in note
        for note in refusal.value.__notes__
    )
    assert (nic.space, hca.space) == (kernel.host, pod_of(machine))
    assert set(machine.disk.files) == {A}
    machine.locks.remove("rdma")
    delete(machine)
    assert keeper.is_whole()
    assert machine.disk.files == {}


def test_of_several_each_comes_home_even_if_another_cannot(
    machine: Machine, keeper: Keeper, kernel: Kernel, hca: Hca, nic: Link
) -> None:
    second = kernel.rdma.plug("roce-second", nic)
    keeper.remember()
    add(machine)
    hca.movable = False
    with pytest.raises(RdmaImmovable):
        delete(machine)
    assert (hca.space, second.space) == (pod_of(machine), kernel.host)
    hca.movable = True
    delete(machine)
    assert keeper.is_whole()
