"""Records: what was written to the state folder can always be read."""

import ipaddress
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amdcni.core.attachment import FORMAT, Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured
from amdcni.core.codec import MAX_INPUT_BYTES, decode_object, encode
from amdcni.core.codec.text import shown
from amdcni.core.errors import AmdcniError, DamagedRecord, StateTooNew, UndecodableInput
from amdcni.core.formats import attachment_to_json, parse_attachment
from amdcni.core.host import (
    Address,
    Buckets,
    Chain,
    Encap,
    Filter,
    Hardware,
    Hop,
    Interrupts,
    Member,
    Neighbour,
    NetnsId,
    Nexthop,
    NexthopGroup,
    Qdisc,
    Redirection,
    TrafficClass,
)
from amdcni.core.host import Route as KernelRoute
from amdcni.core.names import (
    ContainerId,
    DeviceKey,
    IfName,
    MacAddress,
    NetworkName,
    PciAddress,
    PluginName,
)
from amdcni.core.rdma import RdmaDevice
from amdcni.core.request import Mover
from amdcni.core.rules import Rule
from amdcni.core.spec import AttachmentId, Dns, Interface, Ip, Result, Route
from amdcni.testing import strategies as some

STORED = (Path(__file__).parent / "data" / "record-format-1.json").read_bytes()
"""A record with every attribute, as it was written when format 1 was new."""

MAC = MacAddress("02:00:00:00:00:01")
CAPTURED = Captured(
    ifname=IfName("ens1f0"),
    ifindex=7,
    mac=MAC,
    permanent_mac=MacAddress("02:00:00:00:00:02"),
    parent="0000:01:00.0",
    kind="veth",
    link_type=1,
    port_name="p0",
    port_id="0123",
    up=True,
    alias="fabric",
    addresses=(
        Address(
            ipaddress.ip_interface("192.168.1.8/31"),
            peer=ipaddress.ip_address("192.168.1.9"),
            broadcast=ipaddress.IPv4Address("255.255.255.255"),
            label="ens1f0:1",
            scope=253,
            flags=0x280,
            metric=100,
            proto=4,
            valid_s=3600,
            preferred_s=0,
        ),
        Address(ipaddress.ip_interface("2001:db8:1::8/127")),
    ),
    altnames=("rail0",),
    mtu=9000,
    txqlen=500,
    group=7,
    flags=0x1100,
    gso_max_size=185000,
    gso_max_segs=100,
    gso_ipv4_max_size=30000,
    gro_max_size=60000,
    gro_ipv4_max_size=40000,
    routes=(
        KernelRoute(
            ipaddress.ip_network("2001:db8:2::/64"),
            hops=(
                Hop(
                    *(IfName("ens1f0"), 7, ipaddress.ip_address("2001:db8:1::9"), 3),
                    onlink=True,
                    encap=Encap(5, "0800"),
                ),
                Hop(IfName("ens2f0")),
            ),
            table=1000,
            kind=2,
            protocol=4,
            scope=253,
            tos=16,
            metric=77,
            origin=ipaddress.ip_network("2001:db8:1::/64"),
            source=ipaddress.ip_address("2001:db8:1::8"),
            realm=9,
            preference=1,
            metrics={"mtu": 1400, "cc_algo": "cubic"},
            expires_s=3000,
            nexthop=42,
        ),
    ),
    nexthops=(Nexthop(40, Hop(IfName("ens1f0"), 7), 6, 186),),
    nexthop_groups=(NexthopGroup(42, (Member(40, 3), Member(41)), 4, Buckets(8, 6000, 30000)),),
    other_nexthops=(Nexthop(41, Hop(IfName("ens2f0"), 8)),),
    neighbours=(Neighbour(ipaddress.ip_address("192.168.1.9"), MAC, 0x80, 4, 0x40, True),),
    multicast_addresses=(MacAddress("01:00:5e:00:00:77"),),
    proxy_neighbours=(Neighbour(ipaddress.ip_address("192.168.1.10"), flags=8),),
    sysctls={"ipv4/conf/rp_filter": "2"},
    token=ipaddress.ip_address("::5"),
    qdisc=Qdisc("htb", 0x10000, "37000000", size_table="00"),
    qdiscs=(Qdisc("clsact", 0xFFFF0000, "01", 0xFFFFFFF1, "02", 7, 8),),
    classes=(TrafficClass("htb", 0x10001, 0xFFFFFFFF, "01"),),
    chains=(Chain(8, 3, "flower", "02", shared=True),),
    filters=(Filter("u32", 7, 1, 8, 1, 3, "03", (IfName("lo"),), shared=True),),
    redirections=(Redirection(3, 1000, "04"),),
    queues={"gro_flush_timeout": "20000", "rx-0-7/rps_cpus": "ff"},
    ethtool={"rings/rx": 512, "features/on": "0x612e4fdd09e9", "features/off": "0x4000"},
    eui64=True,
    carrier=True,
    rules=(
        Rule(
            family=4,
            priority=1010,
            action=8,
            table=101,
            inverted=True,
            source=ipaddress.ip_network("192.168.1.8/31"),
            destination=ipaddress.ip_network("10.0.0.0/8"),
            tos=16,
            iif="ens1f0",
            oif="rail0",
            values={"fwmark": 7, "sport_range": "1000-2000"},
            detached=16,
        ),
    ),
)
RESULT = Result(
    (Interface(IfName("net1"), MAC, 9000, "/run/netns/pod1", "/run/s", "0000:01:00.0"),),
    (Ip(ipaddress.ip_interface("192.168.1.8/31"), ipaddress.ip_address("192.168.1.9"), 0),),
    (
        Route(
            ipaddress.ip_interface("0.0.0.0/0"),
            ipaddress.ip_address("192.168.1.9"),
            mtu=1400,
            advmss=1360,
            priority=7,
            table=100,
            scope=200,
        ),
    ),
    Dns(("10.0.0.53",), "example", ("a.example",), ("ndots:5",)),
)
RECORD = Attachment(
    network=NetworkName("amd-host-device-nad"),
    id=AttachmentId(ContainerId("4f1d2c3b4a59"), IfName("net1")),
    netns=NetnsRef("/run/netns/pod1", NetnsId(4, 4026532281, 17)),
    key=DeviceKey(PciAddress(0, 1, 0, 0), IfName("ens1f0")),
    phase=Phase.ATTACHED,
    boot_id="6b2f1f7e-0f35-4b7e-9f5c-0c8a4c3f2a11",
    read_at_s=86400,
    since="2026-06-01T12:00:00+00:00",
    config={
        "cniVersion": "1.1.0",
        "name": "amd-host-device-nad",
        "type": "amd-host-device",
        "deviceID": "0000:01:00.0",
        "device": "ens1f0",
        "args": {"cni": {"foo": [1, 1.5, True, None, "é"]}},
    },
    args="IgnoreUnknown=1;K8S_POD_NAME=samplepod",
    captured=CAPTURED,
    ipam=PluginName("host-local"),
    mover=Mover.NATIVE,
    pod_mac=MacAddress("02:00:00:00:00:03"),
    pod_sysctls={"ipv6/conf/addr_gen_mode": "1"},
    pod_ifindex=3,
    hardware=Hardware("0x1dd8", "0x1002", "0123456789abcdef"),
    interrupts=Interrupts({"40": "0-3,8"}, {"24": "0"}),
    rdma=(RdmaDevice(3, "ionic_0", "0290fafffe010203", "0000:c1:00.0"),),
    result=RESULT,
    taken_over=True,
)


PARTS = (
    CAPTURED.addresses[0],
    CAPTURED.routes[0],
    CAPTURED.routes[0].hops[0],
    CAPTURED.neighbours[0],
    CAPTURED.qdiscs[0],
    CAPTURED.classes[0],
    CAPTURED.chains[0],
    CAPTURED.filters[0],
    CAPTURED.redirections[0],
    CAPTURED.nexthops[0],
    CAPTURED.nexthop_groups[0],
    CAPTURED.nexthop_groups[0].members[0],
    CAPTURED.nexthop_groups[0].buckets,
)


def written(record: Attachment) -> bytes:
    return encode(attachment_to_json(record)).encode()


# ---- what is written is read -------------------------------------------------------------------


@given(some.attachments, some.whole_captures)
def test_a_record_survives_being_written_and_read(record: Attachment, captured: Captured) -> None:
    if record.captured is not None:
        record = attrs.evolve(record, captured=captured)
    data = written(record)
    assert parse_attachment(data) == record
    assert written(parse_attachment(data)) == data


@given(some.attachments, some.whole_captures)
def test_a_record_as_json_is_what_json_reads_again(record: Attachment, captured: Captured) -> None:
    """So it can be compared with what was read, to find out whether anything is missing in it."""
    if record.captured is not None:
        record = attrs.evolve(record, captured=captured)
    assert json.loads(written(record)) == attachment_to_json(record)


@given(some.attachments)
def test_the_configuration_in_a_record_keeps_its_json_types(record: Attachment) -> None:
    """1, true and 1.0 differ in JSON, but are equal in Python."""
    read = parse_attachment(written(record))
    assert encode(read.config) == encode(record.config)


@given(some.attachments)
def test_a_record_states_its_format(record: Attachment) -> None:
    assert attachment_to_json(record)["format"] == FORMAT == 1


def test_a_record_stored_long_ago_is_still_read() -> None:
    assert parse_attachment(STORED) == RECORD


def test_a_record_is_still_stored_in_the_same_way() -> None:
    assert json.loads(written(RECORD)) == json.loads(STORED)


def test_the_stored_record_has_every_attribute() -> None:
    """A new attribute belongs in the stored record too, with a value other than its default."""
    for part in (
        RECORD,
        RECORD.netns.id,
        RECORD.hardware,
        RECORD.interrupts,
        CAPTURED,
        *PARTS,
        RESULT,
        RESULT.routes[0],
        RESULT.dns,
    ):
        assert part is not None
        for field in attrs.fields(type(part)):
            if field.eq and field.name != "format":
                assert getattr(part, field.name) != field.default, field.name


@given(some.attachments, st.text(min_size=1).map(lambda text: f"?{text}"), some.json_values)
def test_unknown_members_change_nothing(record: Attachment, key: str, value: object) -> None:
    raw = attachment_to_json(record)
    assert parse_attachment(encode({**raw, key: value}).encode()) == record


@pytest.mark.parametrize("ifname", ["eth\x01", "a\u00adb", "\x7f"])
def test_a_record_survives_whatever_the_netdevs_name(ifname: str) -> None:
    """dev_valid_name refuses '/', ':' and white space, but no other character."""
    captured = attrs.evolve(CAPTURED, ifname=IfName(ifname))
    record = attrs.evolve(RECORD, captured=captured)
    assert parse_attachment(written(record)) == record


def test_a_configuration_that_can_be_read_can_be_recorded() -> None:
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"a": deep}
    record = attrs.evolve(RECORD, config=deep)
    assert json.dumps(deep)
    assert attachment_to_json(record)["config"] == deep


def test_a_configuration_of_any_readable_depth_makes_a_readable_record() -> None:
    unreadable = []
    for depth in range(1, 130):
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        try:
            record = attrs.evolve(RECORD, config=decode_object(deep, "the configuration"))
        except UndecodableInput:
            continue
        try:
            parse_attachment(written(record))
        except DamagedRecord:
            unreadable.append(depth)
    assert unreadable == []


def test_the_largest_configuration_makes_a_readable_record() -> None:
    room = MAX_INPUT_BYTES - len('{"a":""}')
    data = b'{"a":"' + "é".encode() * (room // 2) + b'"}'
    record = attrs.evolve(RECORD, config=decode_object(data, "the configuration"))
    assert parse_attachment(written(record)) == record


@pytest.mark.parametrize("value", [None, True, 1.5, [], {}])
def test_a_sysctl_must_be_a_number_or_a_string(value: object) -> None:
    raw = json.loads(STORED)
    raw["captured"]["sysctls"]["ipv4/conf/rp_filter"] = value
    with pytest.raises(DamagedRecord, match="rp_filter") as refusal:
        parse_attachment(json.dumps(raw).encode())
    assert f"({json.dumps(value)}), not a number or a string" in refusal.value.message


def test_sysctls_must_be_an_object() -> None:
    raw = json.loads(STORED)
    raw["captured"]["sysctls"] = 5
    with pytest.raises(DamagedRecord, match=r"sysctls is a number \(5\), not an object"):
        parse_attachment(json.dumps(raw).encode())


# ---- not a record -----------------------------------------------------------------------------


@given(some.attachments, st.integers(FORMAT + 1, 2**63), st.booleans())
def test_a_record_of_a_newer_format_is_refused_whatever_else_it_holds(
    record: Attachment, newer: int, alien: bool
) -> None:
    raw = {"format": newer} if alien else {**attachment_to_json(record), "format": newer}
    with pytest.raises(StateTooNew) as refusal:
        parse_attachment(encode(raw).encode())
    assert str(newer) in refusal.value.message


@pytest.mark.parametrize("value", [None, 0, -1, "1", "2", [], {}, 2.0, 1.5, True, False])
def test_a_record_without_a_known_format_is_damaged(value: object) -> None:
    raw = {**attachment_to_json(RECORD), "format": value}
    with pytest.raises(DamagedRecord) as refusal:
        parse_attachment(json.dumps(raw).encode())
    assert shown(value) in refusal.value.message
    del raw["format"]
    with pytest.raises(DamagedRecord, match="no known format: null"):
        parse_attachment(json.dumps(raw).encode())


@given(st.binary(max_size=40))
@example(b"")
@example(b"{}")
@example(b"null")
@example(b'{"ens1": ["10.0.0.1/24"]}')
def test_random_bytes_are_a_damaged_record(data: bytes) -> None:
    with pytest.raises(DamagedRecord, match="the record ") as refusal:
        parse_attachment(data)
    assert refusal.value.message.isprintable()


@given(st.integers(0, len(STORED) - 3))
def test_a_record_that_was_cut_short_is_damaged(length: int) -> None:
    with pytest.raises(DamagedRecord):
        parse_attachment(STORED[:length])


@given(st.integers(0, len(STORED) - 1), st.binary(max_size=2))
def test_a_record_with_a_broken_byte_is_a_valid_record_or_refused(place: int, other: bytes) -> None:
    broken = STORED[:place] + other + STORED[place + 1 :]
    try:
        record = parse_attachment(broken)
    except (DamagedRecord, StateTooNew) as failure:
        said = failure.message
    else:
        said = "a record"
        assert parse_attachment(written(record)) == record
    assert said.isprintable()


REQUIRED = [
    *("network", "id", "netns", "key", "phase", "boot_id", "read_at_s", "since", "config"),
    *("id.containerID", "id.ifname", "netns.path", "netns.id", "netns.id.dev", "netns.id.inode"),
    *("captured.ifname", "captured.ifindex"),
]


def without(path: str) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(STORED)
    part: Any = raw
    *outer, last = path.split(".")
    for key in outer:
        part = part[key]
    del part[last]
    return raw


@pytest.mark.parametrize("path", REQUIRED)
def test_a_record_that_lacks_what_returning_the_nic_needs_is_damaged(path: str) -> None:
    with pytest.raises(DamagedRecord) as refusal:
        parse_attachment(encode(without(path)).encode())
    assert refusal.value.message == f"the record is wrong: $.{path} is missing"


WRONG: dict[str, object] = {
    "network": "-",
    "id": "c/net1",
    "key": "@",
    "phase": "gone",
    "read_at_s": "1",
    "config": [],
    "ipam": "/bin/sh",
    "pod_ifindex": True,
    "boot_id": 5,
}


@given(st.sets(st.sampled_from(sorted(WRONG)), min_size=1))
def test_everything_that_is_wrong_with_a_record_is_reported_at_once(keys: set[str]) -> None:
    raw = json.loads(STORED) | {key: WRONG[key] for key in keys}
    with pytest.raises(DamagedRecord) as refusal:
        parse_attachment(encode(raw).encode())
    _, _, faults = refusal.value.message.partition(" is wrong: ")
    assert {fault.split(" ")[0].rstrip(":") for fault in faults.split("; ")} == {
        f"$.{key}" for key in keys
    }


@given(
    st.dictionaries(
        st.sampled_from([field.name for field in attrs.fields(Attachment)]), some.hostile_values
    )
)
def test_a_record_with_any_values_is_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        record = parse_attachment(json.dumps(json.loads(STORED) | changes).encode())
    except AmdcniError as failure:
        refused: AmdcniError | None = failure
    else:
        refused = None
        assert parse_attachment(written(record)) == record
    assert refused is None or isinstance(refused, DamagedRecord | StateTooNew)


# ---- a record of a newer version ---------------------------------------------------------------


def sprinkled(value: Any, data: st.DataObject) -> Any:
    """The JSON value with one more member in some of its objects, as a newer version writes it."""
    if isinstance(value, list):
        return [sprinkled(each, data) for each in value]
    if isinstance(value, dict):
        more = {"newer": "7"} if data.draw(st.booleans()) else {}
        return {**{key: sprinkled(each, data) for key, each in value.items()}, **more}
    return value


@given(some.attachments, st.data())
def test_what_a_newer_version_has_added_survives_being_written_again(
    record: Attachment, data: st.DataObject
) -> None:
    newer = sprinkled(attachment_to_json(record), data)
    read = parse_attachment(encode(newer).encode())
    assert attachment_to_json(read) == newer
    assert attachment_to_json(read.detaching()) == {**newer, "phase": "detaching"}


def test_a_record_that_lacks_nothing_of_what_it_was_read_from_is_written_as_it_is() -> None:
    """It is not read once more: this could not be."""
    written = attachment_to_json(RECORD)
    part = {"format": 1, "id": written["id"], "phase": "detaching"}
    assert attachment_to_json(attrs.evolve(RECORD, read_from=part)) == written


def test_a_changed_list_takes_nothing_over_from_its_old_members() -> None:
    written = attachment_to_json(RECORD)
    written["result"]["ips"][0]["newer"] = 1
    read = parse_attachment(encode(written).encode())
    assert attachment_to_json(read) == written
    again = attachment_to_json(attrs.evolve(read, result=Result(ips=(*RESULT.ips, *RESULT.ips))))
    assert all("newer" not in ip for ip in again["result"]["ips"])


@pytest.mark.parametrize(
    ("key", "was", "now"),
    [("pod_mac", None, MAC), ("pod_sysctls", {}, {"ipv6.disable_ipv6": 1})],
)
def test_a_changed_attribute_is_written_with_its_new_value(key: str, was: Any, now: Any) -> None:
    newer = {**attachment_to_json(RECORD), key: was, "newer": 1}
    changed = attrs.evolve(parse_attachment(encode(newer).encode()), **{key: now})
    assert attachment_to_json(changed) == {**newer, key: now}
