"""What the kernel makes again by itself, and what only we would bring back."""

import ipaddress
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.capture import Captured, Details, capture
from amdcni.core.host import Address, AddressFlag, Hop, Netdev, Route
from amdcni.core.kernel_made import eui64_link_local, is_kernels, remakes_route
from amdcni.core.names import IfName, MacAddress
from amdcni.testing import strategies as some
from amdcni.testing.strategies import ManagedNetdev

ENS1 = IfName("ens1")
MAC = MacAddress("02:00:00:00:00:01")
KERNEL, BOOT, RA, REDIRECT = 2, 3, 9, 1
LINK_LOCAL = ipaddress.IPv6Network("fe80::/64")


def captured_of(seen: ManagedNetdev, **sysctls: str) -> Captured:
    """What is kept after some IPv6 sysctls were changed."""
    set_since = {f"ipv6/conf/{name}": value for name, value in sysctls.items()}
    details = attrs.evolve(seen.details, sysctls={**seen.details.sysctls, **set_since})
    return capture(seen.netdev, details, protocols_reported=seen.protocols_reported)


# ---- whole netdevs -----------------------------------------------------------------------------


@given(some.managed_netdevs)
def test_what_somebody_has_set_is_kept_and_what_the_kernel_makes_is_not(
    seen: ManagedNetdev,
) -> None:
    kept = captured_of(seen)
    assert kept.addresses == seen.addresses
    assert kept.routes == seen.routes


def of_routers(address: Address) -> bool:
    return bool(address.flags & AddressFlag.MANAGETEMPADDR)


def private(address: Address) -> bool:
    return address.family == 6 and bool(address.flags & AddressFlag.SECONDARY)


def link_local(address: Address) -> bool:
    return address.interface.network == LINK_LOCAL


def default(route: Route) -> bool:
    return route.protocol == RA and not route.destination.prefixlen


def route_information(route: Route) -> bool:
    return route.protocol == RA and bool(route.destination.prefixlen)


def on_link(route: Route) -> bool:
    return route.destination == ipaddress.ip_network("fd00:0:0:3::/64")


def none(_: object) -> bool:
    return False


SWITCHES: dict[str, tuple[dict[str, str], Any, Any]] = {
    "accept_ra": (
        {"accept_ra": "0"},
        of_routers,
        lambda r: default(r) or route_information(r) or on_link(r),
    ),
    "forwarding": (
        {"accept_ra": "1", "forwarding": "1"},
        of_routers,
        lambda r: default(r) or route_information(r) or on_link(r),
    ),
    "prefixes": ({"accept_ra_pinfo": "0"}, of_routers, on_link),
    "addresses": ({"autoconf": "0"}, of_routers, none),
    "privacy": ({"use_tempaddr": "0"}, private, none),
    "no privacy": ({"use_tempaddr": "-1"}, private, none),
    "default routers": ({"accept_ra_defrtr": "0"}, none, default),
    "their metric": ({"ra_defrtr_metric": "78"}, none, default),
    "routes": ({"accept_ra_rtr_pref": "0"}, none, route_information),
    "short ones": ({"accept_ra_rt_info_min_plen": "49"}, none, route_information),
    "long ones": ({"accept_ra_rt_info_max_plen": "47"}, none, route_information),
    "generation": ({"addr_gen_mode": "1"}, link_local, none),
}
"""What was switched off since a router was heard, and what then does not come back."""


@pytest.mark.parametrize(("sysctls", "of_addresses", "of_routes"), SWITCHES.values(), ids=SWITCHES)
@given(seen=some.autoconfigured_netdevs)
def test_what_the_kernel_would_no_longer_make_is_kept_once_it_is_switched_off(
    seen: ManagedNetdev, sysctls: dict[str, str], of_addresses: Any, of_routes: Any
) -> None:
    before, kept = captured_of(seen), captured_of(seen, **sysctls)
    assert {a for a in seen.netdev.addresses if of_addresses(a)} | {*before.addresses} == {
        *kept.addresses
    }
    due = [r for r in seen.details.routes if of_routes(r) or r in before.routes]
    with_addresses = [a.interface.network for a in kept.addresses]
    extra = [route for route in kept.routes if route not in due]
    assert [route for route in due if route not in kept.routes] == []
    # The route of a prefix comes with an address in it, from a router or set by us; but one that
    # came from a router alone is kept if the router is no longer heard.
    assert all(r.protocol == KERNEL and r.destination not in with_addresses for r in extra)


@given(some.autoconfigured_netdevs)
def test_if_ipv6_was_disabled_since_its_addresses_and_router_routes_are_kept(
    seen: ManagedNetdev,
) -> None:
    kept = captured_of(seen, disable_ipv6="1")
    assert {a for a in seen.netdev.addresses if not private(a)} <= {*kept.addresses}
    assert all(route in kept.routes for route in seen.details.routes if route.protocol == RA)


@given(some.autoconfigured_netdevs, st.sampled_from(["0", "2", "3"]))
def test_a_link_local_address_of_another_generation_is_kept(seen: ManagedNetdev, mode: str) -> None:
    (own,) = [address for address in seen.netdev.addresses if link_local(address)]
    stable = bool(own.flags & AddressFlag.STABLE_PRIVACY)
    assert (own in captured_of(seen, addr_gen_mode=mode).addresses) == (stable == (mode == "0"))


def test_a_link_local_address_of_an_earlier_hardware_address_is_kept() -> None:
    own = Address(ipaddress.ip_interface("fe80::ff:fe00:1/64"), scope=253, proto=3)
    for mac, kept in ((MAC, ()), (MacAddress("02:00:00:00:00:02"), (own,))):
        seen = Netdev(7, ENS1, mac=mac, addresses=(own,))
        assert capture(seen, Details(), protocols_reported=True).addresses == kept


@pytest.mark.parametrize("reported", [True, False])
@pytest.mark.parametrize(
    ("other", "kept"),
    [
        ("fe80::1/64", True),
        ("fe80:0:0:1::1/64", True),
        ("fd00::1/64", False),
        ("169.254.0.1/16", False),
    ],
)
def test_beside_a_link_local_address_that_somebody_has_set_the_kernels_own_is_kept_too(
    other: str, kept: bool, reported: bool
) -> None:
    own = Address(
        ipaddress.ip_interface("fe80::ff:fe00:1/64"), scope=253, proto=3 if reported else None
    )
    by_hand = Address(ipaddress.ip_interface(other))
    for listed in ((own, by_hand), (by_hand, own)):
        seen = Netdev(7, ENS1, mac=MAC, addresses=listed)
        found = capture(seen, Details(), protocols_reported=reported).addresses
        assert found == (listed if kept else (by_hand,))


def test_beside_others_the_link_local_address_that_nobody_can_set_is_left_to_the_kernel() -> None:
    stable = Address(
        ipaddress.ip_interface("fe80::8f3a:1:2:3/64"), flags=AddressFlag.STABLE_PRIVACY, proto=3
    )
    by_hand = Address(ipaddress.ip_interface("fe80::1/64"))
    seen = Netdev(7, ENS1, mac=MAC, addresses=(stable, by_hand))
    details = Details(sysctls={"ipv6/conf/addr_gen_mode": "3"})
    assert capture(seen, details, protocols_reported=True).addresses == (by_hand,)


@pytest.mark.parametrize(
    ("address", "proto", "flags", "eui64"),
    [
        ("fe80::ff:fe00:1/64", 3, 0, True),
        ("fe80::ff:fe00:1/64", None, 0, False),
        ("fe80::ff:fe00:1/64", None, AddressFlag.NOPREFIXROUTE, False),
        ("fe80::5/64", 3, 0, False),
        ("2001:db8::ff:fe00:1/64", 2, 0, False),
        ("169.254.0.1/16", None, 0, False),
    ],
)
def test_a_capture_notes_if_the_kernel_made_a_link_local_address_from_the_mac(
    address: str, proto: int | None, flags: int, eui64: bool
) -> None:
    own = Address(ipaddress.ip_interface(address), proto=proto, flags=flags)
    seen = Netdev(2, ENS1, mac=MAC, addresses=(own,))
    assert capture(seen, Details(), protocols_reported=True).eui64 == eui64


# ---- one route ---------------------------------------------------------------------------------


def to(destination: str, *hops: Hop, **attributes: Any) -> Route:
    values: dict[str, Any] = {
        "destination": ipaddress.ip_network(destination),
        "hops": hops or (Hop(ENS1),),
        **attributes,
    }
    return Route(**values)


def having(*words: str, flags: int = 0, **attributes: Any) -> list[Address]:
    plain = [Address(ipaddress.ip_interface(word), flags=flags) for word in words]
    return [attrs.evolve(address, **attributes) for address in plain]


def ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)


def remade(
    route: Route, addresses: list[Address] | tuple[Address, ...] = (), **sysctl: str
) -> bool:
    netdev = Netdev(7, ENS1, mac=MAC, addresses=tuple(addresses))
    return remakes_route(route, netdev, {f"ipv6/conf/{k}": v for k, v in sysctl.items()}, ())


OTHERWISE: dict[str, Any] = {
    "hops": (Hop(ENS1, via=ip("fe80::2")), Hop(IfName("ens2"), via=ip("fe80::2"))),
    "table": 1000,
    "kind": 7,
    "protocol": BOOT,
    "scope": 200,
    "tos": 4,
    "metric": 55,
    "origin": ipaddress.ip_network("2001:db8::/32"),
    "source": ip("2001:db8:7::6"),
    "realm": 3,
    "metrics": {"initcwnd": 20},
    "nexthop": 7,
}
"""Another value for each attribute of a route that distinguishes it from the kernel's own."""


def test_every_attribute_of_a_route_is_tested_with_another_value() -> None:
    left = {"destination", "preference", "expires_s"}
    assert {field.name for field in attrs.fields(Route)} == {*OTHERWISE} | left


@pytest.mark.parametrize(("reported", "is_kept"), [(True, False), (False, True)])
def test_the_route_of_an_address_comes_with_it_unless_a_router_may_have_given_it(
    reported: bool, is_kept: bool
) -> None:
    """Without protocols, an address with a lifetime and the form of SLAAC may be a router's."""
    (own,) = having("2001:db8::ff:fe00:1/64", valid_s=60, preferred_s=60, metric=100)
    route = to("2001:db8::/64", protocol=2, metric=100)
    seen = Netdev(7, ENS1, mac=MAC, addresses=(own,))
    kept = capture(seen, Details(routes=(route,)), protocols_reported=reported)
    assert kept.routes == ((route,) if is_kept else ())


@pytest.mark.parametrize("name", OTHERWISE)
@given(seen=some.autoconfigured_netdevs, data=st.data())
def test_a_route_that_differs_from_the_kernels_in_one_attribute_is_kept(
    name: str, seen: ManagedNetdev, data: st.DataObject
) -> None:
    made = [r for r in seen.details.routes if r not in seen.routes and r.table == 254]
    route = data.draw(st.sampled_from(made))
    other = attrs.evolve(route, **{name: OTHERWISE[name]})
    details = attrs.evolve(seen.details, routes=(*seen.details.routes, other))
    kept = captured_of(attrs.evolve(seen, details=details))
    assert kept.routes == (*seen.routes, other)


@given(some.autoconfigured_netdevs, st.data())
def test_a_connected_route_with_a_preference_is_not_the_kernels(
    seen: ManagedNetdev, data: st.DataObject
) -> None:
    made = [r for r in seen.details.routes if r.family == 6 and r.protocol == KERNEL]
    route = data.draw(st.sampled_from([r for r in made if r.table == 254]))
    preferred = attrs.evolve(route, preference=1)
    details = attrs.evolve(seen.details, routes=(preferred,))
    assert captured_of(attrs.evolve(seen, details=details)).routes == (preferred,)


@given(some.kernel_routes, some.address_lists)
def test_a_route_with_any_other_protocol_is_kept(
    route: Route, addresses: tuple[Address, ...]
) -> None:
    for protocol in (BOOT, REDIRECT, 4, 186):
        assert not remade(attrs.evolve(route, protocol=protocol), addresses)


@pytest.mark.parametrize(
    ("route", "addresses", "made"),
    [
        (to("10.0.0.0/24"), having("10.0.0.5/24"), True),
        (to("10.0.0.0/24"), having("10.0.0.6/24", "10.0.0.5/24"), True),
        (to("10.0.0.0/24"), having("10.0.0.6/24"), False),
        (to("10.0.0.0/24"), having("10.0.0.5/25"), False),
        (to("10.0.0.0/24"), [], False),
        (to("10.0.0.0/24"), having("10.0.0.5/24", flags=AddressFlag.NOPREFIXROUTE), False),
        (to("10.0.0.0/24"), having("10.0.0.5/24", flags=AddressFlag.SECONDARY), False),
        (to("10.0.0.0/24", metric=100), having("10.0.0.5/24"), False),
        (to("10.0.0.0/24", metric=100), having("10.0.0.5/24", metric=100), True),
        (to("10.9.0.0/24"), having("10.0.0.5/24", peer=ip("10.9.0.1")), True),
        (to("10.0.0.0/24"), having("10.0.0.5/24", peer=ip("10.9.0.1")), False),
        (to("10.9.0.1/32"), having("10.0.0.5/32", peer=ip("10.9.0.1")), True),
        (to("10.9.0.1/32"), having("10.0.0.5/24", peer=ip("10.9.0.1")), False),
        (to("10.0.0.5/32"), having("10.0.0.5/32"), False),
    ],
)
def test_an_ipv4_route_with_the_kernels_protocol_is_its_own_if_an_address_yields_it(
    route: Route, addresses: list[Address], made: bool
) -> None:
    """net/ipv4/fib_frontend.c, fib_add_ifaddr; tried on Linux 6.18."""
    full = attrs.evolve(route, protocol=KERNEL, scope=253, source=ip("10.0.0.5"))
    assert remade(full, addresses) == made


@pytest.mark.parametrize(
    ("route", "addresses", "made"),
    [
        (to("fd09::1/128", metric=256), having("fd00::1/64", peer=ip("fd09::1")), True),
        (to("fd09::1/128", metric=7), having("fd00::1/64", peer=ip("fd09::1")), False),
        (to("fd09::1/128", metric=7), having("fd00::1/64", peer=ip("fd09::1"), metric=7), True),
        (
            to("fd09::1/128", metric=256),
            having("fd00::1/64", peer=ip("fd09::1"), flags=AddressFlag.NOPREFIXROUTE),
            True,
        ),
        (to("fd09::2/128", metric=256), having("fd00::1/64", peer=ip("fd09::1")), False),
        (to("fd00::/64", metric=256), having("fd00::1/64", peer=ip("fd09::1")), True),
        (to("fd09::/64", metric=256), having("fd00::1/64", peer=ip("fd09::1")), False),
        (to("fd00::/64", metric=256), having("fd00::5/64"), True),
        (to("fd00::5/128", metric=256), having("fd00::5/128"), True),
        (to("fd00::/64", metric=1024), having("fd00::5/64"), False),
        (to("fd00::/64", metric=7), having("fd00::5/64", metric=7), True),
        (to("fd00::/64", metric=256, expires_s=9), having("fd00::5/64"), True),
        (to("fe80::/64", metric=256), [], False),
        (to("fe80::/64", metric=256), having("fe80::5/64"), True),
        (to("fe80::/64", metric=1024), having("fe80::5/64"), False),
        (
            to("fe80::/64", metric=256),
            having("fe80::5/64", flags=AddressFlag.NOPREFIXROUTE),
            False,
        ),
    ],
)
def test_an_ipv6_route_with_the_kernels_protocol_is_its_own_if_an_address_yields_it(
    route: Route, addresses: list[Address], made: bool
) -> None:
    """net/ipv6/addrconf.c, inet6_addr_add and __ipv6_ifa_notify; tried on Linux 6.18."""
    assert remade(attrs.evolve(route, protocol=KERNEL), addresses, accept_ra="0") == made


def test_without_an_address_only_an_expiring_on_link_prefix_is_the_kernels() -> None:
    """A router may have announced it, or somebody may have set it: what may be lost is kept."""
    ends = to("fd00::/64", metric=256, protocol=KERNEL, expires_s=9)
    assert remade(ends)
    assert not remade(attrs.evolve(ends, expires_s=None))
    assert not remade(attrs.evolve(ends, protocol=BOOT))
    fourth = to("10.0.0.0/24", metric=256, protocol=KERNEL, expires_s=9)
    assert not remade(fourth)


@pytest.mark.parametrize(("address", "made"), [("fd00::5/64", True), ("fd01::5/64", False)])
def test_a_prefix_announced_forever_is_known_by_the_address_that_came_with_it(
    address: str, made: bool
) -> None:
    route = to("fd00::/64", metric=256, protocol=KERNEL)
    announced = having(address)
    netdev = Netdev(7, ENS1, addresses=tuple(announced))
    assert remakes_route(route, netdev, {}, announced) == made


ROUTER = Hop(ENS1, via=ip("fe80::1"))


@pytest.mark.parametrize(
    ("route", "made"),
    [
        (to("::/0", ROUTER, metric=1024, expires_s=9), True),
        (to("::/0", ROUTER, metric=1024), False),
        (to("::/0", Hop(ENS1), metric=1024, expires_s=9), False),
        (to("::/0", Hop(ENS1, via=ip("fd00::1")), metric=1024, expires_s=9), False),
        (to("::/0", ROUTER, metric=100, expires_s=9), False),
        (to("fd00::/48", ROUTER, metric=1024), True),
        (to("fd00::/48", ROUTER, metric=100), False),
        (to("fd00::/65", ROUTER, metric=1024), False),
        (to("fd00::/48", ROUTER, metric=1024, metrics={"hoplimit": 1, "mtu": 1400}), True),
        (to("fd00::/48", ROUTER, metric=1024, metrics={"advmss": 1400}), False),
    ],
)
def test_a_route_from_a_router_is_the_kernels_if_it_accepts_such_routes(
    route: Route, made: bool
) -> None:
    route = attrs.evolve(route, protocol=RA)
    assert remade(route, accept_ra_rt_info_max_plen="64") == made
    assert not remade(route, accept_ra="0", accept_ra_rt_info_max_plen="64")


@pytest.mark.parametrize(
    ("shortest", "longest", "made"),
    [(48, 48, True), (47, 48, True), (48, 49, True), (49, 64, False), (0, 47, False)],
)
def test_a_router_may_announce_routes_of_the_shortest_to_the_longest_accepted_length(
    shortest: int, longest: int, made: bool
) -> None:
    route = to("fd00::/48", ROUTER, metric=1024, protocol=RA)
    assert made == remade(
        route,
        accept_ra_rt_info_min_plen=str(shortest),
        accept_ra_rt_info_max_plen=str(longest),
    )


LOCAL, BROADCAST, ANYCAST, MULTICAST = 2, 3, 4, 5


@pytest.mark.parametrize(
    ("route", "made"),
    [
        (to("10.0.0.5/32", kind=LOCAL), True),
        (to("10.0.0.6/32", kind=LOCAL), False),
        (to("10.0.0.0/24", kind=LOCAL), False),
        (to("fd00::5/128", kind=LOCAL), True),
        (to("fd00::6/128", kind=LOCAL), False),
        (to("10.0.0.77/32", kind=BROADCAST), True),
        (to("10.0.0.255/32", kind=BROADCAST), True),
        (to("10.0.0.0/32", kind=BROADCAST), True),
        (to("10.0.0.66/32", kind=BROADCAST), False),
        (to("10.9.0.255/32", kind=BROADCAST), True),
        (to("fd00::/128", kind=ANYCAST), True),
        (to("10.0.0.9/32", kind=ANYCAST), False),
        (to("ff00::/8", kind=MULTICAST), True),
        (to("ff00::/8", kind=1), True),
        (to("ff05::/16", kind=MULTICAST), False),
        (to("10.0.0.9/32", kind=1), False),
    ],
)
def test_routes_in_the_local_table_come_with_the_addresses(route: Route, made: bool) -> None:
    addresses = [
        *having("10.0.0.5/24", broadcast=ip("10.0.0.77")),
        *having("10.2.0.1/24", peer=ip("10.9.0.1")),
        *having("fd00::5/64"),
    ]
    local = attrs.evolve(route, protocol=KERNEL, table=255)
    assert remade(local, addresses) == made
    assert not remade(attrs.evolve(local, table=100), addresses)


# ---- one address -------------------------------------------------------------------------------


def interface_id(mac: str) -> str:
    """RFC 4291, appendix A: "insert two octets, with hexadecimal values of 0xFF and 0xFE, in the
    middle of the 48-bit MAC (between the company_id and vendor-supplied id)", and "inverting the
    universal/local bit".
    """
    first, *rest = mac.split(":")
    inverted = "%02x" % (int(first, 16) ^ 0b10)
    one, two, three, four, five = rest
    return f"{inverted}{one}:{two}ff:fe{three}:{four}{five}"


@given(some.ipv4_addresses, st.none() | some.macs, st.booleans(), st.integers(0, 255))
def test_no_ipv4_address_is_made_by_the_kernel(
    address: Address, mac: MacAddress | None, reported: bool, proto: int
) -> None:
    shown = attrs.evolve(address, proto=proto)
    assert not is_kernels(shown, mac, protocols_reported=reported)


@given(some.ipv6_interfaces, some.macs.filter(lambda mac: len(mac) > 17) | st.none())
def test_without_a_48_bit_mac_no_address_counts_as_slaac(
    interface: ipaddress.IPv6Interface, mac: MacAddress | None
) -> None:
    for valid_s in (None, 100):
        plain = Address(interface, valid_s=valid_s, preferred_s=valid_s)
        assert not is_kernels(plain, mac, protocols_reported=False)


@pytest.mark.parametrize(
    ("mac", "address"),
    [
        ("34:56:78:9a:bc:de", "fe80::3656:78ff:fe9a:bcde"),
        ("00:00:00:00:00:00", "fe80::200:ff:fe00:0"),
        ("02:00:5e:00:53:01", "fe80::5eff:fe00:5301"),
    ],
)
def test_a_mac_yields_the_link_local_address_of_rfc_4291(mac: str, address: str) -> None:
    assert eui64_link_local(MacAddress(mac)) == ipaddress.IPv6Address(address)


@given(some.macs)
def test_only_a_mac_of_48_bits_yields_a_link_local_address(mac: MacAddress) -> None:
    address = eui64_link_local(mac)
    if len(mac) != len("02:00:00:00:00:01"):
        assert address is None
    else:
        assert address == ipaddress.IPv6Address(f"fe80::{interface_id(mac)}")


@pytest.mark.parametrize("protocols_reported", [True, False])
def test_the_parent_of_privacy_addresses_is_made_from_a_router_advertisement(
    protocols_reported: bool,
) -> None:
    """If the kernel does not report who made it, MANAGETEMPADDR shows it, whatever its form."""
    mac = MacAddress("02:00:00:00:00:01")
    parent = Address(
        ipaddress.ip_interface("2001:db8::7/64"),
        flags=AddressFlag.MANAGETEMPADDR,
        proto=2 if protocols_reported else None,
        valid_s=60,
        preferred_s=60,
    )
    assert is_kernels(parent, mac, protocols_reported=protocols_reported)
    by_hand = attrs.evolve(parent, flags=AddressFlag(0), proto=None)
    assert not is_kernels(by_hand, mac, protocols_reported=protocols_reported)


def test_without_protocols_only_the_eui64_link_local_address_is_the_kernels() -> None:
    mac = MacAddress("02:00:00:00:00:01")
    for text, made in (("fe80::ff:fe00:1/64", True), ("fe80::1/64", False)):
        address = Address(ipaddress.ip_interface(text), scope=253)
        assert is_kernels(address, mac, protocols_reported=False) is made
