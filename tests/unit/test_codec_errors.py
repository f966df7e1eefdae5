"""Errors and the answer to VERSION, as plugins write them."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.codec import error_to_json, parse_error, parse_plugin_info
from amdcni.core.errors import UndecodableInput
from amdcni.core.spec import ErrorObject, PluginInfo
from amdcni.core.versions import CniVersion
from amdcni.testing import strategies as some


@given(
    st.builds(
        ErrorObject,
        version=some.versions,
        code=st.integers(1, 2**31),
        msg=st.text(),
        details=st.text(),
    )
)
def test_an_error_survives_being_written_and_read(error: ErrorObject) -> None:
    """CNI SPEC 1.1 §5, "Error": `cniVersion`, `code`, `msg`, `details`."""
    written = error_to_json(error)
    assert parse_error(written) == error
    assert written.keys() == {"cniVersion", "code", "msg", *(["details"] if error.details else [])}


@given(some.json_objects)
def test_an_object_without_code_and_msg_is_not_an_error(raw: dict[str, Any]) -> None:
    assert parse_error({k: v for k, v in raw.items() if k not in ("code", "msg")}) is None


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(["cniVersion", "code", "msg", "details"], some.hostile_values),
    )
)
def test_any_object_is_an_error_or_none(raw: dict[str, Any]) -> None:
    error = parse_error(raw)
    fits = type(raw.get("code")) is int and raw["code"] != 0 and isinstance(raw.get("msg"), str)
    assert (error is not None) == fits
    if error is not None:
        assert (error.code, error.msg) == (raw["code"], raw["msg"])
        assert isinstance(error.details, str)


def test_an_error_may_lack_a_version_and_details() -> None:
    assert parse_error({"code": 7, "msg": "no"}) == ErrorObject(CniVersion(""), 7, "no")


def test_code_0_is_not_an_error() -> None:
    """CNI SPEC 1.1 §5: "Error codes 0-99 are reserved for well-known errors"; 0 is Go's default."""
    assert parse_error({"code": 0, "msg": "fine"}) is None


@given(some.versions, st.lists(some.versions, max_size=4))
def test_the_answer_to_version_is_read(version: CniVersion, supported: list[CniVersion]) -> None:
    raw = {"cniVersion": version, "supportedVersions": supported}
    assert parse_plugin_info(raw) == PluginInfo(version, tuple(supported))


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ({}, "$.supportedVersions is missing"),
        ({"cniVersion": "1.0.0"}, "$.supportedVersions is missing"),
        ({"cniVersion": 1, "supportedVersions": []}, "$.cniVersion"),
        ({"cniVersion": "1.0.0", "supportedVersions": "1.0.0"}, "$.supportedVersions"),
        ({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0", 1]}, "$.supportedVersions[1]"),
    ],
)
def test_any_other_answer_to_version_is_refused(raw: Mapping[str, Any], path: str) -> None:
    with pytest.raises(UndecodableInput) as refusal:
        parse_plugin_info(raw)
    assert refusal.value.message.startswith("the answer to VERSION is wrong: ")
    assert path in refusal.value.message
