"""What all kinds of messages have in common.

Requests are written and answers are read by pyroute2's tables of fields and attributes.  The value
of an attribute is bytes, which are read only when they are needed: a link has more than fifty.
"""

import ipaddress
import struct
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from amdcni.core.host import IpAddress, IpInterface, IpNetwork
from amdcni.core.names import MacAddress
from amdcni.effects.rtnetlink import Request, attribute, attributes_in

FAMILIES: Final = {4: 2, 6: 10}  # AF_INET, AF_INET6
_MAC_MIN_OCTETS: Final = 6
_IPV4_BYTES: Final = 4
_ESCAPED: Final = "surrogateescape"


class Layout:
    """How to write and read the messages that a class of pyroute2 describes.

    `names` has the name of each attribute by its number: those of the class, and those it lacks.
    `size` is the size of the fixed part.
    """

    def __init__(self, described: Any, lacking: Mapping[int, str] | None = None) -> None:
        fixed = [(name, form) for name, form in described.fields if not form.endswith("x")]
        self._fixed = struct.Struct("=" + "".join(form for _, form in described.fields))
        self._fixed_names = [name for name, _ in fixed]
        self.names = {**names_of(described), **(lacking or {})}
        self.size = self._fixed.size
        self._unset = dict.fromkeys(self._fixed_names, 0)
        nests = {name: getattr(described, form, None) for *_, name, form in described.nla_map}
        self._kinds = {
            name: number | getattr(nests.get(name), "nla_flags", 0)
            for number, name in self.names.items()
        }

    def request(
        self,
        kind: int,
        fields: Mapping[str, int],
        attributes: Iterable[tuple[str, bytes | None]] = (),
        flags: int = 0,
    ) -> Request:
        """The request of that kind with these fields, the others being 0; see `attributes`."""
        fixed = self._fixed.pack(*{**self._unset, **fields}.values())
        return Request(kind, flags, fixed + self.attributes(attributes))

    def attributes(self, given: Iterable[tuple[str, bytes | None]]) -> bytes:
        """These attributes as they are in a message; None leaves one out."""
        kinds = self._kinds
        return b"".join(
            [attribute(kinds[name], value) for name, value in given if value is not None]
        )

    def read(self, data: bytes) -> tuple[dict[str, int], dict[str, bytes]]:
        """The fields of the fixed part, and the attributes; of several with one name, the last."""
        return self.fixed(data), named_in(data, self._fixed.size, self.names)

    def fixed(self, data: bytes) -> dict[str, int]:
        """The fields of the fixed part, which is all that matters of many messages."""
        return dict(zip(self._fixed_names, self._fixed.unpack_from(data), strict=True))


u8: Final = struct.Struct("=B").pack
u16: Final = struct.Struct("=H").pack
u32: Final = struct.Struct("=I").pack


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


def packed_ip(ip: IpAddress | None) -> bytes | None:
    """The IP address as an attribute; None if it is absent."""
    return None if ip is None else ip.packed


def packed(number: int | None) -> bytes | None:
    """A number of 32 bits as an attribute; None if it is absent."""
    return None if number is None else u32(number)


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
    if value is None:
        return None
    return ipaddress.IPv4Address(value) if _is_ipv4(value) else ipaddress.IPv6Address(value)


def interface_of(octets: bytes, bits: int) -> IpInterface:
    """The IP address with its prefix length."""
    given = (octets, bits)
    return ipaddress.IPv4Interface(given) if _is_ipv4(octets) else ipaddress.IPv6Interface(given)


def network_of(octets: bytes, bits: int) -> IpNetwork:
    """The network of that address and prefix length."""
    given = (octets, bits)
    return ipaddress.IPv4Network(given) if _is_ipv4(octets) else ipaddress.IPv6Network(given)


def _is_ipv4(octets: bytes) -> bool:
    return len(octets) == _IPV4_BYTES


def mac_of(octets: bytes | None) -> MacAddress | None:
    """The hardware address; None for the IPv4 address that a tunnel has (net/ipv4/ip_gre.c)."""
    if octets is None or len(octets) < _MAC_MIN_OCTETS:
        return None
    return MacAddress(octets.hex(":"))


def octets_of(mac: MacAddress) -> bytes:
    """The octets of a hardware address."""
    return bytes.fromhex(mac.replace(":", ""))
