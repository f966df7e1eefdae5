"""The JSON of this plugin alone: its configuration, its records, and the Go plugin's mapping."""

from amdcni.core.formats.configurations import (
    copies_routes,
    device_of,
    moves_rdma,
    network_of,
    parse_call,
    parse_request,
)
from amdcni.core.formats.mappings import parse_mappings, without_mapping
from amdcni.core.formats.pods import dns_of
from amdcni.core.formats.records import MAX_RECORD_BYTES, attachment_to_json, parse_attachment

__all__ = [
    "MAX_RECORD_BYTES",
    "attachment_to_json",
    "copies_routes",
    "device_of",
    "dns_of",
    "moves_rdma",
    "network_of",
    "parse_attachment",
    "parse_call",
    "parse_mappings",
    "parse_request",
    "without_mapping",
]
