"""What a NIC of the node is, whether the node is reached through it, and whether it looks lost."""

import ipaddress
from functools import partial

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment
from amdcni.core.host import Hardware, Netdev, Netns, SysfsDevice, WayOut
from amdcni.core.mapping import GoMapping
from amdcni.core.names import AuxiliaryDevice, DeviceKey, IfName, PciAddress
from amdcni.core.nics import (
    AMD_VENDORS,
    BusNic,
    Link,
    NicKind,
    NicNetdev,
    Port,
    Records,
    looks_lost,
    nics_of,
    together,
)
from amdcni.core.policy import Policy
from amdcni.core.protection import Surroundings, protection_by, protections
from amdcni.core.rdma import RdmaDevice
from amdcni.testing import strategies as some

PCI = PciAddress(0, 0xC1, 0, 0)
LOST = Netdev(7, IfName("net1"))
LENT_BY_GO = partial(GoMapping, ifname=IfName("eth1"), up=True, addresses=(), written_s=5)
OPERSTATES = (
    None,
    *("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"),
)


def seen_with(device: SysfsDevice) -> BusNic:
    return BusNic(device, ports=tuple(Port(ifname) for ifname in device.ifnames))


bus_nics = some.sysfs_devices.map(seen_with)
unlike_nics = st.lists(bus_nics, max_size=4, unique_by=lambda nic: nic.device.bus_device)


# ---- what it is


@given(some.sysfs_devices, st.none() | some.pci_addresses)
def test_the_bus_and_the_parent_show_what_a_nic_is(
    device: SysfsDevice, parent: PciAddress | None
) -> None:
    kind = BusNic(device, parent=parent).kind
    assert (kind is NicKind.SUB) == isinstance(device.bus_device, AuxiliaryDevice)
    if isinstance(device.bus_device, PciAddress):
        assert (kind is NicKind.VIRTUAL) == (parent is not None)


@given(some.sysfs_devices, st.none() | st.integers(0, 0xFFFF).map("0x{:04x}".format))
def test_only_two_vendors_are_amd(device: SysfsDevice, vendor: str | None) -> None:
    device = attrs.evolve(device, hardware=Hardware(vendor))
    assert (BusNic(device).amd is None) == (vendor not in ("0x1dd8", "0x1022"))


@pytest.mark.parametrize("vendor", AMD_VENDORS)
def test_the_nics_of_amds_vendors_are_called_amd(vendor: str) -> None:
    device = SysfsDevice(PciAddress(0, 0xC1, 0, 0), hardware=Hardware(vendor))
    called = BusNic(device).amd
    assert called is not None
    assert called.startswith("AMD")


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("operstate", OPERSTATES)
def test_a_link_is_down_only_if_set_down_and_up_only_in_an_up_or_unknown_state(
    operstate: str | None, up: bool
) -> None:
    netdev = attrs.evolve(LOST, up=up)
    link = NicNetdev(netdev, Port(netdev.ifname, operstate)).link
    assert (link is Link.DOWN) == (not up)
    if up:
        assert (link is Link.UP) == (operstate in (None, "unknown", "up"))
        assert (link is Link.DORMANT) == (operstate == "dormant")


# ---- who holds it


@given(unlike_nics, some.hosts, st.booleans())
def test_every_nic_is_listed_once_with_its_netdevs_on_the_host(
    seen: list[BusNic], host: Netns, known: bool
) -> None:
    on_host = {netdev.ifname for netdev in host.netdevs}
    nics = nics_of(seen, Surroundings(host.netdevs), Records() if known else None, Policy())
    assert {nic.bus_device for nic in nics} == {bus.device.bus_device for bus in seen}
    assert len(nics) == len(seen)
    for nic in nics:
        listed = {each.netdev.ifname for each in nic.netdevs}
        assert listed == set(nic.bus.device.ifnames) & on_host


@given(bus_nics, some.netdevs, st.booleans())
def test_a_netdev_is_listed_with_its_port_and_whether_the_node_is_reached_through_it(
    bus: BusNic, netdev: Netdev, uplink: bool
) -> None:
    port = Port(netdev.ifname, "up", 100_000)
    bus = attrs.evolve(bus, ports=(Port(IfName("elsewhere")), port))
    ways = (WayOut(ipaddress.ip_network("::/0"), netdev.ifindex),) if uplink else ()
    around = Surroundings((netdev,), ways)
    (nic,) = nics_of([bus], around, None, Policy())
    protection = protections(around).get(netdev.ifindex)
    assert nic.netdevs == (NicNetdev(netdev, port, uplink, protection),)
    assert (protection is not None) == uplink


@given(unlike_nics)
def test_pci_functions_come_first_in_the_order_of_their_addresses(
    seen: list[BusNic],
) -> None:
    listed = [nic.bus_device for nic in nics_of(seen, Surroundings(()), None, Policy())]
    functions = [device for device in listed if isinstance(device, PciAddress)]
    assert listed[: len(functions)] == functions
    assert functions == sorted(functions)


@given(bus_nics, st.lists(some.attachments, max_size=3), some.words)
def test_a_nic_has_the_records_of_its_device_and_no_others(
    bus: BusNic, records: list[Attachment], fault: str
) -> None:
    own = DeviceKey(bus.device.bus_device)
    mine = [attrs.evolve(record, key=own) for record in records[:1]]
    stranger = DeviceKey(None, IfName("eth9"))
    known = Records((*mine, *records[1:]), {own: fault, stranger: "another"})
    (nic,) = nics_of([bus], Surroundings(()), known, Policy())
    assert nic.records is not None
    assert list(nic.records.read) == [
        record for record in known.read if record.key.bus_device == own.bus_device
    ]
    assert nic.records.faults == {own: fault}


@given(st.lists(some.bus_devices, max_size=3, unique=True), some.attachments)
def test_what_is_known_of_each_device_adds_up_to_everything_known(
    devices: list[PciAddress | AuxiliaryDevice], record: Attachment
) -> None:
    read = tuple(attrs.evolve(record, key=DeviceKey(device)) for device in devices)
    faults = {DeviceKey(device): "is damaged" for device in devices}
    lent = tuple(LENT_BY_GO(device) for device in devices if isinstance(device, PciAddress))
    known = Records(read, faults, lent, newer=frozenset(faults), set_aside=faults)
    own = [known.of(device) for device in devices]
    assert tuple(record for each in own for record in each.read) == read
    assert {key: fault for each in own for key, fault in each.faults.items()} == faults
    assert tuple(mapping for each in own for mapping in each.lent_by_go) == lent
    assert together(own) == known
    for part in (Records(read), Records(faults=faults), Records(lent_by_go=lent)):
        assert part.knows_none == (part == Records())


@given(bus_nics.filter(lambda bus: isinstance(bus.device.bus_device, PciAddress)))
def test_a_nic_is_listed_with_its_entry_of_the_go_plugin(bus: BusNic) -> None:
    device = bus.device.bus_device
    assert isinstance(device, PciAddress)
    stranger = attrs.evolve(device, function=7 - device.function)
    lent = tuple(map(LENT_BY_GO, (stranger, device)))
    (nic,) = nics_of([bus], Surroundings(()), Records(lent_by_go=lent), Policy())
    assert nic.lent_by_go == lent[1]
    for records in (Records(lent_by_go=lent[:1]), None):
        (nic,) = nics_of([bus], Surroundings(()), records, Policy())
        assert nic.lent_by_go is None


@given(bus_nics, some.attachments)
def test_a_recorded_netdev_is_away_while_it_is_not_on_the_host(
    bus: BusNic, record: Attachment
) -> None:
    held = attrs.evolve(record, key=DeviceKey(bus.device.bus_device))
    (nic,) = nics_of([bus], Surroundings(()), Records((held,)), Policy())
    assert nic.away == (held,)


@given(some.lendings)
def test_a_recorded_netdev_on_the_host_is_not_away(lending: some.Lending) -> None:
    bus_device = PciAddress(0, 0xC1, 0, 0)
    captured = lending.record.captured
    assert captured is not None
    record = attrs.evolve(
        lending.record,
        key=DeviceKey(bus_device),
        captured=attrs.evolve(captured, ifindex=lending.netdev.ifindex),
    )
    bus = seen_with(SysfsDevice(bus_device, "ionic", (lending.netdev.ifname,)))
    (nic,) = nics_of([bus], Surroundings((lending.netdev,)), Records((record,)), Policy())
    assert nic.away == ()


@given(bus_nics)
def test_without_records_nothing_is_known_to_be_away_or_lost(bus: BusNic) -> None:
    (nic,) = nics_of([bus], Surroundings(()), None, Policy())
    assert (nic.records, nic.away, nic.lost) == (None, (), None)


@given(some.netdevs, some.attachments, st.booleans())
def test_a_function_is_protected_while_a_pod_has_what_controls_it_or_what_it_controls(
    netdev: Netdev, record: Attachment, virtual: bool
) -> None:
    own, other = PciAddress(0, 0xC1, 0, 0), PciAddress(0, 0xC1, 0, 1)
    device = SysfsDevice(own, "ionic", (netdev.ifname,))
    kin = attrs.evolve(device, **({"physfn": other} if virtual else {"virtfns": (other,)}))
    lent = attrs.evolve(record, key=DeviceKey(other))
    around = Surroundings((netdev,))
    for seen, records, protected in (
        (kin, Records((lent,)), True),
        (kin, Records(), False),
        (kin, None, False),
        (device, Records((lent,)), False),
    ):
        bus = attrs.evolve(seen_with(seen), ports=(Port(netdev.ifname),))
        (nic,) = nics_of([bus], around, records, Policy())
        (found,) = nic.netdevs
        because = protections(around).get(netdev.ifindex)
        if protected and because is None:
            because = protection_by(lent, kin)
            function = "physical" if virtual else "virtual"
            assert f"the {function} function 0000:c1:00.1, which container" in because.why
        assert found.protection == because


# ---- lost ones


@pytest.mark.parametrize("ifname", ["net1", "net12", "dev7"])
def test_a_bare_netdev_with_a_name_from_a_pod_looks_lost(ifname: str) -> None:
    assert looks_lost(attrs.evolve(LOST, ifname=IfName(ifname)))


@given(some.netdevs)
def test_a_netdev_that_is_up_configured_or_otherwise_named_does_not_look_lost(
    netdev: Netdev,
) -> None:
    name = netdev.ifname
    if netdev.up or netdev.addresses or name[:3] not in ("net", "dev"):
        assert not looks_lost(netdev)


@pytest.mark.parametrize("ifname", ["net", "network1", "enet1", "eth1", "net1a"])
def test_another_name_does_not_look_lost(ifname: str) -> None:
    assert not looks_lost(attrs.evolve(LOST, ifname=IfName(ifname)))


@given(
    some.bus_devices,
    st.sampled_from(["nothing", "a record", "a fault", "the Go plugin"]),
    some.attachments,
)
def test_a_netdev_is_lost_only_if_nothing_is_recorded_of_its_device(
    bus_device: PciAddress | AuxiliaryDevice, known: str, record: Attachment
) -> None:
    key = DeviceKey(bus_device)
    bus = seen_with(SysfsDevice(bus_device, "ionic", (LOST.ifname,)))
    records = {
        "nothing": Records(),
        "a record": Records((attrs.evolve(record, key=key),)),
        "a fault": Records((), {key: "is damaged"}),
        "the Go plugin": Records(
            lent_by_go=(LENT_BY_GO(bus_device),) if isinstance(bus_device, PciAddress) else ()
        ),
    }[known]
    (nic,) = nics_of([bus], Surroundings((LOST,)), records, Policy())
    assert nic.lost == (nic.netdevs if records.knows_none else ())


# ---- RDMA devices


@given(some.attachments_of(with_netdev=True), some.rdma_device_lists(0, 3), st.integers(0, 3))
def test_rdma_devices_that_are_recorded_and_not_on_the_host_are_away(
    record: Attachment, devices: tuple[RdmaDevice, ...], at_home: int
) -> None:
    record = attrs.evolve(record, key=DeviceKey(PCI), rdma=devices)
    here = tuple(device.name for device in devices[:at_home])
    bus = BusNic(SysfsDevice(PCI), rdma=here)
    (nic,) = nics_of([bus], Surroundings(()), Records((record,)), Policy())
    assert nic.rdma_away == tuple(device.name for device in devices[at_home:])
    assert attrs.evolve(nic, records=None).rdma_away == ()
