"""The sysctls of a netdev on the host that it gets in a pod, too.

A new netdev of the pod's network namespace has others, so they are set before it goes up there.
"""

from collections.abc import Iterable
from typing import Final

from amdcni.core.aspects.change import Stage
from amdcni.core.aspects.sysctls import (
    ADDR_GEN_MODE,
    DISABLE_IPV6,
    IPV6_MTU,
    STABLE_SECRET,
    SeenSysctls,
    SetSysctl,
    in_setting_order,
)
from amdcni.core.host import Address, Values
from amdcni.core.request import AddrGenMode, Device

_EUI64, _NONE, _STABLE, _RANDOM = "0", "1", "2", "3"  # IN6_ADDR_GEN_MODE_*

_COPIED_TREES: Final = ("ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh")

_OF_ROUTERS: Final = frozenset(
    {
        *("forwarding", "force_forwarding", "bc_forwarding", "mc_forwarding"),
        *("proxy_arp", "proxy_arp_pvlan", "proxy_ndp", "bootp_relay", "medium_id"),
        *("accept_source_route", "route_localnet"),
        *("seg6_enabled", "seg6_require_hmac", "rpl_seg_enabled", "ioam6_enabled"),
    }
)
"""What makes a node pass on the packets of others, or opens 127.0.0.0/8 to them."""

_OF_IPSEC: Final = frozenset({"disable_policy", "disable_xfrm"})
"""What bypasses the IPsec policies of a network namespace, of which the pod has its own."""

_SAID_OTHERWISE: Final = frozenset({ADDR_GEN_MODE, STABLE_SECRET, DISABLE_IPV6, IPV6_MTU})
"""What the key `addrGenMode`, the addresses that the pod gets, and the key `mtu` decide."""


def pod_sysctls(seen: SeenSysctls, addresses: Iterable[Address], device: Device) -> Values:
    """The sysctls that a netdev gets in the pod, as `device` asks for.

    `seen` are those of the host, and `addresses` are what the netdev has there.
    """
    wanted = dict(filter(_is_copied, seen.sysctls.items())) if device.copy_sysctls else {}
    if device.addr_gen_mode is AddrGenMode.KEEP and ADDR_GEN_MODE in seen.sysctls:
        wanted |= _generation(seen, addresses)
    return wanted


def _is_copied(item: tuple[str, int | str]) -> bool:
    tree, _, leaf = item[0].rpartition("/")
    stays = _OF_ROUTERS | _OF_IPSEC
    return tree in _COPIED_TREES and leaf not in stays and item[0] not in _SAID_OTHERWISE


def _generation(seen: SeenSysctls, addresses: Iterable[Address]) -> Values:
    """How the kernel makes the link-local address in the pod: one, where the host has one.

    A network manager that makes that address itself has told the kernel to make none, but does
    nothing in the pod.  Where the host has IPv6 switched off, no address is to come.  A secret of
    the host's network namespace, which every new netdev gets, is kept from the pod: the kernel
    draws another for mode 3, and refuses mode 2 without one.
    """
    mode, secret = str(seen.sysctls[ADDR_GEN_MODE]), seen.sysctls.get(STABLE_SECRET)
    if str(seen.sysctls.get(DISABLE_IPV6)) == "1":
        mode = _NONE
    elif mode == _NONE and any(a.family == 6 and a.interface.ip.is_link_local for a in addresses):
        mode = _EUI64
    elif mode in (_STABLE, _RANDOM):
        if secret not in (None, seen.sysctl_defaults.get(STABLE_SECRET)):
            return {STABLE_SECRET: str(secret), ADDR_GEN_MODE: mode}
        mode = _RANDOM
    return {ADDR_GEN_MODE: mode}


def due_in_pod(wanted: Values, usual: Values) -> list[SetSysctl]:
    """The `wanted` sysctls that a netdev does not have by itself in the pod, in order of setting.

    `usual` are those of a new netdev there.  Setting the secret sets the mode as well.
    """
    unlike = {name for name, value in wanted.items() if usual.get(name) != value}
    if STABLE_SECRET in unlike:
        unlike.add(ADDR_GEN_MODE)
    return [
        SetSysctl(name, wanted[name], usual.get(name), Stage.DOWN)
        for name in in_setting_order(wanted)
        if name in unlike
    ]
