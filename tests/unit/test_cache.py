"""What libcni keeps of an attachment, written and read."""

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.cache import cache_to_json, file_name, parse_cache
from amdcni.core.codec import encode
from amdcni.core.errors import AmdcniError, UndecodableInput
from amdcni.core.libcni import Cached
from amdcni.core.names import ContainerId, IfName, NetworkName
from amdcni.core.spec import AttachmentId, Result
from amdcni.testing import strategies as some
from tests.unit.test_libcni import attachments, networks

ENTRY: dict[str, Any] = {
    "kind": "cniCacheV1",
    "containerId": "c1",
    "config": base64.b64encode(b'{"cniVersion":"1.0.0","name":"fabric","plugins":[]}').decode(),
    "ifName": "net1",
    "networkName": "fabric",
    "netns": "/run/netns/pod1",
    "cniArgs": [["K8S_POD_NAME", "pod1"]],
    "capabilityArgs": {"mac": "02:00:00:00:00:01"},
    "result": {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/31"}]},
}
"""As libcni writes it (libcni/api.go, cacheAdd)."""


def test_an_entry_of_libcni_is_read_completely() -> None:
    cached = parse_cache(json.dumps(ENTRY).encode())
    assert (cached.network.name, cached.network.version) == ("fabric", "1.0.0")
    wanted = cached.attachment
    assert (wanted.id.container_id, wanted.id.ifname) == ("c1", "net1")
    assert (wanted.netns, wanted.args) == ("/run/netns/pod1", (("K8S_POD_NAME", "pod1"),))
    assert wanted.capability_args == {"mac": "02:00:00:00:00:01"}
    assert [str(ip.address) for ip in cached.result.ips] == ["10.0.0.1/31"]


def test_an_entry_is_written_as_libcni_writes_it() -> None:
    written = cache_to_json(parse_cache(json.dumps(ENTRY).encode()))
    assert json.loads(base64.b64decode(written.pop("config")))["name"] == "fabric"
    assert written == {key: value for key, value in ENTRY.items() if key != "config"}


@given(networks, attachments)
def test_what_is_written_is_read_back(network: Any, attachment: Any) -> None:
    cached = Cached(network, attachment, Result())
    assert parse_cache(encode(cache_to_json(cached)).encode()) == cached


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cniCacheV2"},
        {"containerId": None},
        {"containerId": "-"},
        {"config": "%"},
        {"config": "%" + ENTRY["config"]},
        {"config": base64.b64encode(b"[]").decode()},
        {"config": base64.b64encode(b"\xff").decode()},
        {"ifName": "a/b"},
        {"cniArgs": [["K"]]},
        {"cniArgs": [["K", "V", "W"]]},
        {"cniArgs": [[7, "V"]]},
        {"result": {"cniVersion": "9.0.0"}},
        {"result": {"cniVersion": "1.0.0", "ips": 7}},
        {"result": []},
    ],
    ids=str,
)
def test_an_entry_with_a_fault_is_refused_with_a_message(fault: dict[str, Any]) -> None:
    with pytest.raises(UndecodableInput, match="the cached attachment"):
        parse_cache(json.dumps({**ENTRY, **fault}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff"])
def test_what_is_not_an_entry_is_refused_with_a_message(data: bytes) -> None:
    with pytest.raises(UndecodableInput, match="the cached attachment"):
        parse_cache(data)


@given(st.binary(max_size=60) | some.json_objects.map(lambda raw: json.dumps(raw).encode()))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(AmdcniError):
        parse_cache(data)


def test_the_file_is_named_after_network_container_and_ifname() -> None:
    id = AttachmentId(ContainerId("c1"), IfName("net1"))
    assert file_name(NetworkName("fabric"), id) == "fabric-c1-net1"
