"""A netdev gets its ifindex back where nothing is lost by that."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.capture import Captured
from amdcni.core.host import Below, Netdev
from amdcni.core.names import DeviceKey, IfName, mark_of
from amdcni.core.numbering import ifindex_to_give, in_order_of_return, is_since
from amdcni.core.spec import Verb
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link, address
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_runtime import ask, config_for
from tests.unit.keeper import Keeper
from tests.unit.state_folder import record_of
from tests.unit.two_nics import POD1, POD2, A, B, add, booted, delete, heal, pod_of, process

WAS, NOW = 4, 9
CAPTURED = Captured(ifname=IfName("ens1"), ifindex=WAS)
BARE = Netdev(ifname=IfName("net1"), ifindex=NOW)


@pytest.mark.parametrize(
    ("release", "known"),
    [
        ("5.12.0", True),
        ("5.11.99-generic", False),
        ("4.18.0-553.el8.x86_64", False),
        ("6.1.0-13-amd64", True),
        ("10.0", True),
        ("unheard of", True),
    ],
)
def test_a_kernel_gives_ifindexes_from_linux_5_12_on(release: str, known: bool) -> None:
    assert is_since(release, (5, 12)) == known


def other(ifindex: int, **keys: Any) -> Netdev:
    return attrs.evolve(Netdev(ifname=IfName(f"other{ifindex}"), ifindex=ifindex), **keys)


@given(st.sets(st.integers(1, 12).filter(lambda number: number != NOW)))
def test_a_bare_netdev_gets_its_ifindex_unless_another_one_has_it(numbers: set[int]) -> None:
    given_back = ifindex_to_give(CAPTURED, BARE, [other(number) for number in numbers])
    assert given_back == (None if WAS in numbers else WAS)


@pytest.mark.parametrize(
    ("netdev", "others"),
    [
        (attrs.evolve(BARE, ifindex=WAS), []),
        (attrs.evolve(BARE, up=True), []),
        (attrs.evolve(BARE, master=2), [other(2)]),
        (attrs.evolve(BARE, addresses=(address("192.0.2.1/31"),)), []),
        (BARE, [other(5, lower=NOW)]),
        (BARE, [other(5, below=Below(links=(3, NOW)))]),
    ],
    ids=["has it", "is up", "is in a bond", "has an address", "has a VLAN", "carries a tunnel"],
)
def test_a_netdev_that_somebody_uses_keeps_the_ifindex_that_it_has(
    netdev: Netdev, others: list[Netdev]
) -> None:
    assert ifindex_to_give(CAPTURED, netdev, others) is None


def taken_in_the_pod(machine: Machine) -> int:
    """The ifindex of the NIC, which a netdev of the pod has, too."""
    (link,) = machine.kernel.functions[A].links
    machine.kernel.add_link("eth0", space=pod_of(machine)).ifindex = link.ifindex
    return link.ifindex


def test_a_nic_whose_pod_used_its_ifindex_and_died_has_it_again(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper
) -> None:
    ifindex = taken_in_the_pod(machine)
    add(machine)
    kernel.destroy_netns(pod_of(machine))
    assert (nic.space is kernel.host, nic.ifindex == ifindex) == (True, False)
    assert heal(machine) == {A: ("returned", True)}
    assert nic.ifindex == ifindex
    assert keeper.is_whole()


def test_killed_at_any_moment_of_a_del_the_next_one_gives_the_nic_its_ifindex() -> None:
    for at in itertools.count():
        machine = booted("delegate")
        (nic, *_) = machine.kernel.functions[A].links
        ifindex, keeper = taken_in_the_pod(machine), Keeper(machine, nic)
        add(machine)
        try:
            ask(machine, Verb.DEL, config_for(A), container="pod1", netns=POD1, kill_at=at)
        except Killed:
            where = machine.kernel.moments[-1]
            delete(machine)
            assert (nic.ifindex, keeper.is_whole()) == (ifindex, True), f"killed at: {where}"
        else:
            break
    assert at > 15
    assert (nic.ifindex, machine.kernel.violations) == (ifindex, [])


def test_without_a_way_to_give_it_the_new_ifindex_is_reported(
    machine: Machine, kernel: Kernel, nic: Link
) -> None:
    kernel.keeps_ifindexes = False
    ifindex = taken_in_the_pod(machine)
    add(machine)
    delete(machine)
    ((event, facts),) = process(machine).reported
    assert (event, facts["was"], facts["now"]) == ("renumbered", ifindex, nic.ifindex)


@pytest.mark.parametrize("most", [None, 0])
@pytest.mark.parametrize("keeps", [True, False])
def test_a_nic_that_came_home_with_another_ifindex_returns_on_every_kernel(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper, keeps: bool, most: int | None
) -> None:
    ifindex = taken_in_the_pod(machine)
    add(machine)
    kernel.keeps_ifindexes = keeps
    nic.altnames -= nic.given_altnames
    if most is not None:
        # Before Linux 5.5, or because the pod has filled the list.
        kernel.most_altnames = len(nic.altnames)
    kernel.destroy_netns(pod_of(machine))
    assert heal(machine) == {A: ("returned", True)}
    assert (nic.ifindex == ifindex, keeper.is_whole()) == (keeps, True)


def test_a_living_pod_that_knows_the_mark_cannot_exchange_the_nic(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper
) -> None:
    ifindex, pod = taken_in_the_pod(machine), pod_of(machine)
    add(machine)
    mark = mark_of(DeviceKey.parse(A))
    nic.altnames.discard(mark)
    kernel.move(nic, kernel.host)
    trap = kernel.add_link("trap", space=pod)
    trap.altnames.add(mark)
    delete(machine)
    assert (nic.ifindex, keeper.is_whole()) == (ifindex, True)
    assert trap.space is pod


def test_no_nic_gets_into_the_netns_that_has_the_path_of_its_pod_by_now(
    machine: Machine, kernel: Kernel, nic: Link, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_in_the_pod(machine)
    add(machine)
    kernel.move(nic, kernel.host)
    (hca,) = kernel.rdma.hcas
    kernel.rdma.move(hca, kernel.host)
    enter, seen = FakeNode.enter, set[int]()

    def enter_too_late(node: FakeNode, path: str) -> Any:
        kernel.paths[path] = pod_of(machine, 2)
        return enter(node, path)

    monkeypatch.setattr(FakeNode, "enter", enter_too_late)
    kernel.watchers.append(lambda: seen.add(nic.space.inode))
    delete(machine)
    assert seen == {kernel.host.inode}
    assert keeper.is_whole()


@given(st.permutations(range(1, 7)), st.permutations(range(1, 13)))
def test_whoever_has_the_number_of_another_returns_first(had: list[int], have: list[int]) -> None:
    """Unless they wait for each other in a circle, of which one cannot have its number."""
    some = [
        attrs.evolve(
            record_of(DeviceKey.parse(f"0000:0{was}:00.0")),
            captured=attrs.evolve(CAPTURED, ifindex=was),
            pod_ifindex=now,
        )
        for was, now in zip(had, have, strict=False)
    ]
    order = [record.key for record in in_order_of_return(some)]
    assert set(order) == {record.key for record in some}
    assert len(order) == len(some)
    # From the number that a NIC had to the one that it has.
    now = dict(zip(had, have, strict=False))
    circles = 0
    for number in had:
        path = [number]
        while (after := now.get(path[-1])) not in (None, number):
            path.append(after)
        circles += after == number == min(path) and len(path) > 1
    late = sum(
        order.index(waits.key) < order.index(has.key)
        for waits in some
        for has in some
        if waits.captured is not None and waits.captured.ifindex == has.pod_ifindex
    )
    assert late == circles


def test_a_record_without_a_netdev_is_in_nobodys_way() -> None:
    unknown = attrs.evolve(record_of(DeviceKey.parse(A)), captured=None, pod_ifindex=None)
    assert in_order_of_return([unknown]) == (unknown,)


def collect_all(machine: Machine, devices: Sequence[str]) -> None:
    ask(machine, Verb.GC, config_for(**{"cni.dev/valid-attachments": []}))


def heal_all(machine: Machine, devices: Sequence[str]) -> None:
    heal(machine)


def delete_the_last_first(machine: Machine, devices: Sequence[str]) -> None:
    for number, device in reversed([*enumerate(devices)]):
        ask(machine, Verb.DEL, config_for(device), container="pod1", ifname=f"net{number}")


def lend_the_last_anew(machine: Machine, devices: Sequence[str]) -> None:
    ask(machine, Verb.ADD, config_for(devices[-1]), container="pod2", netns=POD2)
    delete(machine, devices[-1], pod=2)
    heal(machine)


@pytest.mark.parametrize("first", [A, B])
@pytest.mark.parametrize("end", [collect_all, heal_all, delete_the_last_first, lend_the_last_anew])
def test_two_nics_of_a_pod_of_which_one_came_home_with_the_ifindex_of_the_other(
    machine: Machine, kernel: Kernel, first: str, end: Callable[[Machine, Sequence[str]], None]
) -> None:
    second = B if first == A else A
    (one,), (other,) = kernel.functions[first].links, kernel.functions[second].links
    numbers, pod = (one.ifindex, other.ifindex), pod_of(machine)
    for number, device in enumerate((first, second)):
        (link,) = kernel.functions[device].links
        taken = kernel.add_link(f"eth{number}", space=pod)
        taken.ifindex = link.ifindex
        # The number that the NIC gets in the pod.
        kernel._ifindex = (other.ifindex if device == first else 77) - 1
        config = config_for(device)
        ask(machine, Verb.ADD, config, container="pod1", netns=POD1, ifname=f"net{number}")
        taken.ifindex = 100 + number
    assert (one.ifindex, other.ifindex) == (numbers[1], 77)
    kernel.destroy_netns(pod)
    assert (one.ifindex, other.ifindex) == (numbers[1], 77)
    end(machine, (first, second))
    assert (one.ifindex, other.ifindex) == numbers
