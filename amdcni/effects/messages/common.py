"""What all kinds of messages have in common.

Requests are made with pyroute2's messages.  Answers are read by their tables, but each attribute
only when it is needed: a link has more than fifty.
"""

import ipaddress
import struct
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from amdcni.core.host import IpAddress
from amdcni.core.names import MacAddress
from amdcni.effects.rtnetlink import HEADER_BYTES, Request, attribute, attributes_in

FAMILIES: Final = {4: 2, 6: 10}  # AF_INET, AF_INET6
_MAC_MIN_OCTETS: Final = 6
_ESCAPED: Final = "surrogateescape"


def request(
    kind: int,
    message: Any,
    fields: dict[str, int],
    attributes: Iterable[tuple[str, Any]] = (),
    flags: int = 0,
    raw: Iterable[tuple[int, bytes | None]] = (),
) -> Request:
    """The request of that kind, made with a message of pyroute2; None leaves an attribute out.

    `raw` are further attributes, by their numbers.
    """
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = [(name, value) for name, value in attributes if value is not None]
    message.encode()
    more = b"".join(attribute(number, value) for number, value in raw if value is not None)
    return Request(kind, flags, bytes(message.data[HEADER_BYTES:]) + more)


class Layout:
    """How to read the messages that a class of pyroute2 describes.

    `names` has the name of each attribute by its number: those of the class, and those it lacks.
    `size` is the size of the fixed part.
    """

    def __init__(self, described: Any, lacking: Mapping[int, str] | None = None) -> None:
        fixed = [(name, form) for name, form in described.fields if not form.endswith("x")]
        self._fixed = struct.Struct("=" + "".join(form for _, form in described.fields))
        self._fixed_names = [name for name, _ in fixed]
        self.names = {**names_of(described), **(lacking or {})}
        self.size = self._fixed.size

    def read(self, data: bytes) -> tuple[dict[str, int], dict[str, bytes]]:
        """The fields of the fixed part, and the attributes; of several with one name, the last."""
        return self.fixed(data), named_in(data, self._fixed.size, self.names)

    def fixed(self, data: bytes) -> dict[str, int]:
        """The fields of the fixed part, which is all that matters of many messages."""
        return dict(zip(self._fixed_names, self._fixed.unpack_from(data), strict=True))


def names_of(described: Any) -> dict[int, str]:
    """The names of the attributes in a table of pyroute2, numbered there or counted from 0."""
    table = described.nla_map
    if isinstance(table[0][0], int):
        return {number: name for number, name, *_ in table}
    return {number: name for number, (name, *_) in enumerate(table)}


def named_in(data: bytes, offset: int, names: Mapping[int, str]) -> dict[str, bytes]:
    """The attributes from `offset` on that have a name; of several with one name, the last."""
    found = attributes_in(data, offset)
    return {names[number]: value for number, value in found if number in names}


def number_of(value: bytes | None) -> int | None:
    """The value of an attribute as an unsigned number; None if it is absent."""
    return None if value is None else int.from_bytes(value, sys.byteorder)


def text_of(value: bytes | None) -> str | None:
    """The value of an attribute as text; None if it is absent.

    What is not UTF-8 is escaped, so that `octets_of_text` returns exactly the same bytes.
    """
    return None if value is None else value.rstrip(b"\0").decode(errors=_ESCAPED)


def octets_of_text(text: str) -> bytes:
    """The text as an attribute."""
    return text.encode(errors=_ESCAPED) + b"\0"


def ip_of(value: bytes | None) -> IpAddress | None:
    """The value of an attribute as an IP address; None if it is absent."""
    return None if value is None else ipaddress.ip_address(value)


def mac_of(octets: bytes | None) -> MacAddress | None:
    """The hardware address; None for the IPv4 address that a tunnel has (net/ipv4/ip_gre.c)."""
    if octets is None or len(octets) < _MAC_MIN_OCTETS:
        return None
    return MacAddress(octets.hex(":"))


def octets_of(mac: MacAddress) -> bytes:
    """The octets of a hardware address."""
    return bytes.fromhex(mac.replace(":", ""))
