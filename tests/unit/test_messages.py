"""What is sent to the kernel, read back as if the kernel told it, is what was meant."""

import ipaddress
from typing import Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from amdcni.core.host import (
    SETTABLE_FLAGS,
    SETTABLE_LINK_FLAGS,
    Address,
    Hop,
    LinkFlag,
    Neighbour,
    Netdev,
    Qdisc,
    Route,
)
from amdcni.core.names import IfName
from amdcni.core.routes import RouteChange
from amdcni.effects.messages import addresses, links, neighbours, qdiscs, routes
from amdcni.effects.rtnetlink import HEADER_BYTES, Reply, Request
from tests.unit import strategies as some

NIC = Netdev(7, IfName("eth1"))
IFF_UP = 1


def reply_to(request: Request) -> Reply:
    """The kernel's own message about a thing, which has the form of the request that made it."""
    data = bytes(HEADER_BYTES) + request.body
    whole = len(data).to_bytes(4, "little") + data[4:]
    return Reply(request.kind, request.flags, whole, 0, len(whole))


def told_by(request: Request) -> Any:
    return reply_to(request).decoded(request.answers)


# ---- links


@given(some.netdevs)
def test_attributes_of_a_link_are_sent_as_they_are_read(netdev: Netdev) -> None:
    names = ("ifname", "alias", "mac", "mtu", "txqlen", "group", "flags", "up", "token")
    given_ = {name: getattr(netdev, name) for name in names}
    sent = {name: value for name, value in given_.items() if value is not None}
    told = links.netdev_of(told_by(links.change(netdev, sent)), ())
    assert told.ifindex == netdev.ifindex
    for name, value in sent.items():
        if name == "token" and not int(value):
            value = None
        assert getattr(told, name) == value, name


@pytest.mark.parametrize("up", [True, False])
@given(st.sampled_from([0, LinkFlag.PROMISC, LinkFlag.NOARP | LinkFlag.MULTICAST]))
def test_no_flag_changes_that_was_not_asked_for(up: bool, flags: int) -> None:
    told = told_by(links.change(NIC, {"up": up}))
    assert (told["flags"], told["change"]) == (IFF_UP * up, IFF_UP)
    told = told_by(links.change(NIC, {"flags": flags}))
    assert (told["flags"], told["change"]) == (flags, SETTABLE_LINK_FLAGS)
    told = told_by(links.change(NIC, {"mtu": 9000}))
    assert (told["flags"], told["change"]) == (0, 0)


def test_an_alias_is_taken_away_by_an_empty_one() -> None:
    assert told_by(links.change(NIC, {"alias": None})).get("IFLA_IFALIAS") == ""


@pytest.mark.parametrize("request_of", [links.add_altname, links.drop_altname])
def test_an_alternative_name_is_named(request_of: Any) -> None:
    assert links.netdev_of(told_by(request_of(NIC, "fabric0")), ()).altnames == ("fabric0",)


def test_of_a_link_are_decoded_what_a_netdev_tells_and_no_more() -> None:
    message = ifinfmsg()
    message["attrs"] = [("IFLA_IFNAME", "eth1"), ("IFLA_NUM_TX_QUEUES", 8), ("IFLA_MTU", 9000)]
    message.encode()
    told = Reply(16, 0, bytes(message.data), 0, len(message.data)).decoded(links.LinkMessage)
    assert [(slot.name, slot.value) for slot in told["attrs"]] == [
        ("IFLA_IFNAME", "eth1"),
        ("IFLA_MTU", 9000),
    ]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(links.LinkMessage, ifinfmsg), (neighbours.NeighbourMessage, ndmsg)],
)
def test_our_tables_number_attributes_as_pyroute2_does(ours: Any, theirs: Any) -> None:
    numbers = {name: number for number, (name, *_) in enumerate(theirs.nla_map)}
    assert {name: number for number, name, _ in ours.nla_map}.items() <= numbers.items()
    assert ours.get_size() == theirs.get_size()


@pytest.mark.parametrize("address", ["0a000001", ""])
def test_the_ip_address_of_a_tunnel_is_no_hardware_address(address: str) -> None:
    message = ifinfmsg()
    message["attrs"] = [("IFLA_IFNAME", "gre0"), ("IFLA_ADDRESS", "02:00:00:00:00:01")]
    message.encode()
    reply = Reply(16, 0, bytes(message.data), 0, len(message.data))
    told = reply.decoded(links.LinkMessage)
    told["attrs"] = [("IFLA_IFNAME", "gre0"), ("IFLA_ADDRESS", bytes.fromhex(address))]
    told.reset()
    told.encode()
    again = Reply(16, 0, bytes(told.data), 0, len(told.data)).decoded(links.LinkMessage)
    assert links.netdev_of(again, ()).mac is None


# ---- addresses


@given(some.addresses)
def test_an_address_is_set_with_every_attribute_that_it_was_read_with(address: Address) -> None:
    assume(address.peer is None or (int(address.peer) and address.peer != address.interface.ip))
    told = addresses.address_of(told_by(addresses.put(NIC, address)))
    assert attrs.evolve(told, flags=0) == attrs.evolve(address, flags=0)
    assert told.flags == address.flags & SETTABLE_FLAGS


# ---- routes


def sendable(route: Route) -> Route:
    """With ifindexes, and with the marks that a single hop has no weight."""
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
def test_a_route_is_set_with_every_attribute_that_it_was_read_with(
    drawn: Route, replace: bool
) -> None:
    route = sendable(drawn)
    message = told_by(routes.put(RouteChange(route, replace=replace)))
    told = routes.route_of(message, ifnames_in(route))
    assert told == route
    assert told is not None
    assert [hop.ifindex for hop in told.hops] == [hop.ifindex for hop in route.hops]
    assert routes.ifindexes_of(message) == {hop.ifindex for hop in route.hops}


@given(some.kernel_routes)
def test_no_route_that_matters_to_a_netdev_is_passed_over(drawn: Route) -> None:
    route = sendable(drawn)
    reply = reply_to(routes.put(RouteChange(route)))
    for hop in route.hops:
        assert routes.matters_to(hop.ifindex)(reply)
    if route.destination.prefixlen == 0:
        assert routes.matters_to(2**31 - 1)(reply)


@pytest.mark.parametrize("destination", ["0.0.0.0/0", "::/0"])
@pytest.mark.parametrize("ifindexes", [(3,), (3, 9)])
def test_a_default_route_of_the_main_table_tells_where_it_leads(
    destination: str, ifindexes: tuple[int, ...]
) -> None:
    hops = tuple(Hop(IfName(f"eth{number}"), number) for number in ifindexes)
    default = Route(ipaddress.ip_network(destination), hops)
    assert routes.default_hops(told_by(routes.put(RouteChange(default)))) == ifindexes
    for other in (
        attrs.evolve(default, table=1000),
        attrs.evolve(default, table=253),
        attrs.evolve(default, kind=2),
        attrs.evolve(default, destination=ipaddress.ip_network("10.0.0.0/8")),
    ):
        assert routes.default_hops(told_by(routes.put(RouteChange(other)))) == ()


# ---- neighbours, qdiscs


@given(some.neighbours)
def test_a_neighbour_is_set_as_it_was_read(neighbour: Neighbour) -> None:
    told = neighbours.neighbour_of(told_by(neighbours.put(NIC, neighbour)))
    assert told == neighbour


def test_a_neighbour_that_is_not_permanent_is_nobodys_configuration() -> None:
    message = told_by(neighbours.put(NIC, Neighbour(ipaddress.ip_address("10.0.0.1"))))
    message["state"] = 0x02  # NUD_REACHABLE
    assert neighbours.neighbour_of(message) is None


@given(some.qdiscs)
def test_a_qdisc_is_set_with_the_very_options_that_were_read(qdisc: Qdisc) -> None:
    message = told_by(qdiscs.put(NIC, qdisc))
    assert qdiscs.root_qdisc_of(message, NIC.ifindex) == qdisc
    assert qdiscs.root_qdisc_of(message, NIC.ifindex + 1) is None


def test_a_qdisc_of_the_kernels_own_and_one_below_the_root_are_nobodys_configuration() -> None:
    message = told_by(qdiscs.put(NIC, Qdisc("pfifo", 0)))
    assert qdiscs.root_qdisc_of(message, NIC.ifindex) is None
    message = told_by(qdiscs.put(NIC, Qdisc("pfifo", 0x10000)))
    message["parent"] = 0x10001
    assert qdiscs.root_qdisc_of(message, NIC.ifindex) is None
