"""CNI's JSON to values and back: the one cattrs converter, results, errors, configuration lists.

Everything that is wrong with an input is reported at once, each fault with its path as the user
wrote it, such as `$.runtimeConfig.deviceID`.  What only this plugin reads and writes is in
`amdcni.core.formats`.
"""

from amdcni.core.codec.converter import given_keys, spell, structure
from amdcni.core.codec.networks import (
    in_version,
    parse_plugin_list,
    plugin_list_to_json,
    prev_result_of,
    valid_attachments_of,
)
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
    "decode_list",
    "decode_object",
    "encode",
    "error_to_json",
    "given_keys",
    "in_version",
    "parse_error",
    "parse_plugin_info",
    "parse_plugin_list",
    "plugin_list_to_json",
    "prev_result_of",
    "result_from_json",
    "result_to_json",
    "spell",
    "structure",
    "valid_attachments_of",
]
