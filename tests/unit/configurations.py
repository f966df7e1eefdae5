"""Network configurations as a runtime sends them, valid and invalid."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import strategies as st

from amdcni.core.errors import AmdcniError, InvalidConfiguration
from amdcni.core.formats import parse_request
from amdcni.core.request import AddRequest, Device, Invocation, Request, parse_environment

PREV_RESULT = {"cniVersion": "1.1.0", "interfaces": [{"name": "net1", "sandbox": "/run/netns/p"}]}

PLAIN: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "name": "fabric",
    "type": "amd-host-device",
    "deviceID": "0000:01:00.0",
}
"""A configuration that is valid for every verb but CHECK."""


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
    """The request for a configuration; for CHECK, a missing prevResult is added."""
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


def request_device(raw: Mapping[str, Any]) -> Device:
    request = request_for("ADD", raw)
    assert isinstance(request, AddRequest)
    return request.device


SINCE = {"ADD": "0.1.0", "DEL": "0.1.0", "CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
"""CNI SPEC, changelog: CHECK came with 0.4.0, GC and STATUS with 1.1.0."""
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
"""Wrong values, by their JSON path."""

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
