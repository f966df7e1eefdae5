"""Any standard input is a request or an error of ours."""

import json
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from amdcni.core.errors import AmdcniError, UndecodableInput
from amdcni.core.formats import parse_request
from amdcni.core.request import (
    AddRequest,
    CheckRequest,
    DelRequest,
    GcRequest,
    StatusRequest,
    parse_environment,
)
from amdcni.core.versions import SUPPORTED
from amdcni.testing import strategies as some
from tests.unit.configurations import PLAIN, SINCE, call_of, request_for

REQUEST_TYPES = (AddRequest, DelRequest, CheckRequest, GcRequest, StatusRequest)


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
def test_stdin_that_is_not_a_json_object_is_undecodable(verb: str) -> None:
    for data in (b"", b"[]", b"null", b'"x"', b"{", b"\xff", b'{"a": NaN}'):
        with pytest.raises(UndecodableInput, match="network configuration"):
            parse_request(call_of(verb), data)
