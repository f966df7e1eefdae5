"""The Go plugin's file: `Mapping` in cni/plugins/amd-host-device/utils.go of ROCm/network-operator.

Its entries are written here by `json` as Go's MarshalIndent does: by `deviceID`, indented by two.
"""

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.errors import UndecodableInput
from amdcni.core.formats import parse_mappings, without_mapping
from amdcni.core.host import IpInterface
from amdcni.core.mapping import GoMapping
from amdcni.core.names import IfName, PciAddress
from amdcni.testing import strategies as some

A = PciAddress.parse("0000:c1:00.0")

REAL = b"""{
  "0000:c1:00.0": {
    "hostInterfaceName": "enp193s0",
    "hostInterfaceIPs": [
      "192.168.1.8/31",
      "2001:db8:1::8/64"
    ],
    "state": "UP"
  },
  "0000:c2:00.0": {
    "hostInterfaceName": "enp194s0",
    "hostInterfaceIPs": null,
    "state": "DOWN"
  }
}"""


def written(entries: object) -> bytes:
    return json.dumps(entries, indent=2).encode()


def read(entries: object) -> tuple[tuple[GoMapping, ...], list[str]]:
    return parse_mappings(written(entries), 7)


def test_a_real_file_of_the_go_plugin_is_read() -> None:
    interfaces = tuple(map(ipaddress.ip_interface, ["192.168.1.8/31", "2001:db8:1::8/64"]))
    assert parse_mappings(REAL, 7) == (
        (
            GoMapping(A, IfName("enp193s0"), True, interfaces, 7),
            GoMapping(PciAddress.parse("0000:c2:00.0"), IfName("enp194s0"), False, (), 7),
        ),
        [],
    )


@given(
    st.dictionaries(
        some.pci_addresses,
        st.tuples(some.ifnames, st.lists(some.ip_interfaces, unique=True), st.booleans()),
        max_size=4,
    ),
    st.integers(-(2**40), 2**40),
)
def test_whatever_the_go_plugin_writes_is_read(
    lent: dict[PciAddress, tuple[IfName, list[IpInterface], bool]], written_s: int
) -> None:
    entries = {
        str(device): {
            "hostInterfaceName": ifname,
            "hostInterfaceIPs": [str(interface) for interface in interfaces] or None,
            "state": "UP" if up else "DOWN",
        }
        for device, (ifname, interfaces, up) in lent.items()
    }
    expected = tuple(
        GoMapping(device, ifname, up, tuple(interfaces), written_s)
        for device, (ifname, interfaces, up) in lent.items()
    )
    assert parse_mappings(written(entries), written_s) == (expected, [])


@pytest.mark.parametrize("key", ["0000:c1:00.0", "0000:C1:00.0"])
@pytest.mark.parametrize(
    ("entry", "up", "addresses"),
    [
        ({"hostInterfaceName": "ens1"}, True, []),
        ({"hostInterfaceName": "ens1", "hostInterfaceIPs": []}, True, []),
        ({"hostInterfaceName": "ens1", "state": None, "later": 1}, True, []),
        ({"hostInterfaceName": "ens1", "hostInterfaceIPs": ["", "<nil>"]}, True, []),
        (
            {"hostInterfaceName": "ens1", "hostInterfaceIPs": ["::1/8", "", "::1/8"]},
            True,
            ["::1/8"],
        ),
        ({"hostInterfaceName": "ens1", "state": "DOWN"}, False, []),
        ({"hostInterfaceName": "ens1", "state": "UP"}, True, []),
    ],
)
def test_entries_of_other_versions_are_read(
    key: str, entry: object, up: bool, addresses: list[str]
) -> None:
    interfaces = tuple(map(ipaddress.ip_interface, addresses))
    assert read({key: entry}) == ((GoMapping(A, IfName("ens1"), up, interfaces, 7),), [])


@pytest.mark.parametrize(
    ("key", "entry", "saying"),
    [
        ("net1", {"hostInterfaceName": "ens1"}, "'net1' is not a PCI address"),
        ("0000:c1:00.0", None, "$.0000:c1:00.0 is null"),
        ("0000:c1:00.0", [], "$.0000:c1:00.0 is a list"),
        ("0000:c1:00.0", {}, "$.0000:c1:00.0.hostInterfaceName is missing"),
        ("0000:c1:00.0", {"hostInterfaceName": "a/b"}, "hostInterfaceName: 'a/b'"),
        (
            "0000:c1:00.0",
            {"hostInterfaceName": "ens1", "hostInterfaceIPs": "10.0.0.1/8"},
            "hostInterfaceIPs is a string",
        ),
        (
            "0000:c1:00.0",
            {"hostInterfaceName": "ens1", "hostInterfaceIPs": ["10.0.0.1/8", "10.0.0.1/ff00ff00"]},
            "10.0.0.1/ff00ff00",
        ),
        (
            "0000:c1:00.0",
            {"hostInterfaceName": "ens1", "hostInterfaceIPs": ["fe80::1%ens1/64"]},
            "zone",
        ),
        (
            "0000:c1:00.0",
            {"hostInterfaceName": "ens1", "state": True},
            "$.0000:c1:00.0.state is a boolean",
        ),
    ],
)
def test_an_invalid_entry_is_reported_and_hides_no_other(
    key: str, entry: object, saying: str
) -> None:
    found, faults = read({key: entry, "0000:c2:00.0": {"hostInterfaceName": "ens2"}})
    assert [mapping.ifname for mapping in found] == ["ens2"]
    (fault,) = faults
    assert saying in fault
    assert fault.startswith("the Go plugin's file is wrong: ") or key == "net1"


def test_every_invalid_entry_is_reported() -> None:
    found, faults = read({"net1": {}, "0000:c1:00.0": 7, "net2": {}})
    assert found == ()
    assert [fault.split()[0] for fault in faults] == ["'net1'", "the", "'net2'"]


@pytest.mark.parametrize("data", [b"", REAL[:80], bytes(range(256)), b"[]", b"null", b"{} {}"])
def test_a_damaged_file_is_refused(data: bytes) -> None:
    with pytest.raises(UndecodableInput):
        parse_mappings(data, 0)
    with pytest.raises(UndecodableInput):
        without_mapping(data, A)


@given(st.binary() | some.json_values.map(written) | some.hostile_values.map(written))
def test_any_bytes_are_entries_and_faults_or_our_error(data: bytes) -> None:
    try:
        found, faults = parse_mappings(data, 0)
    except UndecodableInput:
        with pytest.raises(UndecodableInput):
            without_mapping(data, A)
    else:
        assert len(found) + len(faults) == len(json.loads(data))


keys = some.pci_addresses.map(str) | some.words
entries = st.dictionaries(keys, some.json_values, max_size=4)


@given(entries, some.pci_addresses, some.json_values, st.booleans())
def test_an_entry_is_removed_and_all_others_keep_their_values(
    others: dict[str, Any], device: PciAddress, entry: object, capitals: bool
) -> None:
    key = str(device).upper() if capitals else str(device)
    others.pop(key, None)
    others.pop(str(device), None)
    rest = without_mapping(written({**others, key: entry}), device)
    assert rest is not None
    # 1, true and 1.0 differ as text, but are equal in Python.
    assert rest == written(others)


@given(entries, some.pci_addresses)
def test_without_an_entry_for_the_device_there_is_nothing_to_write(
    others: dict[str, Any], device: PciAddress
) -> None:
    others.pop(str(device), None)
    assert without_mapping(written(others), device) is None


def test_a_lone_surrogate_survives() -> None:
    data = b'{"0000:c1:00.0": {}, "x": "\\ud800"}'
    rest = without_mapping(data, A)
    assert rest is not None
    assert json.loads(rest) == {"x": "\ud800"}
