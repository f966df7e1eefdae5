"""Static IPAM: the host's addresses as a configuration of the `static` plugin, with gateways."""

import ipaddress
from collections.abc import Iterable
from typing import Any, Final

from amdcni.core.aspects.addresses import in_setting_order
from amdcni.core.host import Address, IpAddress, IpInterface
from amdcni.core.names import PluginName

STATIC: Final = PluginName("static")
"""The IPAM plugin that gives addresses which are listed in the configuration."""


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
    peer or lifetime.
    """
    entries = [_entry(interface) for interface in given_addresses(addresses)]
    return {"type": STATIC, "addresses": entries} if entries else None


def given_addresses(addresses: Iterable[Address]) -> tuple[IpInterface, ...]:
    """These addresses of a host as a result lists them; those that differ only in their peer once.

    They are in the order in which they have to be set.
    """
    given = (a.interface for a in in_setting_order(addresses) if is_given(a))
    return tuple(dict.fromkeys(given))


def is_given(address: Address) -> bool:
    """Whether a pod gets this address: link-local IPv6 ones are left to the pod's own kernel."""
    return not address.is_link_local


def _entry(interface: IpInterface) -> dict[str, str]:
    gateway = gateway_of(interface)
    entry = {"address": str(interface)}
    return entry if gateway is None else {**entry, "gateway": str(gateway)}
