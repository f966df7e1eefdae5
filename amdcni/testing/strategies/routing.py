"""What else a kernel shows of a netdev: routes, neighbours, sysctls, qdiscs and policy rules."""

import ipaddress
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.aspects.queues import folded
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
)
from amdcni.core.host import Route as KernelRoute
from amdcni.core.names import MacAddress
from amdcni.core.rules import Rule
from amdcni.testing.strategies.addressing import ip_addresses, ip_interfaces, ipv6_interfaces
from amdcni.testing.strategies.names import altnames, ifnames, macs
from amdcni.testing.strategies.traffic import (
    chains,
    filters,
    inner_qdiscs,
    qdiscs,
    redirections,
    traffic_classes,
)

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

_places = st.sampled_from(
    [
        *("gro_flush_timeout", "threaded"),
        *("rx-0/rps_cpus", "rx-1/rps_cpus", "rx-2/rps_cpus", "rx-2/rps_flow_cnt"),
        *("tx-0/xps_cpus", "tx-1/xps_cpus", "tx-0/byte_queue_limits/limit_max"),
        *("napi-0/threaded", "napi-1/threaded", "napi-1/irq_suspend_timeout"),
    ]
)

queue_settings: SearchStrategy[dict[str, str]] = st.dictionaries(
    _places, st.sampled_from(["0", "1", "f,ffffffff"]), max_size=8
)
"""Settings of queues by their places in sysfs."""

proxy_neighbours: SearchStrategy[Neighbour] = st.builds(
    Neighbour,
    address=ip_addresses,
    flags=st.sampled_from([0x08, 0x88]),
    protocol=st.none() | st.integers(1, 255),
)
"""Proxy neighbours, some of them routers."""

_values_of_rules: SearchStrategy[dict[str, int | str]] = st.fixed_dictionaries(
    {},
    optional={
        "goto": st.integers(1, 2**32 - 1),
        "fwmark": st.integers(1, 2**32 - 1),
        "fwmask": st.integers(1, 2**32 - 1),
        "flow": st.integers(1, 2**32 - 1),
        "tun_id": st.integers(1, 2**64 - 1),
        "suppress_ifgroup": st.integers(0, 99),
        "suppress_prefixlen": st.integers(0, 128),
        "l3mdev": st.just(1),
        "uid_range": st.just("1000-4294967294"),
        "protocol": st.integers(1, 255),
        "ip_proto": st.sampled_from([6, 17]),
        "sport_range": st.just("1000-65535"),
        "dport_range": st.just("443-443"),
        "dscp": st.integers(0, 63),
        "flowlabel": st.integers(0, 2**20 - 1),
    },
)


@st.composite
def _rules(draw: DrawFn) -> Rule:
    """Prefixes that begin with an address that netdevs may have, and names that they may have."""
    family = draw(st.sampled_from([4, 6]))
    bits = st.sampled_from([0, 24, 31, 32] if family == 4 else [0, 64, 127, 128])
    ends = st.sampled_from([address for address in _ENDS if address.version == family])
    networks = st.builds(lambda ip, n: ipaddress.ip_network((ip, n), strict=False), ends, bits)
    names = st.none() | ifnames | altnames
    return Rule(
        family,
        priority=draw(st.integers(0, 32767)),
        action=draw(st.sampled_from([1, 1, 2, 6, 7, 8])),
        table=draw(st.sampled_from([0, 101, 254, 70000])),
        inverted=draw(st.booleans()),
        source=draw(st.none() | networks),
        destination=draw(st.none() | networks),
        tos=draw(st.sampled_from([0, 0x10])),
        iif=draw(names),
        oif=draw(names),
        values=draw(_values_of_rules),
        detached=draw(st.sampled_from([0, 8, 16, 24])),
    )


_ENDS = tuple(map(ipaddress.ip_address, ("192.0.2.5", "10.0.0.0", "2001:db8::8", "fd00::8")))

policy_rules: SearchStrategy[Rule] = _rules()
"""Policy rules whose attributes are all known."""


def _bits(most: int) -> SearchStrategy[str]:
    return st.integers(0, most).map(hex)


def _with_features(settings: dict[str, int | str], on: int, off: int) -> dict[str, int | str]:
    return {**settings, "features/on": hex(on), "features/off": hex(off & ~on)}


_ethtool: SearchStrategy[dict[str, int | str]] = st.fixed_dictionaries(
    {},
    optional={
        "private-flags/legacy-rx": st.integers(0, 1),
        "channels/combined": st.sampled_from([1, 2, 4]),
        "rings/rx": st.sampled_from([64, 256]),
        "rings/tx-push": st.integers(0, 1),
        "coalescing/adaptive-rx": st.integers(0, 1),
        "coalescing/rx-usecs": st.sampled_from([3, 77]),
        "link/autoneg": st.integers(0, 1),
        "link/speed": st.sampled_from([100, 10000, 0xFFFFFFFF]),
        "link/duplex": st.sampled_from([0, 1, 0xFF]),
        "link/advertised": _bits(0x3F),
        "pause/autoneg": st.integers(0, 1),
        "pause/rx": st.integers(0, 1),
        "wake-on-lan/modes": _bits(0x20),
        "rss/table": st.sampled_from(["0 1 0 1", "0 0 0 0"]),
        "rss/key": st.sampled_from(["6d5a", "0000"]),
        "rss/function": st.sampled_from([1, 2, 8]),
        "hash-fields/udp4": st.sampled_from([0, 0x30, 0xF0]),
        "tunables/rx-copybreak": st.sampled_from([0, 256]),
    },
)
ethtool_settings: SearchStrategy[dict[str, int | str]] = _ethtool | st.builds(
    _with_features, _ethtool, st.integers(0, 0xFF), st.integers(0, 0xFF)
)
"""What a driver shows of its settings."""

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
    qdiscs=st.lists(inner_qdiscs, max_size=1).map(tuple),
    classes=st.lists(traffic_classes, max_size=1).map(tuple),
    chains=st.lists(chains, max_size=1).map(tuple),
    filters=st.lists(filters, max_size=1).map(tuple),
    redirections=st.lists(redirections, max_size=1).map(tuple),
    queues=st.none() | queue_settings.map(folded),
    rules=st.lists(policy_rules, max_size=2).map(tuple),
    ethtool=ethtool_settings,
)
"""What is read of the one netdev that matters."""
