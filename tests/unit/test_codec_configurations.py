"""How a request is read from the input of a runtime, in every version."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.codec import encode, in_version, prev_result_of, valid_attachments_of
from amdcni.core.errors import InvalidConfiguration, UnsupportedVersion
from amdcni.core.formats import device_of, moves_rdma, network_of, parse_request
from amdcni.core.names import FilePath, MacAddress, NetdevName, PciAddress, PluginName
from amdcni.core.request import (
    AddRequest,
    AddrGenMode,
    CheckRequest,
    DelRequest,
    Device,
    DeviceSelector,
    Mover,
    Request,
    StatusRequest,
)
from amdcni.core.spec import AttachmentId, Result
from amdcni.core.versions import SUPPORTED, CniVersion
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Meaning
from tests.unit.configurations import (
    PLAIN,
    PREV_RESULT,
    SINCE,
    call_of,
    refusal_of,
    request_device,
    request_for,
)

# ---- what a configuration means


@given(some.requests)
def test_a_request_is_read_as_the_configuration_says(request: Request) -> None:
    data = encode(request.network.raw).encode()
    assert parse_request(request.invocation, data) == request


@given(some.requests)
def test_a_configuration_is_kept_unchanged_with_all_its_keys(request: Request) -> None:
    data = encode(request.network.raw).encode()
    parsed = parse_request(request.invocation, data)
    assert encode(parsed.network.raw).encode() == data


@given(some.meanings)
def test_a_device_is_read_from_a_configuration_alone(meaning: Meaning) -> None:
    assert device_of(meaning.raw) == meaning.device


A = PciAddress.parse("0000:01:00.0")
MAC = MacAddress("02:00:00:00:00:01")


@pytest.mark.parametrize(
    ("keys", "device"),
    [
        ({"runtimeConfig": {"deviceID": str(A)}}, Device(DeviceSelector(A))),
        ({"pciBusID": str(A)}, Device(DeviceSelector(A))),
        ({"device": "eth0", "hwaddr": MAC}, Device(DeviceSelector(None, NetdevName("eth0"), MAC))),
        ({"kernelpath": "/a"}, Device(DeviceSelector(kernelpath=FilePath("/a")))),
        (
            {
                "deviceID": str(A),
                "mover": "native",
                "mtu": 1400,
                "mac": MAC,
                "addrGenMode": "kernel",
                "copySysctls": True,
            },
            Device(
                DeviceSelector(A),
                mover=Mover.NATIVE,
                mtu=1400,
                mac=MAC,
                addr_gen_mode=AddrGenMode.KERNEL,
                copy_sysctls=True,
            ),
        ),
    ],
)
def test_each_key_of_a_configuration_says_one_thing_of_the_device(
    keys: dict[str, Any], device: Device
) -> None:
    assert device_of({"name": "fabric", **keys}) == device


@pytest.mark.parametrize("ipam", [None, {}], ids=["null", "empty"])
@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_an_empty_ipam_means_the_addresses_of_the_host(verb: str, ipam: object) -> None:
    request = request_for(verb, {**PLAIN, "ipam": ipam})
    assert isinstance(request, AddRequest | CheckRequest)
    assert request.device == request_device(PLAIN)
    assert request.device.ipam is None


@given(some.meanings)
def test_a_network_is_read_from_a_configuration_alone(meaning: Meaning) -> None:
    assert network_of(meaning.raw) == meaning.network


@pytest.mark.parametrize("copied", [True, False])
def test_routes_are_copied_only_if_the_configuration_says_so(copied: bool) -> None:
    assert device_of(PLAIN).copy_routes is False
    assert device_of({**PLAIN, "copyRoutes": copied}).copy_routes is copied


@pytest.mark.parametrize("moved", [True, False])
def test_rdma_devices_follow_unless_the_configuration_says_otherwise(moved: bool) -> None:
    assert device_of(PLAIN).move_rdma is True
    assert device_of({**PLAIN, "moveRdma": moved}).move_rdma is moved
    for absent in (None, ""):
        raw = {**PLAIN, "moveRdma": absent}
        assert device_of(raw).move_rdma is moves_rdma(raw) is True
    assert moves_rdma({**PLAIN, "moveRdma": moved}) is moved


@pytest.mark.parametrize(("mtu", "wanted"), [(0, None), (1, 1), (2**31 - 1, 2**31 - 1)])
def test_an_mtu_that_a_netdev_can_have_is_accepted_and_0_asks_for_nothing(
    mtu: int, wanted: int | None
) -> None:
    raw = {"name": "fabric", "device": "eth0", "mtu": mtu, "mover": "native"}
    assert device_of(raw).mtu == wanted


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_value_of_the_runtime_is_treated_as_absent(empty: str | None) -> None:
    native = {**PLAIN, "mover": "native"}
    raw = {**native, "runtimeConfig": {"deviceID": empty, "mac": empty}}
    assert device_of(raw) == device_of(native) == request_device(raw)


@pytest.mark.parametrize("mover", Mover)
def test_a_del_has_the_mover_that_its_configuration_names(mover: Mover) -> None:
    request = request_for("DEL", {**PLAIN, "mover": mover})
    assert isinstance(request, DelRequest)
    assert request.mover is mover


@pytest.mark.parametrize("mover", Mover)
def test_status_asks_about_the_mover_and_the_ipam_plugin_of_its_configuration(
    mover: Mover,
) -> None:
    request = request_for("STATUS", {**PLAIN, "mover": mover, "ipam": {"type": "host-local"}})
    network = request.network
    assert request == StatusRequest(call_of("STATUS"), network, PluginName("host-local"), mover)


@pytest.mark.parametrize("absent", [{}, {"cni.dev/valid-attachments": None}])
def test_without_a_list_of_valid_attachments_gc_has_none(absent: dict[str, Any]) -> None:
    assert valid_attachments_of({**PLAIN, **absent}) is None


@given(st.frozensets(some.attachment_ids, max_size=3))
def test_a_list_of_valid_attachments_is_read_completely(valid: frozenset[AttachmentId]) -> None:
    """CNI SPEC 1.1, GC: "a list of the still valid attachments", each with `containerID` and
    `ifname`.
    """
    listed = [{"containerID": a.container_id, "ifname": a.ifname} for a in valid]
    assert valid_attachments_of({"cni.dev/valid-attachments": listed}) == valid


def test_a_verb_that_needs_no_configuration_has_no_request() -> None:
    with pytest.raises(ValueError, match=r"^VERSION is answered without a request$"):
        request_for("VERSION", PLAIN)


# ---- versions


@pytest.mark.parametrize("verb", SINCE)
@pytest.mark.parametrize("version", SUPPORTED)
def test_a_verb_is_refused_in_exactly_the_versions_without_it(verb: str, version: str) -> None:
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
def test_a_version_that_is_not_exactly_a_supported_one_is_refused_by_name(
    verb: str, version: str
) -> None:
    """reference.md §2: "A version that is not exactly one of the supported is code 1"."""
    with pytest.raises(UnsupportedVersion) as refusal:
        request_for(verb, {**PLAIN, "cniVersion": version})
    assert repr(version) in refusal.value.message


# ---- prevResult


@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_a_prev_result_without_a_version_has_that_of_the_call(verb: str) -> None:
    """The oldest results had no `ips`."""
    request = request_for(verb, {**PLAIN, "prevResult": {"ips": [{"address": "10.0.0.1/31"}]}})
    assert isinstance(request, AddRequest | CheckRequest)
    assert request.prev_result is not None
    assert [str(ip.address) for ip in request.prev_result.ips] == ["10.0.0.1/31"]


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
    with pytest.raises(InvalidConfiguration) as refusal:
        parse_request(call_of("CHECK"), json.dumps({**PLAIN, **members}).encode())
    assert refusal.value.message == "CHECK needs prevResult, the result of ADD"


@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
@pytest.mark.parametrize("previous", [5, "x", [], True, ""])
def test_a_prev_result_that_is_not_an_object_is_refused(previous: object, verb: str) -> None:
    """Found by fuzzing, for ADD: no later call could release its record."""
    message = refusal_of(verb, {**PLAIN, "prevResult": previous}).message
    assert "$.prevResult is" in message
    assert "not an object" in message


def test_a_prev_result_of_an_unknown_version_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedVersion, match=r"'9\.9\.9'"):
        request_for("CHECK", {**PLAIN, "prevResult": {"cniVersion": "9.9.9"}})


def test_a_fault_in_a_prev_result_is_reported_with_its_path_in_the_configuration() -> None:
    message = refusal_of("CHECK", {**PLAIN, "prevResult": {"ips": [{"address": 5}]}}).message
    assert "$.prevResult.ips[0].address" in message


def test_an_empty_prev_result_is_an_empty_result() -> None:
    assert prev_result_of({"prevResult": {}}, CniVersion("1.1.0")) == Result()
    assert attrs.evolve(Device(DeviceSelector())).mover is Mover.DELEGATE


# ---- for plugins that speak another version


@given(some.meanings_in(some.versions), some.versions)
def test_a_configuration_for_another_version_differs_only_in_version_and_prev_result(
    meaning: Meaning, version: CniVersion
) -> None:
    converted = in_version(meaning.raw, version)
    expected = {**meaning.raw, "cniVersion": version}
    if meaning.prev_result is not None:
        expected["prevResult"] = some.result_members(meaning.prev_result, version)
    assert converted == expected


@given(some.meanings_in(some.versions), some.versions)
def test_converting_a_configuration_to_its_own_version_changes_nothing(
    meaning: Meaning, version: CniVersion
) -> None:
    converted = in_version(meaning.raw, version)
    assert in_version(converted, version) == converted


@given(some.meanings_in(some.versions, with_prev_result=True), some.versions)
def test_a_prev_result_without_a_version_has_that_of_its_configuration(
    meaning: Meaning, version: CniVersion
) -> None:
    silent = {k: v for k, v in meaning.raw["prevResult"].items() if k != "cniVersion"}
    converted = in_version({**meaning.raw, "prevResult": silent}, version)
    assert converted == in_version(meaning.raw, version)


def test_without_any_version_a_prev_result_has_the_oldest() -> None:
    """CNI SPEC 0.2: a result had one address of each family."""
    raw = {**PLAIN, "prevResult": {"ip4": {"ip": "10.0.0.1/31"}}}
    del raw["cniVersion"]
    converted = in_version(raw, CniVersion("1.0.0"))
    assert [ip["address"] for ip in converted["prevResult"]["ips"]] == ["10.0.0.1/31"]
