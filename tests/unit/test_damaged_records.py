"""Records that are damaged or from a newer version, and netdevs without a record."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from amdcni.core.errors import StateTooNew
from amdcni.core.spec import Verb
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link, address
from tests.unit.fake_node import Killed
from tests.unit.fake_runtime import HOST_LOCAL, ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.two_nics import POD1, A, B, add, delete, interfaces_of, pod_of, process

DAMAGE = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "binary": lambda data: b"\x00\xff" + data,
    "foreign": lambda data: b'{"pci": "0000:01:00.0"}',
    "of another device": lambda data: data.replace(A.encode(), b"0000:0f:00.0"),
    "no format": lambda data: data.replace(b'"format":1', b'"format":"1"'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_record_is_set_aside_and_blocks_no_other_device(
    machine: Machine, other: Keeper, damage: Callable[[bytes], bytes]
) -> None:
    add(machine)
    damaged = machine.disk.files[A] = damage(machine.disk.files[A])
    add(machine, B, pod=2)
    # It is read because of the routes that NICs share, unless that cannot be seen any more.
    events = process(machine).events
    delete(machine, B, pod=2)
    assert other.is_whole()
    ask(machine, Verb.GC, config_for(**{"cni.dev/valid-attachments": []}))
    assert machine.disk.aside == [(A, damaged)]
    assert machine.disk.files == {}
    assert [*events, *process(machine).events].count("record-damaged") == 1


@pytest.mark.parametrize("shows_parent", [True, False])
@pytest.mark.parametrize("keys", [{}, {"ipam": HOST_LOCAL}], ids=["static", "host-local"])
def test_a_nic_whose_record_was_damaged_is_returned_with_the_addresses_it_has(
    shows_parent: bool, keys: dict[str, Any]
) -> None:
    machine = Machine()
    (link,) = machine.kernel.plug(A, "ens1", shows_parent=shows_parent).links
    machine.kernel.configure(link, (address("192.0.2.1/31"), address("fd00::1/64")))
    machine.kernel.make_netns(POD1)
    keeper = Keeper(machine, link)
    add(machine, **keys)
    in_pod = interfaces_of(link)
    machine.disk.files[A] = b"{"
    delete(machine, **keys)
    assert (link.space, link.name, link.up) == (machine.kernel.host, "ens1", True)
    assert interfaces_of(link) == in_pod
    assert keeper.is_whole() or keys
    assert machine.plugins.leases == {}
    assert machine.disk.files == {}
    assert machine.disk.markers == set()


def test_a_netdev_that_was_never_ours_is_not_taken_from_its_pod(
    machine: Machine, kernel: Kernel
) -> None:
    veth = kernel.add_link("net1", kind="veth", space=pod_of(machine))
    kernel.configure(veth, (address("10.0.0.1/24"),), alias="ens7")
    before = machine.picture()
    delete(machine)
    delete(machine, None)
    assert machine.picture() == before


def test_a_netdev_without_a_parent_is_not_salvaged_if_no_record_was_damaged(
    machine: Machine, kernel: Kernel
) -> None:
    (link,) = kernel.plug("0000:03:00.0", "ens3", shows_parent=False).links
    add(machine, "0000:03:00.0")
    machine.disk.files.clear()
    before = machine.picture()
    delete(machine, "0000:03:00.0")
    assert machine.picture() == before
    assert link.space is pod_of(machine)


def test_nothing_is_salvaged_from_the_hosts_own_netns(machine: Machine, nic: Link) -> None:
    machine.kernel.paths[POD1] = machine.kernel.host
    machine.kernel.set_up(nic, False)
    machine.kernel.rename(nic, "net1")
    before = machine.picture()
    delete(machine)
    assert machine.picture() == before


def test_a_salvage_that_was_killed_is_finished_by_the_next_del() -> None:
    lost = []
    for at in itertools.count():
        machine = Machine()
        (link,) = machine.kernel.plug(A, "ens1").links
        machine.kernel.configure(link, (address("192.0.2.1/31"),))
        machine.kernel.make_netns(POD1)
        keeper = Keeper(machine, link)
        add(machine)
        machine.disk.files[A] = b"{"
        try:
            ask(machine, Verb.DEL, config_for(A), kill_at=at)
        except Killed:
            where = machine.kernel.moments[-1]
            delete(machine)
            if not keeper.is_whole():
                lost.append(where)
        else:
            break
    assert at > 15
    assert lost == []


def newer(machine: Machine) -> bytes:
    """Turn the record of A into one of a newer version of the software."""
    record = {**machine.disk.records()[A], "format": 2, "unheard": ["of"]}
    machine.disk.files[A] = json.dumps(record).encode()
    return machine.disk.files[A]


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("call", [add, delete], ids=["ADD", "DEL"])
def test_a_record_of_a_newer_format_is_refused_and_left_untouched(
    machine: Machine, keeper: Keeper, call: Callable[[Machine], object], marked: bool
) -> None:
    add(machine)
    data = newer(machine)
    machine.disk.markers |= {A} if marked else set()
    before = machine.picture()
    with pytest.raises(StateTooNew, match="format 2"):
        call(machine)
    assert machine.disk.files[A] == data
    assert machine.picture() == before


def test_a_record_of_a_newer_format_does_not_affect_other_devices(
    machine: Machine, keeper: Keeper, other: Keeper
) -> None:
    add(machine)
    newer(machine)
    machine.disk.markers.add(A)
    before = machine.picture()
    add(machine, B, pod=2)
    delete(machine, None, pod=2)
    assert other.is_whole()
    ask(machine, Verb.GC, config_for(**{"cni.dev/valid-attachments": []}))
    assert "record-too-new" in process(machine).events
    assert machine.picture() == before
