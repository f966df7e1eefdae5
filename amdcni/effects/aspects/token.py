"""The IPv6 token, which the kernel accepts only for a netdev that may send neighbour requests."""

from amdcni.core.aspects.token import SetToken
from amdcni.core.host import LinkFlag, Netdev
from amdcni.effects.aspects.link import change_link
from amdcni.effects.rtnetlink import Rtnetlink


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetToken) -> None:
    """Set it, without NOARP meanwhile (net/ipv6/addrconf.c, inet6_set_iftoken)."""
    if not netdev.flags & LinkFlag.NOARP:
        change_link(kernel, netdev, {"token": change.token})
        return
    change_link(kernel, netdev, {"flags": netdev.flags & ~LinkFlag.NOARP})
    try:
        change_link(kernel, netdev, {"token": change.token})
    finally:
        change_link(kernel, netdev, {"flags": netdev.flags})
