"""Attachments that AMD's Go plugin made, on a machine that was then upgraded."""

from collections.abc import Iterator

import pytest

from amdcni.core.errors import DeviceHeld, DeviceNotFound, RestoreIncomplete, StateFailure
from amdcni.core.plans.attach import record_in
from amdcni.core.spec import Verb
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.go_plugin import (
    OTHERS,
    add,
    delete,
    events,
    is_over,
    lend,
    mappings,
    new_node,
    plain,
    previewed,
    rebooted,
    watched,
    write,
)
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD1, POD2, A, B, pod_of


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A node with the Go plugin's file, whose other entries have to stay."""
    machine = new_node()
    yield machine
    assert machine.kernel.violations == []
    assert {key: mappings(machine).get(key) for key in OTHERS} == OTHERS


@pytest.fixture
def keeper(machine: Machine, nic: Link) -> Keeper:
    """A keeper that accepts an entry in the Go plugin's file in place of a record."""
    return watched(machine)


# ---- DEL


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("ipam", [None, HOST_LOCAL])
def test_a_del_returns_what_the_go_plugin_lent(
    machine: Machine, keeper: Keeper, early: bool, ipam: object
) -> None:
    lend(machine, early=early, ipam=ipam)
    assert not keeper.is_whole()
    reported = delete(machine, ipam=ipam)
    assert "taken-over" in reported
    assert keeper.is_whole()
    assert is_over(machine)
    # host-local has leased to the name that the early Go plugin gave, which is not known any more.
    assert early or machine.plugins.leases == {}


@pytest.mark.parametrize("netns", ["its own", None, "/run/netns/gone"])
@pytest.mark.parametrize("early", [False, True])
def test_a_del_restores_what_fell_back_when_the_pod_died(
    machine: Machine, keeper: Keeper, netns: str | None, early: bool
) -> None:
    lend(machine, early=early, ipam=HOST_LOCAL)
    machine.kernel.destroy_netns(pod_of(machine))
    delete(machine, netns=netns, ipam=HOST_LOCAL)
    assert {call.plugin for call in machine.plugins.executed} == {"host-local"}
    assert keeper.is_whole()
    assert is_over(machine)
    assert early or machine.plugins.leases == {}


def test_a_nic_whose_name_in_the_pod_was_taken_on_the_host_is_restored(
    machine: Machine, keeper: Keeper
) -> None:
    other = watched(machine, B)
    lend(machine, A, 1)
    lend(machine, B, 2)
    for number in (1, 2):
        machine.kernel.destroy_netns(pod_of(machine, number))
    delete(machine, B, pod=2, netns=None)
    delete(machine, A, pod=1, netns=None)
    assert (keeper.is_whole(), other.is_whole()) == (True, True)
    assert is_over(machine, A)
    assert is_over(machine, B)


def test_a_del_without_a_device_finds_it_in_the_pod(machine: Machine, keeper: Keeper) -> None:
    other = watched(machine, B)
    lend(machine, A, 1)
    lend(machine, B, 2)
    delete(machine, None, pod=2)
    assert (keeper.is_whole(), other.is_whole()) == (False, True)
    delete(machine, None, pod=1)
    assert keeper.is_whole()
    assert is_over(machine, A)


@pytest.mark.parametrize("netns", [None, "/run/netns/gone", POD2, "/proc/1/ns/net"])
def test_a_del_without_a_device_and_outside_the_pod_touches_nothing(
    machine: Machine, keeper: Keeper, netns: str | None
) -> None:
    lend(machine)
    before = machine.picture()
    assert delete(machine, None, netns=netns) == []
    assert machine.picture() == before
    assert A in mappings(machine)


def test_a_del_without_a_device_means_the_netdev_of_its_ifname(
    machine: Machine, keeper: Keeper
) -> None:
    lend(machine, early=True)
    before = machine.picture()
    assert delete(machine, None) == []
    assert machine.picture() == before
    ask(machine, Verb.DEL, config_for(), ifname="ens1")
    assert keeper.is_whole()


def test_a_del_without_a_device_leaves_an_unplugged_one_alone(machine: Machine) -> None:
    lend(machine)
    machine.kernel.unplug(A)
    assert delete(machine, None) == []
    assert A in mappings(machine)


@pytest.mark.parametrize("netns", ["its own", None, "/run/netns/gone", POD1])
def test_a_late_del_of_an_old_sandbox_leaves_the_new_owner_alone(
    machine: Machine, keeper: Keeper, netns: str | None
) -> None:
    """The Go plugin's entry is that of the new owner: it names only the device."""
    lend(machine, A, 2)
    before = machine.picture()
    delete(machine, pod=1, netns=netns)
    assert machine.picture() == before
    delete(machine, pod=2)
    assert keeper.is_whole()


def test_a_late_del_leaves_a_new_owner_in_our_record_alone_whatever_the_file_says(
    machine: Machine, keeper: Keeper
) -> None:
    lend(machine, A, 1)
    entry = mappings(machine)[A]
    delete(machine)
    write(machine, {**OTHERS, A: entry})
    keeper.original = machine.kernel.configuration_of(keeper.link)
    add(machine, pod=2)
    write(machine, {**OTHERS, A: entry})
    before = machine.picture()
    for netns in (POD1, POD2, None):
        delete(machine, pod=1, netns=netns)
    with pytest.raises(DeviceHeld, match="container pod2"):
        add(machine, pod=1)
    assert machine.picture() == before
    delete(machine, pod=2)
    assert keeper.is_whole()


def test_another_ifname_of_the_same_pod_is_another_attachment(
    machine: Machine, keeper: Keeper
) -> None:
    lend(machine, A, 1, ifname="net2")
    lend(machine, B, 1, ifname="net1")
    delete(machine, A)
    assert keeper.link.name == "net2"
    ask(machine, Verb.DEL, config_for(A), ifname="net2")
    assert keeper.is_whole()


def test_repeated_dels_find_nothing_to_do(machine: Machine, keeper: Keeper) -> None:
    lend(machine)
    delete(machine)
    before = machine.picture()
    for netns in ("its own", None):
        assert delete(machine, netns=netns) == []
        assert machine.picture() == before


def test_a_nic_that_was_down_without_addresses_is_returned_down_without_addresses(
    machine: Machine,
) -> None:
    (link,) = machine.kernel.plug("0000:03:00.0", "ens3").links
    keeper = watched(machine, "0000:03:00.0")
    lend(machine, "0000:03:00.0")
    delete(machine, "0000:03:00.0")
    assert keeper.is_whole()
    assert not link.up


@pytest.mark.parametrize("virtio", [True, False])
@pytest.mark.parametrize("shows_parent", [True, False])
def test_the_netdev_is_found_with_or_without_a_parent_and_below_virtio(
    machine: Machine, virtio: bool, shows_parent: bool
) -> None:
    device = "0000:03:00.0"
    (link,) = machine.kernel.plug(device, "ens3", virtio=virtio, shows_parent=shows_parent).links
    machine.kernel.configure(link, (plain("203.0.113.1/24", "ens3"),))
    keeper = watched(machine, device)
    lend(machine, device)
    delete(machine, device)
    assert keeper.is_whole()
    assert is_over(machine, device)


def test_a_device_that_is_not_plugged_in_keeps_its_entry(machine: Machine) -> None:
    lend(machine)
    machine.kernel.unplug(A)
    delete(machine)
    assert A in mappings(machine)
    with pytest.raises(DeviceNotFound):
        add(machine, pod=2)


def test_an_address_that_the_host_refuses_keeps_the_record_and_the_entry(
    machine: Machine, keeper: Keeper, kernel: Kernel
) -> None:
    lend(machine)
    kernel.host.refused.add("192.0.2.9/24")
    with pytest.raises(RestoreIncomplete, match=r"192\.0\.2\.9/24"):
        delete(machine)
    assert A in mappings(machine)
    assert set(machine.disk.files) == {A}
    kernel.host.refused.clear()
    keeper.order_matters = False
    delete(machine, netns=None)
    assert keeper.is_whole()
    assert is_over(machine)


def test_a_del_sees_what_another_call_did_while_it_waited_for_the_lock(
    machine: Machine, keeper: Keeper, kernel: Kernel
) -> None:
    lend(machine)
    kernel.host.refused.add("192.0.2.9/24")

    def go_first(what: str) -> None:
        if what == f"lock {A}":
            kernel.interrupts.remove(go_first)
            with pytest.raises(RestoreIncomplete):
                delete(machine)

    kernel.interrupts.append(go_first)
    with pytest.raises(RestoreIncomplete):
        delete(machine)
    assert go_first not in kernel.interrupts
    assert (set(machine.disk.files), A in mappings(machine)) == ({A}, True)
    kernel.host.refused.clear()
    keeper.order_matters = False
    delete(machine)
    assert keeper.is_whole()
    assert is_over(machine)


def test_nothing_changes_if_the_record_cannot_be_written(machine: Machine, keeper: Keeper) -> None:
    lend(machine)
    for trouble in ("full", "read_only"):
        setattr(machine.disk, trouble, True)
        with pytest.raises(StateFailure):
            delete(machine)
        setattr(machine.disk, trouble, False)
        assert keeper.link.space is pod_of(machine)
        assert A in mappings(machine)
    delete(machine)
    assert keeper.is_whole()


# ---- ADD


def test_an_add_heals_what_fell_back_and_lends_it_again(machine: Machine, keeper: Keeper) -> None:
    lend(machine, A, 1)
    machine.kernel.destroy_netns(pod_of(machine))
    add(machine, pod=2)
    assert events(machine) == ["taken-over"]
    assert keeper.link.space is pod_of(machine, 2)
    given = {str(o.address.interface) for o in keeper.link.addresses if not o.by_kernel}
    assert given == {str(address.interface) for address, _, _ in keeper.original.addresses}
    assert A not in mappings(machine)
    delete(machine, pod=2)
    assert keeper.is_whole()
    assert is_over(machine)


def test_an_add_with_an_ipam_plugin_heals_what_fell_back_too(
    machine: Machine, keeper: Keeper
) -> None:
    lend(machine, A, 1)
    machine.kernel.destroy_netns(pod_of(machine))
    add(machine, pod=2, ipam=HOST_LOCAL)
    assert machine.plugins.leases == {("pod2", "net1"): "10.9.0.2/24"}
    delete(machine, pod=2, ipam=HOST_LOCAL)
    assert keeper.is_whole()


@pytest.mark.parametrize("pod", [1, 2])
def test_a_preview_refuses_what_the_go_plugin_has_lent(
    machine: Machine, keeper: Keeper, pod: int
) -> None:
    lend(machine, A, 1)
    with pytest.raises(DeviceHeld, match="AMD's Go plugin"):
        previewed(machine, pod)


def test_a_preview_plans_from_what_the_go_plugins_file_says(
    machine: Machine, keeper: Keeper
) -> None:
    lend(machine)
    machine.kernel.destroy_netns(pod_of(machine))
    seen = previewed(machine, 2)
    assert [record.taken_over for record in seen.stale] == [True]
    assert seen.plan is not None
    add(machine, pod=2)
    (saved,) = FakeNode(machine).records()
    planned = record_in(seen.plan)
    assert planned.host_addresses == saved.host_addresses != ()
    assert planned.host_ifname == saved.host_ifname
    assert planned.captured is not None
    assert planned.captured.up
    delete(machine, pod=2)


@pytest.mark.parametrize("pod", [1, 2])
def test_an_add_of_a_nic_that_a_pod_has_from_the_go_plugin_is_refused(
    machine: Machine, keeper: Keeper, pod: int
) -> None:
    lend(machine, A, 1)
    before = machine.picture()
    with pytest.raises(DeviceHeld, match="AMD's Go plugin"):
        add(machine, pod=pod, ifname="net7")
    assert machine.picture() == before
    delete(machine, pod=1)
    add(machine, pod=2)
    assert keeper.link.space is pod_of(machine, 2)


def test_an_add_that_cannot_heal_yet_leaves_everything_for_the_next_call(
    machine: Machine, keeper: Keeper, kernel: Kernel
) -> None:
    lend(machine, A, 1)
    kernel.destroy_netns(pod_of(machine))
    kernel.host.refused.add("192.0.2.9/24")
    with pytest.raises(RestoreIncomplete):
        add(machine, pod=2)
    kernel.host.refused.clear()
    keeper.order_matters = False
    delete(machine, B, pod=2)
    assert keeper.is_whole()
    assert is_over(machine)


# ---- reboots


@pytest.mark.parametrize("verb", [Verb.ADD, Verb.DEL])
@pytest.mark.parametrize("later", [True, False], ids=["file of this boot", "file of the last"])
@pytest.mark.parametrize("given", [["10.7.0.1/31"], ["192.0.2.1/31"], []])
def test_after_a_reboot_the_nodes_own_configuration_is_kept(
    machine: Machine, given: list[str], later: bool, verb: Verb
) -> None:
    lend(machine)
    keeper = rebooted(machine, *given)
    if later:
        write(machine, mappings(machine))
    if verb is Verb.DEL:
        assert delete(machine, netns=None) == ["mapping-dropped"]
    else:
        add(machine, pod=2)
        assert events(machine) == ["mapping-dropped"]
        delete(machine, pod=2)
    assert keeper.is_whole()
    assert is_over(machine)


@pytest.mark.parametrize("verb", [Verb.ADD, Verb.DEL])
@pytest.mark.parametrize("name", ["ens1", "net1"])
def test_what_the_boot_leaves_down_stays_down(machine: Machine, name: str, verb: Verb) -> None:
    lend(machine)
    keeper = rebooted(machine, name=name, up=False)
    if verb is Verb.DEL:
        delete(machine, netns=None)
    else:
        add(machine, pod=2)
        delete(machine, pod=2)
    assert keeper.is_whole()
    assert not keeper.link.up
    assert (A in mappings(machine)) == (name == "net1")


def test_a_stale_mapping_that_cannot_be_removed_does_no_harm(machine: Machine) -> None:
    lend(machine)
    keeper = rebooted(machine, "10.7.0.1/31")
    machine.disk.read_only = True
    assert delete(machine, netns=None) == ["mapping-kept"]
    assert keeper.is_whole()
    machine.disk.read_only = False
    add(machine, pod=2)
    delete(machine, pod=2)
    assert keeper.is_whole()
    assert is_over(machine)


def test_a_reboot_in_the_middle_of_a_takeover_ends_it(machine: Machine) -> None:
    lend(machine)
    with pytest.raises(Killed):
        ask(machine, Verb.DEL, config_for(A), kill_at=12)
    assert set(machine.disk.files) == {A}
    keeper = rebooted(machine, "10.7.0.1/31")
    delete(machine, netns=None)
    assert keeper.is_whole()
    assert is_over(machine)


# ---- a missing or damaged file


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"0000:01:00.0": {"hostInterfaceName": "ens1", "hostInterfaceIPs": ["10',
        b'{"interfaces": {"eth9": ["10.1.1.1/24"]}}',
        b'{"0000:01:00.0": {"hostInterfaceName": 7}}',
        b'{"0000:01:00.0": null}',
    ],
)
def test_a_missing_or_damaged_file_stops_no_call_and_is_left_unchanged(
    machine: Machine, data: bytes | None
) -> None:
    machine.disk.mappings = data
    keeper = Keeper(machine, machine.kernel.functions[A].links[0])
    reported = [] if data is None else ["mappings-ignored"]
    assert delete(machine, pod=2, netns=None) == reported
    add(machine)
    assert events(machine) == reported
    assert delete(machine) == []
    assert keeper.is_whole()
    assert machine.disk.mappings == data
    write(machine, OTHERS)


def test_with_a_damaged_file_the_nic_is_returned_with_its_addresses_from_the_pod(
    machine: Machine, keeper: Keeper
) -> None:
    lend(machine)
    machine.kernel.watchers.clear()
    machine.disk.mappings = (machine.disk.mappings or b"")[:90]
    assert delete(machine) == ["mappings-ignored", "salvaged"]
    link, original = keeper.link, keeper.original
    assert (link.space, link.name, link.up) == (machine.kernel.host, "ens1", True)
    given = {str(own.address.interface) for own in link.addresses if not own.by_kernel}
    assert given == {str(address.interface) for address, _, _ in original.addresses}
    write(machine, OTHERS)


# ---- several netdevs of one device


def test_the_other_netdev_of_the_device_is_left_alone(machine: Machine, kernel: Kernel) -> None:
    device = "0000:03:00.0"
    function = kernel.plug(device, "ens3")
    first = function.links[0]
    kernel.configure(first, (plain("203.0.113.1/24", "ens3"),))
    keeper = watched(machine, device)
    lend(machine, device)
    second = kernel.add_link("ens3d1")
    second.function = second.parent = device
    function.links.append(second)
    before = kernel.configuration_of(second)
    delete(machine, device, pod=2, netns=None)
    assert device in mappings(machine)
    delete(machine, device)
    assert keeper.is_whole()
    assert kernel.configuration_of(second) == before
    assert device not in mappings(machine)
