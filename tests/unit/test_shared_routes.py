"""A route through several NICs is complete again, whichever NICs are lent and returned."""

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest

from amdcni.core.errors import AmdcniError, KernelRefused, PluginFailed
from amdcni.core.host import Address, Hop, Member, Nexthop, NexthopGroup, Route
from amdcni.core.names import IfName
from amdcni.core.spec import Result, Verb
from amdcni.core.steps import ConfirmRecord, KeepOtherHops, Outcome
from tests.unit.copies import copies_of
from tests.unit.fake_machine import Machine
from tests.unit.fake_netdevs import Link
from tests.unit.fake_node import FakeNode, Killed
from tests.unit.fake_runtime import ask, config_for
from tests.unit.interloper import Interloper
from tests.unit.two_nics import POD1, A, B, add, delete, pod_of

C = "0000:03:00.0"
SHARED = "10.9.0.0/24"
BY_GROUP = "10.10.0.0/24"
GROUP = 3
WHOLE = [[("ens1", 3), ("ens2", 5)]]

movers = pytest.mark.parametrize("mover", ["delegate", "native"])


def plugged(machine: Machine, device: str, ifname: str, number: int) -> Link:
    (link,) = machine.kernel.plug(device, ifname).links
    machine.kernel.configure(link, (Address(ipaddress.ip_interface(f"10.0.{number}.1/24")),))
    return link


def node_with_two(mover: str) -> Machine:
    machine = Machine(mover=mover)
    first, second = plugged(machine, A, "ens1", 1), plugged(machine, B, "ens2", 2)
    for number in (1, 2):
        machine.kernel.make_netns(f"/run/netns/pod{number}")
    route(machine, SHARED, (first, 3), (second, 5))
    share_group(machine, first, second)
    return machine


def share_group(machine: Machine, *links: Link) -> None:
    """A group with a nexthop object through each of the netdevs, and a route by that group."""
    kernel, members = machine.kernel, []
    for number, link in enumerate(links, start=1):
        hop = Hop(IfName(link.name), link.ifindex)
        kernel.add_nexthop(kernel.host, Nexthop(number, hop))
        members.append(Member(number, 2 * number + 1))
    kernel.set_nexthop_group(kernel.host, NexthopGroup(GROUP, tuple(members)))
    kernel.add_route(kernel.host, Route(ipaddress.ip_network(BY_GROUP), (), nexthop=GROUP))


def route(machine: Machine, network: str, *hops: tuple[Link, int]) -> None:
    made = tuple(Hop(IfName(link.name), link.ifindex, weight=weight) for link, weight in hops)
    kernel = machine.kernel
    kernel.add_route(kernel.host, Route(ipaddress.ip_network(network), made))


def hops_to(machine: Machine, network: str) -> list[list[tuple[str, int]]]:
    routes = machine.kernel.routes(machine.kernel.host)
    return [
        [(hop.ifname, hop.weight) for hop in each.hops]
        for each in routes
        if str(each.destination) == network
    ]


Call = Callable[[Machine], object]


def between_any_looks(
    mover: str, before: Sequence[Call], first: Call, second: Call, *, waits: bool = True
) -> Iterator[Machine]:
    """The node after `second` was called between two looks of `first`, for each pair of looks.

    If it `waits`, it is not called while `first` alone may set routes with several hops.
    """
    node = node_with_two(mover)
    for call in before:
        call(node)
    node_again = copies_of(node)
    at = 0
    while True:
        machine = node_again()
        other = Interloper(
            machine, partial(second, machine), at, lambda locks: waits and "routes" in locks
        )
        machine.looks.append(other.look)
        first(machine)
        machine.looks.clear()
        if not other.started:
            break
        if other.answers:
            yield machine
        at += 1
    assert at > 20


@movers
def test_two_nics_that_return_at_once_restore_the_whole_route(mover: str) -> None:
    lent = [lambda machine: add(machine, A, pod=1), lambda machine: add(machine, B, pod=2)]
    for machine in between_any_looks(
        mover,
        lent,
        lambda machine: delete(machine, A, pod=1, netns=None),
        lambda machine: delete(machine, B, pod=2, netns=None),
    ):
        assert hops_to(machine, SHARED) == hops_to(machine, BY_GROUP) == WHOLE
        assert machine.disk.files == {}


@movers
def test_a_nic_lent_while_another_returns_leaves_the_route_to_the_other(mover: str) -> None:
    lent = [lambda machine: add(machine, B, pod=2)]
    for machine in between_any_looks(
        mover,
        lent,
        lambda machine: delete(machine, B, pod=2, netns=None),
        lambda machine: add(machine, A, pod=1),
    ):
        assert hops_to(machine, SHARED) == [[("ens2", 1)]]
        assert hops_to(machine, BY_GROUP) == [[("ens2", 5)]]
        delete(machine, A, pod=1, netns=None)
        assert hops_to(machine, SHARED) == hops_to(machine, BY_GROUP) == WHOLE


def leave(machine: Machine) -> None:
    """The first half of an ADD of A: the netdev has left, and the kernel has removed its routes."""
    config = config_for(A)
    with pytest.raises(Killed):
        ask(machine, Verb.ADD, config, container="pod1", netns=POD1, kill_before="before Keep")
    machine.locks.add(A)


def end_leaving(machine: Machine) -> None:
    """The second half of that ADD: the route leads on through the other netdev, if it is there."""
    machine.locks.discard(A)
    node = FakeNode(machine)
    with machine.running(node), node.lock(A, wait_s=0):
        (record,) = [each for each in node.records() if str(each.key) == A]
        assert record.captured is not None
        found = node.perform(KeepOtherHops(record, record.captured), Outcome(result=Result()))
        node.perform(ConfirmRecord(record), found)


@movers
def test_two_nics_that_leave_at_once_know_of_the_whole_route(mover: str) -> None:
    def lend_other(machine: Machine) -> None:
        add(machine, B, pod=2)

    for machine in between_any_looks(mover, [leave], lend_other, end_leaving):
        assert hops_to(machine, SHARED) == hops_to(machine, BY_GROUP) == []
        for device, pod in ((A, 1), (B, 2)):
            delete(machine, device, pod=pod, netns=None)
        assert hops_to(machine, SHARED) == hops_to(machine, BY_GROUP) == WHOLE


@movers
def test_a_nic_that_leaves_while_another_returns_takes_no_hop_of_the_other_along(
    mover: str,
) -> None:
    lent = [lambda machine: add(machine, B, pod=2)]
    for machine in between_any_looks(
        mover, lent, lambda machine: delete(machine, B, pod=2, netns=None), leave, waits=False
    ):
        # If it left last, the second half of its ADD would set the route through the other.
        assert hops_to(machine, SHARED) in ([], [[("ens2", 1)]])
        assert hops_to(machine, BY_GROUP) in ([], [[("ens2", 5)]])
        machine.locks.discard(A)
        delete(machine, A, pod=1)
        assert hops_to(machine, SHARED) == hops_to(machine, BY_GROUP) == WHOLE


def arrive(machine: Machine) -> None:
    """The second half of the ADD of A: the route continues through B, and the record says so."""
    machine.locks.discard(A)
    add(machine, A, pod=1)


@movers
@pytest.mark.parametrize("first", [A, B])
def test_nics_that_are_lent_at_once_restore_the_whole_route(mover: str, first: str) -> None:
    for machine in between_any_looks(
        mover, [leave], lambda machine: add(machine, B, pod=2), arrive
    ):
        pods = {A: 1, B: 2}
        for device in (first, B if first == A else A):
            delete(machine, device, pod=pods[device], netns=None)
        assert hops_to(machine, SHARED) == hops_to(machine, BY_GROUP) == WHOLE
        assert machine.disk.files == {}


@movers
def test_a_nic_that_leaves_while_another_returns_leaves_that_its_hop(mover: str) -> None:
    lent = [lambda machine: add(machine, A, pod=1)]
    for machine in between_any_looks(
        mover,
        lent,
        lambda machine: add(machine, B, pod=2),
        lambda machine: delete(machine, A, pod=1, netns=None),
    ):
        assert hops_to(machine, SHARED) == [[("ens1", 1)]]
        assert hops_to(machine, BY_GROUP) == [[("ens1", 3)]]
        delete(machine, B, pod=2, netns=None)
        assert hops_to(machine, SHARED) == hops_to(machine, BY_GROUP) == WHOLE


@movers
def test_a_nic_whose_lease_cannot_be_released_keeps_its_hop(mover: str) -> None:
    machine = node_with_two(mover)
    machine.plugins.pool = ("10.9.9.9/24",)
    config = config_for(B, ipam={"type": "host-local", "subnet": "10.9.9.0/24"})
    ask(machine, Verb.ADD, config, container="pod2", netns="/run/netns/pod2")
    machine.plugins.installed.discard("host-local")
    with pytest.raises(AmdcniError):
        delete(machine, B, pod=2, netns=None)
    assert hops_to(machine, SHARED) == hops_to(machine, BY_GROUP) == WHOLE
    add(machine, A, pod=1)
    assert hops_to(machine, SHARED) == [[("ens2", 1)]]


@movers
def test_a_stranger_with_the_name_of_a_lent_nic_gets_its_own_routes_back(mover: str) -> None:
    machine = node_with_two(mover)
    add(machine, A, pod=1)
    stranger = plugged(machine, C, "ens1", 3)
    second = machine.kernel.functions[B].links[0]
    route(machine, "10.8.0.0/24", (stranger, 1), (second, 2))
    route(machine, "10.7.0.0/24", (stranger, 1))
    add(machine, C, pod=2)
    delete(machine, C, pod=2, netns=None)
    assert hops_to(machine, "10.7.0.0/24") == [[("ens1", 1)]]
    assert hops_to(machine, "10.8.0.0/24") == [[("ens1", 1), ("ens2", 2)]]


# ---- on the node with two NICs


def multipath(machine: Machine) -> Route:
    """A route on the host through both NICs."""
    hops = [
        Hop(IfName(link.name), link.ifindex, weight=weight)
        for link, weight in zip(nics(machine), (3, 5), strict=True)
    ]
    route = Route(ipaddress.ip_network("10.9.0.0/24"), tuple(hops))
    machine.kernel.add_route(machine.kernel.host, route)
    return route


def nics(machine: Machine) -> list[Link]:
    return [machine.kernel.functions[device].links[0] for device in (A, B)]


def hops_on_host(machine: Machine) -> dict[str, int]:
    """The hops of that route, with their weights."""
    (route,) = [
        route
        for route in machine.kernel.routes(machine.kernel.host)
        if str(route.destination) == "10.9.0.0/24"
    ]
    return {hop.ifname: hop.weight for hop in route.hops}


def test_a_multipath_route_continues_through_the_other_nic(machine: Machine) -> None:
    multipath(machine)
    add(machine, A)
    assert hops_on_host(machine) == {"ens2": 1}
    delete(machine, A)
    assert hops_on_host(machine) == {"ens1": 3, "ens2": 5}


@pytest.mark.parametrize("first", [A, B])
def test_a_multipath_route_is_complete_when_both_nics_are_back(
    machine: Machine, first: str
) -> None:
    multipath(machine)
    pods = {A: 1, B: 2}
    for device, pod in pods.items():
        add(machine, device, pod=pod)
    for device in (first, B if first == A else A):
        delete(machine, device, pod=pods[device])
    assert hops_on_host(machine) == {"ens1": 3, "ens2": 5}


def test_a_multipath_route_is_complete_after_a_failed_add(machine: Machine) -> None:
    multipath(machine)
    pod_of(machine).refused.add("192.0.2.1/31")
    with pytest.raises((PluginFailed, KernelRefused)):
        add(machine, A)
    assert hops_on_host(machine) == {"ens1": 3, "ens2": 5}


def test_records_of_an_earlier_boot_complete_no_route(machine: Machine) -> None:
    multipath(machine)
    add(machine, A)
    machine.kernel.boot += 1
    add(machine, B, pod=2)
    (route,) = machine.disk.records()[B]["captured"]["routes"]
    assert [hop["ifname"] for hop in route["hops"]] == ["ens2"]
    machine.kernel.violations.clear()
