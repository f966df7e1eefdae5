"""The IP addresses of the netdev."""

import errno

from amdcni.core.aspects.addresses import SetAddress
from amdcni.core.host import Address, Netdev
from amdcni.effects.messages import addresses
from amdcni.effects.rtnetlink import Rtnetlink


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetAddress) -> None:
    """Set it."""
    put(kernel, netdev, change.address)


def put(kernel: Rtnetlink, netdev: Netdev, address: Address) -> None:
    """Add the address, or set these attributes of the one that is there."""
    what = f"give {netdev.ifname} the address {address.interface}"
    kernel.do(what, addresses.put(netdev, address), done_if=errno.EEXIST)
