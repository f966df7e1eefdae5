"""What is refused, word by word: messages are for people, who have nothing else to act on."""

import ipaddress
import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from amdcni.core.aspects.change import Around
from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured, Details, due
from amdcni.core.check import differences as differences_in_pod
from amdcni.core.errors import AmdcniError
from amdcni.core.formats import parse_request
from amdcni.core.host import (
    Address,
    AddressFlag,
    Below,
    Hop,
    Load,
    Member,
    Neighbour,
    Netdev,
    Netns,
    NetnsId,
    Nexthop,
    NexthopGroup,
    Qdisc,
    Route,
    SysfsDevice,
    WayOut,
)
from amdcni.core.names import (
    AuxiliaryDevice,
    ContainerId,
    DeviceKey,
    IfName,
    MacAddress,
    NetworkName,
    PciAddress,
    parse_bus_device,
    parse_container_id,
    parse_file_path,
    parse_ifname,
    parse_ipam_name,
    parse_mac,
    parse_network_name,
    parse_plugin_name,
)
from amdcni.core.plans.refusals import refuse_bad_pod, refuse_held
from amdcni.core.plans.snapshot import Clock, Snapshot
from amdcni.core.protection import Surroundings, refuse_protected
from amdcni.core.request import AddRequest, DeviceSelector, parse_environment, selector_of
from amdcni.core.resolve import Candidates, resolve
from amdcni.core.spec import AttachmentId, Ip
from amdcni.core.versions import parse_version

A, B = PciAddress.parse("0000:01:00.0"), PciAddress.parse("0000:02:00.0")
NIC = Netdev(7, IfName("ens1"))
DEVICE = SysfsDevice(A, "ionic", (IfName("ens1"), IfName("ens2")))
HOST = Netns("/proc/thread-self/ns/net", NetnsId(4, 1), (NIC,))
POD = Netns("/run/netns/pod1", NetnsId(4, 9), (Netdev(2, IfName("net1")),))
RECORD = Attachment(
    network=NetworkName("fabric"),
    id=AttachmentId(ContainerId("pod1"), IfName("net1")),
    netns=NetnsRef(POD.path, POD.id),
    key=DeviceKey(A),
    phase=Phase.ATTACHED,
    boot_id="boot-1",
    read_at_s=0,
    since="2026-01-02T03:04:05+00:00",
    config={},
    captured=Captured(IfName("ens1"), 7),
)
VARIABLES = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "pod1",
    "CNI_IFNAME": "net1",
    "CNI_NETNS": POD.path,
}
CONFIG = {"cniVersion": "1.1.0", "name": "fabric", "deviceID": str(A)}


def call(config: object = CONFIG, **variables: str) -> Any:
    invocation = parse_environment({**VARIABLES, **variables})
    return parse_request(invocation, json.dumps(config).encode())


def add() -> AddRequest:
    request = call()
    assert isinstance(request, AddRequest)
    return request


def choose(selector: DeviceSelector, device: SysfsDevice | None, *netdevs: Netdev) -> object:
    return resolve(selector, Candidates(netdevs=netdevs, device=device))


def snapshot_with(*records: Attachment) -> Snapshot:
    return Snapshot(Clock(1, "boot-1", "now"), HOST, POD, Candidates((), None), records=records)


LOOPBACK = Netdev(1, IfName("ens1"), loopback=True)
MEMBER = attrs.evolve(NIC, master=8)
HERE = ipaddress.ip_address("10.0.0.0")
HOLDER = attrs.evolve(NIC, addresses=(Address(ipaddress.ip_interface("10.0.0.0/31")),))
DEFAULT = ipaddress.ip_network("::/0")

REFUSALS: dict[str, Callable[[], object]] = {
    "'-' is not a container ID: [a-zA-Z0-9][a-zA-Z0-9_.-]*": lambda: parse_container_id("-"),
    "'-' is not a network name: [a-zA-Z0-9][a-zA-Z0-9_.-]*": lambda: parse_network_name("-"),
    "'a/b' is not an interface name: 1 to 15 bytes, "
    "not '.' or '..', without '/', ':', '%' and white space": lambda: parse_ifname("a/b"),
    "'./x' is not an absolute path": lambda: parse_file_path("./x"),
    "'x' is not a hardware address such as '02:00:00:00:00:01'": lambda: parse_mac("x"),
    "'a/b' is not a plugin name: a plain file name without '/'": lambda: parse_plugin_name("a/b"),
    "'host-device' moves netdevs and is not an IPAM plugin such as 'host-local'": lambda: (
        parse_ipam_name("host-device")
    ),
    "'x' is not a PCI address such as '0000:01:00.0'": lambda: PciAddress.parse("x"),
    "'x' is not an auxiliary device such as 'mlx5_core.sf.4'": lambda: AuxiliaryDevice.parse("x"),
    "'x' is neither a PCI address such as '0000:01:00.0' "
    "nor an auxiliary device such as 'mlx5_core.sf.4'": lambda: parse_bus_device("x"),
    "'' is not a device key such as '0000:01:00.0'": lambda: DeviceKey.parse(""),
    "cniVersion '9' is not supported; "
    "supported are 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0": lambda: parse_version("9"),
    "CNI_COMMAND is 'add', not one of ADD, DEL, CHECK, GC, STATUS, VERSION": lambda: call(
        CNI_COMMAND="add"
    ),
    "CNI_COMMAND is '', not one of ADD, DEL, CHECK, GC, STATUS, VERSION": lambda: parse_environment(
        {}
    ),
    "ADD needs the environment variable CNI_NETNS": lambda: call(CNI_NETNS=""),
    "ADD needs the environment variables CNI_CONTAINERID, CNI_IFNAME": lambda: call(
        CNI_CONTAINERID="", CNI_IFNAME=""
    ),
    "CNI_CONTAINERID: '-' is not a container ID: [a-zA-Z0-9][a-zA-Z0-9_.-]*; "
    "CNI_IFNAME: '.' is not an interface name: 1 to 15 bytes, "
    "not '.' or '..', without '/', ':', '%' and white space": lambda: call(
        CNI_CONTAINERID="-", CNI_IFNAME="."
    ),
    "CNI_ARGS: 'x' is not key=value": lambda: call(CNI_ARGS="IP=1;x"),
    "CNI_ARGS has unknown keys: x, y; IgnoreUnknown=true lets them pass": lambda: call(
        CNI_ARGS="x=1;IP=1;y=2"
    ),
    "the configuration names several devices: "
    "deviceID is 0000:01:00.0, pciBusID is 0000:02:00.0": lambda: selector_of(
        {"deviceID": A, "pciBusID": B}
    ),
    "the configuration names no device; give one of deviceID, pciBusID, runtimeConfig.deviceID, "
    "device, hwaddr, kernelpath (Multus adds deviceID when the NAD has the annotation "
    "k8s.v1.cni.cncf.io/resourceName)": lambda: selector_of({}),
    "CHECK needs prevResult, the result of ADD": lambda: call(CNI_COMMAND="CHECK"),
    "GC needs cniVersion 1.1.0 or newer, not '1.0.0'": lambda: call(
        {**CONFIG, "cniVersion": "1.0.0"}, CNI_COMMAND="GC", CNI_PATH="/opt/cni/bin"
    ),
    "$.mover: 'x' is not available; use one of delegate, native": lambda: call(
        {**CONFIG, "mover": "x"}
    ),
    'the network configuration is wrong: $.mtu is a string ("large"), not a whole number': lambda: (
        call({**CONFIG, "mover": "native", "mtu": "large"})
    ),
    "the network configuration is wrong: $.copyRoutes is a number (1), not true or false": lambda: (
        call({**CONFIG, "copyRoutes": 1})
    ),
    "the network configuration is wrong: $.prevResult.ips is a number (7), not a list": lambda: (
        call({**CONFIG, "prevResult": {"ips": 7}})
    ),
    "$.prevResult is a number (7), not an object": lambda: call({**CONFIG, "prevResult": 7}),
    "the network configuration is wrong: $.DeviceID: write this key as 'deviceID'; "
    "$.ipam.Type: write this key as 'type'; $.ipam.type is missing; "
    "$.runtimeConfig.deviceid: write this key as 'deviceID'": lambda: call(
        {**CONFIG, "DeviceID": "", "ipam": {"Type": "x"}, "runtimeConfig": {"deviceid": ""}}
    ),
    "the network configuration is not JSON: Expecting value: line 1 column 1 (char 0)": lambda: (
        parse_request(parse_environment(VARIABLES), b"")
    ),
    "there is no device 0000:01:00.0 on this node; "
    "is the allocation from another node, or the NIC unplugged?": lambda: choose(
        DeviceSelector(A), None
    ),
    "0000:01:00.0 is bound to 'ionic' and has no netdev on the host; "
    "is the right driver bound, or the netdev in some network namespace?": lambda: choose(
        DeviceSelector(A), SysfsDevice(A, "ionic")
    ),
    "0000:01:00.0 has no driver and has no netdev on the host; "
    "is the right driver bound, or the netdev in some network namespace?": lambda: choose(
        DeviceSelector(A), SysfsDevice(A, None)
    ),
    "no netdev on the host fits 0000:01:00.0 with ens9": lambda: choose(
        DeviceSelector(A, IfName("ens9")), DEVICE, NIC
    ),
    "0000:01:00.0 has several netdevs: ens1, ens2; choose one with the key 'device'": lambda: (
        choose(DeviceSelector(A), DEVICE, attrs.evolve(NIC, ifname=IfName("ens2")), NIC)
    ),
    "CNI_NETNS '/run/netns/pod1' is the host's own network namespace; "
    "a NIC is not moved to where it already is": lambda: refuse_bad_pod(add(), HOST, HOST),
    "CNI_IFNAME 'net1' already exists in '/run/netns/pod1'": lambda: refuse_bad_pod(
        add(), HOST, POD
    ),
    "0000:01:00.0 is held by container pod1 as 'net1' in '/run/netns/pod1' "
    "since 2026-01-02T03:04:05+00:00; it is free once that attachment is deleted": lambda: (
        refuse_held(DeviceSelector(A), snapshot_with(RECORD))
    ),
    "ens1 is the loopback netdev; choose a NIC": lambda: refuse_protected(
        LOOPBACK, Surroundings((LOOPBACK,))
    ),
    "ens1 carries the node's only default route of IPv6; the node would become unreachable": (
        lambda: refuse_protected(NIC, Surroundings((NIC,), (WayOut(DEFAULT, 7),)))
    ),
    "ens1 is a member of bond0; take it out first": lambda: refuse_protected(
        MEMBER, Surroundings((Netdev(8, IfName("bond0")), MEMBER))
    ),
    "ens1 is a member of a bond or bridge; take it out first": lambda: refuse_protected(
        MEMBER, Surroundings((MEMBER,))
    ),
    "ens1 carries vlan7, gre8 (from 10.0.0.0), geneve9 (to 10.0.0.1), a PPPoE session, "
    "the RDMA device rxe0; they would be destroyed or cut off; remove them first": lambda: (
        refuse_protected(
            HOLDER,
            Surroundings(
                (
                    HOLDER,
                    Netdev(17, IfName("vlan7"), kind="vlan", lower=7),
                    Netdev(18, IfName("gre8"), below=Below(local=HERE)),
                    Netdev(19, IfName("geneve9"), below=Below(remote=HERE + 1)),
                ),
                load=Load(frozenset({NIC.ifname}), {"rxe0": NIC.ifname}, {19: 7}),
            ),
        )
    ),
    "ens1 carries what receives at 02:00:00:00:00:77 through it; "
    "they would be destroyed or cut off; remove them first": lambda: refuse_protected(
        NIC, Surroundings((NIC,), load=Load(receives_for={7: (MacAddress("02:00:00:00:00:77"),)}))
    ),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_a_refusal_says_word_for_word_what_is_wrong_and_what_to_do(message: str) -> None:
    with pytest.raises(AmdcniError) as refusal:
        REFUSALS[message]()
    assert refusal.value.message == message


def test_what_a_netdev_lacks_on_the_host_is_listed_one_by_one() -> None:
    gateway, interface = ipaddress.ip_address("10.0.0.1"), ipaddress.ip_interface("10.0.0.0/31")
    lost = Address(ipaddress.ip_interface("fd00::1/64"))
    kept = Address(interface, label="ens1", flags=AddressFlag.NOPREFIXROUTE, valid_s=90)
    wanted = Captured(
        IfName("ens1"),
        7,
        up=True,
        mtu=9000,
        altnames=(IfName("rail1"),),
        addresses=(lost, kept),
        routes=(
            Route(ipaddress.ip_network("10.9.0.0/24"), (Hop(IfName("ens1"), 7, gateway),)),
            Route(ipaddress.ip_network("10.8.0.0/24"), (Hop(IfName("ens1"), 7),), nexthop=9),
        ),
        neighbours=(Neighbour(gateway, MacAddress("02:00:00:00:00:09")),),
        multicast_addresses=(MacAddress("01:00:5e:00:00:77"),),
        nexthops=(Nexthop(8, Hop(IfName("ens1"), 7)),),
        nexthop_groups=(NexthopGroup(9, (Member(8), Member(7))),),
        sysctls={"ipv4/conf/rp_filter": "2"},
        token=ipaddress.IPv6Address("::7"),
        qdisc=Qdisc("fq", 1),
    )
    seen = attrs.evolve(
        NIC, mtu=1500, altnames=(IfName("other"),), addresses=(Address(interface, scope=253),)
    )
    details = Details(sysctls={"ipv4/conf/rp_filter": "1"})
    around = Around(IfName("ens1"))
    assert [change.describe() for change in due(wanted, seen, details, around)] == [
        "token is none, was ::7",
        "altname other is extra",
        "altname rail1 is missing",
        "mtu is 1500, was 9000",
        "ipv4/conf/rp_filter is 1, was 2",
        "is down, was up",
        "10.0.0.0/31 has label None (was ens1), scope 253 (was 0), flags 0 (was 512), "
        "valid_s None (was 90)",
        "fd00::1/64 is missing",
        "neighbour 10.0.0.1 is missing",
        "multicast address 01:00:5e:00:00:77 is missing",
        "qdisc fq is missing",
        "nexthop object 8 is missing",
        "nexthop group 9 of 8,1 is missing",
        "the route to 10.8.0.0/24 by the nexthop object 9 in table main is missing",
        "the route to 10.9.0.0/24 via 10.0.0.1 dev ens1 in table main is missing",
    ]


def test_what_a_netdev_lacks_in_a_pod_is_listed_one_by_one() -> None:
    promised = (Ip(ipaddress.ip_interface("10.0.0.0/31")),)
    record = attrs.evolve(RECORD, pod_ifindex=2)
    pod = attrs.evolve(POD, netdevs=(Netdev(2, IfName("x"), mac=MacAddress("02:00:00:00:00:01")),))
    assert differences_in_pod(record, promised, pod) == [
        "0000:01:00.0 is called 'x', not 'net1'",
        "x is down",
        "x lacks 10.0.0.0/31",
    ]
    empty = attrs.evolve(POD, netdevs=())
    gone = ["0000:01:00.0 is not in '/run/netns/pod1' any more"]
    assert differences_in_pod(record, promised, empty) == gone
