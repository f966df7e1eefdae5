"""Network namespaces with their netdevs, devices in sysfs, and what a record keeps of a netdev."""

import ipaddress
from collections.abc import Iterable
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.aspects.queues import folded
from amdcni.core.capture import Captured
from amdcni.core.host import (
    USERSPACE_DRIVERS,
    Address,
    Below,
    Load,
    Netdev,
    Netns,
    NetnsId,
    Nexthop,
    NexthopGroup,
    SysfsDevice,
    WayOut,
)
from amdcni.core.names import IfName, MacAddress
from amdcni.core.protection import Surroundings
from amdcni.testing.strategies.addressing import address_lists, ipv6_interfaces
from amdcni.testing.strategies.names import altnames, bus_devices, ifnames, macs
from amdcni.testing.strategies.routing import (
    ethtool_settings,
    kernel_routes,
    neighbours,
    nexthop_groups,
    nexthops,
    policy_rules,
    proxy_neighbours,
    queue_settings,
    sysctls,
)
from amdcni.testing.strategies.traffic import (
    chains,
    filters,
    inner_qdiscs,
    qdiscs,
    redirections,
    traffic_classes,
)
from amdcni.testing.strategies.values import words

ifindexes: SearchStrategy[int] = st.integers(2, 2**31 - 1)
"""Numbers of netdevs other than the loopback netdev's."""

_tokens = ipv6_interfaces.map(lambda interface: interface.ip)

_LIMITS = (
    *("gso_max_size", "gso_max_segs", "gso_ipv4_max_size"),
    *("gro_max_size", "gro_ipv4_max_size"),
)
_offload_limits = st.sampled_from([1500, 65535, 65536, 65537, 524280])

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
    **{name: st.none() | _offload_limits for name in _LIMITS},
    up=st.booleans(),
    carrier=st.booleans(),
    kind=st.none() | st.sampled_from(["veth", "dummy", "vlan", "vxlan", "ppp", "openvswitch"]),
    alias=st.none() | words,
    altnames=st.lists(words | altnames, max_size=1).map(tuple),
    parent=st.none() | bus_devices.map(str),
    token=st.none() | _tokens,
    addresses=address_lists,
)
"""Netdevs by themselves: neither below nor above another, and not the loopback netdev."""

netns_ids: SearchStrategy[NetnsId] = st.builds(
    NetnsId, st.integers(1, 9), st.integers(1, 2**32 - 1), st.none() | st.integers(1, 2**64 - 1)
)
"""What distinguishes network namespaces."""


def _loopback(protocols_reported: bool) -> Netdev:
    proto = 1 if protocols_reported else None
    own = Address(ipaddress.IPv4Interface("127.0.0.1/8"), label="lo", scope=254, proto=proto)
    return Netdev(
        1, IfName("lo"), MacAddress("00:00:00:00:00:00"), loopback=True, up=True, addresses=(own,)
    )


_relations = st.sampled_from([None, None, "lower", "master", "bound", "addressed"])
_host_paths = st.sampled_from(["/proc/self/ns/net", "/run/netns/pod1"])


def _have_no_loopback(netdevs: Iterable[Netdev]) -> bool:
    return all(netdev.ifname != "lo" for netdev in netdevs)


def _related(netdev: Netdev, relation: str | None, other: Netdev) -> Netdev:
    """The netdev with `other` above or below it; by an address only if `other` has one."""
    match relation:
        case "lower":
            return attrs.evolve(netdev, lower=other.ifindex)
        case "master":
            return attrs.evolve(netdev, master=other.ifindex)
        case "bound":
            return attrs.evolve(netdev, below=Below(links=(other.ifindex,)))
        case "addressed" if other.addresses:
            return attrs.evolve(netdev, below=Below(local=other.addresses[0].interface.ip))
        case _:
            return netdev


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
        relation = draw(_relations)
        other = distinct[draw(st.integers(0, position - 1))]
        distinct[position] = _related(netdev, relation, other)
    return Netns(draw(_host_paths), draw(netns_ids), (_loopback(draw(st.booleans())), *distinct))


def hosts_with(fewest: int, most: int) -> SearchStrategy[Netns]:
    """Namespaces such as those of `hosts`, with some netdevs other than the loopback netdev."""
    unlike = (lambda n: n.ifindex, lambda n: n.ifname.lower())
    drawn = st.lists(netdevs, min_size=fewest, max_size=most, unique_by=unlike)
    return _hosts(drawn.filter(_have_no_loopback))


hosts: SearchStrategy[Netns] = hosts_with(0, 3)
"""Network namespaces whose netdevs have distinct ifindexes and names, and rest on each other."""

_wide_prefixes = st.sampled_from(
    ["0.0.0.0/0", "0.0.0.0/0", "::/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "2000::/3"]
).map(ipaddress.ip_network)


@st.composite
def _surroundings(draw: DrawFn, drawn_hosts: SearchStrategy[Netns]) -> Surroundings:
    netdevs = draw(drawn_hosts).netdevs
    others = netdevs[1:]
    if not others:
        return Surroundings(netdevs)
    any_ifindex = st.sampled_from([netdev.ifindex for netdev in others])
    any_ifname = st.sampled_from([netdev.ifname for netdev in others])
    load = Load(
        pppoe=draw(st.frozensets(any_ifname, max_size=1)),
        rdma=draw(st.dictionaries(words, any_ifname, max_size=1)),
        tunnel_ways=draw(st.dictionaries(any_ifindex, any_ifindex, max_size=1)),
        receives_for=draw(st.dictionaries(any_ifindex, macs.map(lambda mac: (mac,)), max_size=1)),
    )
    ways = st.builds(WayOut, _wide_prefixes, any_ifindex, st.booleans())
    return Surroundings(netdevs, tuple(draw(st.lists(ways, max_size=4))), load)


surroundings: SearchStrategy[Surroundings] = _surroundings(hosts_with(0, 5))
"""Hosts whose netdevs rest on each other in all ways, with ways out of the node."""

sysfs_devices: SearchStrategy[SysfsDevice] = st.builds(
    SysfsDevice,
    bus_devices,
    st.none() | st.sampled_from(["ionic", "virtio-pci", *sorted(USERSPACE_DRIVERS)]),
    st.lists(ifnames, max_size=2, unique=True).map(tuple),
)
"""What sysfs says about a bus device."""


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
"""What a record keeps of a netdev and decisions depend on."""


def _through_itself(captured: Captured) -> Captured:
    """The first hop of every route leads through the netdev itself."""
    routes = [
        attrs.evolve(r, hops=(attrs.evolve(r.hops[0], ifname=captured.ifname), *r.hops[1:]))
        for r in captured.routes
    ]
    objects, others, groups = _sorted_out(captured)
    ids = [group.id for group in groups] + [each.id for each in objects]
    nexthop = next(iter(ids), None)
    return attrs.evolve(
        captured,
        routes=tuple(attrs.evolve(route, nexthop=nexthop) for route in routes),
        nexthops=objects,
        other_nexthops=others,
        nexthop_groups=groups,
    )


def _sorted_out(
    captured: Captured,
) -> tuple[tuple[Nexthop, ...], tuple[Nexthop, ...], tuple[NexthopGroup, ...]]:
    """A nexthop object through the netdev itself, another one, and the groups with the first."""
    objects = tuple(
        attrs.evolve(each, hop=attrs.evolve(each.hop, ifname=captured.ifname))
        for each in captured.nexthops[:1]
        if each.hop is not None
    )
    others = tuple(
        each
        for each in captured.nexthops[1:]
        if each.hop is not None and each.hop.ifname != captured.ifname
    )
    own = {each.id for each in objects}
    groups = (
        group for group in captured.nexthop_groups if own & {member.id for member in group.members}
    )
    return objects, others, tuple(groups)


whole_captures: SearchStrategy[Captured] = st.builds(
    Captured,
    **_who_it_is,
    altnames=st.none() | st.lists(words | altnames, max_size=2, unique=True).map(tuple),
    mtu=st.none() | st.integers(68, 65535),
    txqlen=st.none() | st.integers(0, 9),
    group=st.none() | st.integers(0, 9),
    flags=st.none() | st.sampled_from([0, 0x100, 0x1080]),
    **{name: st.none() | _offload_limits for name in _LIMITS},
    routes=st.lists(kernel_routes, max_size=1).map(tuple),
    nexthops=st.lists(nexthops, max_size=2, unique_by=lambda n: n.id).map(tuple),
    nexthop_groups=st.lists(nexthop_groups, max_size=1).map(tuple),
    multicast_addresses=st.lists(macs, max_size=1).map(tuple),
    neighbours=st.lists(neighbours, max_size=1).map(tuple),
    proxy_neighbours=st.lists(proxy_neighbours, max_size=1).map(tuple),
    sysctls=sysctls,
    token=st.none() | _tokens,
    qdisc=st.none() | qdiscs,
    qdiscs=st.lists(inner_qdiscs, max_size=1).map(tuple),
    classes=st.lists(traffic_classes, max_size=1).map(tuple),
    chains=st.lists(chains, max_size=1).map(tuple),
    filters=st.lists(filters, max_size=1).map(tuple),
    redirections=st.lists(redirections, max_size=1).map(tuple),
    queues=st.none() | queue_settings.map(folded),
    ethtool=ethtool_settings,
    eui64=st.booleans(),
    rules=st.lists(policy_rules, max_size=2).map(tuple),
).map(_through_itself)
"""The same with everything else that is restored."""
