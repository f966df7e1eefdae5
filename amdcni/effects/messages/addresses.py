"""Addresses: RTM_GETADDR, RTM_NEWADDR."""

import ipaddress
import struct
from functools import lru_cache
from typing import Final

from pyroute2.netlink import NLM_F_CREATE, NLM_F_REPLACE
from pyroute2.netlink.rtnl import RTM_GETADDR, RTM_NEWADDR
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from amdcni.core.host import Address, AddressFlag, Netdev
from amdcni.effects.messages.common import (
    FAMILIES,
    Layout,
    interface_of,
    ip_of,
    number_of,
    octets_of_text,
    packed,
    packed_ip,
    text_of,
    u8,
    u32,
)
from amdcni.effects.rtnetlink import Reply, Request

_FOREVER: Final = 0xFFFFFFFF
_LIFETIMES: Final = struct.Struct("=II8x")  # struct ifa_cacheinfo; 8x is when it was made and set
_LAYOUT: Final = Layout(ifaddrmsg)


@lru_cache(maxsize=16)
def query(ifindex: int = 0) -> Request:
    """The query for the addresses of one link, or of all."""
    return _LAYOUT.request(RTM_GETADDR, {"index": ifindex})


def ifindex_of(reply: Reply) -> int:
    """The ifindex of the link whose address is in an RTM_NEWADDR."""
    return _LAYOUT.fixed(reply.body)["index"]


def address_of(reply: Reply) -> Address | None:
    """The IP address in an RTM_NEWADDR; None if the address is of another kind.

    If both are there and differ, IFA_LOCAL is the address and IFA_ADDRESS the peer.
    """
    fields, attributes = _LAYOUT.read(reply.body)
    first = attributes.get("IFA_ADDRESS")
    own = attributes.get("IFA_LOCAL", first)
    if own is None or fields["family"] not in FAMILIES.values():
        return None
    all_flags = number_of(attributes.get("IFA_FLAGS"))
    flags = fields["flags"] if all_flags is None else all_flags
    preferred_s, valid_s = _lifetimes_in(attributes.get("IFA_CACHEINFO"))
    if preferred_s is None and flags & AddressFlag.DEPRECATED:
        # The kernel shows no lifetime of a permanent IPv4 address (inet_fill_ifaddr).
        preferred_s = 0
    broadcast = attributes.get("IFA_BROADCAST")
    return Address(
        interface=interface_of(own, fields["prefixlen"]),
        peer=None if first == own else ip_of(first),
        broadcast=None if broadcast is None else ipaddress.IPv4Address(broadcast),
        label=text_of(attributes.get("IFA_LABEL")),
        scope=fields["scope"],
        flags=flags,
        metric=number_of(attributes.get("IFA_RT_PRIORITY")) or None,
        proto=number_of(attributes.get("IFA_PROTO")) or None,
        valid_s=valid_s,
        preferred_s=preferred_s,
    )


def _lifetimes_in(cache_info: bytes | None) -> tuple[int | None, int | None]:
    """The preferred and the valid lifetime in struct ifa_cacheinfo; None means forever."""
    if cache_info is None:
        return None, None
    preferred_s, valid_s = _LIFETIMES.unpack_from(cache_info)
    return (
        None if preferred_s == _FOREVER else preferred_s,
        None if valid_s == _FOREVER else valid_s,
    )


def put(netdev: Netdev, address: Address) -> Request:
    """The request to add the address to the netdev, or to set these attributes if it is there."""
    fields = {
        "index": netdev.ifindex,
        "family": FAMILIES[address.family],
        "prefixlen": address.interface.network.prefixlen,
        "scope": address.scope,
    }
    lifetimes = _LIFETIMES.pack(
        _FOREVER if address.preferred_s is None else address.preferred_s,
        _FOREVER if address.valid_s is None else address.valid_s,
    )
    attributes = [
        ("IFA_LOCAL", address.interface.ip.packed),
        ("IFA_ADDRESS", (address.peer or address.interface.ip).packed),
        ("IFA_BROADCAST", packed_ip(address.broadcast)),
        ("IFA_LABEL", None if address.label is None else octets_of_text(address.label)),
        ("IFA_FLAGS", u32(address.settable_flags)),
        ("IFA_RT_PRIORITY", packed(address.metric)),
        ("IFA_PROTO", None if address.proto is None else u8(address.proto)),
        ("IFA_CACHEINFO", lifetimes),
    ]
    return _LAYOUT.request(RTM_NEWADDR, fields, attributes, NLM_F_CREATE | NLM_F_REPLACE)
