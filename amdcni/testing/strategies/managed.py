"""Netdevs as kernels and network managers leave them, and what of that somebody has set.

They are built from what each of these does (net/ipv6/addrconf.c; systemd-networkd and
NetworkManager with a profile for IPv6 by router advertisements), and judge nothing.
"""

import ipaddress
from typing import Any, Final

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.capture import Details
from amdcni.core.host import Address, AddressFlag, Hop, IpAddress, Netdev
from amdcni.core.host import Route as KernelRoute
from amdcni.core.names import IfName, MacAddress

_MAC: Final = MacAddress("02:00:00:00:00:01")
_EUI64: Final = "ff:fe00:1"
_KERNEL, _STATIC, _RA, _REDIRECT = 2, 4, 9, 1
_PERMANENT: Final = int(AddressFlag.PERMANENT)


@attrs.frozen
class ManagedNetdev:
    """A netdev, what is read of it, and which of its addresses and routes somebody has set.

    The kernel has made the others, and makes them again.  `protocols_reported` is whether it shows
    which addresses it made.
    """

    netdev: Netdev
    details: Details
    addresses: tuple[Address, ...]
    routes: tuple[KernelRoute, ...]
    protocols_reported: bool


def _address(text: str, proto: int | None = None, **attributes: Any) -> Address:
    interface = ipaddress.ip_interface(text)
    link_local = interface.version == 6 and interface.is_link_local
    values: dict[str, Any] = {"scope": 253 if link_local else 0, "flags": _PERMANENT, **attributes}
    return Address(interface, proto=proto, **values)


def _route(destination: str, protocol: int, via: str | None = None, **values: Any) -> KernelRoute:
    router: IpAddress | None = None if via is None else ipaddress.ip_address(via)
    network = ipaddress.ip_network(destination)
    usual: dict[str, Any] = {"preference": 0} if network.version == 6 else {}
    hops = (Hop(IfName("ens1"), 7, router),)
    return KernelRoute(network, hops, protocol=protocol, **{**usual, **values})


def _delivered(addresses: list[Address]) -> list[KernelRoute]:
    """What the kernel delivers to itself."""
    local: list[KernelRoute] = [_route("ff00::/8", _KERNEL, table=255, kind=5, metric=256)]
    for address in addresses:
        to = f"{address.interface.ip}/{address.interface.max_prefixlen}"
        if address.family == 4:
            local.append(_route(to, _KERNEL, table=255, kind=2, scope=254))
        else:
            local.append(_route(to, _KERNEL, table=255, kind=2, metric=0))
    return local


_lifetimes = st.tuples(st.integers(2, 9000), st.integers(0, 9000)).map(
    lambda both: {"valid_s": max(both), "preferred_s": min(both)}
)
_seconds = st.integers(1, 9000)
_booleans = st.booleans()


@st.composite
def _set_by_hand(draw: DrawFn) -> tuple[list[Address], list[KernelRoute], list[KernelRoute]]:
    """Addresses, the routes that the kernel makes with them, and others."""
    metric = draw(st.none() | st.integers(1, 99))
    addresses, made = [_address("192.0.2.5/24", metric=metric)], []
    made.append(
        _route("192.0.2.0/24", _KERNEL, scope=253, metric=metric, source=addresses[0].interface.ip)
    )
    made.append(_route("192.0.2.255/32", _KERNEL, table=255, kind=3, scope=253))
    if draw(_booleans):
        flags = _PERMANENT | AddressFlag.SECONDARY
        addresses.append(_address("192.0.2.6/24", flags=flags))
    if draw(_booleans):
        peer = _address("10.2.0.1/24", peer=ipaddress.ip_address("10.3.0.9"))
        addresses.append(peer)
        made.append(_route("10.3.0.0/24", _KERNEL, scope=253, source=peer.interface.ip))
    if draw(_booleans):
        addresses.append(_address("2001:db8:7::5/64", metric=metric))
        made.append(_route("2001:db8:7::/64", _KERNEL, metric=metric or 256))
    if draw(_booleans):
        flags = _PERMANENT | AddressFlag.NOPREFIXROUTE
        far = ipaddress.ip_address("2001:db8:8::9")
        addresses.append(_address("2001:db8:8::5/64", peer=far, flags=flags))
        made.append(_route("2001:db8:8::9/128", _KERNEL, metric=256))
    routes = [_route("198.51.100.0/24", _STATIC, "192.0.2.1", metric=draw(st.none() | _seconds))]
    return addresses, made, routes


@st.composite
def _autoconfigured(draw: DrawFn) -> ManagedNetdev:
    """A netdev whose kernel listens to routers and does all that it can for IPv6."""
    reported = draw(_booleans)
    hears = draw(st.sampled_from([("1", "0"), ("2", "0"), ("2", "1")]))
    stable, tempaddr = draw(_booleans), draw(_booleans)
    sysctls: dict[str, int | str] = {
        "accept_ra": hears[0],
        "forwarding": hears[1],
        "accept_ra_defrtr": "1",
        "accept_ra_pinfo": "1",
        "accept_ra_rtr_pref": "1",
        "accept_ra_rt_info_min_plen": "0",
        "accept_ra_rt_info_max_plen": "64",
        "addr_gen_mode": draw(st.sampled_from(["2", "3"])) if stable else "0",
        "autoconf": "1",
        "disable_ipv6": "0",
        "ra_defrtr_metric": draw(st.sampled_from(["1024", "77"])),
        "use_tempaddr": "2" if tempaddr else "0",
    }
    own = "8f3a:1:2:3" if stable else f":{_EUI64}"
    private = AddressFlag.STABLE_PRIVACY if stable else AddressFlag(0)
    link_local, from_router = (3, 2) if reported else (None, None)
    text = "fe80::8f3a:1:2:3/64" if stable else f"fe80::{_EUI64}/64"
    made = [_address(text, link_local, flags=_PERMANENT | private)]
    routes = [_route("fe80::/64", _KERNEL, metric=256)]
    for prefix in draw(st.sampled_from([["2001:db8:0:1"], ["2001:db8:0:1", "fd00:0:0:2"]])):
        lives = draw(_lifetimes)
        flags = private | AddressFlag.MANAGETEMPADDR
        made.append(_address(f"{prefix}:{own}/64", from_router, flags=flags, **lives))
        if tempaddr:
            flags = AddressFlag.SECONDARY
            made.append(_address(f"{prefix}:b259:42a1:13e3:9714/64", flags=flags, **lives))
        if draw(_booleans):
            ends = draw(st.none() | _seconds)
            routes.append(_route(f"{prefix}::/64", _KERNEL, metric=256, expires_s=ends))
    if draw(_booleans):
        ends = draw(_seconds)
        routes.append(_route("fd00:0:0:3::/64", _KERNEL, metric=256, expires_s=ends))
    learnt: dict[str, Any] = {
        "via": draw(st.sampled_from(["fe80::1", "fe80::ff:fe00:99"])),
        "preference": draw(st.sampled_from([0, 1, 3])),
        "metrics": draw(st.sampled_from([{}, {"hoplimit": 64}, {"hoplimit": 64, "mtu": 1400}])),
    }
    metric = int(sysctls["ra_defrtr_metric"])
    routes.append(_route("::/0", _RA, metric=metric, expires_s=draw(_seconds), **learnt))
    ends = draw(st.none() | _seconds)
    routes.append(_route("2001:db8:9::/48", _RA, metric=1024, expires_s=ends, **learnt))
    return draw(_with_what_is_set(made, routes, sysctls, reported))


@st.composite
def _with_what_is_set(
    draw: DrawFn,
    made: list[Address],
    remade: list[KernelRoute],
    sysctls: dict[str, int | str],
    reported: bool,
    added: tuple[Address, ...] = (),
    routed: tuple[KernelRoute, ...] = (),
) -> ManagedNetdev:
    by_hand, with_these, others = draw(_set_by_hand())
    given = [*added, *by_hand]
    addresses = draw(st.permutations([*made, *given]))
    everything = [*remade, *with_these, *_delivered(addresses), *others, *routed]
    routes = draw(st.permutations(everything))
    netdev = Netdev(7, IfName("ens1"), mac=_MAC, up=True, addresses=tuple(addresses))
    return ManagedNetdev(
        netdev,
        Details(
            routes=tuple(routes),
            sysctls={f"ipv6/conf/{name}": value for name, value in sysctls.items()},
        ),
        tuple(address for address in addresses if address in given),
        tuple(route for route in routes if route in others or route in routed),
        reported,
    )


@st.composite
def _by_networkd(draw: DrawFn) -> ManagedNetdev:
    """The link-local address is the kernel's; systemd-networkd listens to routers."""
    reported = draw(_booleans)
    link_local = _address(f"fe80::{_EUI64}/64", 3 if reported else None)
    flags = AddressFlag.NOPREFIXROUTE | AddressFlag.MANAGETEMPADDR
    proto = draw(st.none() | st.just(2)) if reported else None
    lives = draw(_lifetimes)
    added = _address(f"2001:db8:0:1::{_EUI64}/64", proto, flags=flags, **lives)
    ends = draw(_seconds)
    routed = (
        _route("2001:db8:0:1::/64", _RA, metric=1024, expires_s=ends),
        _route("::/0", _RA, "fe80::1", metric=1024, expires_s=ends),
        _route("2001:db8:9::/48", _RA, "fe80::1", metric=1024, expires_s=ends),
        _route("2001:db8:9::9/128", _REDIRECT, "fe80::2", metric=1024, expires_s=ends),
    )
    made, routes, sysctls = [link_local], [_route("fe80::/64", _KERNEL, metric=256)], _deaf("0")
    return draw(_with_what_is_set(made, routes, sysctls, reported, (added,), routed))


@st.composite
def _by_network_manager(draw: DrawFn) -> ManagedNetdev:
    """The kernel does nothing; NetworkManager sets every route to a network as the kernel would."""
    reported = draw(_booleans)
    flags = _PERMANENT | AddressFlag.NOPREFIXROUTE
    own = draw(st.sampled_from([_EUI64, "8f3a:1:2"]))
    lives, metric = draw(_lifetimes), draw(st.integers(100, 199))
    source = ipaddress.ip_address("10.9.0.5")
    added = (
        _address(f"fe80::{own}/64", flags=flags),
        _address(f"2001:db8:0:1::{own}/64", flags=AddressFlag.NOPREFIXROUTE, **lives),
        _address("10.9.0.5/24", flags=flags),
    )
    routed = (
        _route("fe80::/64", _KERNEL, metric=draw(st.sampled_from([256, 1024]))),
        _route("2001:db8:0:1::/64", _RA, metric=metric),
        _route("::/0", _RA, "fe80::1", metric=metric),
        _route("10.9.0.0/24", _KERNEL, scope=253, metric=metric, source=source),
    )
    return draw(_with_what_is_set([], [], _deaf("1"), reported, added, routed))


def _deaf(addr_gen_mode: str) -> dict[str, int | str]:
    """The sysctls of a kernel that listens to no router."""
    return {"accept_ra": "0", "addr_gen_mode": addr_gen_mode, "disable_ipv6": "0"}


autoconfigured_netdevs: SearchStrategy[ManagedNetdev] = _autoconfigured()
"""Netdevs whose kernel listens to routers, and to which an administrator has added addresses."""

networkd_netdevs: SearchStrategy[ManagedNetdev] = _by_networkd()
"""Netdevs as systemd-networkd leaves them."""

network_manager_netdevs: SearchStrategy[ManagedNetdev] = _by_network_manager()
"""Netdevs as NetworkManager leaves them."""

managed_netdevs: SearchStrategy[ManagedNetdev] = (
    autoconfigured_netdevs | networkd_netdevs | network_manager_netdevs
)
"""Any of these."""
