"""Static IPAM: the host's addresses as a configuration of the `static` plugin, with gateways."""

import ipaddress
from collections.abc import Iterable
from typing import Any

from amdcni.core.capture import in_setting_order
from amdcni.core.host import Address, IpAddress, IpInterface


def gateway_of(interface: IpInterface) -> IpAddress | None:
    """The only other address of a point-to-point prefix; None for prefixes of any other length.

    That is a /31 for IPv4 (RFC 3021) and a /127 for IPv6 (RFC 6164).
    """
    if interface.network.prefixlen != interface.max_prefixlen - 1:
        return None
    return ipaddress.ip_address(interface.ip.packed[:-1] + bytes([interface.ip.packed[-1] ^ 1]))


def static_ipam(addresses: Iterable[Address]) -> dict[str, Any] | None:
    """The `ipam` object that gives a pod these addresses; None if there are none to give.

    Only the address with its prefix length and its gateway fit: the `static` plugin knows no label,
    peer or lifetime.  Link-local IPv6 addresses are left to the pod's own kernel.
    """
    entries = []
    for address in in_setting_order(addresses):
        if address.interface.version == 6 and address.interface.ip.is_link_local:
            continue
        gateway = gateway_of(address.interface)
        entry = {"address": str(address.interface)}
        entries.append(entry if gateway is None else {**entry, "gateway": str(gateway)})
    return {"type": "static", "addresses": entries} if entries else None
