"""Results in the spelling of every CNI version."""

import ipaddress
import json
import re
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.codec import result_from_json, result_to_json
from amdcni.core.codec.text import shown
from amdcni.core.errors import InvalidConfiguration, UndecodableInput, UnsupportedVersion
from amdcni.core.names import IfName, MacAddress
from amdcni.core.spec import Dns, Interface, Ip, Result, Route
from amdcni.core.versions import SUPPORTED, CniVersion
from amdcni.testing import strategies as some

# ---- the fields of each version ----------------------------------------------------------------

DNS = {"nameservers": [str], "domain": str, "search": [str], "options": [str]}
PLAIN_ROUTE = {"dst": str, "gw": str}
FAMILY = {"ip": str, "gateway": str, "routes": [PLAIN_ROUTE]}
INTERFACE = {"name": str, "mac": str, "sandbox": str}
IP = {"address": str, "gateway": str, "interface": int}

FIELDS: dict[str, Any] = {
    # SPEC 0.1.0 and 0.2.0, "Result".
    "0.1.0": {"cniVersion": str, "ip4": FAMILY, "ip6": FAMILY, "dns": DNS},
    # SPEC 0.3.0 to 0.4.0, "Result": each ip has a `version`, either "4" or "6".
    "0.3.0": {
        "cniVersion": str,
        "interfaces": [INTERFACE],
        "ips": [{**IP, "version": str}],
        "routes": [PLAIN_ROUTE],
        "dns": DNS,
    },
    # SPEC 1.0.0, "Success": `version` is gone.
    "1.0.0": {
        "cniVersion": str,
        "interfaces": [INTERFACE],
        "ips": [IP],
        "routes": [PLAIN_ROUTE],
        "dns": DNS,
    },
    # SPEC 1.1.0, "ADD Success".
    "1.1.0": {
        "cniVersion": str,
        "interfaces": [{**INTERFACE, "mtu": int, "socketPath": str, "pciID": str}],
        "ips": [IP],
        "routes": [
            {**PLAIN_ROUTE, "mtu": int, "advmss": int, "priority": int, "table": int, "scope": int}
        ],
        "dns": DNS,
    },
}
FIELDS |= {"0.2.0": FIELDS["0.1.0"], "0.3.1": FIELDS["0.3.0"], "0.4.0": FIELDS["0.3.0"]}
"""What a result may hold, written down from the specification of each version."""


def foreign(value: object, allowed: Any, path: str = "$") -> Iterator[str]:
    """The paths of what `value` holds although the version does not have it."""
    if isinstance(allowed, type):
        if type(value) is not allowed:
            yield path
    elif isinstance(allowed, list):
        for position, member in enumerate(value if isinstance(value, list) else []):
            yield from foreign(member, allowed[0], f"{path}[{position}]")
        if not isinstance(value, list):
            yield path
    else:
        assert isinstance(value, dict)
        for key, member in value.items():
            if key in allowed:
                yield from foreign(member, allowed[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"


@given(some.results, some.versions)
def test_a_result_holds_only_the_fields_of_its_version(result: Result, version: CniVersion) -> None:
    """CNI SPEC 1.1 §5: "cniVersion: The version supplied on input"."""
    written = result_to_json(result, version)
    assert written["cniVersion"] == version
    assert list(foreign(written, FIELDS[version])) == []


@given(some.results, st.sampled_from(["0.3.0", "0.3.1", "0.4.0"]))
def test_each_address_has_its_ip_version_from_0_3_0_to_0_4_0(result: Result, version: str) -> None:
    """CNI SPEC 0.4.0: "version (string): either "4" or "6" and corresponds to the IP version of the
    addresses in the entry."
    """
    written = result_to_json(result, CniVersion(version))
    for ip in written.get("ips", []):
        assert ip["version"] == ("6" if ":" in ip["address"] else "4")


@given(some.results, some.versions)
def test_a_result_can_be_written_as_json(result: Result, version: CniVersion) -> None:
    written = result_to_json(result, version)
    assert json.loads(json.dumps(written)) == written


# ---- what survives -----------------------------------------------------------------------------


def remains(result: Result, version: str) -> Result:
    """What `version` can express of a result: exactly this is kept."""
    if version < "1.1.0":
        result = attrs.evolve(
            result,
            interfaces=tuple(
                Interface(i.name, i.mac, sandbox=i.sandbox) for i in result.interfaces
            ),
            routes=tuple(Route(r.dst, r.gw) for r in result.routes),
        )
    if version < "0.3.0":
        first = [
            next((ip for ip in result.ips if ip.address.version == family), None)
            for family in (4, 6)
        ]
        ips = [Ip(ip.address, ip.gateway) for ip in first if ip is not None]
        routes = [r for ip in ips for r in result.routes if r.dst.version == ip.address.version]
        result = Result((), tuple(ips), tuple(routes), result.dns)
    return result


@given(some.results, some.versions)
def test_what_a_version_can_express_survives_being_written_and_read(
    result: Result, version: CniVersion
) -> None:
    assert result_from_json(result_to_json(result, version)) == remains(result, version)


@given(some.results)
def test_the_newest_version_loses_nothing(result: Result) -> None:
    assert result_from_json(result_to_json(result, CniVersion("1.1.0"))) == result


@given(some.results, some.versions)
def test_what_was_read_is_written_the_same_again(result: Result, version: CniVersion) -> None:
    written = result_to_json(result, version)
    assert result_to_json(result_from_json(written), version) == written


@given(some.results, some.versions, some.versions)
def test_converting_down_in_two_steps_loses_the_same_as_in_one(
    result: Result, one: CniVersion, other: CniVersion
) -> None:
    lower, upper = sorted((one, other), key=SUPPORTED.index)
    between = result_from_json(result_to_json(result, upper))
    assert result_to_json(between, lower) == result_to_json(result, lower)


# ---- as Go writes it ---------------------------------------------------------------------------


@given(some.results, some.versions, st.data())
def test_an_empty_member_is_treated_as_absent(
    result: Result, version: CniVersion, data: st.DataObject
) -> None:
    """Go writes `"dns":{}` and may write `"ips":null` or `"mac":""` (encoding/json, omitempty)."""
    written = result_to_json(result, version)
    padded = dict(written)
    for key in FIELDS[version]:
        if key not in padded and data.draw(st.booleans()):
            padded[key] = data.draw(st.just({}) | st.none()) if key == "dns" else None
    for listed, allowed in (("interfaces", "mac"), ("ips", "gateway"), ("routes", "gw")):
        if listed in written:
            silent = data.draw(st.sampled_from([None, ""]))
            padded[listed] = [{allowed: silent, **member} for member in written[listed]]
    assert result_from_json(padded) == result_from_json(written)


@given(some.results, st.sampled_from(["0.3.1", "1.0.0", "1.1.0"]), some.json_values)
def test_unknown_members_change_nothing(result: Result, version: str, value: object) -> None:
    written = result_to_json(result, CniVersion(version))
    extended = {**written, "unknown": value, "code": 0}
    for listed in ("interfaces", "ips", "routes"):
        if listed in written:
            extended[listed] = [{**member, "unknown": value} for member in written[listed]]
    assert result_from_json(extended) == result_from_json(written)


def test_a_result_of_multus_is_read() -> None:
    """The prevResult of runtime-inputs/multus-1.0.0-selection.json."""
    raw = json.loads(
        '{"cniVersion":"1.0.0","interfaces":[{"mac":"ea:22:de:e4:1a:c0","name":"rdma0",'
        '"sandbox":"/run/netns/pod1"}],"ips":[{"address":"10.1.1.11/24","interface":0}],'
        '"routes":[{"dst":"0.0.0.0/0","gw":"10.1.1.1"}]}'
    )
    mac, sandbox = MacAddress("ea:22:de:e4:1a:c0"), "/run/netns/pod1"
    default = ipaddress.ip_interface("0.0.0.0/0")
    assert result_from_json(raw) == Result(
        (Interface(IfName("rdma0"), mac, sandbox=sandbox),),
        (Ip(ipaddress.ip_interface("10.1.1.11/24"), None, 0),),
        (Route(default, ipaddress.ip_address("10.1.1.1")),),
    )


def test_the_families_in_the_oldest_results_are_read() -> None:
    raw = {
        "ip4": {"ip": "10.0.0.1/31", "gateway": "10.0.0.0", "routes": [{"dst": "10.1.0.0/16"}]},
        "ip6": {"ip": "2001:db8::1/64"},
        "dns": {"nameservers": ["10.0.0.53"], "domain": "example"},
    }
    expected = Result(
        (),
        (
            Ip(ipaddress.ip_interface("10.0.0.1/31"), ipaddress.ip_address("10.0.0.0")),
            Ip(ipaddress.ip_interface("2001:db8::1/64")),
        ),
        (Route(ipaddress.ip_interface("10.1.0.0/16")),),
        Dns(("10.0.0.53",), "example"),
    )
    for said in ({}, {"cniVersion": ""}, {"cniVersion": "0.1.0"}, {"cniVersion": "0.2.0"}):
        assert result_from_json({**raw, **said}) == expected
    assert result_to_json(expected, CniVersion("0.1.0")) == {"cniVersion": "0.1.0", **raw}


def test_the_oldest_results_have_each_route_with_the_address_of_its_family() -> None:
    addresses = ("10.0.0.1/31", "2001:db8::1/64", "10.0.0.3/31")
    routes = ("::/0", "10.1.0.0/16", "2001:db8:1::/48", "0.0.0.0/0")
    result = Result(
        ips=tuple(Ip(ipaddress.ip_interface(address)) for address in addresses),
        routes=tuple(Route(ipaddress.ip_interface(route)) for route in routes),
    )
    assert result_to_json(result, CniVersion("0.2.0")) == {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.0.0.1/31", "routes": [{"dst": "10.1.0.0/16"}, {"dst": "0.0.0.0/0"}]},
        "ip6": {"ip": "2001:db8::1/64", "routes": [{"dst": "::/0"}, {"dst": "2001:db8:1::/48"}]},
    }


# ---- what is wrong -----------------------------------------------------------------------------

FULL: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {
            "name": "net1",
            "mac": "02:00:00:00:00:01",
            "mtu": 1500,
            "sandbox": "/run/netns/p",
            "socketPath": "/run/s",
            "pciID": "0000:01:00.0",
        }
    ],
    "ips": [{"address": "10.0.0.1/24", "gateway": "10.0.0.254", "interface": 0}],
    "routes": [
        {
            "dst": "0.0.0.0/0",
            "gw": "10.0.0.254",
            "mtu": 1400,
            "advmss": 1360,
            "priority": 7,
            "table": 100,
            "scope": 0,
        }
    ],
    "dns": {"nameservers": ["10.0.0.53"], "domain": "d", "search": ["s"], "options": ["o"]},
}
"""A result with every possible member."""

PLAIN: dict[str, Any] = {
    "interfaces": [{"name": "net1", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/p"}],
    "ips": FULL["ips"],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.254"}],
    "dns": FULL["dns"],
}


@pytest.mark.parametrize(
    ("version", "members"),
    [
        ("1.1.0", FULL),
        ("1.0.0", PLAIN),
        ("0.4.0", {**PLAIN, "ips": [{**FULL["ips"][0], "version": "4"}]}),
        (
            "0.2.0",
            {
                "ip4": {"ip": "10.0.0.1/24", "gateway": "10.0.0.254", "routes": PLAIN["routes"]},
                "dns": FULL["dns"],
            },
        ),
    ],
)
def test_a_result_is_written_with_all_that_its_version_has(
    version: str, members: dict[str, Any]
) -> None:
    written = result_to_json(result_from_json(FULL), CniVersion(version))
    assert written == {**members, "cniVersion": version}


OLDEST = {
    "cniVersion": "0.2.0",
    "ip4": {"ip": "10.0.0.1/24", "gateway": "10.0.0.254", "routes": [{"dst": "0.0.0.0/0"}]},
}

KINDS: dict[str, object] = {
    "an object": {"x": 1},
    "a list": ["x"],
    "a string": "x",
    "a boolean": True,
    "a number": 5,
}
"""A value of every kind, none of them empty."""


def kind_of(value: object) -> str:
    return next(kind for kind, other in KINDS.items() if type(other) is type(value))


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place inside a JSON value, except the value itself."""
    if path:
        yield path
    members = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, member in members:
        yield from places(member, (*path, key))


def at(value: Any, place: tuple[str | int, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def put(value: Any, place: tuple[str | int, ...], other: object) -> Any:
    """`value` with `other` at a place."""
    changed = json.loads(json.dumps(value))
    at(changed, place[:-1])[place[-1]] = other
    return changed


def path_of(place: tuple[str | int, ...]) -> str:
    return "$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)


WRONG_KINDS = [
    (place, kind)
    for place in places(FULL)
    if place != ("cniVersion",)
    for kind in KINDS
    if kind != kind_of(at(FULL, place))
]

PLACES_OF_WRONG_KINDS = [
    pytest.param(place, kind, id=f"{path_of(place)}-{kind}") for place, kind in WRONG_KINDS
]


@pytest.mark.parametrize(("place", "kind"), PLACES_OF_WRONG_KINDS)
def test_a_value_of_the_wrong_kind_is_refused_with_its_path(
    place: tuple[str | int, ...], kind: str
) -> None:
    for failure in (UndecodableInput, InvalidConfiguration):
        with pytest.raises(failure) as refusal:
            result_from_json(put(FULL, place, KINDS[kind]), failure)
        assert re.search(rf"{re.escape(path_of(place))}\b", refusal.value.message) or (
            path_of(place) in refusal.value.message
        )


@pytest.mark.parametrize(("place", "kind"), PLACES_OF_WRONG_KINDS)
def test_a_value_of_the_wrong_kind_is_described_in_json_terms(
    place: tuple[str | int, ...], kind: str
) -> None:
    with pytest.raises(UndecodableInput) as refusal:
        result_from_json(put(FULL, place, KINDS[kind]))
    assert f"{path_of(place)} is {kind} ({json.dumps(KINDS[kind])}), not " in refusal.value.message


@pytest.mark.parametrize("key", ["mtu", "priority"])
def test_a_fraction_is_refused_but_not_called_a_non_number(key: str) -> None:
    place = ("interfaces", 0, key) if key == "mtu" else ("routes", 0, key)
    with pytest.raises(UndecodableInput) as refusal:
        result_from_json(put(FULL, place, 1.5))
    assert "not a number" not in refusal.value.message


VALUES = {
    ("interfaces", 0, "mac"): ["x", "02:00:00:00:00"],
    ("ips", 0, "address"): ["x", "10.0.0.1/33", "10.0.0.1/24/8", "10.0.0"],
    ("ips", 0, "gateway"): ["x", "10.0.0.1/24"],
    ("routes", 0, "dst"): ["default", "10.0.0.0/64"],
    ("routes", 0, "gw"): ["x", "::1/64"],
}


@pytest.mark.parametrize(
    ("place", "value"), [(place, value) for place, values in VALUES.items() for value in values]
)
def test_a_malformed_string_is_refused_with_its_path(
    place: tuple[str | int, ...], value: str
) -> None:
    with pytest.raises(UndecodableInput) as refusal:
        result_from_json(put(FULL, place, value))
    assert f"{path_of(place)}: " in refusal.value.message
    assert repr(value) in refusal.value.message or value in refusal.value.message


@pytest.mark.parametrize(
    "place", [("interfaces", 0, "name"), ("ips", 0, "address"), ("routes", 0, "dst")]
)
def test_a_missing_required_member_is_reported(place: tuple[str | int, ...]) -> None:
    """CNI SPEC 1.1 §5: `name`, `address` and `dst` are required."""
    for silent in (None, ""):
        with pytest.raises(UndecodableInput) as refusal:
            result_from_json(put(FULL, place, silent))
        assert f"{path_of(place)} is missing" in refusal.value.message


def test_every_fault_in_a_result_is_reported_at_once() -> None:
    raw = put(
        put(put(FULL, ("ips", 0, "address"), 5), ("routes", 0, "dst"), "x"), ("dns", "domain"), 7
    )
    with pytest.raises(UndecodableInput) as refusal:
        result_from_json(raw)
    for path in ("$.ips[0].address", "$.routes[0].dst", "$.dns.domain"):
        assert path in refusal.value.message


@pytest.mark.parametrize("version", ["9.9.9", "1.0", "x"])
def test_a_result_of_an_unknown_version_is_refused_by_name(version: str) -> None:
    with pytest.raises(UnsupportedVersion, match=re.escape(repr(version))):
        result_from_json({**FULL, "cniVersion": version})


@pytest.mark.parametrize("version", [1, 1.0, True, ["1.0.0"], {"a": 1}])
def test_the_version_of_a_result_must_be_a_string(version: object) -> None:
    with pytest.raises(UndecodableInput) as refusal:
        result_from_json({**FULL, "cniVersion": version})
    said = f"the result is wrong: $.cniVersion is {shown(version)}, not a string"
    assert refusal.value.message == said


@pytest.mark.parametrize("version", [0, False, [], {}])
def test_an_empty_version_of_a_result_must_be_a_string_too(version: object) -> None:
    with pytest.raises(UndecodableInput):
        result_from_json({**FULL, "cniVersion": version})


@pytest.mark.parametrize("family", ["x", 5, ["x"], True])
def test_a_family_in_a_0_2_0_result_must_be_an_object(family: object) -> None:
    raw = {"cniVersion": "0.2.0", "ip6": family}
    with pytest.raises(UndecodableInput, match=r"the result is wrong: \$\.ip6 is"):
        result_from_json(raw)
    with pytest.raises(InvalidConfiguration, match=r"it is wrong: \$\.prevResult\.ip6 is"):
        result_from_json(raw, InvalidConfiguration, "it", "$.prevResult")


@pytest.mark.parametrize("routes", [5, True, "x", {"dst": "0.0.0.0/0"}])
def test_the_routes_of_a_family_must_be_a_list(routes: object) -> None:
    with pytest.raises(UndecodableInput) as refusal:
        result_from_json(put(OLDEST, ("ip4", "routes"), routes))
    assert "$.ip4.routes is" in refusal.value.message


@pytest.mark.parametrize("place", [("ip4", "ip"), ("ip4", "gateway"), ("ip4", "routes", 0, "dst")])
def test_a_fault_in_a_0_2_0_result_has_the_path_that_its_writer_used(
    place: tuple[str | int, ...],
) -> None:
    with pytest.raises(UndecodableInput) as refusal:
        result_from_json(put(OLDEST, place, "x"))
    assert path_of(place) in refusal.value.message
