"""IPv6 configuration made by the kernel is left to it only where it will make it again."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from amdcni.testing import Nic, Node, Pod, Section, dump
from amdcni.testing.strategies import MANAGEMENTS, HostConfiguration
from tests.netns.runtime import Runtime, addresses, damage, expect_silence, natively

ROUTER = Path(__file__).with_name("router.py")
IPV6 = "net/ipv6/conf/eth1"


def advertise(nic: Nic, prefix: str = "fd07::") -> None:
    """Let the peer send one router advertisement (RFC 4861 §4.2)."""
    nic.peer.output_of([sys.executable, "-I", "-S", ROUTER, prefix])


def routes_to(node: Node, destination: str) -> list[str]:
    """Return the routes that lead there, with their metrics."""
    names = dump(node).names(Section.ROUTE)
    return [name for name in names if name.startswith(f"{destination} ")]


@pytest.mark.parametrize("manager", MANAGEMENTS)
def test_a_nic_is_restored_as_a_manager_left_it(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, manager: str
) -> None:
    bare = dump(node)
    HostConfiguration((), {}, None, MANAGEMENTS[manager]).configure(node)
    before = dump(node)
    set_now = set(before.names(Section.ROUTE)) - set(bare.names(Section.ROUTE))
    assert len(set_now) >= len([c for c in MANAGEMENTS[manager].commands if "route" in c])
    runtime.added(pod)
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


DEAF: dict[str, Callable[[Node], object]] = {
    "accept_ra": lambda node: node.sysctl(f"{IPV6}/accept_ra", 0),
    "forwarding": lambda node: node.sysctl(f"{IPV6}/forwarding", 1),
    "accept_ra_pinfo": lambda node: node.sysctl(f"{IPV6}/accept_ra_pinfo", 0),
}


@natively
@pytest.mark.parametrize("deafen", DEAF.values(), ids=DEAF)
def test_what_a_router_advertised_is_restored_if_the_kernel_ignores_routers_now(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, deafen: Callable[[Node], object]
) -> None:
    advertise(nic)
    deafen(node)
    before = dump(node)
    assert [a for a in addresses(node, "eth1") if a.startswith("fd07:")] != []
    assert routes_to(node, "fd07::/64") == ["fd07::/64 dev eth1 metric 256 table main"]
    runtime.added(pod)
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
@pytest.mark.parametrize("hears", [{"accept_ra": 1}, {"accept_ra": 2, "forwarding": 1}])
def test_what_a_router_advertises_again_is_there_only_once(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, hears: dict[str, int]
) -> None:
    for name, value in hears.items():
        node.sysctl(f"{IPV6}/{name}", value)
    advertise(nic)
    before = dump(node)
    assert routes_to(node, "fd07::/64") == ["fd07::/64 dev eth1 metric 256 table main"]
    runtime.added(pod)
    expect_silence(runtime.delete(pod))
    assert routes_to(node, "fd07::/64") == []
    advertise(nic)
    assert damage(before, node) == []


LINK_LOCAL = {
    "with another addrgenmode": [
        "-6 address flush dev eth1 scope link",
        "link set eth1 addrgenmode none",
    ],
    "like the kernel's own": [
        "link set eth1 addrgenmode none",
        "-6 address flush dev eth1 scope link",
        "-6 address add fe80::ff:fe00:1/64 dev eth1 noprefixroute nodad",
        "-6 route add fe80::/64 dev eth1 proto kernel metric 1024",
    ],
    "made before addrgenmode was none": ["link set eth1 addrgenmode none"],
}


@natively
@pytest.mark.parametrize("commands", LINK_LOCAL.values(), ids=LINK_LOCAL)
def test_the_link_local_address_is_restored_as_it_was(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, commands: list[str]
) -> None:
    for command in commands:
        node.ip(command)
    before = dump(node)
    runtime.added(pod)
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


MORE = {
    "another hardware address": ["link set eth1 address 02:00:00:00:aa:bb"],
    "a route with another metric": [
        "-6 route delete fe80::/64 dev eth1",
        "-6 route add fe80::/64 dev eth1 proto kernel metric 55",
    ],
}


@natively
@pytest.mark.parametrize("commands", MORE.values(), ids=MORE)
def test_where_the_kernel_adds_something_nothing_is_lost(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, commands: list[str]
) -> None:
    for command in commands:
        node.ip(command)
    before = dump(node)
    runtime.added(pod)
    expect_silence(runtime.delete(pod))
    assert [line for line in damage(before, node) if " is new" not in line] == []
