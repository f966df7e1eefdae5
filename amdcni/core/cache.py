"""What libcni keeps of an attachment between its ADD and its DEL: reading and writing the file.

Files are `<folder>/results/<network>-<container ID>-<ifname>`; other runtimes on the same node read
and write the same ones (libcni/api.go, cachedInfo).
"""

import base64
from typing import Any, Final

import attrs

from amdcni.core.codec import (
    decode_object,
    encode,
    parse_plugin_list,
    plugin_list_to_json,
    result_from_json,
    result_to_json,
    spell,
    structure,
)
from amdcni.core.errors import AmdcniError, UndecodableInput
from amdcni.core.libcni import Cached, Wanted, version_of
from amdcni.core.names import ContainerId, IfName, NetworkName
from amdcni.core.spec import AttachmentId, Json

_KIND: Final = "cniCacheV1"
_WHAT: Final = "the cached attachment"


@attrs.frozen
class _Entry:
    kind: str
    container_id: ContainerId
    config: str
    ifname: IfName
    network: NetworkName
    result: Json
    netns: str = ""
    args: tuple[tuple[str, ...], ...] = ()
    capability_args: Json = attrs.field(factory=dict)


spell(
    _Entry,
    container_id="containerId",
    ifname="ifName",
    network="networkName",
    args="cniArgs",
    capability_args="capabilityArgs",
)


def file_name(network: NetworkName, id: AttachmentId) -> str:
    """The name of the file in which libcni keeps the attachment."""
    return f"{network}-{id.container_id}-{id.ifname}"


def cache_to_json(cached: Cached) -> dict[str, Any]:
    """The file of an attachment."""
    wanted, network = cached.attachment, cached.network
    config = encode(plugin_list_to_json(network)).encode()
    entry: dict[str, Any] = {
        "kind": _KIND,
        "containerId": wanted.id.container_id,
        "config": base64.b64encode(config).decode(),
        "ifName": wanted.id.ifname,
        "networkName": network.name,
        "netns": wanted.netns,
        "cniArgs": [list(pair) for pair in wanted.args],
        "capabilityArgs": dict(wanted.capability_args),
        "result": result_to_json(cached.result, version_of(network)),
    }
    return {key: value for key, value in entry.items() if value}


def parse_cache(data: bytes) -> Cached:
    """What the file of an attachment says.

    Raises: UndecodableInput.
    """
    raw = {name: value for name, value in decode_object(data, _WHAT).items() if value is not None}
    entry = structure(raw, _Entry, UndecodableInput, _WHAT)
    if entry.kind != _KIND:
        raise UndecodableInput(f"{_WHAT} is of the kind {entry.kind!r}, not {_KIND!r}")
    id = AttachmentId(entry.container_id, entry.ifname)
    try:
        network = parse_plugin_list(base64.b64decode(entry.config, validate=True))
        args = tuple((key, value) for key, value in entry.args)
        result = result_from_json(entry.result)
    except (ValueError, AmdcniError) as fault:
        raise UndecodableInput(f"{_WHAT} {id}: {fault}") from None
    return Cached(network, Wanted(id, entry.netns, args, entry.capability_args), result)
