"""What a netdev still lacks, compared with what was captured."""

from ipaddress import ip_address
from typing import Any

import attrs
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.aspects import altnames, link
from amdcni.core.aspects.addresses import LIFETIME_TOLERANCE_S, aged, differences
from amdcni.core.aspects.altnames import SetAltname
from amdcni.core.aspects.change import Around, Stage
from amdcni.core.aspects.link import SetLink
from amdcni.core.aspects.routes import due_on_host
from amdcni.core.aspects.traffic_control import filters_of_renamed
from amdcni.core.capture import Captured, Details, capture, due
from amdcni.core.host import Address, AddressFlag, IpAddress, Neighbour, Netdev
from amdcni.core.names import IfName, MacAddress
from amdcni.testing import strategies as some

OFFLOAD_LIMITS = ("gso_max_segs", "gso_ipv4_max_size", "gro_ipv4_max_size")
OFFLOAD_SIZES = ("gso_max_size", "gro_max_size")
VALUES = ("mtu", "txqlen", "group", "flags", *OFFLOAD_LIMITS)
"""Attributes of a netdev each of which is set by itself."""

WHOLE_IPV4_PACKET = 65536
"""The largest of the sizes that the kernel also sets for IPv4."""


def shown_as(captured: Captured) -> Netdev:
    """A netdev that has everything of `captured` back."""
    known = {
        name: value
        for name in (*VALUES, *OFFLOAD_SIZES, "altnames")
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


TRAFFIC = ("qdisc", "qdiscs", "classes", "chains", "filters")


def details_of(captured: Captured) -> Details:
    """What is read of a netdev that has everything of `captured` back."""
    known = {each.id for each in (*captured.nexthops, *captured.other_nexthops)}
    return Details(
        routes=due_on_host(captured.routes, captured.ifname, shown_as(captured), ()),
        nexthops=captured.nexthops,
        nexthop_groups=tuple(
            attrs.evolve(group, members=tuple(m for m in group.members if m.id in known))
            for group in captured.nexthop_groups
        ),
        other_nexthops=captured.other_nexthops,
        neighbours=captured.neighbours,
        proxy_neighbours=captured.proxy_neighbours,
        multicast_addresses=captured.multicast_addresses,
        sysctls=captured.sysctls,
        **{name: getattr(captured, name) for name in TRAFFIC},
        queues=captured.queues,
        ethtool=captured.ethtool,
    )


def lines(
    captured: Captured, seen: Netdev | None = None, details: Details | None = None
) -> list[str]:
    """The differences of a netdev that has everything back, except for what is given."""
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
def test_another_name_and_more_addresses_are_not_a_difference(
    captured: Captured, ifname: IfName, more: tuple[Address, ...]
) -> None:
    own = {address.identity for address in captured.addresses}
    others = tuple(address for address in more if address.identity not in own)
    seen = attrs.evolve(shown_as(captured), ifname=ifname, addresses=(*others, *captured.addresses))
    routes = due_on_host(captured.routes, captured.ifname, seen, ())
    filters = filters_of_renamed(captured.filters, captured.ifname, ifname)
    objects = tuple(
        attrs.evolve(each, hop=each.hop and attrs.evolve(each.hop, ifname=seen.ifname))
        for each in captured.nexthops
    )
    details = attrs.evolve(details_of(captured), routes=routes, nexthops=objects, filters=filters)
    assert lines(captured, seen, details) == []


@given(some.whole_captures, some.netdevs, some.details)
def test_what_is_due_early_is_all_that_comes_before_addresses_can_be_used(
    captured: Captured, seen: Netdev, details: Details
) -> None:
    around = Around(captured.ifname)
    whole = due(captured, seen, details, around)
    early = due(captured, seen, details, around, early=True)
    assert early == [change for change in whole if change.stage < Stage.LAST]


@given(some.whole_captures)
def test_up_instead_of_down_or_the_reverse_is_one_difference(captured: Captured) -> None:
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
"""An address whose lifetime has ended is not missing."""


@given(captures_with_addresses, st.data())
def test_a_missing_address_is_one_difference(captured: Captured, data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(captured.addresses))
    left = tuple(address for address in captured.addresses if address != gone)
    (line,) = lines(captured, attrs.evolve(shown_as(captured), addresses=left))
    assert line == f"{gone.interface} is missing"


def _other_lifetime(wanted: int | None) -> SearchStrategy[int | None]:
    """Lifetimes that differ by more than the tolerance."""
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
def test_a_changed_attribute_of_an_address_is_one_difference_that_names_it(
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
def test_a_flag_that_the_kernel_sets_is_not_a_deviation(wanted: Address, flag: AddressFlag) -> None:
    """TENTATIVE goes, DEPRECATED comes, PERMANENT and SECONDARY follow from the rest."""
    own = AddressFlag(0xFFF) ^ AddressFlag(0x02 | 0x10 | 0x100 | 0x200 | 0x400)
    assert differences(wanted, attrs.evolve(wanted, flags=wanted.flags ^ (flag & own))) == []


@given(some.addresses, st.integers(-LIFETIME_TOLERANCE_S, LIFETIME_TOLERANCE_S))
def test_a_lifetime_within_the_tolerance_is_not_a_deviation(wanted: Address, off_s: int) -> None:
    assume(wanted.valid_s is not None and wanted.preferred_s is not None)
    assert wanted.valid_s is not None
    assert wanted.preferred_s is not None
    seen = attrs.evolve(
        wanted,
        valid_s=max(0, wanted.valid_s + off_s),
        preferred_s=max(0, wanted.preferred_s + off_s),
    )
    assert differences(wanted, seen) == []


@pytest.mark.parametrize("name", VALUES)
@given(captured=some.whole_captures)
def test_another_link_value_is_one_difference_if_it_was_captured(
    name: str, captured: Captured
) -> None:
    seen = shown_as(captured)
    another: dict[str, Any] = {name: (getattr(seen, name) or 0) + 1}
    other = attrs.evolve(seen, **another)
    had, has = getattr(captured, name), another[name]
    assert lines(captured, other) == ([] if had is None else [f"{name} is {has}, was {had}"])
    changes = link.due(captured, other, None, Around(captured.ifname))
    assert changes == ([] if had is None else [SetLink(name, had, has)])


def test_limits_of_offloads_that_the_kernel_sets_for_ipv4_too_are_set_before_those() -> None:
    captured = Captured(
        IfName("eth1"),
        7,
        gso_max_segs=100,
        gso_max_size=65536,
        gso_ipv4_max_size=1500,
        gro_max_size=65537,
        gro_ipv4_max_size=65536,
    )
    other = Netdev(
        7,
        IfName("eth1"),
        gso_max_segs=64,
        gso_max_size=1600,
        gso_ipv4_max_size=1500,
        gro_max_size=1700,
        gro_ipv4_max_size=1700,
    )
    assert link.due(captured, other, None, Around(captured.ifname)) == [
        SetLink("gso_max_segs", 100, 64),
        SetLink("gso_max_size", 65536, 1600),
        SetLink("gso_ipv4_max_size", 1500, 65536),
        SetLink("gro_max_size", 65537, 1700),
        SetLink("gro_ipv4_max_size", 65536, 1700),
    ]


@given(some.whole_captures, some.netdevs)
@example(
    Captured(IfName("eth1"), 7, gso_max_size=65536, gso_ipv4_max_size=1500),
    Netdev(7, IfName("eth1"), gso_max_size=1500, gso_ipv4_max_size=1500),
)
@example(
    Captured(IfName("eth1"), 7, gro_max_size=65537, gro_ipv4_max_size=1500),
    Netdev(7, IfName("eth1"), gro_max_size=1500, gro_ipv4_max_size=65536),
)
def test_limits_of_offloads_set_one_after_the_other_are_all_as_they_were(
    captured: Captured, netdev: Netdev
) -> None:
    now: dict[str, Any] = {
        name: getattr(netdev, name) for name in (*OFFLOAD_LIMITS, *OFFLOAD_SIZES)
    }
    back = shown_as(captured)
    for change in link.due(captured, attrs.evolve(back, **now), None, Around(captured.ifname)):
        assert isinstance(change.value, int)
        now[change.name] = change.value
        if change.name in OFFLOAD_SIZES and change.value <= WHOLE_IPV4_PACKET:
            now[change.name.replace("_", "_ipv4_", 1)] = change.value
    assert lines(captured, attrs.evolve(back, **now)) == []


@given(some.whole_captures, some.ethernet_macs)
def test_another_hardware_address_is_one_difference_if_it_can_be_set(
    captured: Captured, mac: MacAddress
) -> None:
    assume(mac != captured.mac)
    other = attrs.evolve(shown_as(captured), mac=mac)
    settable = captured.mac is not None and len(captured.mac) == 17
    changes = link.due(captured, other, None, Around(captured.ifname))
    assert changes == ([SetLink("mac", captured.mac, mac)] if settable else [])
    assert lines(captured, other) == [change.describe() for change in changes]


def test_a_hardware_address_that_cannot_be_set_is_not_a_difference() -> None:
    infiniband = MacAddress(":".join(["80"] * 20))
    captured = Captured(IfName("ib0"), 2, mac=infiniband)
    assert (
        lines(captured, attrs.evolve(shown_as(captured), mac=MacAddress(f"00{infiniband[2:]}")))
        == []
    )


@given(some.whole_captures)
def test_alternative_names_are_restored_unless_they_are_taken(captured: Captured) -> None:
    names = captured.altnames or ()
    bare = attrs.evolve(shown_as(captured), altnames=("theirs",))
    taker = Netdev(99, IfName("taker"), altnames=names[:1])
    changes = altnames.due(captured, bare, None, Around(captured.ifname, (taker,)))
    extra = [] if captured.altnames is None or "theirs" in names else ["theirs"]
    gone = [name for name in names[1:] if name not in (bare.ifname, "theirs")]
    assert changes == [
        *(SetAltname(name, present=False) for name in extra),
        *(SetAltname(name, present=True) for name in gone),
    ]
    found = differing(captured, bare, details_of(captured), taker)
    assert len(found) == len(changes)


@pytest.mark.parametrize(
    "what",
    [
        "routes",
        "nexthops",
        "nexthop_groups",
        "neighbours",
        "proxy_neighbours",
        "multicast_addresses",
        "sysctls",
        *TRAFFIC,
        "queues",
    ],
)
@given(captured=some.whole_captures)
def test_a_missing_detail_is_a_difference(what: str, captured: Captured) -> None:
    seen = attrs.evolve(details_of(captured), **{what: getattr(Details(), what)})
    value = getattr(details_of(captured), what)
    assert bool(lines(captured, details=seen)) == bool(value)


@pytest.mark.parametrize(("now", "words"), [(None, "none"), (ip_address("::9"), "::9")])
@given(captured=some.whole_captures)
def test_another_token_or_none_is_a_difference_if_there_was_one(
    captured: Captured, now: IpAddress | None, words: str
) -> None:
    had = ip_address("::7")
    seen = attrs.evolve(shown_as(captured), token=now)
    assert lines(attrs.evolve(captured, token=had), seen) == [f"token is {words}, was ::7"]
    assert lines(attrs.evolve(captured, token=None), seen) == []


@pytest.mark.parametrize(
    ("state", "now", "differs"),
    [(0, 0, 0), (0x04, 0x04, 0), (0x04, 0x02, 0), (0x40, 0x40, 1), (0x80, 0x80, 1)],
)
@given(captured=some.whole_captures)
def test_another_hardware_address_of_a_neighbour_differs_only_where_no_packet_changes_it(
    state: int, now: int, differs: int, captured: Captured
) -> None:
    """NUD_REACHABLE is 2, NUD_STALE 4, which one that is externally learnt may be in turns.

    NUD_NOARP is 0x40, NUD_PERMANENT 0x80.
    """
    one = Neighbour(ip_address("192.0.2.9"), MacAddress("02:00:00:00:00:01"), state=state)
    captured = attrs.evolve(captured, neighbours=(one,))
    other = attrs.evolve(one, mac=MacAddress("02:00:00:00:00:02"), state=now)
    seen = attrs.evolve(details_of(captured), neighbours=(other,))
    assert lines(captured, details=seen) == ["neighbour 192.0.2.9 is missing"] * differs
