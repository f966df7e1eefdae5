"""What all kinds of messages have in common."""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any, Final

from amdcni.core.host import IpAddress
from amdcni.core.names import MacAddress
from amdcni.effects.rtnetlink import HEADER_BYTES, Request

FAMILIES: Final = {4: 2, 6: 10}  # AF_INET, AF_INET6
_MAC_MIN_OCTETS: Final = 6


def request(
    kind: int,
    message: Any,
    fields: dict[str, int],
    attributes: Iterable[tuple[str, Any]] = (),
    flags: int = 0,
) -> Request:
    """The request of that kind, by a message of pyroute2; None is no value of an attribute."""
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = [(name, value) for name, value in attributes if value is not None]
    message.encode()
    return Request(kind, flags, bytes(message.data[HEADER_BYTES:]), type(message))


def attributes_of(message: Any) -> Callable[[str], Any]:
    """The value of an attribute by its name, None if it is not there; decoded when asked for."""
    slots = {slot.name: slot for slot in message["attrs"]}

    def value(name: str) -> Any:
        slot = slots.get(name)
        return None if slot is None else slot.value

    return value


def ip_of(text: str) -> IpAddress:
    """The IP address that a message has as text."""
    return ipaddress.ip_address(text)


def mac_of(octets: bytes | None) -> MacAddress | None:
    """The hardware address; the IPv4 address that a tunnel has (net/ipv4/ip_gre.c) is none."""
    if octets is None or len(octets) < _MAC_MIN_OCTETS:
        return None
    return MacAddress(octets.hex(":"))


def octets_of(mac: MacAddress) -> bytes:
    """The octets of a hardware address."""
    return bytes.fromhex(mac.replace(":", ""))
