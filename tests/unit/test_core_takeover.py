"""Which NIC of the Go plugin's mappings is due back: the rules of `amdcni.core.takeover`."""

import ipaddress
from collections.abc import Iterable

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amdcni.core.attachment import NetnsRef, Phase
from amdcni.core.errors import DeviceHeld
from amdcni.core.formats import parse_request
from amdcni.core.host import Address, Netdev, Netns, NetnsId, SysfsDevice
from amdcni.core.mapping import GoMapping
from amdcni.core.names import DeviceKey, IfName, MacAddress, PciAddress
from amdcni.core.plans.snapshot import Clock
from amdcni.core.request import AddRequest, DelRequest, Mover, parse_environment
from amdcni.core.takeover import (
    GONE,
    Lent,
    Settled,
    find_for_add,
    find_for_del,
    find_in_pod,
    find_on_host,
    is_out,
    record_of,
)
from amdcni.testing import strategies as some

A = PciAddress.parse("0000:c1:00.0")
MAPPING = GoMapping(A, IfName("ens1"), True, (ipaddress.ip_interface("192.0.2.1/31"),), 5)
OLD = attrs.evolve(MAPPING, written_s=-1)
BARE = Netdev(7, IfName("net1"), mac=MacAddress("02:00:00:00:00:01"))
NET1 = IfName("net1")
OWN = Address(ipaddress.ip_interface("192.0.2.7/24"), label="x")
LINK_LOCAL = Address(ipaddress.ip_interface("fe80::ff:fe00:1/64"), scope=253, proto=3)
HOST = NetnsId(4, 1)


def netdev(name: str, **attributes: object) -> Netdev:
    return attrs.evolve(BARE, ifname=IfName(name), **attributes)  # type: ignore[arg-type]


def netns(*netdevs: Netdev, inode: int = 9) -> Netns:
    return Netns("/run/netns/pod1", NetnsId(4, inode), netdevs)


def host_with(*netdevs: Netdev, reports_protocols: bool = True) -> Netns:
    proto = Address(ipaddress.ip_interface("127.0.0.1/8"), proto=1 if reports_protocols else 0)
    loopback = Netdev(1, IfName("lo"), loopback=True, addresses=(proto,))
    return Netns("/proc/thread-self/ns/net", HOST, (loopback, *netdevs))


def device_with(*netdevs: Netdev, driver: str | None = "ionic") -> SysfsDevice:
    return SysfsDevice(A, driver, tuple(n.ifname for n in netdevs), virtio=("virtio3",))


def found_on_host(
    *netdevs: Netdev, mapping: GoMapping = MAPPING, ifname: str = "net9"
) -> Lent | Settled | None:
    """What the rules find if these are the netdevs of the device on the host."""
    others = netdev("eth0", ifindex=2, alias="ens1")
    return find_on_host(mapping, IfName(ifname), host_with(others, *netdevs), device_with(*netdevs))


# ---- in the pod


@pytest.mark.parametrize("parent", [str(A), "virtio3"])
@pytest.mark.parametrize("name", ["net1", "ens1", "renamed0"])
@pytest.mark.parametrize("alias", [None, "ens1", "another"])
def test_in_the_pod_the_bus_device_identifies_a_netdev_under_any_name(
    parent: str, name: str, alias: str | None
) -> None:
    ours = netdev(name, parent=parent, alias=alias)
    stranger = netdev("eth0", ifindex=3, parent="0000:05:00.0", alias="ens1")
    assert find_in_pod(MAPPING, NET1, netns(stranger, ours), device_with()) == ours


def test_in_the_pod_a_netdev_without_a_bus_device_needs_the_alias_of_the_delegate() -> None:
    ours = netdev("net1", alias="ens1")
    assert find_in_pod(MAPPING, NET1, netns(ours), device_with()) == ours
    for stranger in (netdev("net1"), netdev("net1", alias="ens2")):
        assert find_in_pod(MAPPING, NET1, netns(stranger), device_with()) is None


def test_a_decoy_in_the_pod_is_not_taken_while_the_device_is_on_the_host() -> None:
    decoy, real = netdev("net1", alias="ens1"), netdev("ens1", ifindex=8)
    assert find_in_pod(MAPPING, NET1, netns(decoy), device_with(real)) is None


@pytest.mark.parametrize("altnames", [(), ("net1",)])
def test_only_the_netdev_with_the_ifname_is_meant_in_the_pod(
    altnames: tuple[str, ...],
) -> None:
    """A DEL of net1 does not return the NIC that the pod has as net2."""
    theirs = netdev("net2", ifindex=3, parent=str(A))
    named = netdev("net1" if not altnames else "x", ifindex=4, altnames=altnames)
    assert find_in_pod(MAPPING, NET1, netns(theirs, named), device_with()) is None


def test_two_netdevs_of_the_device_cannot_be_told_apart_without_the_ifname() -> None:
    two = (netdev("a", parent=str(A)), netdev("b", ifindex=8, parent=str(A)))
    assert find_in_pod(MAPPING, NET1, netns(*two), device_with()) is None
    assert find_in_pod(MAPPING, IfName("b"), netns(*two), device_with()) == two[1]


# ---- on the host


@pytest.mark.parametrize("name", ["net1", "ens1", "dev7", "whatever"])
@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("mapping", [MAPPING, OLD])
def test_a_bare_nic_with_the_alias_of_the_delegate_was_lent_in_this_boot(
    name: str, up: bool, mapping: GoMapping
) -> None:
    fallen = netdev(name, alias="ens1", up=up, addresses=(LINK_LOCAL,))
    assert found_on_host(fallen, mapping=mapping) == Lent(fallen, GONE)


@pytest.mark.parametrize("name", ["net1", "ens1", "dev7", "net12", "net9"])
def test_a_bare_nic_that_is_down_was_lent_if_the_file_was_written_in_this_boot(name: str) -> None:
    fallen = netdev(name)
    assert found_on_host(fallen) == Lent(fallen, GONE)
    assert not isinstance(found_on_host(fallen, mapping=OLD), Lent)


@pytest.mark.parametrize(
    "configured",
    [
        netdev("ens1", up=True),
        netdev("ens1", addresses=(OWN,)),
        netdev("ens1", up=True, addresses=(OWN, LINK_LOCAL)),
        netdev("net1", alias="ens1", addresses=(OWN,)),
    ],
    ids=str,
)
@pytest.mark.parametrize("mapping", [MAPPING, OLD])
def test_a_nic_that_somebody_has_configured_is_settled(
    configured: Netdev, mapping: GoMapping
) -> None:
    assert found_on_host(configured, mapping=mapping) == Settled(configured)


def test_the_protocol_or_on_older_kernels_the_form_shows_who_made_an_address() -> None:
    """Since Linux 5.18 the kernel reports it; the link-local address is the EUI-64 of the MAC."""
    by_form = attrs.evolve(LINK_LOCAL, proto=0)
    foreign = attrs.evolve(by_form, interface=ipaddress.ip_interface("fe80::1/64"))
    for address, reports_protocols, lent in (
        (by_form, False, True),
        (foreign, False, False),
        (by_form, True, False),
        (LINK_LOCAL, True, True),
    ):
        nic = netdev("net1", alias="ens1", addresses=(address,))
        host = host_with(nic, reports_protocols=reports_protocols)
        found = find_on_host(MAPPING, NET1, host, device_with(nic))
        assert found == (Lent(nic, GONE) if lent else Settled(nic))


def test_what_the_boot_left_bare_stays_bare() -> None:
    assert found_on_host(netdev("ens1"), mapping=OLD) == Settled(netdev("ens1"))


def test_a_file_written_in_second_zero_is_of_this_boot() -> None:
    first = attrs.evolve(MAPPING, written_s=0)
    assert isinstance(found_on_host(netdev("ens1"), mapping=first), Lent)


@pytest.mark.parametrize(
    "stranger",
    [
        netdev("net1", up=True),
        netdev("net1", addresses=(OWN,)),
        netdev("enp193s0"),
        netdev("enp193s0", up=True, addresses=(OWN,)),
        netdev("xnet1"),
        netdev("net1x"),
        netdev("ens1", ifindex=2, alias="x", up=True),
    ],
    ids=str,
)
def test_an_unknown_netdev_is_left_alone(stranger: Netdev) -> None:
    mapping = attrs.evolve(MAPPING, ifname=IfName("ens8"))
    assert found_on_host(stranger, mapping=mapping) is None


def test_among_several_netdevs_the_alias_decides_and_then_the_name() -> None:
    tagged = netdev("net1", alias="ens1")
    named = netdev("ens1", ifindex=8, up=True)
    other = netdev("ens1d1", ifindex=9)
    assert found_on_host(named, other, tagged) == Lent(tagged, GONE)
    assert found_on_host(other, named) == Settled(named)
    assert found_on_host(other, netdev("net1", ifindex=8)) == Lent(netdev("net1", ifindex=8), GONE)
    assert found_on_host(netdev("net1"), netdev("net2", ifindex=8)) is None
    assert found_on_host(other) is None
    assert found_on_host() is None


def test_a_netdev_of_another_device_is_never_meant() -> None:
    other = netdev("ens1", alias="ens1")
    assert find_on_host(MAPPING, NET1, host_with(other), device_with()) is None


@given(
    some.hosts,
    some.ifnames,
    st.lists(some.ip_interfaces, max_size=2).map(tuple),
    st.booleans(),
    st.integers(-2, 2),
    st.data(),
)
def test_no_nic_on_the_host_with_an_address_set_by_somebody_counts_as_lent(
    host: Netns,
    ifname: IfName,
    addresses: tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...],
    up: bool,
    written_s: int,
    data: st.DataObject,
) -> None:
    visible = data.draw(st.sets(st.sampled_from([n.ifname for n in host.netdevs])))
    names = [n.ifname for n in host.netdevs] + [IfName(n.alias) for n in host.netdevs if n.alias]
    mapping = GoMapping(A, data.draw(st.sampled_from(names)), up, addresses, written_s)
    found = find_on_host(mapping, ifname, host, SysfsDevice(A, "ionic", tuple(visible)))
    if found is not None:
        assert found.netdev in host.netdevs
        assert found.netdev.ifname in visible
    if isinstance(found, Lent):
        assert all(address.family == 6 for address in found.netdev.addresses)
        assert written_s >= 0 or found.netdev.alias == mapping.ifname


# ---- what the verbs make of it


@given(some.del_requests, some.add_requests)
def test_the_ifname_of_the_call_decides_which_netdev_is_meant(
    over: DelRequest, begins: AddRequest
) -> None:
    over = del_of(over, "fabric0")
    begins = attrs.evolve(begins, attachment=over.attachment)
    meant, other = netdev("fabric0", parent=str(A)), netdev("b", ifindex=8, parent=str(A))
    found = find_for_del(over, MAPPING, host_with(), netns(other, meant), device_with())
    assert found is not None
    assert found.netdev == meant
    host, device = host_with(meant), device_with(meant)
    assert find_for_del(over, MAPPING, host, None, device) == Lent(meant, GONE)
    assert find_for_add(begins, MAPPING, host, device) == Lent(meant, GONE)


def del_of(request: DelRequest, ifname: str) -> DelRequest:
    return attrs.evolve(request, attachment=attrs.evolve(request.attachment, ifname=IfName(ifname)))


NICS = [
    netdev("net9"),
    netdev("net1"),
    netdev("ens1"),
    netdev("ens1", up=True),
    netdev("net1", alias="ens1", up=True),
    netdev("enp193s0", up=True),
]


@given(
    some.add_requests,
    st.none() | st.sampled_from(NICS),
    st.sampled_from([MAPPING, OLD]),
    st.sampled_from(["ionic", "vfio-pci", None]),
)
def test_a_nic_is_out_exactly_while_an_add_would_refuse_or_return_it(
    request: AddRequest, found: Netdev | None, mapping: GoMapping, driver: str | None
) -> None:
    netdevs = () if found is None else (found,)
    host, device = host_with(*netdevs), device_with(*netdevs, driver=driver)
    request = attrs.evolve(
        request, attachment=attrs.evolve(request.attachment, ifname=mapping.ifname)
    )
    try:
        expected = isinstance(find_for_add(request, mapping, host, device), Lent)
    except DeviceHeld:
        expected = True
    assert is_out(mapping, host, device) == expected


@given(some.del_requests)
def test_a_del_looks_in_its_pod_first_and_then_on_the_host(request: DelRequest) -> None:
    request = del_of(request, "net1")
    inside, fallen = netdev("net1", parent=str(A)), netdev("net1", alias="ens1")
    pod, host = netns(inside), host_with(fallen)
    expected = Lent(inside, NetnsRef(pod.path, pod.id))
    assert find_for_del(request, MAPPING, host, pod, device_with(fallen)) == expected
    at_home = Lent(fallen, GONE)
    assert find_for_del(request, MAPPING, host, netns(), device_with(fallen)) == at_home
    assert find_for_del(request, MAPPING, host, None, device_with(fallen)) == at_home


@given(some.del_requests)
def test_the_hosts_own_netns_is_not_a_pod(request: DelRequest) -> None:
    request = del_of(request, "ens1")
    configured = netdev("ens1", parent=str(A), up=True, addresses=(OWN,))
    host = host_with(configured)
    pod = attrs.evolve(host, path="/proc/1/ns/net")
    found = find_for_del(request, MAPPING, host, pod, device_with(configured))
    assert found == Settled(configured)


@given(some.del_requests)
def test_a_del_leaves_a_nic_in_another_pod_alone(request: DelRequest) -> None:
    pods: Iterable[Netns | None] = (netns(netdev("net1", parent="0000:05:00.0")), netns(), None)
    for pod in pods:
        assert find_for_del(request, MAPPING, host_with(), pod, device_with()) is None


@given(some.add_requests)
def test_an_add_is_refused_while_a_pod_has_the_nic(request: AddRequest) -> None:
    with pytest.raises(DeviceHeld, match=r"0000:c1:00\.0 .* 'ens1' .*, and has .* once the pod"):
        find_for_add(request, MAPPING, host_with(), device_with())


@given(some.add_requests, st.sampled_from([None, "vfio-pci"]))
def test_a_device_without_any_netdev_is_in_no_pod(request: AddRequest, driver: str | None) -> None:
    assert find_for_add(request, MAPPING, host_with(), device_with(driver=driver)) is None


@given(some.add_requests)
def test_an_add_finds_what_has_fallen_back_to_the_host(request: AddRequest) -> None:
    fallen = netdev("net1", alias="ens1")
    found = find_for_add(request, MAPPING, host_with(fallen), device_with(fallen))
    assert found == Lent(fallen, GONE)


# ---- the record


go_mappings = st.builds(
    GoMapping,
    some.pci_addresses,
    some.ifnames,
    st.booleans(),
    st.lists(some.ip_interfaces, max_size=4, unique=True).map(tuple),
    st.integers(-9, 9),
)


@given(
    some.del_requests | some.add_requests,
    go_mappings,
    some.netdevs,
    some.netns_refs | st.just(GONE),
    some.clocks,
)
def test_the_record_agrees_with_the_mapping_and_the_netdev(
    request: AddRequest | DelRequest,
    mapping: GoMapping,
    found: Netdev,
    ref: NetnsRef,
    clock: Clock,
) -> None:
    device = SysfsDevice(mapping.device, "ionic", (found.ifname,))
    record = record_of(request, mapping, Lent(found, ref), device, clock)
    assert (record.network, record.id) == (request.network.name, request.attachment)
    assert (record.netns, record.key) == (ref, DeviceKey(mapping.device))
    assert (record.phase, record.taken_over) == (Phase.DETACHING, True)
    assert (record.boot_id, record.read_at_s) == (clock.boot_id, clock.now_s)
    assert (record.since, record.mover) == (clock.wall, Mover.DELEGATE)
    assert {**record.config, "device": 0} == {**request.network.raw, "device": 0}
    assert record.config["device"] == mapping.ifname
    assert record.pod_ifindex == (None if ref == GONE else found.ifindex)
    captured = record.captured
    assert captured is not None
    assert (captured.ifname, captured.up, captured.alias) == (mapping.ifname, mapping.up, None)
    assert tuple(address.interface for address in captured.addresses) == mapping.addresses
    identity = (found.ifindex, found.mac, found.permanent_mac, found.parent, found.kind)
    assert identity == (
        captured.ifindex,
        captured.mac,
        captured.permanent_mac,
        captured.parent,
        captured.kind,
    )


@given(some.del_requests, some.add_requests, some.clocks)
def test_only_a_del_ends_leases(over: DelRequest, begins: AddRequest, clock: Clock) -> None:
    lent = Lent(BARE, GONE)
    assert record_of(over, MAPPING, lent, device_with(BARE), clock).ipam == over.ipam
    assert record_of(begins, MAPPING, lent, device_with(BARE), clock).ipam is None


@pytest.mark.parametrize("args", ["", "K8S_POD_NAME=pod1"])
def test_the_plugins_get_the_arguments_of_the_call(args: str) -> None:
    for given_ in [{"CNI_ARGS": args}] if args else [{}, {"CNI_ARGS": ""}]:
        request = del_request(**given_)
        lent, clock = Lent(BARE, GONE), Clock(1, "b", "w")
        assert record_of(request, MAPPING, lent, device_with(BARE), clock).args == args


@given(some.del_requests, some.clocks, st.booleans())
def test_if_the_device_has_other_netdevs_the_name_is_part_of_the_key(
    request: DelRequest, clock: Clock, in_pod: bool
) -> None:
    other = netdev("ens1d1", ifindex=9)
    visible = (other,) if in_pod else (other, BARE)
    record = record_of(request, MAPPING, Lent(BARE, GONE), device_with(*visible), clock)
    assert record.key == DeviceKey(A, IfName("ens1"))


@pytest.mark.parametrize(
    ("interface", "scope", "label"),
    [
        ("192.0.2.1/31", 0, "ens1"),
        ("127.0.0.9/8", 0, "ens1"),
        ("169.254.1.1/16", 0, "ens1"),
        ("2001:db8::1/64", 0, None),
        ("fd00::1/64", 0, None),
        ("fe80::1/64", 253, None),
        ("fec0::1/64", 200, None),
        ("::1/128", 254, None),
    ],
)
def test_an_address_gets_the_scope_and_label_that_the_kernel_gives_by_default(
    interface: str, scope: int, label: str | None
) -> None:
    """net/ipv6/addrconf.c: rt_scope() of the address; devinet.c: the label is the name."""
    mapping = attrs.evolve(MAPPING, addresses=(ipaddress.ip_interface(interface),))
    request = del_request()
    record = record_of(request, mapping, Lent(BARE, GONE), device_with(BARE), Clock(1, "b", "w"))
    assert record.captured is not None
    (address,) = record.captured.addresses
    assert address == Address(ipaddress.ip_interface(interface), scope=scope, label=label)


def del_request(**variables: str) -> DelRequest:
    environ = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "pod1", "CNI_IFNAME": "net1", **variables}
    stdin = b'{"cniVersion": "1.1.0", "name": "fabric"}'
    request = parse_request(parse_environment(environ), stdin)
    assert isinstance(request, DelRequest)
    return request


@given(go_mappings)
def test_an_entry_is_of_an_earlier_boot_if_the_file_is(mapping: GoMapping) -> None:
    assume(mapping.written_s != 0)
    assert mapping.may_be_of_this_boot == (mapping.written_s > 0)
