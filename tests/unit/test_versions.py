"""The CNI versions that are supported."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amdcni.core.errors import UnsupportedVersion
from amdcni.core.versions import (
    CHECK_SINCE,
    GC_AND_STATUS_SINCE,
    INTERFACES_SINCE,
    NEWEST,
    OLDEST,
    SUPPORTED,
    CniVersion,
    at_least,
    parse_version,
    plugin_info,
)
from amdcni.testing import strategies as some

RELEASED = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
"""The releases of the CNI specification, in order of date."""


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_every_released_version_is_supported() -> None:
    assert list(SUPPORTED) == RELEASED


@given(some.versions)
def test_a_supported_version_is_kept_unchanged(version: CniVersion) -> None:
    assert parse_version(version) == version


def test_an_empty_version_means_the_oldest() -> None:
    """CNI SPEC 0.1.0 had no cniVersion key; libcni treats an empty one as 0.1.0."""
    assert parse_version("") == "0.1.0"


@given(st.text(max_size=8) | st.from_regex(r"[0-9]\.[0-9]\.[0-9]", fullmatch=True))
@example("1.0.0 ")
@example("v1.0.0")
@example("1.0")
@example("01.0.0")
@example("1.2.0")
@example("1.0.0\n")
def test_any_other_version_is_refused_and_the_supported_ones_are_listed(text: str) -> None:
    if text in ("", *RELEASED):
        return
    with pytest.raises(UnsupportedVersion) as refusal:
        parse_version(text)
    assert repr(text) in refusal.value.message
    assert all(version in refusal.value.message for version in RELEASED)


@given(some.versions, some.versions)
def test_versions_are_ordered_by_their_numbers(one: CniVersion, other: CniVersion) -> None:
    assert at_least(one, other) == (numbers(one) >= numbers(other))


def test_the_answer_to_version_lists_all_supported_versions_and_has_the_newest() -> None:
    """CNI SPEC 1.1 §2, VERSION: cniVersion, and supportedVersions, "a list of supported
    specification versions".
    """
    assert plugin_info() == {"cniVersion": "1.1.0", "supportedVersions": RELEASED}


@given(st.integers(0, 9))
def test_changing_one_answer_does_not_change_the_next(times: int) -> None:
    answer = plugin_info()
    for _ in range(times):
        answer.clear()
    assert plugin_info()["supportedVersions"] == RELEASED


def test_verbs_and_interfaces_have_the_versions_that_brought_them() -> None:
    """CNI SPEC 0.3.0 brought interfaces, 0.4.0 CHECK, 1.1.0 GC and STATUS."""
    assert (OLDEST, NEWEST) == ("0.1.0", "1.1.0")
    assert INTERFACES_SINCE == "0.3.0"
    assert CHECK_SINCE == "0.4.0"
    assert GC_AND_STATUS_SINCE == "1.1.0"
