"""From what a runtime sends to a request, with every fault at its place."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from amdcni.core.codec import (
    encode,
    in_version,
    parse_plugin_list,
    prev_result_of,
    valid_attachments_of,
)
from amdcni.core.errors import (
    AmdcniError,
    InvalidConfiguration,
    UndecodableInput,
    UnsupportedField,
    UnsupportedVersion,
)
from amdcni.core.formats import device_of, network_of, parse_request
from amdcni.core.names import ContainerId, IfName
from amdcni.core.request import (
    AddRequest,
    CheckRequest,
    DelRequest,
    Device,
    DeviceSelector,
    GcRequest,
    Invocation,
    LogSettings,
    Mover,
    Request,
    StatusRequest,
    parse_environment,
)
from amdcni.core.spec import AttachmentId, PluginList, Result
from amdcni.core.versions import SUPPORTED, CniVersion
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Meaning

REQUEST_TYPES = (AddRequest, DelRequest, CheckRequest, GcRequest, StatusRequest)

PREV_RESULT = {"cniVersion": "1.1.0", "interfaces": [{"name": "net1", "sandbox": "/run/netns/p"}]}

PLAIN: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "name": "fabric",
    "type": "amd-host-device",
    "deviceID": "0000:01:00.0",
}
"""A configuration that is right for every verb but CHECK."""


def call_of(verb: str) -> Invocation:
    environ = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "net1",
        "CNI_NETNS": "/run/netns/p",
        "CNI_PATH": "/opt/cni/bin",
    }
    return parse_environment(environ)


def request_for(verb: str, raw: Mapping[str, Any]) -> Request:
    """The request for a configuration, which for CHECK gets a prevResult if it has none."""
    if verb == "CHECK":
        raw = {"prevResult": PREV_RESULT, **raw}
    return parse_request(call_of(verb), json.dumps(raw).encode())


def refusal_of(verb: str, raw: Mapping[str, Any]) -> InvalidConfiguration:
    with pytest.raises(InvalidConfiguration) as refusal:
        request_for(verb, raw)
    return refusal.value


def paths_in(failure: AmdcniError) -> set[str]:
    """The JSON paths that the faults in a message begin with."""
    what, _, faults = failure.message.partition(" is wrong: ")
    assert what in ("the network configuration", "the network configuration list")
    return {fault.split(" ")[0].rstrip(":") for fault in faults.split("; ")}


# ---- what a configuration means ----------------------------------------------------------------


@given(some.requests)
def test_a_request_is_what_the_configuration_says(request: Request) -> None:
    data = encode(request.network.raw).encode()
    assert parse_request(request.invocation, data) == request


@given(some.requests)
def test_a_configuration_is_kept_as_it_was_with_all_of_its_keys(request: Request) -> None:
    data = encode(request.network.raw).encode()
    parsed = parse_request(request.invocation, data)
    assert encode(parsed.network.raw).encode() == data


@given(some.meanings)
def test_a_device_is_read_from_a_configuration_alone(meaning: Meaning) -> None:
    assert device_of(meaning.raw) == meaning.device


@pytest.mark.parametrize("ipam", [None, {}], ids=["null", "empty"])
@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_an_ipam_that_says_nothing_means_the_addresses_of_the_host(verb: str, ipam: object) -> None:
    request = request_for(verb, {**PLAIN, "ipam": ipam})
    assert isinstance(request, AddRequest | CheckRequest)
    assert request.device == request_device(PLAIN)
    assert request.device.ipam is None


def request_device(raw: Mapping[str, Any]) -> Device:
    request = request_for("ADD", raw)
    assert isinstance(request, AddRequest)
    return request.device


@pytest.mark.parametrize("mover", Mover)
def test_a_del_knows_the_mover_that_its_add_had(mover: Mover) -> None:
    request = request_for("DEL", {**PLAIN, "mover": mover})
    assert isinstance(request, DelRequest)
    assert request.mover is mover


@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_a_prev_result_that_is_silent_has_the_version_of_the_call(verb: str) -> None:
    """The oldest results had no `ips`."""
    request = request_for(verb, {**PLAIN, "prevResult": {"ips": [{"address": "10.0.0.1/31"}]}})
    assert isinstance(request, AddRequest | CheckRequest)
    assert request.prev_result is not None
    assert [str(ip.address) for ip in request.prev_result.ips] == ["10.0.0.1/31"]


def test_a_verb_that_needs_no_configuration_has_no_request() -> None:
    with pytest.raises(ValueError, match=r"^VERSION is answered without a request$"):
        request_for("VERSION", PLAIN)


# ---- versions ----------------------------------------------------------------------------------

SINCE = {"ADD": "0.1.0", "DEL": "0.1.0", "CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
"""CNI SPEC, changelog: CHECK came with 0.4.0, GC and STATUS with 1.1.0."""


@pytest.mark.parametrize("verb", SINCE)
@pytest.mark.parametrize("version", SUPPORTED)
def test_a_verb_is_refused_for_the_versions_that_do_not_have_it(verb: str, version: str) -> None:
    raw = {**PLAIN, "cniVersion": version, "prevResult": PREV_RESULT}
    if SUPPORTED.index(CniVersion(version)) >= SUPPORTED.index(CniVersion(SINCE[verb])):
        assert request_for(verb, raw).network.version == version
        return
    with pytest.raises(UnsupportedVersion) as refusal:
        request_for(verb, raw)
    assert SINCE[verb] in refusal.value.message
    assert repr(version) in refusal.value.message


@pytest.mark.parametrize("verb", SINCE)
@pytest.mark.parametrize("version", ["1.2.0", "1.0", "v1.0.0", " 1.0.0", "2.0.0", "\ud800"])
def test_a_version_that_is_not_exactly_a_supported_one_is_refused_as_such(
    verb: str, version: str
) -> None:
    """reference.md §2: "A version that is not exactly one of the supported is code 1"."""
    with pytest.raises(UnsupportedVersion) as refusal:
        request_for(verb, {**PLAIN, "cniVersion": version})
    assert repr(version) in refusal.value.message


# ---- faults ------------------------------------------------------------------------------------

DEVICE_FAULTS: dict[str, list[Any]] = {
    "$.deviceID": [7, 0, True, [], {"a": 1}, "eth0", "0000:01:00", "0000:01:00.0\n"],
    "$.pciBusID": [1.5, False, ["0000:01:00.0"], "01:00.0"],
    "$.runtimeConfig": [5, "x", [], [{}], True],
    "$.runtimeConfig.deviceID": [7, False, [], "x"],
    "$.device": [1, {}, "x" * 128, "é" * 64, "a\0b", "\ud800"],
    "$.hwaddr": [1, "02:00", ["02:00:00:00:00:01"]],
    "$.kernelpath": [1, [], {}],
    "$.ipam": ["", "host-local", [], [{"type": "static"}], 1, False],
    "$.ipam.type": [None, "", 5, "/bin/sh", "../x", [], {}, "host-device"],
}
"""Values that are wrong, by the JSON path at which they are."""

NETWORK_FAULTS: dict[str, list[Any]] = {
    "$.name": [None, "", 5, [], "-a", "a b", "a\n", "\ud800"],
    "$.cniVersion": [1.0, 1, True, [], {}],
    "$.dataDir": [5, [], {}],
}

LOG_FAULTS: dict[str, list[Any]] = {
    "$.logLevel": ["loud", 1, []],
    "$.logFile": [1, [], False],
}


def wrong_values(faults: Mapping[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Wrong values for some of the paths, none of them within another."""

    def spread(paths: list[str]) -> st.SearchStrategy[dict[str, Any]]:
        outer = [path for path in paths if not any(path.startswith(f"{p}.") for p in paths)]
        return st.fixed_dictionaries({path: st.sampled_from(faults[path]) for path in outer})

    return st.lists(st.sampled_from(sorted(faults)), min_size=1, unique=True).flatmap(spread)


def with_wrong(raw: Mapping[str, Any], wrong: Mapping[str, Any]) -> dict[str, Any]:
    changed = dict(raw)
    for path, value in wrong.items():
        _, key, *inner = path.split(".")
        changed[key] = {inner[0]: value} if inner else value
    return changed


@pytest.mark.parametrize(
    ("verbs", "faults"),
    [
        (["ADD", "CHECK", "STATUS"], DEVICE_FAULTS),
        (["ADD", "CHECK", "STATUS", "DEL", "GC"], NETWORK_FAULTS),
        (["ADD", "CHECK", "STATUS"], LOG_FAULTS),
    ],
    ids=["device", "network", "log"],
)
@given(data=st.data())
def test_every_fault_is_reported_at_once_with_its_path(
    verbs: list[str], faults: dict[str, list[Any]], data: st.DataObject
) -> None:
    verb, wrong = data.draw(st.sampled_from(verbs)), data.draw(wrong_values(faults))
    assert paths_in(refusal_of(verb, with_wrong(PLAIN, wrong))) == set(wrong)


@given(wrong_values({**DEVICE_FAULTS, **NETWORK_FAULTS, **LOG_FAULTS}))
@example({"$.name": 5, "$.deviceID": 7, "$.logLevel": "loud"})
def test_every_fault_of_every_part_is_reported_at_once(wrong: dict[str, Any]) -> None:
    assert paths_in(refusal_of("ADD", with_wrong(PLAIN, wrong))) == set(wrong)


def test_a_key_that_is_spelled_wrongly_is_reported_with_the_other_faults() -> None:
    raw = {**PLAIN, "DeviceID": "0000:01:00.0", "HWAddr": "02:00:00:00:00:01", "device": 5}
    message = refusal_of("ADD", raw).message
    assert all(path in message for path in ("$.DeviceID", "$.HWAddr", "$.device "))


@pytest.mark.parametrize("faults", [DEVICE_FAULTS, NETWORK_FAULTS, LOG_FAULTS])
@given(data=st.data())
def test_a_fault_shows_the_value_and_what_would_be_right(
    faults: dict[str, list[Any]], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(sorted(faults)))
    value = data.draw(st.sampled_from(faults[path]))
    message = refusal_of("ADD", with_wrong(PLAIN, {path: value})).message
    shown = [json.dumps(value), repr(value)]
    assert any(text in message for text in shown) or f"{path} is missing" in message
    assert "Traceback" not in message
    assert message.isprintable()


def test_a_name_that_is_missing_is_reported() -> None:
    """CNI SPEC 1.1 §1: `name` is required."""
    raw = {key: value for key, value in PLAIN.items() if key != "name"}
    for verb in SINCE:
        assert paths_in(refusal_of(verb, raw)) == {"$.name"}


def test_an_ipam_without_a_type_is_refused() -> None:
    """CNI SPEC 1.1 §1: `type`, within `ipam`, "refers to the filename of the IPAM plugin"."""
    raw = {**PLAIN, "ipam": {"subnet": "10.0.0.0/8"}}
    assert "$.ipam.type is missing" in refusal_of("ADD", raw).message


@given(some.meanings, st.lists(some.pci_addresses, min_size=3, max_size=3))
def test_device_ids_that_disagree_are_refused_with_each_key(
    meaning: Meaning, ids: list[Any]
) -> None:
    assume(len(set(ids)) > 1)
    raw = {
        **meaning.raw,
        "deviceID": str(ids[0]),
        "pciBusID": str(ids[1]),
        "runtimeConfig": {"deviceID": str(ids[2])},
    }
    message = refusal_of("ADD", raw).message
    for key, value in zip(("deviceID", "pciBusID", "runtimeConfig.deviceID"), ids, strict=True):
        assert f"{key} is {value}" in message


def test_without_a_device_the_accepted_keys_are_named() -> None:
    raw = {**PLAIN, "deviceID": ""}
    for verb in ("ADD", "CHECK"):
        message = refusal_of(verb, raw).message
        for key in ("deviceID", "pciBusID", "runtimeConfig", "device", "hwaddr", "kernelpath"):
            assert key in message


@pytest.mark.parametrize("copied", [True, False])
def test_routes_are_copied_if_the_configuration_says_so(copied: bool) -> None:
    assert device_of(PLAIN).copy_routes is False
    assert device_of({**PLAIN, "copyRoutes": copied}).copy_routes is copied


@pytest.mark.parametrize("value", [1, "true", [], {}])
def test_whether_routes_are_copied_is_true_or_false(value: object) -> None:
    raw = {**PLAIN, "copyRoutes": value}
    assert paths_in(refusal_of("ADD", raw)) == {"$.copyRoutes"}
    with pytest.raises(InvalidConfiguration) as refusal:
        device_of(raw)
    assert paths_in(refusal.value) == {"$.copyRoutes"}


@pytest.mark.parametrize("mtu", [-1, 2**31])
def test_an_mtu_that_no_netdev_can_have_is_refused_for_the_mover_that_would_set_it(
    mtu: int,
) -> None:
    raw = {"name": "fabric", "device": "eth0", "mtu": mtu}
    assert device_of(raw).mtu is None
    with pytest.raises(InvalidConfiguration, match=r"\$\.mtu"):
        device_of({**raw, "mover": "native"})


@pytest.mark.parametrize("mtu", [1, 2**31 - 1])
def test_an_mtu_that_a_netdev_can_have_is_taken(mtu: int) -> None:
    raw = {"name": "fabric", "device": "eth0", "mtu": mtu, "mover": "native"}
    assert device_of(raw).mtu == mtu


@pytest.mark.parametrize("empty", [None, ""])
def test_what_the_runtime_leaves_empty_is_absent(empty: str | None) -> None:
    native = {**PLAIN, "mover": "native"}
    raw = {**native, "runtimeConfig": {"deviceID": empty, "mac": empty}}
    assert device_of(raw) == device_of(native) == request_device(raw)


def test_every_fault_of_what_the_pod_is_to_have_is_told_at_once() -> None:
    faulty = {"mover": "native", "mtu": -1, "dns": 5, "runtimeConfig": {"mac": 7, "mtu": ""}}
    paths = {"$.mtu", "$.dns", "$.runtimeConfig.mac"}
    more = {"copyRoutes": 5, **faulty}
    assert paths_in(refusal_of("ADD", {**PLAIN, **more})) == {"$.copyRoutes", *paths}
    with pytest.raises(InvalidConfiguration) as refusal:
        device_of({"name": "fabric", "device": "eth0", **faulty})
    assert paths_in(refusal.value) == paths


@pytest.mark.parametrize("mover", ["Native", "x", 5, True, [], {}, ["delegate"]])
@pytest.mark.parametrize("verb", ["ADD", "CHECK", "STATUS"])
def test_a_mover_that_there_is_not_is_refused_with_those_that_there_are(
    verb: str, mover: object
) -> None:
    with pytest.raises(UnsupportedField) as refusal:
        request_for(verb, {**PLAIN, "mover": mover})
    assert "$.mover" in refusal.value.message
    assert repr(mover) in refusal.value.message
    assert all(choice in refusal.value.message for choice in Mover)


@pytest.mark.parametrize("data_dir", ["state", "./x", "~/x", " /x"])
@pytest.mark.parametrize("verb", SINCE)
def test_a_state_folder_is_an_absolute_path(verb: str, data_dir: str) -> None:
    assert "$.dataDir" in refusal_of(verb, {**PLAIN, "dataDir": data_dir}).message


@pytest.mark.parametrize("key", ["dataDir", "logFile", "kernelpath"])
@pytest.mark.parametrize("path", ["/a\0b", "/\ud800"])
def test_a_path_that_no_file_can_have_is_refused(key: str, path: str) -> None:
    assert f"$.{key}" in refusal_of("ADD", {**PLAIN, key: path}).message


@given(some.meanings)
def test_a_network_is_read_from_a_configuration_alone(meaning: Meaning) -> None:
    assert network_of(meaning.raw) == meaning.network


@given(wrong_values(LOG_FAULTS))
def test_wrong_log_settings_are_refused_or_as_good_as_none(wrong: dict[str, Any]) -> None:
    raw = with_wrong(PLAIN, wrong)
    with pytest.raises(InvalidConfiguration) as refusal:
        network_of(raw)
    assert paths_in(refusal.value) == set(wrong)
    assert network_of(raw, strict=False).log == LogSettings()


# ---- keys that Go would take for known ones ----------------------------------------------------

GO_KEYS = [
    *("name", "cniVersion", "deviceID", "pciBusID", "runtimeConfig"),
    *("device", "hwaddr", "kernelpath", "ipam"),
]
"""The keys that the host-device plugin obeys too; it "matches keys case-insensitively" (Go's
package encoding/json, Unmarshal).
"""


@given(st.sampled_from(GO_KEYS), st.data())
def test_a_key_in_another_case_is_refused_with_the_right_one(key: str, data: st.DataObject) -> None:
    upper = data.draw(st.lists(st.booleans(), min_size=len(key), max_size=len(key)))
    cased = [c.upper() if up else c.lower() for c, up in zip(key, upper, strict=True)]
    respelled = "".join(cased)
    assume(respelled != key)
    message = refusal_of("ADD", {**PLAIN, respelled: data.draw(some.hostile_values)}).message
    assert f"$.{respelled}: write this key as {key!r}" in message


LONG_S, KELVIN = "\u017f", "\u212a"
"""Go's encoding/json folds these two to `S` and `K` (foldName)."""


@pytest.mark.parametrize(
    "key",
    [
        f"{KELVIN}ernelpath",
        f"pciBu{LONG_S}ID",
        f"cniVer{LONG_S}ion",
    ],
)
def test_a_key_with_a_letter_that_go_folds_to_ascii_is_refused(key: str) -> None:
    refusal_of("ADD", {**PLAIN, key: "0000:02:00.0"})


@pytest.mark.parametrize(
    "members",
    [
        {"runtimeConfig": {"DeviceID": "0000:02:00.0"}},
        {"ipam": {"type": "static", "Type": "host-local"}},
    ],
)
def test_an_inner_key_in_another_case_is_refused(members: dict[str, Any]) -> None:
    """The host-device plugin would take another device, or call another IPAM plugin."""
    refusal_of("ADD", {**PLAIN, **members})


# ---- DEL and GC forgive ------------------------------------------------------------------------


@given(wrong_values({**DEVICE_FAULTS, **LOG_FAULTS}))
def test_del_takes_a_device_back_whatever_has_become_of_the_configuration(
    wrong: dict[str, Any],
) -> None:
    request = request_for("DEL", with_wrong(PLAIN, wrong))
    assert isinstance(request, DelRequest)
    assert request.attachment == AttachmentId(ContainerId("c1"), IfName("net1"))
    broken_device = set(wrong) & set(DEVICE_FAULTS)
    assert (request.selector is None) == bool(broken_device)
    if set(wrong) & set(LOG_FAULTS):
        assert request.network.log == LogSettings()


@pytest.mark.parametrize(
    "members",
    [
        {"deviceID": None},
        {"pciBusID": "0000:02:00.0"},
        {"mover": "no such"},
        {"ipam": "x"},
        {"DEVICE": "eth0"},
        {"prevResult": 5},
        {"prevResult": {"ips": 7}},
    ],
)
def test_del_needs_no_right_device_mover_or_prev_result(members: dict[str, Any]) -> None:
    assert isinstance(request_for("DEL", {**PLAIN, **members}), DelRequest)


@given(wrong_values({**DEVICE_FAULTS, **LOG_FAULTS}))
def test_gc_needs_no_right_device_either(wrong: dict[str, Any]) -> None:
    request = request_for("GC", with_wrong(PLAIN, wrong))
    assert isinstance(request, GcRequest)
    assert request.ipam is None


def test_of_a_list_of_wrong_members_the_first_faults_are_told_and_where_they_end() -> None:
    """Found by fuzzing: all faults of a megabyte of `{},` took 1.4 GiB and half a minute."""
    failure = refusal_of("GC", {**PLAIN, "cni.dev/valid-attachments": [5] * 10_000})
    listed = [f"$.cni.dev/valid-attachments[{index}]" for index in range(21)]
    assert paths_in(failure) == set(listed)
    assert f"{listed[20]} is not looked at, nor is what follows" in failure.message


@pytest.mark.parametrize("absent", [{}, {"cni.dev/valid-attachments": None}])
def test_without_a_list_gc_knows_of_nothing_that_is_not_valid(absent: dict[str, Any]) -> None:
    assert valid_attachments_of({**PLAIN, **absent}) is None


@given(st.frozensets(some.attachment_ids, max_size=3))
def test_a_list_of_valid_attachments_is_read_as_it_is(valid: frozenset[AttachmentId]) -> None:
    """CNI SPEC 1.1, GC: "a list of the still valid attachments", each with `containerID` and
    `ifname`.
    """
    listed = [{"containerID": a.container_id, "ifname": a.ifname} for a in valid]
    assert valid_attachments_of({"cni.dev/valid-attachments": listed}) == valid


@pytest.mark.parametrize(
    ("listed", "path"),
    [
        (5, ""),
        ({}, ""),
        ("x", ""),
        (False, ""),
        ([5], "[0]"),
        ([{"containerID": "c"}], "[0].ifname"),
        ([{"ifname": "net1"}], "[0].containerID"),
        ([{"containerID": "c", "ifname": "net1"}, {"containerID": "-", "ifname": 5}], "[1]"),
        ([{"ContainerID": "c", "ifname": "net1"}], "[0].containerID"),
    ],
)
def test_a_malformed_list_of_valid_attachments_releases_nothing(listed: object, path: str) -> None:
    failure = refusal_of("GC", {**PLAIN, "cni.dev/valid-attachments": listed})
    assert failure.message.startswith("the network configuration is wrong: ")
    assert f"$.cni.dev/valid-attachments{path}" in failure.message


# ---- prevResult --------------------------------------------------------------------------------


@given(some.meanings_in(some.versions, with_prev_result=True))
def test_a_prev_result_is_read_in_its_own_version_or_that_of_the_configuration(
    meaning: Meaning,
) -> None:
    version = meaning.network.version
    assert prev_result_of(meaning.raw, version) == meaning.prev_result
    silent = {k: v for k, v in meaning.raw["prevResult"].items() if k != "cniVersion"}
    assert prev_result_of({**meaning.raw, "prevResult": silent}, version) == meaning.prev_result


@pytest.mark.parametrize("members", [{}, {"prevResult": None}])
def test_check_needs_a_prev_result(members: dict[str, Any]) -> None:
    """CNI SPEC 1.1 §2, CHECK: "plugins ... must" be given `prevResult`."""
    with pytest.raises(InvalidConfiguration, match="prevResult"):
        parse_request(call_of("CHECK"), json.dumps({**PLAIN, **members}).encode())


@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
@pytest.mark.parametrize("previous", [5, "x", [], True, ""])
def test_a_prev_result_is_an_object(previous: object, verb: str) -> None:
    """For ADD found by fuzzing: its record could be released by no later call."""
    message = refusal_of(verb, {**PLAIN, "prevResult": previous}).message
    assert "$.prevResult is" in message
    assert "not an object" in message


def test_a_prev_result_of_an_unknown_version_is_refused_as_such() -> None:
    with pytest.raises(UnsupportedVersion, match=r"'9\.9\.9'"):
        request_for("CHECK", {**PLAIN, "prevResult": {"cniVersion": "9.9.9"}})


def test_a_fault_of_a_prev_result_has_its_path_in_the_configuration() -> None:
    message = refusal_of("CHECK", {**PLAIN, "prevResult": {"ips": [{"address": 5}]}}).message
    assert "$.prevResult.ips[0].address" in message


# ---- nothing escapes ---------------------------------------------------------------------------


@st.composite
def _hostile_documents(draw: st.DrawFn) -> bytes:
    raw = draw(some.configurations)
    keys = st.sampled_from(sorted(some.KNOWN_KEYS - {"prevResult"}))
    raw |= draw(st.dictionaries(keys | some.hostile_texts, some.hostile_values, max_size=3))
    for key, inner in (("runtimeConfig", "deviceID"), ("ipam", "type")):
        if draw(st.booleans()):
            raw[key] = {inner: draw(some.hostile_values)}
    data = json.dumps(raw, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    match draw(st.sampled_from(["whole", "cut", "broken", "twice"])):
        case "cut":
            return data[: draw(st.integers(0, len(data)))]
        case "broken":
            place = draw(st.integers(0, len(data) - 1))
            return data[:place] + draw(st.binary(max_size=3)) + data[place + 1 :]
        case "twice":
            key = draw(keys)
            value = json.dumps(draw(some.hostile_values))
            return data[:-1] + f", {json.dumps(key)}: {value}}}".encode()
    return data


@given(some.environments, st.binary(max_size=30) | _hostile_documents())
@example({"CNI_COMMAND": "STATUS"}, b"{}")
def test_any_input_is_a_request_or_an_error_of_ours(environ: dict[str, str], data: bytes) -> None:
    assume(environ["CNI_COMMAND"] != "VERSION")
    try:
        request = parse_request(parse_environment(environ), data)
    except AmdcniError as failure:
        said = failure.message
    else:
        said = "a request"
        assert isinstance(request, REQUEST_TYPES)
    assert said.isprintable()


_hostile_results = st.dictionaries(
    st.sampled_from(["cniVersion", "interfaces", "ips", "routes", "dns", "ip4", "ip6"]),
    some.hostile_values
    | st.sampled_from(SUPPORTED)
    | st.lists(
        st.dictionaries(
            st.sampled_from(["name", "mac", "address", "gateway", "interface", "dst", "mtu"]),
            some.hostile_values,
        ),
        max_size=2,
    )
    | st.dictionaries(st.sampled_from(["ip", "gateway", "routes"]), some.hostile_values),
)


def _nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@given(_hostile_results)
@example({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.1/24", "routes": 5}})
@example({"a": _nested(150)})
def test_any_prev_result_is_a_result_or_an_error_of_ours(previous: dict[str, Any]) -> None:
    for verb in ("CHECK", "DEL", "ADD"):
        try:
            request = request_for(verb, {**PLAIN, "prevResult": previous})
        except AmdcniError:
            continue
        assert isinstance(request, REQUEST_TYPES)


@pytest.mark.parametrize("verb", SINCE)
def test_a_configuration_of_any_depth_is_a_request_or_an_error_of_ours(verb: str) -> None:
    for depth in range(1, 2000, 37):
        for key in ("args", "name", "deviceID", "ipam"):
            deep = b"[" * depth + b"]" * depth
            data = json.dumps({**PLAIN, "prevResult": {}, key: "DEEP"}).encode()
            try:
                request = parse_request(call_of(verb), data.replace(b'"DEEP"', deep))
            except AmdcniError:
                continue
            assert isinstance(request, REQUEST_TYPES)


@pytest.mark.parametrize("verb", SINCE)
def test_stdin_that_is_no_json_object_is_undecodable(verb: str) -> None:
    for data in (b"", b"[]", b"null", b'"x"', b"{", b"\xff", b'{"a": NaN}'):
        with pytest.raises(UndecodableInput, match="network configuration"):
            parse_request(call_of(verb), data)


# ---- for plugins that speak another version ----------------------------------------------------


@given(some.meanings_in(some.versions), some.versions)
def test_a_configuration_for_another_version_differs_in_version_and_prev_result_only(
    meaning: Meaning, version: CniVersion
) -> None:
    converted = in_version(meaning.raw, version)
    expected = {**meaning.raw, "cniVersion": version}
    if meaning.prev_result is not None:
        expected["prevResult"] = some.result_members(meaning.prev_result, version)
    assert converted == expected


@given(some.meanings_in(some.versions), some.versions)
def test_a_configuration_that_is_in_a_version_stays_as_it_is(
    meaning: Meaning, version: CniVersion
) -> None:
    converted = in_version(meaning.raw, version)
    assert in_version(converted, version) == converted


@given(some.meanings_in(some.versions, with_prev_result=True), some.versions)
def test_a_prev_result_without_a_version_is_of_the_version_of_its_configuration(
    meaning: Meaning, version: CniVersion
) -> None:
    silent = {k: v for k, v in meaning.raw["prevResult"].items() if k != "cniVersion"}
    converted = in_version({**meaning.raw, "prevResult": silent}, version)
    assert converted == in_version(meaning.raw, version)


def test_a_prev_result_of_a_configuration_without_a_version_is_of_the_oldest() -> None:
    """CNI SPEC 0.2: a result had one address of each family."""
    raw = {**PLAIN, "prevResult": {"ip4": {"ip": "10.0.0.1/31"}}}
    del raw["cniVersion"]
    converted = in_version(raw, CniVersion("1.0.0"))
    assert [ip["address"] for ip in converted["prevResult"]["ips"]] == ["10.0.0.1/31"]


# ---- lists -------------------------------------------------------------------------------------


@given(some.plugin_lists, some.json_objects)
def test_a_configuration_list_is_what_its_file_says(
    listed: PluginList, unknown: dict[str, Any]
) -> None:
    """CNI SPEC 1.1 §1, "Configuration format"."""
    raw = {
        **unknown,
        "name": listed.name,
        "cniVersion": listed.version,
        "cniVersions": list(listed.versions),
        "plugins": list(listed.plugins),
        "disableCheck": listed.disable_check,
        "disableGC": listed.disable_gc,
        "loadOnlyInlinedPlugins": listed.load_only_inlined_plugins,
    }
    assert parse_plugin_list(json.dumps(raw).encode()) == listed
    silent = {key: value for key, value in raw.items() if value not in (False, [])}
    assert parse_plugin_list(json.dumps(silent).encode()) == listed


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"name": 5}, "$.name"),
        ({"plugins": {}}, "$.plugins"),
        ({"plugins": [{}, 5]}, "$.plugins[1]"),
        ({"disableCheck": "yes"}, "$.disableCheck"),
        ({"disableGC": 1}, "$.disableGC"),
        ({"loadOnlyInlinedPlugins": None}, "$.loadOnlyInlinedPlugins"),
        ({"cniVersions": ["1.0.0", 7]}, "$.cniVersions[1]"),
    ],
)
def test_a_fault_of_a_configuration_list_has_its_path(members: dict[str, Any], path: str) -> None:
    raw = {"name": "fabric", "cniVersion": "1.1.0", "plugins": [], **members}
    with pytest.raises(InvalidConfiguration) as refusal:
        parse_plugin_list(json.dumps(raw).encode())
    assert "the network configuration list" in refusal.value.message
    assert paths_in(refusal.value) == {path}


def test_a_configuration_list_without_a_version_is_of_the_oldest() -> None:
    """reference.md §2: "Missing or empty cniVersion means 0.1.0"."""
    assert parse_plugin_list(b'{"name": "fabric", "plugins": []}').version == "0.1.0"


def test_nothing_but_a_json_object_is_a_configuration_list() -> None:
    parse: Callable[[bytes], PluginList] = parse_plugin_list
    with pytest.raises(UndecodableInput, match="the network configuration list is a list"):
        parse(b"[]")


def test_a_result_of_a_configuration_is_not_the_configuration() -> None:
    assert prev_result_of({"prevResult": {}}, CniVersion("1.1.0")) == Result()
    assert attrs.evolve(Device(DeviceSelector())).mover is Mover.DELEGATE


def test_wrong_log_settings_are_refused_or_forgiven_as_the_caller_wants() -> None:
    raw = {**PLAIN, "logLevel": "loud"}
    with pytest.raises(InvalidConfiguration) as refusal:
        network_of(raw)
    assert paths_in(refusal.value) == {"$.logLevel"}
    assert network_of(raw, strict=False).log == LogSettings()
