"""What a netdev carries, and through which netdevs the node is reached."""

import ipaddress
from itertools import combinations

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amdcni.core.errors import DeviceProtected
from amdcni.core.host import Address, Below, IpAddress, Load, Netdev, WayOut
from amdcni.core.names import IfName, MacAddress
from amdcni.core.protection import PAIRS, Surroundings, protections, refuse_protected, uplinks_of
from amdcni.testing import strategies as some

DEFAULTS = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}
HALVES = [ipaddress.ip_network(text) for text in ("0.0.0.0/1", "128.0.0.0/1")]
HERE = ipaddress.ip_address("10.0.0.1")


def nic(ifindex: int, *addresses: str, up: bool = True) -> Netdev:
    own = tuple(Address(ipaddress.ip_interface(text)) for text in addresses)
    return Netdev(ifindex, IfName(f"eth{ifindex}"), up=up, addresses=own)


ONE, TWO = nic(1, "10.0.0.1/24"), nic(2, "10.0.1.1/24")


def ways(family: int, *ifindexes: int, dead: bool = False) -> tuple[WayOut, ...]:
    return tuple(WayOut(DEFAULTS[family], ifindex, dead) for ifindex in ifindexes)


def why(around: Surroundings, ifindex: int = 1) -> str | None:
    found = protections(around).get(ifindex)
    return None if found is None else found.why


# ---- an independent oracle, which follows the relations upwards


def has(netdev: Netdev, ip: IpAddress) -> bool:
    return ip in [address.interface.ip for address in netdev.addresses]


def rests(upper: Netdev, lower: Netdev, around: Surroundings) -> bool:
    """Whether a netdev rests directly on another one, not counting members of bonds."""
    local = upper.below.local
    holders = [n for n in around.netdevs if local is not None and has(n, local)]
    owners = [n for n in [n for n in holders if n.up] or holders if n != upper]
    return (
        (upper.lower == lower.ifindex and upper.kind not in ("veth", "netkit"))
        or lower.ifindex in upper.below.links
        or owners == [lower]
        or around.load.tunnel_ways.get(upper.ifindex) == lower.ifindex
    )


def switched(upper: Netdev, lower: Netdev, around: Surroundings) -> bool:
    masters = [n for n in around.netdevs if n.ifindex == lower.master]
    return upper.kind == "openvswitch" and [n.kind for n in masters] == ["openvswitch"]


def above(lower: Netdev, around: Surroundings) -> list[Netdev]:
    """The netdevs that would not work without this one, or without all of its kind."""
    return [
        upper
        for upper in around.netdevs
        if rests(upper, lower, around)
        or lower.master == upper.ifindex
        or switched(upper, lower, around)
        or (upper.kind == "ppp" and lower.ifname in around.load.pppoe)
    ]


def supported_by(netdev: Netdev, around: Surroundings) -> set[int]:
    found, todo = set(), [netdev]
    while todo:
        one = todo.pop()
        if one.ifindex not in found:
            found.add(one.ifindex)
            todo += above(one, around)
    return found


def is_cut_off_without(netdev: Netdev, family: int, around: Surroundings) -> bool:
    supported = supported_by(netdev, around)
    of_family = [way for way in around.ways_out if way.family == family]
    defaults = [way for way in of_family if way.destination.prefixlen == 0]
    for destination in {way.destination for way in defaults or of_family}:
        hops = [way for way in of_family if way.destination == destination]
        usable = [way for way in hops if not way.dead] or hops
        if all(way.ifindex in supported for way in usable):
            return True
    return False


@given(some.surroundings)
def test_a_netdev_is_an_uplink_exactly_if_a_family_needs_it(around: Surroundings) -> None:
    uplinks = uplinks_of(around)
    for netdev in around.netdevs:
        families = [f for f in (4, 6) if is_cut_off_without(netdev, f, around)]
        assert (netdev.ifindex in uplinks) == bool(families)
        if families:
            assert uplinks[netdev.ifindex] == f"IPv{families[0]}"


@given(some.surroundings)
def test_only_loopback_uplinks_members_and_carriers_are_protected(
    around: Surroundings,
) -> None:
    protected, uplinks = protections(around), uplinks_of(around)
    load = around.load
    for netdev in around.netdevs:
        children = [n for n in around.netdevs if n != netdev and rests(n, netdev, around)]
        carries = bool(children) or netdev.ifname in {*load.pppoe, *load.rdma.values()}
        carries |= netdev.ifindex in load.receives_for
        needed = netdev.loopback or netdev.ifindex in uplinks or netdev.master is not None
        assert (netdev.ifindex in protected) == (needed or carries)
        if carries and not needed:
            for child in children:
                assert child.ifname in protected[netdev.ifindex].why


@given(some.surroundings)
def test_a_refusal_gives_the_same_reason_as_amdcni_devices(around: Surroundings) -> None:
    protected = protections(around)
    for netdev in around.netdevs:
        if netdev.ifindex not in protected:
            refuse_protected(netdev, around)
            continue
        with pytest.raises(DeviceProtected) as refusal:
            refuse_protected(netdev, around)
        found = protected[netdev.ifindex]
        assert refusal.value.message == f"{netdev.ifname} {found.why}; {found.remedy}"


# ---- what a NIC carries


@pytest.mark.parametrize("kind", ["vlan", "macvlan", "macvtap", "ipvlan", "macsec", "lowpan", None])
def test_a_netdev_rests_on_the_one_that_is_its_link(kind: str | None) -> None:
    """They stop working, or are destroyed, when it leaves (net/8021q/vlan.c, macsec.c)."""
    child = Netdev(5, IfName("child"), kind=kind, lower=1)
    assert why(Surroundings((ONE, TWO, child))) == "carries child"
    assert why(Surroundings((ONE, TWO, child)), 2) is None


@pytest.mark.parametrize("kind", sorted(PAIRS))
def test_one_end_of_a_pair_does_not_rest_on_the_other(kind: str) -> None:
    """IFLA_LINK of such a netdev is the ifindex of its peer."""
    peer = Netdev(5, IfName("peer"), kind=kind, lower=1)
    around = Surroundings((ONE, peer), ways(4, 5, 2))
    assert why(around) is None
    assert why(attrs.evolve(around, ways_out=ways(4, 5))) is None


@pytest.mark.parametrize("below", [Below(links=(1,)), Below(links=(2, 1)), Below(local=HERE)])
def test_a_tunnel_rests_on_the_netdev_that_it_is_bound_to(below: Below) -> None:
    tunnel = Netdev(5, IfName("tunnel"), below=below)
    around = Surroundings((ONE, TWO, tunnel))
    assert str(why(around)).startswith("carries tunnel")
    assert (why(around, 2) is None) == (2 not in below.links)
    assert why(around, 5) is None


@given(st.permutations([True, False]), st.booleans())
def test_a_tunnel_rests_on_no_netdev_if_another_one_has_its_address_too(
    ups: list[bool], both: bool
) -> None:
    """But a netdev that is down does not count, as long as another one is up."""
    tunnel = Netdev(5, IfName("tunnel"), below=Below(local=HERE))
    pair = [nic(n, "10.0.0.1/32", up=up or both) for n, up in enumerate(ups, 1)]
    around = Surroundings((*pair, tunnel))
    bearers = [n for n in (1, 2) if why(around, n)]
    assert bearers == ([] if both else [ups.index(True) + 1])


def test_a_tunnel_rests_on_the_netdev_that_has_its_address_twice() -> None:
    tunnel = Netdev(5, IfName("tunnel"), below=Below(local=HERE))
    twice = nic(1, "10.0.0.1/24", "10.0.0.1/32")
    assert why(Surroundings((twice, TWO, tunnel))) == "carries tunnel (from 10.0.0.1)"


def test_an_unbound_tunnel_rests_on_the_netdev_towards_its_other_end() -> None:
    geneve = Netdev(5, IfName("geneve"), below=Below(remote=HERE))
    around = Surroundings((ONE, TWO, geneve), load=Load(tunnel_ways={5: 2}))
    assert (why(around), why(around, 2)) == (None, "carries geneve (to 10.0.0.1)")


def test_pppoe_and_software_rdma_rest_on_their_netdev() -> None:
    around = Surroundings((ONE, TWO), load=Load(frozenset({ONE.ifname}), {"rxe0": TWO.ifname}))
    assert why(around) == "carries a PPPoE session"
    assert why(around, 2) == "carries the RDMA device rxe0"


@given(some.ifnames)
def test_what_rests_on_an_unknown_netdev_protects_nothing(ifname: IfName) -> None:
    assume(ifname != ONE.ifname)
    load = Load(frozenset({ifname}), {"rxe0": ifname}, {7: 8})
    assert protections(Surroundings((ONE,), load=load)) == {}


def test_a_foreign_mac_is_reported_unless_a_known_child_has_it() -> None:
    mac = MacAddress("02:00:00:00:00:77")
    around = Surroundings((ONE,), load=Load(receives_for={1: (mac,)}))
    assert why(around) == f"carries what receives at {mac} through it"
    child = Netdev(5, IfName("child"), mac, kind="macvlan", lower=1)
    assert why(attrs.evolve(around, netdevs=(ONE, child))) == "carries child"


# ---- uplinks


@pytest.mark.parametrize("family", [4, 6])
def test_each_family_needs_another_way_out(family: int) -> None:
    other = ways(10 - family, 1, 2)
    around = Surroundings((ONE, TWO), (*ways(family, 1), *other))
    assert uplinks_of(around) == {1: f"IPv{family}"}
    assert uplinks_of(attrs.evolve(around, ways_out=(*ways(family, 1, 2), *other))) == {}


def test_two_families_on_two_netdevs_need_both() -> None:
    assert uplinks_of(Surroundings((ONE, TWO), (*ways(4, 1), *ways(6, 2)))) == {
        1: "IPv4",
        2: "IPv6",
    }


def test_the_members_of_a_bond_below_a_vlan_are_uplinks() -> None:
    vlan = Netdev(5, IfName("bond0.7"), kind="vlan", lower=4)
    bond = Netdev(4, IfName("bond0"), kind="bond")
    members = (Netdev(2, IfName("eth1"), master=4), Netdev(3, IfName("eth2"), master=4))
    other = Netdev(6, IfName("eth3"))
    assert uplinks_of(Surroundings((*members, bond, vlan, other), ways(4, 5))).keys() == {
        2,
        3,
        4,
        5,
    }


def test_ways_out_through_different_tunnels_over_one_netdev_count_as_one() -> None:
    tunnels = tuple(Netdev(n, IfName(f"t{n}"), below=Below(local=HERE)) for n in (5, 6))
    assert uplinks_of(Surroundings((ONE, TWO, *tunnels), ways(4, 5, 6))) == {1: "IPv4"}


def test_a_pppoe_session_is_a_way_out_through_each_netdev_with_a_session() -> None:
    """The kernel does not say which session belongs to which netdev."""
    ppp = Netdev(5, IfName("ppp0"), kind="ppp")
    vlan = Netdev(6, IfName("eth1.7"), kind="vlan", lower=1)
    load = Load(frozenset({vlan.ifname}))
    around = Surroundings((ONE, TWO, ppp, vlan), ways(4, 5), load)
    assert uplinks_of(around).keys() == {1, 5, 6}


def test_an_open_vswitch_bridge_is_reached_through_all_members() -> None:
    switch, port = (Netdev(n, IfName(f"ovs{n}"), kind="openvswitch") for n in (5, 6))
    member = attrs.evolve(ONE, master=5)
    around = Surroundings((member, TWO, switch, port), ways(4, 6))
    assert uplinks_of(around).keys() == {1, 6}


@pytest.mark.parametrize("dead", list(combinations([1, 2, 3], 2)))
def test_a_dead_way_out_counts_only_if_all_are_dead(dead: tuple[int, ...]) -> None:
    (alive,) = {1, 2, 3} - set(dead)
    netdevs = tuple(map(nic, (1, 2, 3)))
    found = (*ways(4, *dead, dead=True), *ways(4, alive))
    assert uplinks_of(Surroundings(netdevs, found)) == {alive: "IPv4"}
    assert uplinks_of(Surroundings(netdevs, ways(4, 1, dead=True))) == {1: "IPv4"}
    assert uplinks_of(Surroundings(netdevs, ways(4, 1, 2, dead=True))) == {}


def test_half_routes_count_one_by_one_and_only_without_a_default_route() -> None:
    """A VPN sets them in addition to the default route, through which it reaches its own server."""
    halves = tuple(WayOut(half, n) for n, half in enumerate(HALVES, 1))
    assert uplinks_of(Surroundings((ONE, TWO), halves)) == {1: "IPv4", 2: "IPv4"}
    vpn = tuple(WayOut(half, 2) for half in HALVES)
    assert uplinks_of(Surroundings((ONE, TWO), (*vpn, *ways(4, 1)))) == {1: "IPv4"}


def test_netdevs_that_rest_on_themselves_or_in_a_circle_cause_no_endless_loop() -> None:
    own = Netdev(5, IfName("t5"), lower=5, below=Below(links=(6, 5)))
    other = Netdev(6, IfName("t6"), lower=5)
    around = Surroundings((own, other), ways(6, 5))
    assert uplinks_of(around) == {5: "IPv6", 6: "IPv6"}
    assert why(attrs.evolve(around, ways_out=()), 5) == "carries t6"
