"""What is kept of a netdev, what is left to the kernel, and what still lacks afterwards."""

import ipaddress
from collections import Counter
from typing import Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.aspects import altnames, link, sysctls
from amdcni.core.aspects.addresses import (
    LIFETIME_TOLERANCE_S,
    aged,
    differences,
    in_setting_order,
)
from amdcni.core.aspects.change import Around, Stage
from amdcni.core.aspects.routes import due_on_host
from amdcni.core.aspects.sysctls import SeenSysctls
from amdcni.core.capture import Captured, Details, capture, due
from amdcni.core.host import Address, AddressFlag, Netdev
from amdcni.core.names import IfName, MacAddress
from amdcni.testing import strategies as some


@given(some.netdevs, some.details, st.booleans())
def test_a_capture_says_of_a_netdev_what_the_netdev_says(
    netdev: Netdev, details: Details, reported: bool
) -> None:
    kept = capture(netdev, details, protocols_reported=reported)
    for field in attrs.fields(Netdev):
        if field.name in attrs.fields_dict(Captured) and field.name != "addresses":
            assert getattr(kept, field.name) == getattr(netdev, field.name)
    assert set(kept.addresses) <= set(netdev.addresses)
    assert all(route in details.routes for route in kept.routes)
    for name in ("neighbours", "proxy_neighbours", "qdisc"):
        assert getattr(kept, name) == getattr(details, name)


@given(some.netdevs, some.sysctls, some.sysctls)
def test_sysctls_are_kept_that_a_new_netdev_would_not_have(
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
    """The sysctls that are set in a stage, if none is as it was."""
    changes = sysctls.due(captured, NOBODY, SeenSysctls(), Around(captured.ifname))
    return [change.name for change in changes if change.stage is stage]


NOBODY = Netdev(1, IfName("lo"))


@given(some.whole_captures)
def test_every_sysctl_is_set_once(captured: Captured) -> None:
    changes = sysctls.due(captured, NOBODY, SeenSysctls(), Around(captured.ifname))
    assert {change.name: change.value for change in changes} == captured.sysctls
    assert len(changes) == len(captured.sysctls)


@given(some.whole_captures)
def test_whether_duplicates_are_looked_for_is_set_last(captured: Captured) -> None:
    late = set_in(Stage.LAST, captured)
    assert ("ipv6/conf/accept_dad" in late) == ("ipv6/conf/accept_dad" in captured.sysctls)


@pytest.mark.parametrize("eui64", [False, True])
def test_how_addresses_are_generated_is_set_early_unless_another_kind_was_there(
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
    """How the kernel puts a new address among those that a netdev has."""

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
"""Addresses so near to each other that they are secondaries, or sorted by scope."""


@given(st.lists(near_addresses | some.addresses, max_size=8))
def test_setting_what_was_listed_lists_it_again(history: list[Address]) -> None:
    before, after = KernelLists(), KernelLists()
    for address in history:
        before.set(address)
    for address in in_setting_order(before.listed):
        after.set(address)
    assert after.listed == before.listed


@given(st.lists(some.addresses, max_size=5))
def test_each_listed_address_is_set_once(listed: list[Address]) -> None:
    assert Counter(in_setting_order(listed)) == Counter(listed)


def test_the_ipv6_mtu_is_kept_only_where_it_is_not_that_of_the_netdev() -> None:
    """It follows the netdev's until somebody sets it (net/ipv6/addrconf.c, addrconf_notify)."""
    nic = Netdev(7, IfName("ens1"), mtu=9000)
    for mtu, kept in (("9000", {}), ("1500", {"ipv6/conf/mtu": "1500"})):
        details = Details(sysctls={"ipv6/conf/mtu": mtu})
        assert capture(nic, details, protocols_reported=True).sysctls == kept


# ---- lifetimes ---------------------------------------------------------------------------------

elapsed = st.integers(0, 25) | st.integers(0, 2**33)


@given(some.address_lists)
def test_no_time_ages_nothing_that_lives(addresses: tuple[Address, ...]) -> None:
    assert aged(addresses, 0) == tuple(a for a in addresses if a.valid_s != 0)


@given(some.address_lists, elapsed, elapsed)
def test_ageing_twice_is_ageing_by_the_sum(
    addresses: tuple[Address, ...], first: int, second: int
) -> None:
    assert aged(aged(addresses, first), second) == aged(addresses, first + second)


@given(some.address_lists, elapsed, elapsed)
def test_what_has_run_out_does_not_come_alive_again(
    addresses: tuple[Address, ...], one: int, other: int
) -> None:
    early, late = sorted((one, other))
    alive = {address.identity for address in aged(addresses, early)}
    assert {address.identity for address in aged(addresses, late)} <= alive


@given(some.address_lists, elapsed)
def test_an_address_keeps_what_remains_of_its_lifetimes_and_all_else(
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


def test_a_lifetime_is_over_in_the_second_in_which_it_runs_out() -> None:
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
    told = [f"valid_s {has} (was {had})"]
    assert differences(wanted, seen) == (told if deviates else [])


# ---- differences -------------------------------------------------------------------------------


def shown_as(captured: Captured) -> Netdev:
    """A netdev that has everything of `captured` back."""
    known = {
        name: value
        for name in ("mtu", "txqlen", "group", "flags", "altnames")
        if (value := getattr(captured, name)) is not None
    }
    return Netdev(
        captured.ifindex,
        captured.ifname,
        mac=captured.mac,
        up=captured.up,
        alias=captured.alias,
        token=captured.token,
        addresses=captured.addresses,
        **known,
    )


def details_of(captured: Captured) -> Details:
    """What is read of a netdev that has everything of `captured` back."""
    return Details(
        routes=due_on_host(captured.routes, captured.ifname, shown_as(captured), ()),
        neighbours=captured.neighbours,
        proxy_neighbours=captured.proxy_neighbours,
        sysctls=captured.sysctls,
        qdisc=captured.qdisc,
    )


def lines(
    captured: Captured, seen: Netdev | None = None, details: Details | None = None
) -> list[str]:
    """The differences of a netdev that has everything back but for what is given."""
    return differing(
        captured,
        shown_as(captured) if seen is None else seen,
        details_of(captured) if details is None else details,
    )


def differing(captured: Captured, seen: Netdev, details: Details, *others: Netdev) -> list[str]:
    """The differences in words."""
    changes = due(captured, seen, details, Around(captured.ifname, others))
    return [change.describe() for change in changes]


@given(some.netdevs, some.details, st.booleans())
def test_a_netdev_does_not_differ_from_itself(
    netdev: Netdev, details: Details, reported: bool
) -> None:
    captured = capture(netdev, details, protocols_reported=reported)
    routes = due_on_host(captured.routes, captured.ifname, netdev, ())
    assert differing(captured, netdev, attrs.evolve(details, routes=routes)) == []


@given(some.whole_captures, some.ifnames, some.address_lists)
def test_another_name_and_more_addresses_are_no_difference(
    captured: Captured, ifname: IfName, more: tuple[Address, ...]
) -> None:
    own = {address.identity for address in captured.addresses}
    others = tuple(address for address in more if address.identity not in own)
    seen = attrs.evolve(shown_as(captured), ifname=ifname, addresses=(*others, *captured.addresses))
    routes = due_on_host(captured.routes, captured.ifname, seen, ())
    assert lines(captured, seen, attrs.evolve(details_of(captured), routes=routes)) == []


@given(some.whole_captures)
def test_a_netdev_that_is_up_or_down_as_it_was_not_is_one_difference(captured: Captured) -> None:
    (line,) = lines(captured, attrs.evolve(shown_as(captured), up=not captured.up))
    was, now = ("up", "down") if captured.up else ("down", "up")
    assert line == f"is {now}, was {was}"


@given(some.whole_captures, st.none() | some.words)
def test_another_alias_is_one_difference(captured: Captured, alias: str | None) -> None:
    assume(alias != captured.alias)
    (line,) = lines(captured, attrs.evolve(shown_as(captured), alias=alias))
    assert line == f"alias is {alias or 'none'}, was {captured.alias or 'none'}"


captures_with_addresses = some.whole_captures.map(
    lambda captured: attrs.evolve(captured, addresses=aged(captured.addresses, 0))
).filter(lambda captured: captured.addresses)
"""An address whose lifetime has run out is not missed."""


@given(captures_with_addresses, st.data())
def test_an_address_that_is_gone_is_one_difference(captured: Captured, data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(captured.addresses))
    left = tuple(address for address in captured.addresses if address != gone)
    (line,) = lines(captured, attrs.evolve(shown_as(captured), addresses=left))
    assert line == f"{gone.interface} is missing"


def _other_lifetime(wanted: int | None) -> SearchStrategy[int | None]:
    """Lifetimes that differ by more than what reading may cost."""
    if wanted is None:
        return st.integers(0, 2**32 - 2)
    longer = st.integers(wanted + LIFETIME_TOLERANCE_S + 1, 2**33)
    return (
        st.none()
        | longer
        | st.integers(0, max(0, wanted - LIFETIME_TOLERANCE_S - 1)).filter(
            lambda other: abs(other - wanted) > LIFETIME_TOLERANCE_S
        )
    )


CHANGES: dict[str, SearchStrategy[Any]] = {
    "broadcast": st.none() | st.ip_addresses(v=4),
    "label": st.none() | some.words,
    "scope": st.integers(0, 255),
    "metric": st.none() | st.integers(1, 9),
    "proto": st.none() | st.integers(1, 255),
    "flags": st.integers(0, 0xFFF),
}
"""Other values for every attribute that is neither a lifetime nor part of the identity."""

LIFETIMES = ("valid_s", "preferred_s")


def test_every_attribute_of_an_address_is_compared() -> None:
    identity = {"interface", "peer"}
    compared = {*CHANGES, *LIFETIMES}
    assert {field.name for field in attrs.fields(Address)} == identity | compared


@pytest.mark.parametrize("name", [*CHANGES, *LIFETIMES])
@given(captured=captures_with_addresses, data=st.data())
def test_one_other_attribute_of_an_address_is_one_difference_that_names_it(
    name: str, captured: Captured, data: st.DataObject
) -> None:
    wanted = data.draw(st.sampled_from(captured.addresses))
    other: Any
    if name in LIFETIMES:
        other = data.draw(_other_lifetime(getattr(wanted, name)))
    else:
        other = data.draw(CHANGES[name].filter(lambda value: value != getattr(wanted, name)))
    seen = attrs.evolve(wanted, **{name: other})
    if name == "flags":
        assume(seen.settable_flags != wanted.settable_flags)
    addresses = tuple(seen if address == wanted else address for address in captured.addresses)
    (line,) = lines(captured, attrs.evolve(shown_as(captured), addresses=addresses))
    assert line.startswith(f"{wanted.interface} has {name} ")
    assert differences(wanted, seen) == [line.removeprefix(f"{wanted.interface} has ")]


@given(some.addresses, st.sampled_from(list(AddressFlag)))
def test_a_flag_of_the_kernels_own_is_no_deviation(wanted: Address, flag: AddressFlag) -> None:
    """TENTATIVE goes, DEPRECATED comes, PERMANENT and SECONDARY follow from the rest."""
    own = AddressFlag(0xFFF) ^ AddressFlag(0x02 | 0x10 | 0x100 | 0x200 | 0x400)
    assert differences(wanted, attrs.evolve(wanted, flags=wanted.flags ^ (flag & own))) == []


@given(some.addresses, st.integers(-LIFETIME_TOLERANCE_S, LIFETIME_TOLERANCE_S))
def test_what_reading_costs_of_a_lifetime_is_no_deviation(wanted: Address, off_s: int) -> None:
    assume(wanted.valid_s is not None and wanted.preferred_s is not None)
    assert wanted.valid_s is not None
    assert wanted.preferred_s is not None
    seen = attrs.evolve(
        wanted,
        valid_s=max(0, wanted.valid_s + off_s),
        preferred_s=max(0, wanted.preferred_s + off_s),
    )
    assert differences(wanted, seen) == []


@pytest.mark.parametrize("name", ["mtu", "txqlen", "group", "flags"])
@given(captured=some.whole_captures)
def test_another_value_of_the_netdev_is_one_difference_if_it_was_known(
    name: str, captured: Captured
) -> None:
    seen = shown_as(captured)
    other = attrs.evolve(seen, **{name: getattr(seen, name) + 1})
    expected = 0 if getattr(captured, name) is None else 1
    assert len(lines(captured, other)) == expected
    changes = link.due(captured, other, None, Around(captured.ifname))
    assert [(change.name, change.value) for change in changes] == (
        [(name, getattr(captured, name))] if expected else []
    )


@given(some.whole_captures, some.ethernet_macs)
def test_another_hardware_address_is_one_difference_if_it_can_be_set(
    captured: Captured, mac: MacAddress
) -> None:
    assume(mac != captured.mac)
    other = attrs.evolve(shown_as(captured), mac=mac)
    settable = captured.mac is not None and len(captured.mac) == 17
    assert len(lines(captured, other)) == settable


def test_a_hardware_address_that_nobody_can_set_is_no_difference() -> None:
    infiniband = MacAddress(":".join(["80"] * 20))
    captured = Captured(IfName("ib0"), 2, mac=infiniband)
    assert (
        lines(captured, attrs.evolve(shown_as(captured), mac=MacAddress(f"00{infiniband[2:]}")))
        == []
    )


@given(some.whole_captures)
def test_alternative_names_are_as_they_were_unless_they_were_taken(captured: Captured) -> None:
    names = captured.altnames or ()
    bare = attrs.evolve(shown_as(captured), altnames=("theirs",))
    taker = Netdev(99, IfName("taker"), altnames=names[:1])
    changes = altnames.due(captured, bare, None, Around(captured.ifname, (taker,)))
    added = {change.altname for change in changes if change.present}
    dropped = [change.altname for change in changes if not change.present]
    assert added == set(names[1:]) - {bare.ifname, "theirs"}
    assert dropped == ([] if captured.altnames is None or "theirs" in names else ["theirs"])
    found = differing(captured, bare, details_of(captured), taker)
    assert len(found) == len(changes)


@pytest.mark.parametrize("what", ["routes", "neighbours", "proxy_neighbours", "sysctls", "qdisc"])
@given(captured=some.whole_captures)
def test_what_is_lacking_of_the_details_is_told(what: str, captured: Captured) -> None:
    seen = attrs.evolve(details_of(captured), **{what: getattr(Details(), what)})
    value = getattr(details_of(captured), what)
    assert bool(lines(captured, details=seen)) == bool(value)


@given(some.whole_captures)
def test_a_token_that_is_lacking_is_told(captured: Captured) -> None:
    bare = attrs.evolve(shown_as(captured), token=None)
    assert bool(lines(captured, bare)) == (captured.token is not None)
