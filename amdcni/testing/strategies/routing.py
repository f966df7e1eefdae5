"""What else a kernel shows of a netdev: routes, neighbours, sysctls and qdiscs."""

from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.capture import Details
from amdcni.core.host import (
    Buckets,
    Encap,
    Hop,
    IpInterface,
    Member,
    Neighbour,
    Nexthop,
    NexthopGroup,
    Qdisc,
)
from amdcni.core.host import Route as KernelRoute
from amdcni.core.names import MacAddress
from amdcni.testing.strategies.addressing import ip_addresses, ip_interfaces, ipv6_interfaces
from amdcni.testing.strategies.names import ifnames, macs

encaps: SearchStrategy[Encap] = st.builds(
    Encap, st.sampled_from([1, 2, 4, 5]), st.binary(max_size=8).map(bytes.hex)
)
"""Encapsulations that the kernel accepts as it shows them."""

hops: SearchStrategy[Hop] = st.builds(
    Hop,
    ifname=ifnames,
    via=st.none() | ip_addresses,
    weight=st.integers(1, 256),
    onlink=st.booleans(),
    encap=st.none() | encaps,
)
"""Where a route leads."""

_sysctl_names = st.sampled_from(
    [
        *("ipv4/conf/rp_filter", "ipv4/neigh/ucast_solicit", "ipv6/conf/accept_ra"),
        *("ipv6/conf/mtu", "ipv6/conf/accept_dad", "ipv6/conf/addr_gen_mode"),
        *("ipv6/conf/disable_ipv6", "ipv6/conf/stable_secret"),
    ]
)

sysctls: SearchStrategy[dict[str, int | str]] = st.dictionaries(
    _sysctl_names, st.sampled_from(["0", "1", "2", "1500"]), max_size=3
)
"""Sysctls of a netdev."""


def _kernel_route(destination: IpInterface, **attributes: Any) -> KernelRoute:
    return KernelRoute(destination.network, **attributes)


kernel_routes: SearchStrategy[KernelRoute] = st.builds(
    _kernel_route,
    ip_interfaces,
    hops=st.lists(hops, min_size=1, max_size=2, unique_by=lambda hop: hop.ifname).map(tuple),
    table=st.sampled_from([254, 255, 1000]),
    kind=st.sampled_from([1, 2]),
    protocol=st.sampled_from([1, 2, 3, 4, 9, 186]),
    scope=st.sampled_from([0, 253]),
    tos=st.sampled_from([0, 0x10]),
    metric=st.none() | st.integers(0, 2**32 - 1),
    origin=st.none() | ipv6_interfaces.map(lambda interface: interface.network),
    source=st.none() | ip_addresses,
    realm=st.none() | st.integers(1, 9),
    preference=st.none() | st.integers(0, 3),
    metrics=st.dictionaries(
        st.sampled_from(["mtu", "lock", "17"]), st.integers(0, 9000), max_size=2
    )
    | st.just({"cc_algo": "cubic"}),
    expires_s=st.none() | st.integers(1, 2**31),
)
"""Routes of a network namespace."""

_nexthop_ids = st.integers(1, 9)


def _nexthop(number: int, hop: Hop, protocol: int) -> Nexthop:
    family = 4 if hop.via is None else hop.via.version
    return Nexthop(number, attrs.evolve(hop, weight=1), family, protocol)


nexthops: SearchStrategy[Nexthop] = st.builds(
    _nexthop, _nexthop_ids, hops, st.sampled_from([0, 4, 186])
)
"""Nexthop objects, with IDs from 1 to 9."""

_members = st.lists(
    st.builds(Member, _nexthop_ids, st.integers(1, 2**16)),
    min_size=1,
    max_size=4,
    unique_by=lambda member: member.id,
).map(tuple)

nexthop_groups: SearchStrategy[NexthopGroup] = st.builds(
    NexthopGroup,
    st.integers(10, 19),
    _members,
    st.sampled_from([0, 4, 186]),
    st.none()
    | st.builds(
        Buckets, st.integers(1, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)
    ),
)
"""Groups of nexthop objects, with IDs from 10 to 19."""

_stations = st.integers(0, 255).map(lambda number: MacAddress(f"02:00:00:00:00:{number:02x}"))
_protocols = st.none() | st.integers(1, 255)

neighbours: SearchStrategy[Neighbour] = st.one_of(
    st.builds(
        Neighbour,
        ip_addresses,
        mac=st.none() | macs,
        flags=st.sampled_from([0, 0x10, 0x80]),
        protocol=_protocols,
    ),
    st.builds(
        Neighbour, ip_addresses, protocol=_protocols, state=st.just(0), managed=st.just(True)
    ),
    st.builds(
        Neighbour,
        ip_addresses,
        mac=macs,
        flags=st.sampled_from([0x10, 0x90]),
        protocol=_protocols,
        state=st.sampled_from([0x04, 0x40]),
    ),
    st.builds(Neighbour, ip_addresses, mac=_stations, state=st.just(0x40)),
)
"""Neighbours that somebody has set: permanent, managed, externally learnt, without ARP."""

proxy_neighbours: SearchStrategy[Neighbour] = st.builds(
    Neighbour,
    address=ip_addresses,
    flags=st.sampled_from([0x08, 0x88]),
    protocol=st.none() | st.integers(1, 255),
)
"""Proxy neighbours, some of them routers."""

qdiscs: SearchStrategy[Qdisc] = st.builds(
    Qdisc,
    st.sampled_from(["pfifo", "tbf", "fq_codel"]),
    st.integers(1, 0xFFFF).map(lambda major: major << 16),
    st.binary(max_size=8).map(bytes.hex),
)
"""Root qdiscs."""

details: SearchStrategy[Details] = st.builds(
    Details,
    routes=st.lists(kernel_routes, max_size=2).map(tuple),
    nexthops=st.lists(nexthops, max_size=2, unique_by=lambda n: n.id).map(tuple),
    nexthop_groups=st.lists(nexthop_groups, max_size=1).map(tuple),
    multicast_addresses=st.lists(macs, max_size=2, unique=True).map(tuple),
    neighbours=st.lists(neighbours, max_size=2, unique_by=lambda n: n.address).map(tuple),
    proxy_neighbours=st.lists(proxy_neighbours, max_size=2, unique_by=lambda n: n.address).map(
        tuple
    ),
    sysctls=sysctls,
    sysctl_defaults=sysctls,
    qdisc=st.none() | qdiscs,
)
"""What is read of the one netdev that matters."""
