"""Routes and nexthop objects that are sent, read back as if by the kernel, are as meant."""

import ipaddress
import sys

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from amdcni.core.aspects.routes import RouteChange
from amdcni.core.host import (
    Encap,
    Hop,
    Nexthop,
    NexthopGroup,
    Route,
    WayOut,
)
from amdcni.core.names import IfName
from amdcni.effects.messages import (
    nexthops,
    routes,
)
from amdcni.effects.messages.encaps import encap_of
from amdcni.effects.rtnetlink import attribute
from amdcni.testing import strategies as some
from tests.unit.replies import decoded, having, message_of, reply_to

# ---- nexthop objects


@given(some.nexthops)
def test_a_nexthop_object_is_made_as_it_was_read(drawn: Nexthop) -> None:
    assert drawn.hop is not None
    nexthop = attrs.evolve(drawn, hop=attrs.evolve(drawn.hop, ifindex=3))
    reply = reply_to(nexthops.put(nexthop))
    assert nexthops.group_of(reply) is None
    assert nexthops.ifindex_of(reply) == 3
    assert nexthops.id_of(reply) == drawn.id
    assert nexthops.nexthop_of(reply, {3: drawn.hop.ifname}) == nexthop
    assert not nexthops.loses_encap(reply)


def test_a_nexthop_object_may_lead_through_no_netdev() -> None:
    reply = reply_to(nexthops.put(Nexthop(7)))
    assert nexthops.ifindex_of(reply) is None
    assert nexthops.nexthop_of(reply, {}) == Nexthop(7)


def test_an_encapsulation_of_a_nexthop_object_that_cannot_be_set_again_is_reported() -> None:
    hop = Hop(IfName("eth1"), 3, encap=Encap(6))
    reply = reply_to(nexthops.put(Nexthop(7, hop)))
    assert nexthops.loses_encap(reply)
    assert nexthops.nexthop_of(reply, {}).hop == Hop(IfName("if3"))


@given(some.nexthop_groups)
def test_a_nexthop_group_is_made_as_it_was_read(group: NexthopGroup) -> None:
    assert nexthops.group_of(reply_to(nexthops.put_group(group))) == group


# ---- routes


def sendable(route: Route) -> Route:
    """With ifindexes, and without a weight on a single hop."""
    single = len(route.hops) == 1
    hops = tuple(
        attrs.evolve(hop, ifindex=number, weight=1 if single else hop.weight)
        for number, hop in enumerate(route.hops, start=2)
    )
    source = route.source
    if source is not None and source.version != route.family:
        source = None
    origin = route.origin
    if origin is not None and (route.family == 4 or not origin.prefixlen):
        origin = None
    return attrs.evolve(route, hops=hops, expires_s=None, source=source, origin=origin)


def ifnames_in(route: Route) -> dict[int, IfName]:
    return {hop.ifindex: hop.ifname for hop in route.hops}


@given(some.kernel_routes, st.booleans())
def test_a_route_is_set_with_every_attribute_that_was_read(drawn: Route, replace: bool) -> None:
    route = sendable(drawn)
    message = routes.raw_route_of(reply_to(routes.put(RouteChange(route, replace=replace))))
    read = routes.route_of(message, ifnames_in(route))
    assert read == route
    assert read is not None
    assert [hop.ifindex for hop in read.hops] == [hop.ifindex for hop in route.hops]
    assert message.ifindexes == tuple(hop.ifindex for hop in route.hops)
    assert message.unsaved == ()


@given(some.kernel_routes)
def test_every_route_through_a_netdev_or_to_a_network_is_found(drawn: Route) -> None:
    route = sendable(drawn)
    reply = reply_to(routes.put(RouteChange(route)))
    for hop in route.hops:
        assert routes.leads_through(hop.ifindex)(reply)
    assert routes.is_wide(reply) == (route.destination.prefixlen <= 3)
    assert routes.leads_to([route.destination])(reply)


@given(some.kernel_routes, some.kernel_routes)
def test_a_route_to_another_network_is_not_found(drawn: Route, other: Route) -> None:
    reply = reply_to(routes.put(RouteChange(sendable(drawn))))
    assert routes.leads_to([other.destination])(reply) == (drawn.destination == other.destination)
    assert not routes.leads_to([])(reply)


@pytest.mark.parametrize("destination", ["0.0.0.0/0", "::/0", "128.0.0.0/1", "2000::/3"])
@pytest.mark.parametrize("ifindexes", [(3,), (3, 9)])
def test_a_wide_route_in_the_main_table_is_a_way_out_through_each_hop(
    destination: str, ifindexes: tuple[int, ...]
) -> None:
    wide = ipaddress.ip_network(destination)
    hops = tuple(Hop(IfName(f"eth{number}"), number) for number in ifindexes)
    default = Route(wide, hops)
    ways = routes.raw_route_of(reply_to(routes.put(RouteChange(default)))).ways_out
    assert ways == tuple(WayOut(wide, number) for number in ifindexes)
    for other in (
        attrs.evolve(default, table=1000),
        attrs.evolve(default, table=253),
        attrs.evolve(default, kind=2),
        attrs.evolve(default, kind=7),
        attrs.evolve(default, destination=ipaddress.ip_network("16.0.0.0/4")),
        attrs.evolve(default, destination=ipaddress.ip_network("2000::/4")),
    ):
        assert routes.raw_route_of(reply_to(routes.put(RouteChange(other)))).ways_out == ()


_RTM_FLAGS_OFFSET = 8


@pytest.mark.parametrize(("flags", "dead"), [(0, False), (4, False), (1, True), (16, True)])
def test_a_way_out_without_carrier_is_dead(flags: int, dead: bool) -> None:
    default = Route(ipaddress.ip_network("0.0.0.0/0"), (Hop(IfName("eth1"), 3),))
    reply = having(reply_to(routes.put(RouteChange(default))), _RTM_FLAGS_OFFSET, flags, 4)
    assert [way.dead for way in routes.raw_route_of(reply).ways_out] == [dead]


@pytest.mark.parametrize("ip", ["192.0.2.1", "2001:db8::1"])
def test_the_route_to_an_address_is_looked_up_by_the_whole_address(ip: str) -> None:
    asked = decoded(routes.lookup(ipaddress.ip_address(ip)), rtmsg)
    assert asked.get_attr("RTA_DST") == ip
    assert asked["dst_len"] == ipaddress.ip_address(ip).max_prefixlen


@pytest.mark.parametrize("legs", [1, 2])
@pytest.mark.parametrize(
    ("kind", "data", "held"),
    [
        (2, attribute(2, bytes(4)), True),
        (5, b"", True),
        (7, attribute(1, b"\x01\0\0\0"), True),
        (7, attribute(7, b"\x01\0\0\0"), False),
        (7, attribute(9, attribute(1, b"\x01\0\0\0")), False),
        (6, b"", False),
        (99, b"", False),
    ],
)
def test_an_encapsulation_that_cannot_be_set_again_is_reported(
    kind: int, data: bytes, held: bool, legs: int
) -> None:
    encap = Encap(kind, data.hex())
    hops = tuple(Hop(IfName(f"eth{n}"), n, encap=encap) for n in range(1, legs + 1))
    route = Route(ipaddress.ip_network("10.0.0.0/8"), hops)
    read = routes.raw_route_of(reply_to(routes.put(RouteChange(route))))
    assert read.unsaved == (() if held else ("an encapsulation",))
    assert [leg.encap for leg in read.legs] == [encap if held else None] * legs


def test_the_counters_of_an_encapsulation_begin_at_zero_again() -> None:
    def counting(packets: int) -> bytes:
        return attribute(10, attribute(2, packets.to_bytes(8, sys.byteorder)))

    assert encap_of(b"\x07\0", counting(5)) == Encap(7, counting(0).hex())


def test_a_metric_without_a_name_is_kept_by_its_number() -> None:
    hops = (Hop(IfName("eth1"), 3),)
    route = Route(ipaddress.ip_network("10.0.0.0/8"), hops, metrics={"mtu": 1400, "17": 1})
    read = routes.raw_route_of(reply_to(routes.put(RouteChange(route))))
    assert read.unsaved == ()
    assert routes.route_of(read, {3: IfName("eth1")}) == route


def test_a_route_by_a_nexthop_object_has_no_hops_of_its_own() -> None:
    route = Route(ipaddress.ip_network("10.0.0.0/8"), (Hop(IfName("eth1"), 3),), nexthop=7)
    reply = reply_to(routes.put(RouteChange(route)))
    assert routes.leads_through(99)(reply)
    read = routes.raw_route_of(reply)
    assert read.is_abridged
    assert routes.route_of(read, {}) == attrs.evolve(route, hops=())


def test_a_route_through_no_netdev_is_ignored() -> None:
    message = rtmsg()
    message["family"] = 2
    blackhole = message_of(message, RTA_DST="10.0.0.0")
    assert routes.route_of(routes.raw_route_of(blackhole), {}) is None


def test_the_remaining_lifetime_of_a_route_is_in_seconds() -> None:
    message = rtmsg()
    message["family"] = 10
    reply = message_of(message, RTA_OIF=3, RTA_CACHEINFO={"rta_expires": 299_990})
    route = routes.route_of(routes.raw_route_of(reply), {3: IfName("eth1")})
    assert route is not None
    assert route.expires_s == 2999
