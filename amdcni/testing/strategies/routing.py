"""What else a kernel shows of a netdev: routes, neighbours, sysctls and qdiscs."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.capture import Details
from amdcni.core.host import Hop, IpInterface, Neighbour
from amdcni.core.host import Route as KernelRoute
from amdcni.testing.strategies.addressing import ip_addresses, ip_interfaces, ipv6_interfaces
from amdcni.testing.strategies.names import ifnames, macs
from amdcni.testing.strategies.traffic import (
    chains,
    filters,
    inner_qdiscs,
    qdiscs,
    redirections,
    traffic_classes,
)

hops: SearchStrategy[Hop] = st.builds(
    Hop,
    ifname=ifnames,
    via=st.none() | ip_addresses,
    weight=st.integers(1, 256),
    onlink=st.booleans(),
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
    metrics=st.dictionaries(st.sampled_from(["mtu", "lock"]), st.integers(0, 9000), max_size=2)
    | st.just({"cc_algo": "cubic"}),
    expires_s=st.none() | st.integers(1, 2**31),
)
"""Routes of a network namespace."""

neighbours: SearchStrategy[Neighbour] = st.builds(
    Neighbour,
    ip_addresses,
    mac=st.none() | macs,
    flags=st.sampled_from([0, 0x80]),
    protocol=st.none() | st.integers(1, 255),
)
"""Permanent neighbours."""

proxy_neighbours: SearchStrategy[Neighbour] = st.builds(
    Neighbour,
    address=ip_addresses,
    flags=st.sampled_from([0x08, 0x88]),
    protocol=st.none() | st.integers(1, 255),
)
"""Proxy neighbours, some of them routers."""

details: SearchStrategy[Details] = st.builds(
    Details,
    routes=st.lists(kernel_routes, max_size=2).map(tuple),
    neighbours=st.lists(neighbours, max_size=2, unique_by=lambda n: n.address).map(tuple),
    proxy_neighbours=st.lists(proxy_neighbours, max_size=2, unique_by=lambda n: n.address).map(
        tuple
    ),
    sysctls=sysctls,
    sysctl_defaults=sysctls,
    qdisc=st.none() | qdiscs,
    qdiscs=st.lists(inner_qdiscs, max_size=1).map(tuple),
    classes=st.lists(traffic_classes, max_size=1).map(tuple),
    chains=st.lists(chains, max_size=1).map(tuple),
    filters=st.lists(filters, max_size=1).map(tuple),
    redirections=st.lists(redirections, max_size=1).map(tuple),
)
"""What is read of the one netdev that matters."""
