"""What is kept of a netdev, what is left to the kernel, and the order in which it is set again."""

import ipaddress
from collections import Counter

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.aspects import sysctls
from amdcni.core.aspects.addresses import aged, differences, in_setting_order
from amdcni.core.aspects.change import Around, Stage
from amdcni.core.aspects.ethtool import SetEthtool
from amdcni.core.aspects.queues import SetQueues
from amdcni.core.aspects.routes import RouteChange, SetRoute
from amdcni.core.aspects.sysctls import SeenSysctls, SetSysctl
from amdcni.core.capture import Captured, Change, Details, capture, is_missed, is_required
from amdcni.core.host import Address, Hop, Netdev, Route
from amdcni.core.names import IfName, MacAddress
from amdcni.testing import strategies as some


@given(some.netdevs, some.details, st.booleans())
def test_a_capture_agrees_with_the_netdev(netdev: Netdev, details: Details, reported: bool) -> None:
    kept = capture(netdev, details, protocols_reported=reported)
    for field in attrs.fields(Netdev):
        if field.name in attrs.fields_dict(Captured) and field.name != "addresses":
            assert getattr(kept, field.name) == getattr(netdev, field.name)
    assert set(kept.addresses) <= set(netdev.addresses)
    assert all(route in details.routes for route in kept.routes)
    for name in (
        "nexthops",
        "nexthop_groups",
        "multicast_addresses",
        "neighbours",
        "proxy_neighbours",
        "qdisc",
        "qdiscs",
        "classes",
        "filters",
        "queues",
    ):
        assert getattr(kept, name) == getattr(details, name)


@given(some.netdevs, some.sysctls, some.sysctls)
def test_a_sysctl_is_kept_if_a_new_netdev_would_not_have_it(
    netdev: Netdev, values: dict[str, int | str], defaults: dict[str, int | str]
) -> None:
    details = Details(sysctls=values, sysctl_defaults=defaults)
    kept = capture(netdev, details, protocols_reported=True).sysctls
    for name, value in values.items():
        if name == "ipv6/conf/mtu":
            assert (name in kept) == (value != str(netdev.mtu))
        elif name == "ipv6/conf/accept_dad":
            assert name in kept
        else:
            assert (name in kept) == (defaults.get(name) != value)
    assert kept.items() <= values.items()


# ---- sysctls -----------------------------------------------------------------------------------


def set_in(stage: Stage, captured: Captured) -> list[str]:
    """The sysctls that are set in a stage, if all of them differ."""
    changes = sysctls.due(captured, NOBODY, SeenSysctls(), Around(captured.ifname))
    return [change.name for change in changes if change.stage is stage]


NOBODY = Netdev(1, IfName("lo"))


@given(some.whole_captures)
def test_every_sysctl_is_set_once(captured: Captured) -> None:
    changes = sysctls.due(captured, NOBODY, SeenSysctls(), Around(captured.ifname))
    assert {change.name: change.value for change in changes} == captured.sysctls
    assert len(changes) == len(captured.sysctls)


@given(some.whole_captures)
def test_duplicate_detection_is_set_last(captured: Captured) -> None:
    late = set_in(Stage.LAST, captured)
    assert ("ipv6/conf/accept_dad" in late) == ("ipv6/conf/accept_dad" in captured.sysctls)


@pytest.mark.parametrize(
    ("mac", "proto", "reported", "eui64"),
    [
        ("02:00:00:00:00:01", 3, True, True),
        ("02:00:00:00:00:01", None, True, False),
        ("02:00:00:00:00:01", None, False, True),
        ("02:00:00:00:00:02", None, False, False),
    ],
)
def test_an_address_that_the_kernel_made_from_the_hardware_address_is_noted(
    mac: MacAddress, proto: int | None, reported: bool, eui64: bool
) -> None:
    made = Address(ipaddress.ip_interface("fe80::ff:fe00:1/64"), scope=253, proto=proto)
    netdev = Netdev(7, IfName("ens1"), mac=mac, addresses=(made,))
    kept = capture(netdev, Details(), protocols_reported=reported)
    assert kept.eui64 is eui64


@pytest.mark.parametrize("eui64", [False, True])
def test_address_generation_is_set_early_unless_an_eui64_address_was_there(
    eui64: bool,
) -> None:
    kept: dict[str, int | str] = {
        "ipv4/conf/rp_filter": "2",
        "ipv6/conf/addr_gen_mode": "2",
        "ipv6/conf/stable_secret": "::1",
        "ipv6/conf/disable_ipv6": "0",
        "ipv6/conf/mtu": "1300",
    }
    captured = Captured(IfName("ens1"), 2, sysctls=kept, eui64=eui64)
    generation = ["ipv6/conf/stable_secret", "ipv6/conf/addr_gen_mode"]
    early, late = set_in(Stage.DOWN, captured), set_in(Stage.LAST, captured)
    for name in generation:
        assert name in (late if eui64 else early)
        assert name not in (early if eui64 else late)
    assert early.index("ipv6/conf/disable_ipv6") < early.index("ipv4/conf/rp_filter")
    where = late if eui64 else early
    assert where.index(generation[0]) < where.index(generation[1])


# ---- the order of setting ----------------------------------------------------------------------


class KernelLists:
    """Where the kernel inserts a new address among those of a netdev."""

    def __init__(self) -> None:
        self.fourth: list[tuple[Address, bool]] = []
        self.sixth: list[Address] = []

    def set(self, address: Address) -> None:
        if address.family == 4:
            self._set_fourth(address)
        else:
            self._set_sixth(address)

    def _set_fourth(self, address: Address) -> None:
        """net/ipv4/devinet.c, __inet_insert_ifa: a primary goes behind the last primary of at
        least its scope, a secondary to the end; another scope in the same subnet is EINVAL.
        """
        place, secondary = 0, False
        for position, (there, is_secondary) in enumerate(self.fourth):
            if not is_secondary and address.scope <= there.scope:
                place = position + 1
            if subnet_of(there) == subnet_of(address):
                if there.interface.ip == address.interface.ip or there.scope != address.scope:
                    return
                secondary = True
        self.fourth.insert(len(self.fourth) if secondary else place, (address, secondary))

    def _set_sixth(self, address: Address) -> None:
        """net/ipv6/addrconf.c, ipv6_link_dev_addr: "Add to list, sorted by scope", before the
        first that has no wider scope.
        """
        if address.interface.ip in [there.interface.ip for there in self.sixth]:
            return
        wide = [breadth(there) > breadth(address) for there in self.sixth]
        self.sixth.insert(wide.index(False) if False in wide else len(wide), address)

    @property
    def listed(self) -> list[Address]:
        return [address for address, _ in self.fourth] + self.sixth


def subnet_of(address: Address) -> ipaddress.IPv4Network:
    far = address.peer or address.interface.ip
    length = address.interface.network.prefixlen
    return ipaddress.IPv4Network((int(far), length), strict=False)


def breadth(address: Address) -> int:
    """net/ipv6/addrconf_core.c: link-local 2, site-local 5, global 14."""
    if address.interface.ip in ipaddress.IPv6Network("fe80::/10"):
        return 2
    return 5 if address.interface.ip in ipaddress.IPv6Network("fec0::/10") else 14


near_addresses: SearchStrategy[Address] = st.builds(
    Address,
    interface=st.builds(
        lambda last, length: ipaddress.ip_interface(f"10.0.0.{last}/{length}"),
        st.integers(0, 9),
        st.sampled_from([24, 29, 31, 32]),
    ),
    peer=st.none() | st.just(ipaddress.IPv4Address("10.0.0.7")),
    scope=st.sampled_from([0, 0, 253]),
) | st.builds(
    Address,
    interface=st.builds(
        lambda prefix, last: ipaddress.ip_interface(f"{prefix}::{last:x}/64"),
        st.sampled_from(["fe80", "fec0", "2001:db8", "fd00"]),
        st.integers(0, 9),
    ),
)
"""Addresses so close to each other that they are secondaries, or sorted by scope."""


@given(st.lists(near_addresses | some.addresses, max_size=8))
def test_addresses_that_are_set_in_order_are_listed_as_before(history: list[Address]) -> None:
    before, after = KernelLists(), KernelLists()
    for address in history:
        before.set(address)
    for address in in_setting_order(before.listed):
        after.set(address)
    assert after.listed == before.listed


@given(st.lists(some.addresses, max_size=5))
def test_each_listed_address_is_set_once(listed: list[Address]) -> None:
    assert Counter(in_setting_order(listed)) == Counter(listed)


def test_the_ipv6_mtu_is_kept_only_if_it_differs_from_the_netdevs() -> None:
    """It follows the netdev's until somebody sets it (net/ipv6/addrconf.c, addrconf_notify)."""
    nic = Netdev(7, IfName("ens1"), mtu=9000)
    for mtu, kept in (("9000", {}), ("1500", {"ipv6/conf/mtu": "1500"})):
        details = Details(sysctls={"ipv6/conf/mtu": mtu})
        assert capture(nic, details, protocols_reported=True).sysctls == kept


# ---- lifetimes ---------------------------------------------------------------------------------

elapsed = st.integers(0, 25) | st.integers(0, 2**33)


@given(some.address_lists)
def test_no_elapsed_time_changes_no_living_address(addresses: tuple[Address, ...]) -> None:
    assert aged(addresses, 0) == tuple(a for a in addresses if a.valid_s != 0)


@given(some.address_lists, elapsed, elapsed)
def test_ageing_twice_is_the_same_as_ageing_by_the_sum(
    addresses: tuple[Address, ...], first: int, second: int
) -> None:
    assert aged(aged(addresses, first), second) == aged(addresses, first + second)


@given(some.address_lists, elapsed, elapsed)
def test_an_expired_address_never_comes_back(
    addresses: tuple[Address, ...], one: int, other: int
) -> None:
    early, late = sorted((one, other))
    alive = {address.identity for address in aged(addresses, early)}
    assert {address.identity for address in aged(addresses, late)} <= alive


@given(some.address_lists, elapsed)
def test_an_address_keeps_the_rest_of_its_lifetimes_and_everything_else(
    addresses: tuple[Address, ...], elapsed_s: int
) -> None:
    """RFC 4862 §5.5.4: a preferred address becomes deprecated when its preferred lifetime expires,
    "when its valid lifetime expires" an address "becomes invalid".
    """
    remaining = {address.identity: address for address in aged(addresses, elapsed_s)}
    for address in addresses:
        valid_s, preferred_s = address.valid_s, address.preferred_s
        if valid_s is not None and valid_s <= elapsed_s:
            assert address.identity not in remaining
            continue
        left = remaining[address.identity]
        assert left.valid_s == (None if valid_s is None else valid_s - elapsed_s)
        if preferred_s is None or preferred_s < elapsed_s:
            assert left.preferred_s == (None if preferred_s is None else 0)
        else:
            assert left.preferred_s == preferred_s - elapsed_s
        assert attrs.evolve(left, valid_s=valid_s, preferred_s=preferred_s) == address


def test_an_address_is_gone_in_the_second_its_lifetime_ends() -> None:
    address = Address(ipaddress.ip_interface("fd00::1/64"), valid_s=9, preferred_s=8)
    assert aged([address], 8) == (attrs.evolve(address, valid_s=1, preferred_s=0),)
    assert aged([address], 9) == ()


@pytest.mark.parametrize(
    ("had", "has", "deviates"),
    [
        (None, None, False),
        (0, None, True),
        (None, 0, True),
        (0, 5, False),
        (0, 6, True),
        (5, 0, False),
        (6, 0, True),
    ],
)
def test_a_lifetime_may_be_five_seconds_off(
    had: int | None, has: int | None, deviates: bool
) -> None:
    address = Address(ipaddress.ip_interface("fd00::1/64"), preferred_s=0)
    wanted, seen = attrs.evolve(address, valid_s=had), attrs.evolve(address, valid_s=has)
    difference = [f"valid_s {has} (was {had})"]
    assert differences(wanted, seen) == (difference if deviates else [])


ROUTE = RouteChange(Route(ipaddress.ip_network("10.9.0.0/24"), (Hop(IfName("eth1"), 7),)))


@pytest.mark.parametrize(
    ("change", "required", "missed"),
    [
        (SetRoute(ROUTE), True, True),
        (SetRoute(ROUTE, optional=True), False, False),
        (SetEthtool("features", ()), False, True),
        (SetEthtool("features", (), optional=True), False, False),
        (SetQueues("rx-0/rps_cpus", "f", "0"), False, True),
        (SetSysctl("ipv4/conf/rp_filter", "1", "0", Stage.DOWN), True, True),
    ],
    ids=str,
)
def test_what_a_netdev_can_do_without_keeps_no_record_and_what_others_will_set_is_not_missed(
    change: Change, required: bool, missed: bool
) -> None:
    assert (is_required(change), is_missed(change)) == (required, missed)
