"""IP addresses, and addresses of netdevs with all that the kernel shows of them."""

import ipaddress
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.host import Address, IpAddress, IpInterface
from amdcni.testing.strategies.values import words

_ipv4_addresses: SearchStrategy[ipaddress.IPv4Address] = st.integers(0, 2**32 - 1).map(
    ipaddress.IPv4Address
) | st.sampled_from(["10.0.0.1", "10.0.0.255", "127.0.0.1", "169.254.1.1", "224.0.0.1"]).map(
    ipaddress.IPv4Address
)
_ipv6_addresses: SearchStrategy[ipaddress.IPv6Address] = st.integers(0, 2**128 - 1).map(
    ipaddress.IPv6Address
) | st.sampled_from(["2001:db8::1", "::1", "fe80::1", "fe80::ff:fe00:1", "ff02::1", "fd00::f"]).map(
    ipaddress.IPv6Address
)

ipv4_interfaces: SearchStrategy[ipaddress.IPv4Interface] = st.builds(
    lambda ip, length: ipaddress.IPv4Interface((ip, length)),
    _ipv4_addresses,
    st.sampled_from([24, 31, 32, *range(33)]),
)
"""IPv4 addresses with a prefix length."""

ipv6_interfaces: SearchStrategy[ipaddress.IPv6Interface] = st.builds(
    lambda ip, length: ipaddress.IPv6Interface((ip, length)),
    _ipv6_addresses,
    st.sampled_from([64, 127, 128, 64, 127, 128, *range(129)]),
)
"""IPv6 addresses with a prefix length; many are link-local."""

ip_interfaces: SearchStrategy[IpInterface] = ipv4_interfaces | ipv6_interfaces
"""IP addresses with a prefix length."""

ip_addresses: SearchStrategy[IpAddress] = _ipv4_addresses | _ipv6_addresses
"""IP addresses without one."""


def ip_addresses_in(family: Literal[4, 6]) -> SearchStrategy[IpAddress]:
    """IP addresses of IPv4 or of IPv6."""
    return _ipv4_addresses if family == 4 else _ipv6_addresses


_flags = st.integers(0, 0xFFF)
_seconds = st.integers(0, 2**32 - 2)

lifetimes: SearchStrategy[tuple[int | None, int | None]] = st.builds(
    lambda kind, one, other: {
        "permanent": (None, None),
        "deprecated": (None, one),
        "finite": (max(one, other), min(one, other)),
    }[kind],
    st.sampled_from(["permanent", "deprecated", "finite"]),
    _seconds,
    _seconds,
)
"""Valid and preferred lifetimes: an address is never preferred for longer than it is valid."""


def _address(both: tuple[int | None, int | None], **attributes: Any) -> Address:
    return Address(valid_s=both[0], preferred_s=both[1], **attributes)


ipv4_addresses: SearchStrategy[Address] = st.builds(
    _address,
    lifetimes,
    interface=ipv4_interfaces,
    peer=st.none() | _ipv4_addresses,
    broadcast=st.none() | _ipv4_addresses,
    label=st.none() | words,
    scope=st.sampled_from([0, 200, 253, 254]),
    flags=_flags,
    metric=st.none() | st.integers(1, 2**32 - 1),
    proto=st.none() | st.integers(4, 255),
)
"""IPv4 addresses of a netdev, with every attribute."""

ipv6_addresses: SearchStrategy[Address] = st.builds(
    _address,
    lifetimes,
    interface=ipv6_interfaces,
    peer=st.none() | _ipv6_addresses,
    scope=st.sampled_from([0, 200, 253, 254]),
    flags=_flags,
    metric=st.none() | st.integers(1, 2**32 - 1),
    proto=st.none() | st.integers(1, 255),
)
"""IPv6 addresses of a netdev; some are made by the kernel, and some of these show it (`proto`)."""

addresses: SearchStrategy[Address] = ipv4_addresses | ipv6_addresses
"""Addresses of a netdev."""

address_lists: SearchStrategy[tuple[Address, ...]] = st.lists(
    addresses, max_size=2, unique_by=lambda address: address.identity
).map(tuple)
"""All addresses of a netdev; the kernel has none of them twice."""
