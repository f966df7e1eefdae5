"""What a netdev gets in a pod from the mover `native`, and the result that describes it."""

import ipaddress

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amdcni.core.aspects.addresses import aged, relabelled
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.errors import PluginBroken
from amdcni.core.host import Address, AddressFlag, Hop, IpNetwork, Netdev
from amdcni.core.host import Route as HostRoute
from amdcni.core.in_pod import (
    addresses_for,
    copied_routes,
    described,
    hosts_promise,
    ipams_promise,
    promised_again,
    routes_for,
    with_routes,
)
from amdcni.core.ipam import static_ipam
from amdcni.core.names import IfName, PluginName
from amdcni.core.request import Mover
from amdcni.core.spec import Dns, Interface, Ip, Result, Route
from amdcni.testing import strategies as some

UNHELD = AddressFlag.TENTATIVE | AddressFlag.DADFAILED


def of_host(record: Attachment) -> Attachment:
    """The record of an ADD that gives the host's addresses, with a minimal configuration."""
    config = {"name": "fabric"}
    return attrs.evolve(record, ipam=None, config=config, mover=Mover.NATIVE, result=None)


captured_records = some.attachments_of(with_netdev=True).map(of_host)


@given(captured_records)
def test_the_pod_is_promised_what_the_static_plugin_would_return(record: Attachment) -> None:
    assert record.captured is not None
    static = static_ipam(record.captured.addresses)
    entries = [] if static is None else static["addresses"]
    promised = [(str(ip.address), ip.gateway, ip.interface) for ip in hosts_promise(record).ips]
    assert promised == [
        (e["address"], ipaddress.ip_address(e["gateway"]) if "gateway" in e else None, 0)
        for e in entries
    ]


@given(captured_records, st.integers(0, 2**31))
def test_every_attribute_of_an_address_except_label_and_age_is_kept(
    record: Attachment, later_s: int
) -> None:
    captured = record.captured
    assert captured is not None
    given = addresses_for(record, Result(), record.read_at_s + later_s)
    due = {
        address.identity: address
        for address in aged(captured.addresses, later_s)
        if address.family == 4 or not address.interface.ip.is_link_local
    }
    assert {address.identity for address in given} == due.keys()
    for address in given:
        original = due[address.identity]
        expected = relabelled([original], captured.ifname, record.id.ifname)[0]
        nodad = address.family == 6 and not original.flags & UNHELD
        flags = original.flags | (AddressFlag.NODAD if nodad else 0)
        assert address == attrs.evolve(expected, flags=flags)


@given(captured_records)
def test_addresses_are_set_in_an_order_that_lists_them_as_on_the_host(record: Attachment) -> None:
    """The kernel lists the IPv6 address that was set last first."""
    assert record.captured is not None
    listed = {a.identity: at for at, a in enumerate(record.captured.addresses)}
    given = addresses_for(record, Result(), record.read_at_s)
    for family, step in ((4, 1), (6, -1)):
        places = [listed[a.identity] for a in given if a.family == family]
        assert places[::step] == sorted(places)


@given(some.ifnames, some.ifnames, some.ifnames, st.sampled_from(["", ":1", ":fabric"]))
def test_a_label_follows_the_name_of_its_netdev_and_no_other(
    old: IfName, new: IfName, other: IfName, rest: str
) -> None:
    assume(other != old and len(f"{old}{rest}".encode()) <= 15)
    plain = Address(ipaddress.ip_interface("10.0.0.1/24"))
    own, foreign = attrs.evolve(plain, label=f"{old}{rest}"), attrs.evolve(plain, label=other)
    renamed = relabelled([own, foreign, plain], old, new)
    whole = f"{new}{rest}"
    label = whole if len(whole.encode()) <= 15 else new
    assert [address.label for address in renamed] == [label, other, None]
    if label == whole:
        assert relabelled(renamed[:1], new, old) == (own,)


def test_a_label_may_have_fifteen_bytes_like_an_ifname() -> None:
    old, label = IfName("ens1"), "ens1:123456789a"
    address = Address(ipaddress.ip_interface("10.0.0.1/24"), label=label)
    for new, expected in (("net1", "net1:123456789a"), ("net10", "net10")):
        (renamed,) = relabelled([address], old, IfName(new))
        assert renamed.label == expected


@given(some.attachments_of(with_netdev=False).map(of_host))
def test_without_a_netdev_no_address_of_the_host_is_promised(record: Attachment) -> None:
    assert hosts_promise(record) == Result()


@pytest.mark.parametrize(
    ("address", "broadcast"),
    [
        ("10.9.0.9/29", "10.9.0.15"),
        ("10.9.0.9/30", "10.9.0.11"),
        ("10.9.0.9/31", None),
        ("10.9.0.9/32", None),
        ("fd09::9/64", None),
    ],
)
@given(some.attachments)
def test_an_address_from_ipam_gets_the_broadcast_address_of_its_network(
    address: str, broadcast: str | None, record: Attachment
) -> None:
    """RFC 3021: a network of two addresses has no broadcast address."""
    record = attrs.evolve(record, ipam=PluginName("own"))
    promise = Result(ips=(Ip(ipaddress.ip_interface(address)),))
    (given,) = addresses_for(record, promise, 0)
    expected = None if broadcast is None else ipaddress.ip_address(broadcast)
    assert (str(given.interface), given.broadcast) == (address, expected)


@given(captured_records, some.results)
def test_what_is_attached_again_has_what_its_add_promised_but_no_route_twice(
    record: Attachment, promise: Result
) -> None:
    assert record.captured is not None
    assert promised_again(record) is None
    copied = with_routes(promise, record.captured.routes)
    plain = attrs.evolve(record, result=promise)
    assert promised_again(plain) == promise
    assert promised_again(attrs.evolve(record, result=copied)) == copied, "routes were not copied"
    copying = {"name": "fabric", "copyRoutes": True}
    again = promised_again(attrs.evolve(record, result=copied, config=copying))
    assert again is not None
    without_netdev = attrs.evolve(record, result=promise, config=copying, captured=None)
    assert promised_again(without_netdev) == promise
    assert set(again.routes) <= set(promise.routes)
    assert attrs.evolve(again, routes=()) == attrs.evolve(promise, routes=())
    addresses = addresses_for(attrs.evolve(plain, mover=Mover.DELEGATE), promise, 0)
    assert [address.interface for address in addresses] == [ip.address for ip in promise.ips]
    for address in addresses:
        assert bool(address.flags & AddressFlag.NODAD) == (address.family == 6)


@given(some.attachments, some.results)
def test_everything_from_an_ipam_plugin_is_for_our_netdev(
    record: Attachment, given: Result
) -> None:
    record = attrs.evolve(record, ipam=PluginName("own"), config={"name": "fabric"})
    if not given.ips:
        with pytest.raises(PluginBroken, match="'own'"):
            ipams_promise(record, given)
        return
    promise = ipams_promise(record, given)
    assert promise == attrs.evolve(
        given, interfaces=(), ips=tuple(attrs.evolve(ip, interface=0) for ip in given.ips)
    )
    own = attrs.evolve(record, config={"name": "fabric", "dns": {"domain": "own"}})
    assert ipams_promise(own, given).dns == Dns(domain="own")
    addresses = addresses_for(record, promise, 0)
    assert [address.interface for address in addresses] == [ip.address for ip in given.ips]


@given(captured_records, some.netdevs)
def test_the_result_names_the_netdev_as_it_is_in_the_pod(
    record: Attachment, netdev: Netdev
) -> None:
    promise = hosts_promise(record)
    interface = Interface(record.id.ifname, netdev.mac, sandbox=record.netns.path)
    expected = attrs.evolve(promise, interfaces=(interface,))
    assert described(record, promise, netdev) == expected


def test_a_route_keeps_everything_that_a_result_says_about_it() -> None:
    net1 = Netdev(7, IfName("net1"))
    first, second = ipaddress.ip_address("10.9.0.1"), ipaddress.ip_address("10.9.0.2")
    ips = (
        Ip(ipaddress.ip_interface("fd09::9/64")),
        Ip(ipaddress.ip_interface("10.9.0.9/24"), first),
        Ip(ipaddress.ip_interface("10.9.0.8/24"), second),
    )
    whole = Route(
        ipaddress.ip_interface("10.8.0.1/16"),
        second,
        mtu=1400,
        advmss=1360,
        priority=7,
        table=100,
        scope=253,
    )
    plain = Route(ipaddress.ip_interface("0.0.0.0/0"))
    without = Route(ipaddress.ip_interface("fd08::/64"))
    assert routes_for(Result(ips=ips, routes=(whole, plain, without)), net1) == (
        HostRoute(
            ipaddress.ip_network("10.8.0.0/16"),
            (Hop(IfName("net1"), 7, second),),
            table=100,
            scope=253,
            metric=7,
            metrics={"mtu": 1400, "advmss": 1360},
        ),
        HostRoute(ipaddress.ip_network("0.0.0.0/0"), (Hop(IfName("net1"), 7, first),)),
        HostRoute(ipaddress.ip_network("fd08::/64"), (Hop(IfName("net1"), 7),)),
    )


# ---- routes of the host ------------------------------------------------------------------------


def is_near(network: IpNetwork) -> bool:
    """Whether it is a part of fe80::/10."""
    first = str(network.network_address)
    return network.prefixlen >= 10 and first.startswith(("fe8", "fe9", "fea", "feb"))


def test_the_link_local_route_is_not_copied() -> None:
    """Managers set one on the host in the kernel's place; the pod's kernel makes its own."""
    hops = (Hop(IfName("ens1")),)
    routes = tuple(
        HostRoute(ipaddress.ip_network(to), hops, protocol=2)
        for to in ("fe80::/64", "fd00::/64", "169.254.0.0/16")
    )
    copied = copied_routes(Captured(IfName("ens1"), 2, routes=routes), Netdev(7, IfName("net1")))
    assert [str(route.destination) for route in copied] == ["fd00::/64", "169.254.0.0/16"]


@given(some.whole_captures, some.netdevs)
def test_copied_routes_lead_only_through_the_netdev_and_from_its_addresses(
    captured: Captured, netdev: Netdev
) -> None:
    copied = copied_routes(captured, netdev)
    assert len(copied) == sum(r.kind == 1 and not is_near(r.destination) for r in captured.routes)
    held = {a.interface.ip for a in netdev.addresses if not a.flags & AddressFlag.TENTATIVE}
    for route in copied:
        ((ifname, ifindex),) = [(hop.ifname, hop.ifindex) for hop in route.hops]
        assert (ifname, ifindex) == (netdev.ifname, netdev.ifindex)
        assert route.source is None or route.source in held


@pytest.mark.parametrize("flags", [0, AddressFlag.TENTATIVE])
def test_a_copied_route_keeps_a_source_that_is_ready(flags: int) -> None:
    interface = ipaddress.ip_interface("fd00::8/64")
    route = HostRoute(
        ipaddress.ip_network("2001:db8::/64"), (Hop(IfName("ens1")),), source=interface.ip
    )
    captured = Captured(IfName("ens1"), 7, routes=(route,))
    netdev = Netdev(9, IfName("net1"), addresses=(Address(interface, flags=flags),))
    (copied,) = copied_routes(captured, netdev)
    assert copied.source == (None if flags else interface.ip)
    assert copied.hops == (Hop(IfName("net1")),)


@given(some.results, st.lists(some.kernel_routes, max_size=3))
def test_the_result_lists_the_copied_routes_of_the_main_table(
    result: Result, copied: list[HostRoute]
) -> None:
    listed = with_routes(result, copied)
    assert listed.routes[: len(result.routes)] == result.routes
    main = [route for route in copied if route.table == 254]
    assert [(r.dst.network, r.gw) for r in listed.routes[len(result.routes) :]] == [
        (route.destination, route.hops[0].via) for route in main
    ]
    assert attrs.evolve(listed, routes=result.routes) == result
