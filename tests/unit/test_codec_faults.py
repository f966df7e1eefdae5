"""Every fault of a configuration is reported with its path; DEL and GC overlook what they can."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from amdcni.core.errors import (
    AmdcniError,
    InvalidConfiguration,
    UndecodableInput,
    UnsupportedField,
    UnsupportedVersion,
)
from amdcni.core.formats import device_of, network_of, parse_call
from amdcni.core.formats.configurations import UNNAMED
from amdcni.core.names import ContainerId, FilePath, IfName
from amdcni.core.request import (
    DEFAULT_DATA_DIR,
    DelRequest,
    GcRequest,
    LogLevel,
    LogSettings,
    Mover,
)
from amdcni.core.spec import AttachmentId
from amdcni.core.versions import OLDEST
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Meaning
from tests.unit.configurations import (
    DEVICE_FAULTS,
    LOG_FAULTS,
    NETWORK_FAULTS,
    PLAIN,
    SINCE,
    call_of,
    paths_in,
    refusal_of,
    request_for,
    with_wrong,
    wrong_values,
)


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


def test_a_misspelled_key_is_reported_with_the_other_faults() -> None:
    raw = {**PLAIN, "DeviceID": "0000:01:00.0", "HWAddr": "02:00:00:00:00:01", "device": 5}
    message = refusal_of("ADD", raw).message
    assert all(path in message for path in ("$.DeviceID", "$.HWAddr", "$.device "))


@pytest.mark.parametrize("faults", [DEVICE_FAULTS, NETWORK_FAULTS, LOG_FAULTS])
@given(data=st.data())
def test_a_fault_shows_the_wrong_value(faults: dict[str, list[Any]], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(faults)))
    value = data.draw(st.sampled_from(faults[path]))
    message = refusal_of("ADD", with_wrong(PLAIN, {path: value})).message
    shown = [json.dumps(value), repr(value)]
    assert any(text in message for text in shown) or f"{path} is missing" in message
    assert "Traceback" not in message
    assert message.isprintable()


def test_a_missing_name_is_reported() -> None:
    """CNI SPEC 1.1 §1: `name` is required."""
    raw = {key: value for key, value in PLAIN.items() if key != "name"}
    for verb in SINCE:
        assert paths_in(refusal_of(verb, raw)) == {"$.name"}


def test_an_ipam_without_a_type_is_refused() -> None:
    """CNI SPEC 1.1 §1: `type`, within `ipam`, "refers to the filename of the IPAM plugin"."""
    raw = {**PLAIN, "ipam": {"subnet": "10.0.0.0/8"}}
    assert "$.ipam.type is missing" in refusal_of("ADD", raw).message


def test_an_ipam_that_is_empty_text_is_refused_and_not_taken_for_none() -> None:
    assert refusal_of("ADD", {**PLAIN, "ipam": ""}).message == (
        'the network configuration is wrong: $.ipam is a string (""), not an object'
    )


def test_what_is_no_object_is_refused_as_a_network_configuration() -> None:
    with pytest.raises(UndecodableInput) as refusal:
        parse_call(call_of("ADD"), b"[]")
    assert refusal.value.message == "the network configuration is a list ([]), not a JSON object"


@given(some.meanings, st.lists(some.pci_addresses, min_size=3, max_size=3))
def test_device_ids_that_disagree_are_refused_and_all_listed(
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


def test_without_a_device_the_error_lists_the_accepted_keys() -> None:
    raw = {**PLAIN, "deviceID": ""}
    for verb in ("ADD", "CHECK"):
        message = refusal_of(verb, raw).message
        for key in ("deviceID", "pciBusID", "runtimeConfig", "device", "hwaddr", "kernelpath"):
            assert key in message


@pytest.mark.parametrize("value", [1, "true", [], {}])
def test_copy_routes_must_be_true_or_false(value: object) -> None:
    raw = {**PLAIN, "copyRoutes": value}
    assert paths_in(refusal_of("ADD", raw)) == {"$.copyRoutes"}
    with pytest.raises(InvalidConfiguration) as refusal:
        device_of(raw)
    assert paths_in(refusal.value) == {"$.copyRoutes"}


@pytest.mark.parametrize("value", [1, "true", [], {}])
def test_copy_sysctls_must_be_true_or_false(value: object) -> None:
    raw = {**PLAIN, "mover": "native", "copySysctls": value}
    assert paths_in(refusal_of("ADD", raw)) == {"$.copySysctls"}


@pytest.mark.parametrize("value", [0, True, "none", "eui64", "Keep"])
def test_an_unknown_address_generation_mode_is_refused(value: object) -> None:
    raw = {**PLAIN, "mover": "native", "addrGenMode": value}
    assert paths_in(refusal_of("ADD", raw)) == {"$.addrGenMode"}


@pytest.mark.parametrize("mover", [{}, {"mover": None}, {"mover": "delegate"}], ids=str)
@pytest.mark.parametrize(
    ("key", "value"),
    [("addrGenMode", "keep"), ("addrGenMode", 7), ("copySysctls", True), ("copySysctls", False)],
)
def test_what_only_the_native_mover_can_set_is_refused_with_the_delegate(
    mover: dict[str, Any], key: str, value: object
) -> None:
    raw = {**PLAIN, **mover, key: value}
    for verb in ("ADD", "CHECK", "STATUS"):
        message = refusal_of(verb, raw).message
        assert f"$.{key} needs the mover native: host-device has the netdev up" in message
    assert device_of({**PLAIN, **mover, key: None}).mover is Mover.DELEGATE


@pytest.mark.parametrize("mtu", [-1, 2**31])
def test_an_impossible_mtu_is_refused_for_the_mover_that_would_set_it(
    mtu: int,
) -> None:
    raw = {"name": "fabric", "device": "eth0", "mtu": mtu}
    assert device_of(raw).mtu is None
    with pytest.raises(InvalidConfiguration, match=r"\$\.mtu"):
        device_of({**raw, "mover": "native"})


def test_every_fault_in_what_the_pod_should_get_is_reported_at_once() -> None:
    faulty = {"mover": "native", "mtu": -1, "dns": 5, "runtimeConfig": {"mac": 7, "mtu": ""}}
    paths = {"$.mtu", "$.dns", "$.runtimeConfig.mac"}
    more = {"copyRoutes": 5, **faulty}
    assert paths_in(refusal_of("ADD", {**PLAIN, **more})) == {"$.copyRoutes", *paths}
    with pytest.raises(InvalidConfiguration) as refusal:
        device_of({"name": "fabric", "device": "eth0", **faulty})
    assert paths_in(refusal.value) == paths


@pytest.mark.parametrize("mover", ["Native", "x", 5, True, [], {}, ["delegate"]])
@pytest.mark.parametrize("verb", ["ADD", "CHECK", "STATUS"])
def test_an_unknown_mover_is_refused_and_the_known_ones_are_listed(
    verb: str, mover: object
) -> None:
    with pytest.raises(UnsupportedField) as refusal:
        request_for(verb, {**PLAIN, "mover": mover})
    assert refusal.value.message == (
        f"$.mover: {mover!r} is not available; use one of delegate, native"
    )


@pytest.mark.parametrize("data_dir", ["state", "./x", "~/x", " /x"])
@pytest.mark.parametrize("verb", SINCE)
def test_a_state_folder_must_be_an_absolute_path(verb: str, data_dir: str) -> None:
    assert "$.dataDir" in refusal_of(verb, {**PLAIN, "dataDir": data_dir}).message


@pytest.mark.parametrize("key", ["dataDir", "logFile", "kernelpath"])
@pytest.mark.parametrize("path", ["/a\0b", "/\ud800"])
def test_a_path_that_no_file_can_have_is_refused(key: str, path: str) -> None:
    assert f"$.{key}" in refusal_of("ADD", {**PLAIN, key: path}).message


@given(wrong_values(LOG_FAULTS))
def test_wrong_log_settings_are_refused_or_treated_as_absent(wrong: dict[str, Any]) -> None:
    raw = with_wrong(PLAIN, wrong)
    with pytest.raises(InvalidConfiguration) as refusal:
        network_of(raw)
    assert paths_in(refusal.value) == set(wrong)
    assert network_of(raw, strict=False).log == LogSettings()


def test_the_caller_chooses_if_wrong_log_settings_are_refused_or_ignored() -> None:
    raw = {**PLAIN, "logLevel": "loud"}
    with pytest.raises(InvalidConfiguration) as refusal:
        network_of(raw)
    assert paths_in(refusal.value) == {"$.logLevel"}
    assert network_of(raw, strict=False).log == LogSettings()


# ---- keys that Go would read as known ones

GO_KEYS = [
    *("name", "cniVersion", "deviceID", "pciBusID", "runtimeConfig"),
    *("device", "hwaddr", "kernelpath", "ipam"),
]
"""The keys that the host-device plugin obeys too; it "matches keys case-insensitively" (Go's
package encoding/json, Unmarshal).
"""


@given(st.sampled_from(GO_KEYS), st.data())
def test_a_key_in_another_case_is_refused_and_the_right_one_named(
    key: str, data: st.DataObject
) -> None:
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
    ("members", "path", "key"),
    [
        ({"runtimeConfig": {"DeviceID": "0000:02:00.0"}}, "$.runtimeConfig.DeviceID", "deviceID"),
        ({"ipam": {"type": "static", "Type": "host-local"}}, "$.ipam.Type", "type"),
    ],
)
def test_an_inner_key_in_another_case_is_refused(
    members: dict[str, Any], path: str, key: str
) -> None:
    """The host-device plugin would move another device, or call another IPAM plugin."""
    assert refusal_of("ADD", {**PLAIN, **members}).message == (
        f"the network configuration is wrong: {path}: write this key as {key!r}"
    )


# ---- DEL and GC are lenient


@given(wrong_values({**DEVICE_FAULTS, **LOG_FAULTS}))
def test_del_accepts_any_fault_in_the_device_and_the_log_settings(
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
def test_del_needs_no_valid_device_mover_or_prev_result(members: dict[str, Any]) -> None:
    assert isinstance(request_for("DEL", {**PLAIN, **members}), DelRequest)


@pytest.mark.parametrize(
    ("wrong", "replaced", "fault"),
    [
        *(({"name": name}, {"name": UNNAMED}, InvalidConfiguration) for name in ("a b", None)),
        ({"dataDir": 5}, {"data_dir": DEFAULT_DATA_DIR}, InvalidConfiguration),
        ({"cniVersion": 5}, {"version": OLDEST}, InvalidConfiguration),
        ({"cniVersion": "9.9.9"}, {"version": OLDEST}, UnsupportedVersion),
    ],
)
def test_a_del_with_a_broken_configuration_uses_what_is_valid_of_it_key_by_key(
    wrong: dict[str, Any], replaced: dict[str, Any], fault: type[AmdcniError]
) -> None:
    log = {"logLevel": "debug", "logFile": "/run/amd-host-device/x.log"}
    valid = {**PLAIN, "cniVersion": "1.0.0", "dataDir": "/run/amd-host-device", **log}
    request = parse_call(call_of("DEL"), json.dumps({**valid, **wrong}).encode())
    whole = parse_call(call_of("DEL"), json.dumps(valid).encode())
    assert isinstance(request, DelRequest)
    assert isinstance(whole, DelRequest)
    assert isinstance(request.fault, fault)
    assert whole.network.log == LogSettings(LogLevel.DEBUG, FilePath(log["logFile"]))
    network = attrs.evolve(whole.network, raw={**valid, **wrong}, **replaced)
    assert attrs.evolve(request, fault=None) == attrs.evolve(whole, network=network)


@pytest.mark.parametrize("wrong", [{"logLevel": "loud"}, {"logFile": 1}])
def test_a_del_with_a_broken_configuration_logs_as_usual_if_its_log_settings_are_broken_too(
    wrong: dict[str, Any],
) -> None:
    raw = {**PLAIN, "name": "a b", "logFile": "/run/amd-host-device/x.log", **wrong}
    request = parse_call(call_of("DEL"), json.dumps(raw).encode())
    assert isinstance(request, DelRequest)
    assert "$.name" in str(request.fault)
    assert request.network.log == LogSettings()


@given(wrong_values({**DEVICE_FAULTS, **LOG_FAULTS}))
def test_gc_needs_no_valid_device(wrong: dict[str, Any]) -> None:
    request = request_for("GC", with_wrong(PLAIN, wrong))
    assert isinstance(request, GcRequest)
    assert request.ipam is None


def test_only_the_first_faults_of_a_long_list_are_reported_and_the_error_says_so() -> None:
    """Found by fuzzing: all faults of a megabyte of `{},` took 1.4 GiB and half a minute."""
    failure = refusal_of("GC", {**PLAIN, "cni.dev/valid-attachments": [5] * 10_000})
    listed = [f"$.cni.dev/valid-attachments[{index}]" for index in range(21)]
    assert paths_in(failure) == set(listed)
    assert f"{listed[20]} is not checked, nor is what follows" in failure.message


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
def test_a_malformed_list_of_valid_attachments_is_refused(listed: object, path: str) -> None:
    failure = refusal_of("GC", {**PLAIN, "cni.dev/valid-attachments": listed})
    assert failure.message.startswith("the network configuration is wrong: ")
    assert f"$.cni.dev/valid-attachments{path}" in failure.message
