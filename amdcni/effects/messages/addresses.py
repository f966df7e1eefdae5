"""Addresses: RTM_GETADDR, RTM_NEWADDR."""

import ipaddress
from functools import cache
from typing import Any, Final

from pyroute2.netlink import NLM_F_CREATE, NLM_F_REPLACE
from pyroute2.netlink.rtnl import RTM_GETADDR, RTM_NEWADDR
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from amdcni.core.host import Address, AddressFlag, Netdev
from amdcni.effects.messages.common import FAMILIES, attributes_of, ip_of, request
from amdcni.effects.rtnetlink import Request

_FOREVER: Final = 0xFFFFFFFF


@cache
def query(ifindex: int = 0) -> Request:
    """For the addresses of one link, or of all."""
    return request(RTM_GETADDR, ifaddrmsg(), {"index": ifindex})


def address_of(message: Any) -> Address:
    """The address that an RTM_NEWADDR tells of.

    IFA_LOCAL is the address and IFA_ADDRESS the peer, where both are there and differ.
    """
    told = attributes_of(message)
    first, local = told("IFA_ADDRESS"), told("IFA_LOCAL")
    own = local or first
    lifetimes = told("IFA_CACHEINFO") or {}
    all_flags = told("IFA_FLAGS")
    flags = message["flags"] if all_flags is None else all_flags
    preferred_s = _lifetime(lifetimes.get("ifa_preferred"))
    if preferred_s is None and flags & AddressFlag.DEPRECATED:
        # Of a permanent IPv4 address the kernel shows no lifetime (inet_fill_ifaddr).
        preferred_s = 0
    broadcast = told("IFA_BROADCAST")
    return Address(
        interface=ipaddress.ip_interface(f"{own}/{message['prefixlen']}"),
        peer=ip_of(first) if first and first != own else None,
        broadcast=ipaddress.IPv4Address(broadcast) if broadcast else None,
        label=told("IFA_LABEL"),
        scope=message["scope"],
        flags=flags,
        metric=told("IFA_RT_PRIORITY") or None,
        proto=told("IFA_PROTO") or None,
        valid_s=_lifetime(lifetimes.get("ifa_valid")),
        preferred_s=preferred_s,
    )


def _lifetime(seconds: int | None) -> int | None:
    return None if seconds in (None, _FOREVER) else seconds


def put(netdev: Netdev, address: Address) -> Request:
    """To add the address to the netdev, or to give the one that is there these attributes."""
    fields = {
        "index": netdev.ifindex,
        "family": FAMILIES[address.family],
        "prefixlen": address.interface.network.prefixlen,
        "scope": address.scope,
    }
    attributes: dict[str, Any] = {
        "IFA_LOCAL": str(address.interface.ip),
        "IFA_ADDRESS": str(address.peer or address.interface.ip),
        "IFA_BROADCAST": None if address.broadcast is None else str(address.broadcast),
        "IFA_LABEL": address.label,
        "IFA_FLAGS": address.settable_flags,
        "IFA_RT_PRIORITY": address.metric,
        "IFA_PROTO": address.proto,
        "IFA_CACHEINFO": {
            "ifa_preferred": _FOREVER if address.preferred_s is None else address.preferred_s,
            "ifa_valid": _FOREVER if address.valid_s is None else address.valid_s,
        },
    }
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return request(RTM_NEWADDR, ifaddrmsg(), fields, attributes.items(), flags)
