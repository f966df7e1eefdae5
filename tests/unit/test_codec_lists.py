"""Configuration lists, as a runtime reads them from their files."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from amdcni.core.codec import parse_plugin_list
from amdcni.core.errors import InvalidConfiguration, UndecodableInput, UnsupportedVersion
from amdcni.core.spec import PluginList
from amdcni.testing import strategies as some
from tests.unit.configurations import paths_in


@given(some.plugin_lists, some.json_objects)
def test_a_configuration_list_is_read_as_its_file_says(
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
def test_a_fault_in_a_configuration_list_is_reported_with_its_path(
    members: dict[str, Any], path: str
) -> None:
    raw = {"name": "fabric", "cniVersion": "1.1.0", "plugins": [], **members}
    with pytest.raises(InvalidConfiguration) as refusal:
        parse_plugin_list(json.dumps(raw).encode())
    assert "the network configuration list" in refusal.value.message
    assert paths_in(refusal.value) == {path}


def test_a_configuration_list_without_a_version_has_the_oldest() -> None:
    """reference.md §2: "Missing or empty cniVersion means 0.1.0"."""
    assert parse_plugin_list(b'{"name": "fabric", "plugins": []}').version == "0.1.0"


def test_only_a_json_object_is_a_configuration_list() -> None:
    parse: Callable[[bytes], PluginList] = parse_plugin_list
    with pytest.raises(UndecodableInput, match="the network configuration list is a list"):
        parse(b"[]")


def test_an_unsupported_version_outweighs_all_other_faults() -> None:
    raw = {"name": 5, "cniVersions": [7, "9.9.9"], "plugins": "x"}
    with pytest.raises(UnsupportedVersion, match=r"9\.9\.9"):
        parse_plugin_list(json.dumps(raw).encode())
