"""JSON to values and back: the one cattrs converter, and the only place that knows JSON spellings.

Everything that is wrong with an input is reported at once, each fault with its path as the user
wrote it, such as `$.runtimeConfig.deviceID`.
"""

from amdcni.core.codec.configurations import (
    device_of,
    in_version,
    network_of,
    parse_call,
    parse_plugin_list,
    parse_request,
    plugin_list_to_json,
    prev_result_of,
    valid_attachments_of,
)
from amdcni.core.codec.converter import given_keys, spell, structure
from amdcni.core.codec.mappings import parse_mappings, without_mapping
from amdcni.core.codec.pods import dns_of
from amdcni.core.codec.records import attachment_to_json, parse_attachment
from amdcni.core.codec.results import (
    error_to_json,
    parse_error,
    parse_plugin_info,
    result_from_json,
    result_to_json,
)
from amdcni.core.codec.text import MAX_INPUT_BYTES, decode_list, decode_object, encode

__all__ = [
    "MAX_INPUT_BYTES",
    "attachment_to_json",
    "decode_list",
    "decode_object",
    "device_of",
    "dns_of",
    "encode",
    "error_to_json",
    "given_keys",
    "in_version",
    "network_of",
    "parse_attachment",
    "parse_call",
    "parse_error",
    "parse_mappings",
    "parse_plugin_info",
    "parse_plugin_list",
    "parse_request",
    "plugin_list_to_json",
    "prev_result_of",
    "result_from_json",
    "result_to_json",
    "spell",
    "structure",
    "valid_attachments_of",
    "without_mapping",
]
