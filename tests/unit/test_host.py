"""What was seen of a host."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.host import (
    TEMPORARY,
    Address,
    AddressFlag,
    Netdev,
    Netns,
    names_of,
    netdev_named,
    reports_protocols,
)
from amdcni.testing import strategies as some

IFA_F = {
    "SECONDARY": 0x01,
    "NODAD": 0x02,
    "OPTIMISTIC": 0x04,
    "DADFAILED": 0x08,
    "HOMEADDRESS": 0x10,
    "DEPRECATED": 0x20,
    "TENTATIVE": 0x40,
    "PERMANENT": 0x80,
    "MANAGETEMPADDR": 0x100,
    "NOPREFIXROUTE": 0x200,
    "MCAUTOJOIN": 0x400,
    "STABLE_PRIVACY": 0x800,
}
"""include/uapi/linux/if_addr.h"""

GIVEN_BY_CALLERS = 0x02 | 0x10 | 0x100 | 0x200 | 0x400
"""net/ipv6/addrconf.c, inet6_rtm_newaddr: IFA_F_NODAD, IFA_F_HOMEADDRESS, IFA_F_MANAGETEMPADDR,
IFA_F_NOPREFIXROUTE and IFA_F_MCAUTOJOIN are taken from the message, and stay.
"""


def test_the_flags_of_addresses_are_the_kernels() -> None:
    assert {flag.name: int(flag) for flag in AddressFlag} == IFA_F
    assert IFA_F["SECONDARY"] == TEMPORARY


@given(some.addresses)
def test_the_family_of_an_address_is_4_or_6(address: Address) -> None:
    assert address.family == (4 if "." in str(address.interface) else 6)


@given(some.addresses, st.integers(0, 0xFFFF))
def test_the_settable_flags_are_those_that_a_caller_may_set(address: Address, flags: int) -> None:
    flagged = attrs.evolve(address, flags=flags)
    assert flagged.settable_flags == flags & GIVEN_BY_CALLERS
    assert attrs.evolve(flagged, flags=flagged.settable_flags).settable_flags == (
        flagged.settable_flags
    )


@given(some.addresses, some.addresses)
def test_interface_and_peer_alone_identify_an_address(one: Address, other: Address) -> None:
    altered = attrs.evolve(other, interface=one.interface, peer=one.peer)
    assert altered.identity == one.identity
    if (one.interface, one.peer) != (other.interface, other.peer):
        assert one.identity != other.identity


@given(some.hosts)
def test_a_netdev_is_found_by_each_of_its_names_and_by_no_other(host: Netns) -> None:
    for netdev in host.netdevs:
        for name in (netdev.ifname, *netdev.altnames):
            assert netdev_named(host.netdevs, name) == netdev
            assert netdev_named([n for n in host.netdevs if n != netdev], name) is None


@given(some.hosts, some.ifnames)
def test_a_name_is_taken_exactly_if_a_netdev_has_it(host: Netns, name: str) -> None:
    assert (name in names_of(host.netdevs)) == (netdev_named(host.netdevs, name) is not None)
    assert all(netdev_named(host.netdevs, taken) for taken in names_of(host.netdevs))


@given(st.lists(some.netdevs, max_size=2), st.integers(0, 5))
def test_a_kernel_reports_protocols_if_it_marks_any_address_as_its_own(
    netdevs: list[Netdev], proto: int
) -> None:
    """include/uapi/linux/if_addr.h: IFAPROT_KERNEL_LO 1, IFAPROT_KERNEL_RA 2, IFAPROT_KERNEL_LL 3;
    anything else was set by somebody.
    """
    foreign = [
        attrs.evolve(n, addresses=tuple(attrs.evolve(a, proto=None) for a in n.addresses))
        for n in netdevs
    ]
    assert not reports_protocols(foreign)
    for position, netdev in enumerate(foreign):
        for address in netdev.addresses:
            shown = attrs.evolve(netdev, addresses=(attrs.evolve(address, proto=proto),))
            seen = [*foreign[:position], shown]
            assert reports_protocols(seen) == (proto in (1, 2, 3))
