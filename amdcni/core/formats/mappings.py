"""The file in which AMD's Go plugin noted what it lent: reading it, and removing single entries."""

import ipaddress
import json
from collections.abc import Iterator
from typing import Any, Final

import attrs

from amdcni.core.codec.converter import spell, structure, wrong
from amdcni.core.codec.text import decode_object, shown
from amdcni.core.errors import AmdcniError, InvalidName, UndecodableInput
from amdcni.core.host import IpInterface
from amdcni.core.mapping import GoMapping
from amdcni.core.names import IfName, PciAddress

_WHAT: Final = "the Go plugin's file"

_NO_ADDRESS: Final = ("", "<nil>")
"""What Go writes for a missing address."""

_DOWN: Final = "DOWN"
"""The other `state` is UP.  If it is absent, what was lent was in use."""


@attrs.frozen
class _Entry:
    ifname: IfName
    addresses: tuple[str, ...] = ()
    state: str = "UP"


spell(_Entry, ifname="hostInterfaceName", addresses="hostInterfaceIPs")


def parse_mappings(data: bytes, written_s: int) -> tuple[tuple[GoMapping, ...], list[str]]:
    """The entries that the Go plugin's file holds, and what is wrong with any others.

    `written_s` is that of `GoMapping`.  A wrong entry does not hide the others.

    Raises: UndecodableInput for anything but a JSON object.
    """
    found, faults = [], []
    for key, entry in decode_object(data, _WHAT).items():
        try:
            found += [_mapping(key, entry, written_s)]
        except AmdcniError as fault:
            faults += [fault.message]
    return tuple(found), faults


def _mapping(key: str, entry: Any, written_s: int) -> GoMapping:
    device = PciAddress.parse(key)
    if not isinstance(entry, dict):
        raise UndecodableInput(wrong(_WHAT, [f"$.{key} is {shown(entry)}, not an object"]))
    # A nil slice of Go is null.
    given = {name: value for name, value in entry.items() if value is not None}
    read = structure(given, _Entry, UndecodableInput, _WHAT, f"$.{key}")
    try:
        addresses = tuple(_addresses(read))
    except ValueError as fault:
        raise UndecodableInput(wrong(_WHAT, [f"$.{key}.hostInterfaceIPs: {fault}"])) from None
    return GoMapping(device, read.ifname, read.state != _DOWN, addresses, written_s)


def _addresses(entry: _Entry) -> Iterator[IpInterface]:
    for text in dict.fromkeys(entry.addresses):
        if "%" in text:
            raise ValueError(f"{text!r} has a zone, which no address of a netdev has")
        if text not in _NO_ADDRESS:
            yield ipaddress.ip_interface(text)


def without_mapping(data: bytes, device: PciAddress) -> bytes | None:
    """The Go plugin's file without the entry of `device`; None if it has none.

    All other entries keep their JSON values, including those that mean nothing to us.

    Raises: UndecodableInput for anything but a JSON object.
    """
    entries = decode_object(data, _WHAT)
    others = {key: entry for key, entry in entries.items() if not _names(key, device)}
    if len(others) == len(entries):
        return None
    return json.dumps(others, indent=2).encode()


def _names(key: str, device: PciAddress) -> bool:
    try:
        return PciAddress.parse(key) == device
    except InvalidName:
        return False
