"""Network namespaces with their netdevs, devices in sysfs, and what a record keeps of a netdev."""

import ipaddress
from collections.abc import Iterable
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.capture import Captured
from amdcni.core.host import USERSPACE_DRIVERS, Address, Netdev, Netns, NetnsId, SysfsDevice
from amdcni.core.names import IfName, MacAddress
from amdcni.testing.strategies.addressing import address_lists, ipv6_interfaces
from amdcni.testing.strategies.names import altnames, bus_devices, ifnames, macs
from amdcni.testing.strategies.routing import kernel_routes, neighbours, qdiscs, sysctls
from amdcni.testing.strategies.values import words

ifindexes: SearchStrategy[int] = st.integers(2, 2**31 - 1)
"""Numbers of netdevs other than the loopback netdev's."""

_tokens = ipv6_interfaces.map(lambda interface: interface.ip)

netdevs: SearchStrategy[Netdev] = st.builds(
    Netdev,
    ifindex=ifindexes,
    ifname=ifnames,
    mac=st.none() | macs,
    permanent_mac=st.none() | macs,
    mtu=st.integers(68, 65535),
    txqlen=st.integers(0, 9),
    group=st.integers(0, 9),
    flags=st.sampled_from([0, 0x100, 0x1080]),
    up=st.booleans(),
    carrier=st.booleans(),
    kind=st.none() | st.sampled_from(["veth", "dummy", "vlan"]),
    alias=st.none() | words,
    altnames=st.lists(words | altnames, max_size=1).map(tuple),
    parent=st.none() | bus_devices.map(str),
    token=st.none() | _tokens,
    addresses=address_lists,
)
"""Netdevs of their own: neither below nor above another, and not the loopback netdev."""

netns_ids: SearchStrategy[NetnsId] = st.builds(
    NetnsId, st.integers(1, 9), st.integers(1, 2**32 - 1), st.none() | st.integers(1, 2**64 - 1)
)
"""What network namespaces are told apart by."""


def _loopback(protocols_reported: bool) -> Netdev:
    proto = 1 if protocols_reported else None
    own = Address(ipaddress.IPv4Interface("127.0.0.1/8"), label="lo", scope=254, proto=proto)
    return Netdev(
        1, IfName("lo"), MacAddress("00:00:00:00:00:00"), loopback=True, up=True, addresses=(own,)
    )


_relations = st.sampled_from([(0, 0), (0, 0), (1, 0), (0, 1)])
_host_paths = st.sampled_from(["/proc/self/ns/net", "/run/netns/pod1"])


def _have_no_loopback(netdevs: Iterable[Netdev]) -> bool:
    return all(netdev.ifname != "lo" for netdev in netdevs)


@st.composite
def _hosts(draw: DrawFn, unlike_netdevs: SearchStrategy[list[Netdev]]) -> Netns:
    drawn = draw(unlike_netdevs)
    names = {"lo"} | {netdev.ifname for netdev in drawn}
    distinct = []
    for netdev in drawn:
        altnames = tuple(name for name in netdev.altnames if name not in names)
        names.update(altnames)
        distinct.append(attrs.evolve(netdev, altnames=altnames))
    for position, netdev in enumerate(distinct[1:], 1):
        lower, master = draw(_relations)
        other = distinct[draw(st.integers(0, position - 1))].ifindex
        distinct[position] = attrs.evolve(
            netdev, lower=other if lower else None, master=other if master else None
        )
    return Netns(draw(_host_paths), draw(netns_ids), (_loopback(draw(st.booleans())), *distinct))


def hosts_with(fewest: int, most: int) -> SearchStrategy[Netns]:
    """Such namespaces as `hosts`, with some netdevs besides the loopback netdev."""
    unlike = (lambda n: n.ifindex, lambda n: n.ifname.lower())
    drawn = st.lists(netdevs, min_size=fewest, max_size=most, unique_by=unlike)
    return _hosts(drawn.filter(_have_no_loopback))


hosts: SearchStrategy[Netns] = hosts_with(0, 3)
"""Network namespaces whose netdevs have ifindexes and names of their own and hang together."""

sysfs_devices: SearchStrategy[SysfsDevice] = st.builds(
    SysfsDevice,
    bus_devices,
    st.none() | st.sampled_from(["ionic", "virtio-pci", *sorted(USERSPACE_DRIVERS)]),
    st.lists(ifnames, max_size=2, unique=True).map(tuple),
)
"""What sysfs says of a bus device."""


_kinds = st.none() | st.sampled_from(["veth", "vlan", "tun", "can"])

_who_it_is: dict[str, SearchStrategy[Any]] = {
    "ifname": ifnames,
    "ifindex": ifindexes,
    "mac": st.none() | macs,
    "permanent_mac": st.none() | macs,
    "parent": st.none() | bus_devices.map(str),
    "kind": _kinds,
    "link_type": st.none() | st.sampled_from([1, 32, 65534]),
    "port_name": st.none() | st.sampled_from(["p0", "pf0vf1"]),
    "port_id": st.none() | st.just("0102"),
    "up": st.booleans(),
    "carrier": st.booleans(),
    "alias": st.none() | words,
    "addresses": address_lists,
}

captures: SearchStrategy[Captured] = st.builds(Captured, **_who_it_is)
"""What a record keeps of a netdev: what decisions are made by."""


def _through_itself(captured: Captured) -> Captured:
    """The first hop of every route leads through the netdev itself."""
    routes = [
        attrs.evolve(r, hops=(attrs.evolve(r.hops[0], ifname=captured.ifname), *r.hops[1:]))
        for r in captured.routes
    ]
    return attrs.evolve(captured, routes=tuple(routes))


whole_captures: SearchStrategy[Captured] = st.builds(
    Captured,
    **_who_it_is,
    altnames=st.none() | st.lists(words | altnames, max_size=2, unique=True).map(tuple),
    mtu=st.none() | st.integers(68, 65535),
    txqlen=st.none() | st.integers(0, 9),
    group=st.none() | st.integers(0, 9),
    flags=st.none() | st.sampled_from([0, 0x100, 0x1080]),
    routes=st.lists(kernel_routes, max_size=1).map(tuple),
    neighbours=st.lists(neighbours, max_size=1).map(tuple),
    sysctls=sysctls,
    token=st.none() | _tokens,
    qdisc=st.none() | qdiscs,
    eui64=st.booleans(),
).map(_through_itself)
"""The same with everything else that is given back."""
