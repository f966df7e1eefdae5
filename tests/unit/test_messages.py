"""What is sent to the kernel, read back as if the kernel had sent it, is what was meant."""

import ipaddress
import struct
from typing import Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.ndtmsg import ndtmsg

from amdcni.core.host import (
    SETTABLE_FLAGS,
    SETTABLE_LINK_FLAGS,
    Address,
    Below,
    LinkFlag,
    Neighbour,
    Netdev,
    Program,
)
from amdcni.core.names import IfName, MacAddress
from amdcni.effects.aspects import multicast
from amdcni.effects.messages import (
    addresses,
    links,
    napi,
    neighbours,
)
from amdcni.effects.rtnetlink import Reply
from amdcni.testing import strategies as some
from tests.unit.replies import decoded, having, message_of, reply_to

NIC = Netdev(7, IfName("eth1"))
MAC = "02:00:00:00:00:77"
IFF_UP = 1
GRE_KINDS = ("gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan")


# ---- links


@given(some.netdevs)
def test_attributes_of_a_link_are_sent_as_they_were_read(netdev: Netdev) -> None:
    names = (
        *("ifname", "alias", "mac", "mtu", "txqlen", "group", "flags", "up", "token"),
        *("gso_max_size", "gso_max_segs", "gso_ipv4_max_size", "gro_max_size", "gro_ipv4_max_size"),
    )
    given_ = {name: getattr(netdev, name) for name in names}
    sent = {name: value for name, value in given_.items() if value is not None}
    read = links.netdev_of(reply_to(links.change(netdev, sent)), ())
    assert read.ifindex == netdev.ifindex
    for name, value in sent.items():
        if name == "token" and not int(value):
            value = None
        assert getattr(read, name) == value, name


@pytest.mark.parametrize("up", [True, False])
@given(st.sampled_from([0, LinkFlag.PROMISC, LinkFlag.NOARP | LinkFlag.MULTICAST]))
def test_only_the_requested_flags_change(up: bool, flags: int) -> None:
    read = decoded(links.change(NIC, {"up": up}), ifinfmsg)
    assert (read["flags"], read["change"]) == (IFF_UP * up, IFF_UP)
    read = decoded(links.change(NIC, {"flags": flags}), ifinfmsg)
    assert (read["flags"], read["change"]) == (flags, SETTABLE_LINK_FLAGS)
    read = decoded(links.change(NIC, {"mtu": 9000}), ifinfmsg)
    assert (read["flags"], read["change"]) == (0, 0)


def test_an_alias_is_removed_by_setting_an_empty_one() -> None:
    assert decoded(links.change(NIC, {"alias": None}), ifinfmsg).get("IFLA_IFALIAS") == ""


@pytest.mark.parametrize("request_of", [links.add_altname, links.drop_altname])
def test_a_request_contains_the_alternative_name(request_of: Any) -> None:
    properties = decoded(request_of(NIC, "fabric0"), ifinfmsg).get("IFLA_PROP_LIST")
    assert properties.get_attrs("IFLA_ALT_IFNAME") == ["fabric0"]


def test_all_alternative_names_are_read() -> None:
    names = ("fabric0", "a-name-of-more-than-fifteen-bytes")
    properties = {"attrs": [("IFLA_ALT_IFNAME", name.encode()) for name in names]}
    reply = message_of(links.LinkMessage(), IFLA_IFNAME=b"eth1", IFLA_PROP_LIST=properties)
    assert links.netdev_of(reply, ()).altnames == names


def info_data(kind: str, *attributes: tuple[int, bytes], **more: Any) -> Reply:
    """A link of that kind with these attributes, which are specific to the kind."""
    data = b"".join(
        struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)
        for number, value in attributes
    )
    info = {"attrs": [("IFLA_INFO_KIND", kind), ("IFLA_INFO_DATA", data)]}
    return message_of(links.LinkMessage(), IFLA_IFNAME=b"t0\0", IFLA_LINKINFO=info, **more)


LINK, V4, V6 = struct.pack("=I", 7), bytes([10, 0, 0, 1]), bytes([0xFD, *bytes(14), 1])
IP4, IP6 = ipaddress.ip_address(V4), ipaddress.ip_address(V6)


@pytest.mark.parametrize(
    ("kind", "attributes", "below"),
    [
        ("vxlan", [(3, LINK), (4, V4)], Below((7,), IP4)),
        ("vxlan", [(17, V6), (16, V6)], Below((), IP6, IP6)),
        ("vxlan", [(2, V4)], Below((), None, IP4)),
        ("geneve", [(2, V4)], Below((), None, IP4)),
        ("geneve", [(7, V6)], Below((), None, IP6)),
        *((kind, [(1, LINK), (6, V4), (7, V4)], Below((7,), IP4, IP4)) for kind in GRE_KINDS),
        ("ip6gre", [(1, LINK), (6, V6), (7, V6)], Below((7,), IP6, IP6)),
        ("gre", [(1, bytes(4)), (6, bytes(4)), (7, bytes(4))], Below()),
        *((kind, [(1, LINK), (2, V4), (3, V4)], Below((7,), IP4, IP4)) for kind in ("ipip", "sit")),
        ("ip6tnl", [(2, V6)], Below((), IP6)),
        ("vti", [(1, LINK), (4, V4), (5, V4)], Below((7,), IP4, IP4)),
        ("vti6", [(4, V6), (5, V6)], Below((), IP6, IP6)),
        ("xfrm", [(1, LINK)], Below((7,))),
        ("amt", [(4, LINK), (5, V4), (6, V4)], Below((7,), IP4, IP4)),
        ("hsr", [(1, LINK), (2, struct.pack("=I", 8))], Below((7, 8))),
        ("vlan", [(1, struct.pack("=H", 7))], Below()),
        ("bridge", [(1, LINK), (2, V4)], Below()),
    ],
)
def test_a_tunnel_shows_what_is_below_it(
    kind: str, attributes: list[tuple[int, bytes]], below: Below
) -> None:
    assert links.netdev_of(info_data(kind, *attributes), ()).below == below
    elsewhere = info_data(kind, *attributes, IFLA_LINK_NETNSID=3)
    assert links.netdev_of(elsewhere, ()).below == Below()


@pytest.mark.parametrize(
    ("mac", "state", "flags", "ifindex", "received"),
    [
        ("02:00:00:00:00:01", 0x80, 2, 7, True),
        ("03:00:00:00:00:01", 0x80, 2, 7, False),
        ("33:33:00:00:00:01", 0x80, 2, 7, False),
        ("02:00:00:00:00:01", 0x02, 2, 7, False),
        ("02:00:00:00:00:01", 0x80, 4, 7, False),
        ("02:00:00:00:00:01", 0x80, 2, 8, False),
        ("00:00:00:00:00:00", 0x80, 2, 7, False),
    ],
)
def test_a_netdev_receives_for_other_permanent_unicast_addresses(
    mac: str, state: int, flags: int, ifindex: int, received: bool
) -> None:
    message = neighbours.NeighbourMessage()
    message["ifindex"], message["state"], message["flags"] = ifindex, state, flags
    reply = message_of(message, NDA_LLADDR=bytes.fromhex(mac.replace(":", "")))
    assert neighbours.received_for(reply, 7) == (mac if received else None)
    octets = bytes.fromhex(mac.replace(":", ""))
    sent = message_of(message, NDA_LLADDR=octets, NDA_DST="192.0.2.1")
    assert neighbours.received_for(sent, 7) is None


def test_link_attributes_that_a_netdev_does_not_hold_are_ignored() -> None:
    reply = message_of(ifinfmsg(), IFLA_IFNAME="eth1", IFLA_NUM_TX_QUEUES=8, IFLA_MTU=9000)
    netdev = links.netdev_of(reply, ())
    assert netdev == Netdev(0, IfName("eth1"), mtu=9000, txqlen=0, link_type=0)
    assert links.ifname_of(reply) == "eth1"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (links.LinkMessage, ifinfmsg),
        (neighbours.NeighbourMessage, ndmsg),
        (neighbours.TableMessage, ndtmsg),
        (neighbours.TableMessage.parameters, ndtmsg.parms),
    ],
)
def test_our_tables_number_attributes_as_pyroute2_does(ours: Any, theirs: Any) -> None:
    numbers = {name: number for number, (name, *_) in enumerate(theirs.nla_map)}
    if theirs is ifinfmsg:
        numbers |= {"IFLA_GSO_IPV4_MAX_SIZE": 63, "IFLA_GRO_IPV4_MAX_SIZE": 64}
    if theirs is ndtmsg.parms:
        numbers |= {"NDTPA_MCAST_REPROBES": 17, "NDTPA_INTERVAL_PROBE_TIME_MS": 19}
    assert {name: number for number, name, _ in ours.nla_map}.items() <= numbers.items()
    assert ours.get_size() == theirs.get_size()


@pytest.mark.parametrize("address", ["0a000001", ""])
def test_the_ip_address_of_a_tunnel_is_not_a_hardware_address(address: str) -> None:
    octets = bytes.fromhex(address)
    reply = message_of(links.LinkMessage(), IFLA_IFNAME=b"gre0", IFLA_ADDRESS=octets)
    assert links.netdev_of(reply, ()).mac is None


def test_text_that_is_not_utf_8_is_set_as_it_was_read() -> None:
    reply = message_of(links.LinkMessage(), IFLA_IFNAME=b"eth1", IFLA_IFALIAS=b"f\xffbric")
    netdev = links.netdev_of(reply, ())
    assert b"f\xffbric\0" in links.change(netdev, {"alias": netdev.alias}).body


def test_a_request_refuses_unknown_attributes() -> None:
    with pytest.raises(ValueError, match="colour"):
        links.change(NIC, {"mtu": 1400, "colour": "blue"})


# ---- addresses


@given(some.addresses)
def test_an_address_is_set_with_every_attribute_that_was_read(address: Address) -> None:
    assume(address.peer is None or (int(address.peer) and address.peer != address.interface.ip))
    read = addresses.address_of(reply_to(addresses.put(NIC, address)))
    assert read is not None
    assert attrs.evolve(read, flags=0) == attrs.evolve(address, flags=0)
    assert read.flags == address.flags & SETTABLE_FLAGS


def test_an_address_whose_peer_is_0_is_read_without_one() -> None:
    """The kernel leaves IFA_ADDRESS out then (net/ipv4/devinet.c, inet_fill_ifaddr)."""
    message = ifaddrmsg()
    message["family"], message["prefixlen"] = 2, 32
    read = addresses.address_of(message_of(message, IFA_LOCAL="10.0.0.1"))
    assert read is not None
    assert (str(read.interface), read.peer) == ("10.0.0.1/32", None)


def test_an_address_of_another_family_is_ignored() -> None:
    reply = message_of(ifaddrmsg())
    phonet = attrs.evolve(reply, body=bytes([35, *reply.body[1:]]) + struct.pack("=HHI", 5, 2, 7))
    assert addresses.address_of(phonet) is None


# ---- XDP programs


def xdp(*parts: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("=HHI", 8, kind, value) for kind, value in parts)


ATTACHED = struct.pack("=HHB3x", 5, 2, 1)


@pytest.mark.parametrize(
    ("described", "found"),
    [
        (b"", ()),
        (struct.pack("=HHB3x", 5, 2, 0), ()),
        (ATTACHED + xdp((5, 98), (4, 98)), (Program(98, "driver"),)),
        (ATTACHED + xdp((6, 98), (4, 98)), (Program(98, "generic"),)),
        (
            ATTACHED + xdp((5, 98), (6, 7), (7, 8)),
            (Program(98, "driver"), Program(7, "generic"), Program(8, "offloaded")),
        ),
    ],
)
def test_xdp_programs_are_read_with_how_they_are_attached(
    described: bytes, found: tuple[Program, ...]
) -> None:
    """net/core/rtnetlink.c, rtnl_xdp_fill: also IFLA_XDP_PROG_ID, if there is only one."""
    name = struct.pack("=HH8s", 4 + 8, 3, b"ens1")
    body = struct.pack("=BxHiII", 0, 1, 7, 0, 0) + name
    body += struct.pack("=HH", 4 + len(described), 43) + described
    assert links.netdev_of(Reply(16, 0, body), ()).xdp == found


# ---- neighbours


@given(some.neighbours)
def test_a_neighbour_is_set_as_it_was_read(neighbour: Neighbour) -> None:
    read = neighbours.neighbour_of(reply_to(neighbours.put(NIC, neighbour)), NIC)
    assert read == neighbour


_STATE_OFFSET = 8


def test_a_neighbour_that_the_kernel_has_made_is_ignored() -> None:
    def seen(mac: str, state: int, netdev: Netdev = NIC) -> Neighbour | None:
        made = Neighbour(ipaddress.ip_address("10.0.0.1"), MacAddress(mac))
        message = having(reply_to(neighbours.put(NIC, made)), _STATE_OFFSET, state, 2)
        return neighbours.neighbour_of(message, netdev)

    reachable, noarp = 0x02, 0x40
    assert seen(MAC, reachable) is None
    assert seen(MAC, noarp) == Neighbour(
        ipaddress.ip_address("10.0.0.1"), MacAddress(MAC), state=noarp
    )
    assert seen("33:33:00:00:00:16", noarp) is None
    assert seen("ff:ff:ff:ff:ff:ff", noarp) is None
    without_arp = attrs.evolve(NIC, flags=int(LinkFlag.NOARP), mac=MacAddress(MAC))
    assert seen(MAC, noarp, without_arp) is None
    assert seen("02:00:00:00:00:80", noarp, without_arp) is not None
    assert seen(MAC, noarp, attrs.evolve(NIC, ifindex=8)) is None


@pytest.mark.parametrize(("state", "read_as"), [(0x02, 0x04), (0x04, 0x04), (0x40, 0x40)])
def test_an_externally_learnt_neighbour_is_set_as_one_that_may_be_out_of_date(
    state: int, read_as: int
) -> None:
    learnt = Neighbour(ipaddress.ip_address("10.0.0.1"), MacAddress(MAC), 0x10)
    message = having(reply_to(neighbours.put(NIC, learnt)), _STATE_OFFSET, state, 2)
    read = neighbours.neighbour_of(message, NIC)
    assert read == attrs.evolve(learnt, state=read_as)
    failed = attrs.evolve(learnt, mac=None, state=0)
    message = having(reply_to(neighbours.put(NIC, failed)), _STATE_OFFSET, 0x20, 2)
    assert neighbours.neighbour_of(message, NIC) == failed


def test_only_multicast_addresses_that_somebody_set_are_read() -> None:
    listed = """\
7    ens1            1     0     333300000001
7    ens1            2     1     01005e000099
77   ens2            1     1     01005e000098
"""
    assert list(multicast.static_in(listed, 7)) == [bytes.fromhex("01005e000099")]
    assert list(multicast.static_in("", 7)) == []


# ---- NAPI instances


@given(
    st.sampled_from(["defer_hard_irqs", "gro_flush_timeout", "irq_suspend_timeout", "threaded"]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)
def test_a_setting_of_a_napi_instance_is_sent_as_it_is_read(
    name: str, value: int, napi_id: int
) -> None:
    reply = reply_to(napi.change(20, napi_id, name, str(value)))
    assert napi.id_of(reply) == napi_id
    assert napi.settings_in(reply) == {name: str(value)}


def test_a_kernel_that_shows_no_settings_of_a_napi_instance_has_none() -> None:
    assert napi.settings_in(reply_to(napi.query(20, 7))) == {}
