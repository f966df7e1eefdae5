"""Network configurations as CNI defines them for every plugin: lists, prevResult, versions, GC."""

from typing import Any, Final

import attrs

from amdcni.core.codec.converter import given_keys, spell, structure, unstructure
from amdcni.core.codec.results import result_from_json, result_to_json
from amdcni.core.codec.text import decode_object, shown
from amdcni.core.errors import InvalidConfiguration
from amdcni.core.spec import AttachmentId, Json, PluginList, Result
from amdcni.core.versions import OLDEST, CniVersion


@attrs.frozen
class _ValidAttachments:
    attachments: tuple[AttachmentId, ...]


spell(_ValidAttachments, attachments="cni.dev/valid-attachments")
spell(
    PluginList,
    version="cniVersion",
    versions="cniVersions",
    disable_check="disableCheck",
    disable_gc="disableGC",
    load_only_inlined_plugins="loadOnlyInlinedPlugins",
)

CONFIGURATION: Final = "the network configuration"
"""What messages call it."""

_LIST: Final = f"{CONFIGURATION} list"


def valid_attachments_of(raw: Json) -> frozenset[AttachmentId] | None:
    """The attachments that GC must keep; None if the list is absent, which releases nothing.

    Raises: InvalidConfiguration if it is malformed: a guess could release a living pod's NIC.
    """
    given = given_keys(raw, _ValidAttachments)
    if not given:
        return None
    parsed = structure(given, _ValidAttachments, InvalidConfiguration, CONFIGURATION)
    return frozenset(parsed.attachments)


def parse_plugin_list(data: bytes) -> PluginList:
    """A network configuration list, as in a `.conflist` file; raises as `parse_request` does."""
    raw = decode_object(data, _LIST)
    return structure(raw, PluginList, InvalidConfiguration, _LIST)


def plugin_list_to_json(network: PluginList) -> dict[str, Any]:
    """A network configuration list as it is written; the inverse of `parse_plugin_list`."""
    return unstructure(network)


def prev_result_of(raw: Json, version: CniVersion) -> Result | None:
    """The prevResult of a configuration; `version` applies where it does not say its own.

    Raises: InvalidConfiguration.
    """
    previous = raw.get("prevResult")
    if previous is None:
        return None
    if not isinstance(previous, dict):
        raise InvalidConfiguration(f"$.prevResult is {shown(previous)}, not an object")
    own = {"cniVersion": version, **previous}
    return result_from_json(own, InvalidConfiguration, CONFIGURATION, "$.prevResult")


def in_version(config: Json, version: CniVersion) -> dict[str, Any]:
    """`config` for a plugin that speaks `version`, its prevResult converted with it.

    Raises: InvalidConfiguration.
    """
    said = config.get("cniVersion") or OLDEST
    previous = prev_result_of(config, said)
    converted = {} if previous is None else {"prevResult": result_to_json(previous, version)}
    return {**config, "cniVersion": version, **converted}
