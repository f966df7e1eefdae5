"""The hardware multicast addresses of the netdev, which netlink neither shows nor sets."""

import errno
import fcntl
import socket
import struct
from collections.abc import Iterator
from typing import Final

import attrs

from amdcni.core.aspects.change import Unsaved
from amdcni.core.aspects.multicast import MulticastAddresses, SetMulticastAddress
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Netdev
from amdcni.core.names import MacAddress
from amdcni.effects.messages.common import octets_of
from amdcni.effects.rtnetlink import Rtnetlink

_LISTED: Final = "/proc/thread-self/net/dev_mcast"
_SIOCADDMULTI: Final = 0x8931
_REQUEST: Final = struct.Struct("=16sH14s8x")  # struct ifreq with ifr_hwaddr
_LONGEST: Final = 14


@attrs.frozen(slots=False, kw_only=True)
class ReadMulticast(MulticastAddresses, Unsaved):
    """The multicast addresses, and those that are too long for the kernel to set, in words."""


def read(kernel: Rtnetlink, netdev: Netdev, kept: Captured | None) -> ReadMulticast:
    """All of them; none if nothing that is kept depends on it."""
    if kept is not None and not kept.multicast_addresses:
        return ReadMulticast()
    try:
        with open(_LISTED) as listed:
            found = list(static_in(listed.read(), netdev.ifindex))
    except OSError:  # a kernel without multicast
        return ReadMulticast()
    return ReadMulticast(
        multicast_addresses=tuple(MacAddress(o.hex(":")) for o in found if len(o) <= _LONGEST),
        unsaved=tuple(f"the multicast address {o.hex(':')}" for o in found if len(o) > _LONGEST),
    )


def static_in(listed: str, ifindex: int) -> Iterator[bytes]:
    """The addresses of a netdev that somebody has set, from what /proc/net/dev_mcast says.

    A line has ifindex, name, references, how many of these are not the kernel's, and the address.
    """
    own = f"{ifindex} "
    for line in listed.splitlines():
        if line.startswith(own):
            *_, by_others, address = line.split()
            if int(by_others):
                yield bytes.fromhex(address)


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetMulticastAddress) -> None:
    """Set it."""
    request = _REQUEST.pack(netdev.ifname.encode(), socket.AF_UNSPEC, octets_of(change.address))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCADDMULTI, request)
    except OSError as error:
        if error.errno != errno.EEXIST:
            what = f"set the multicast address {change.address} of {netdev.ifname}"
            raise KernelRefused(f"the kernel refused to {what}: {error.strerror}") from None
