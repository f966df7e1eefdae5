"""Reads what no record can hold of a netdev, so that it can be named."""

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Protocol

from amdcni.core import rules
from amdcni.core.capture import Details
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Netdev
from amdcni.core.unsaved import Kind, Unsaved, in_words
from amdcni.effects.generic_netlink import family
from amdcni.effects.messages.unsaved import Question, questions
from amdcni.effects.programs import tcx_programs
from amdcni.effects.rtnetlink import (
    Reply,
    Request,
    RequestRefused,
)

_UNKNOWN: Final = frozenset(
    {
        *(errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT, errno.ENODEV),
        *(errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT),
    }
)
"""How a kernel says that it has nothing of the kind, or does not know the question."""


class Kernel(Protocol):
    """What answers requests."""

    def dump(self, request: Request) -> list[Reply]:
        """All messages of the answer."""

    def get(self, request: Request) -> Reply:
        """The one message of the answer."""


def read_unsaved(
    kernel: Kernel, netdev: Netdev, details: Details, *, renumbered: bool
) -> tuple[str, ...]:
    """In words, what of the netdev is on the host that no record can hold.

    This thread is in the netdev's network namespace.  What cannot be read might be there, so it is
    named as well.
    """
    found: list[Unsaved] = []
    doubtful: list[str] = []

    def ask(question: Question) -> None:
        try:
            for reply in kernel.dump(question.request):
                found.extend(question.unsaved_in(reply))
        except RequestRefused as failure:
            if failure.code not in _UNKNOWN:
                doubtful.append(_doubt(question.what, failure.said))
        except KernelRefused as failure:
            doubtful.append(_doubt(question.what, failure.message))

    has_mpls = any(name.startswith("mpls/") for name in details.sysctls)
    for question in questions(netdev, has_mpls=has_mpls, renumbered=renumbered):
        ask(question)
    found.extend(rules.unsaved(netdev, details.rules))
    if renumbered:
        found.extend(_endpoints(netdev))
    found.extend(Unsaved(Kind.XDP, f"{each.number} ({each.mode})") for each in netdev.xdp)
    found.extend(Unsaved(Kind.TCX, str(number)) for number in tcx_programs(netdev.ifindex))
    if netdev.kind is None:
        found.extend(_of_driver(kernel, netdev))
    return (*in_words(found), *doubtful)


def _doubt(what: str, said: str) -> str:
    return f"{what}, if there are any: they cannot be read ({said})"


def _endpoints(netdev: Netdev) -> Iterator[Unsaved]:
    """The MPTCP endpoints of the netdev; none where the kernel has no MPTCP."""
    from amdcni.effects.messages import mptcp

    try:
        with family("mptcp_pm") as (kernel, number):
            for reply in kernel.dump(mptcp.query(number)):
                yield from mptcp.endpoints_in(reply, netdev.ifindex)
    except KernelRefused:
        return


def _of_driver(kernel: Kernel, netdev: Netdev) -> Iterator[Unsaved]:
    """What the driver of a NIC was told; many know none of this."""
    from amdcni.effects.messages import hardware

    yield from _timestamping(netdev.ifname)
    with suppress(KernelRefused):
        yield from hardware.dcb_in(kernel.get(hardware.dcb_query(netdev.ifname)))
    if os.path.exists(f"/sys/class/net/{netdev.ifname}/device/virtfn0"):
        with suppress(KernelRefused):
            link = kernel.get(hardware.virtual_functions_query(netdev.ifindex))
            yield from hardware.virtual_functions_in(link)


_SIOCGHWTSTAMP: Final = 0x89B1
_IFREQ: Final = struct.Struct("=16sQ16x")
_CONFIG: Final = struct.Struct("=iii")  # struct hwtstamp_config: flags, tx_type, rx_filter


def _timestamping(ifname: str) -> Iterator[Unsaved]:
    """Which packets the hardware stamps with the time."""
    config = bytearray(_CONFIG.size)
    address = ctypes.addressof(ctypes.c_char.from_buffer(config))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            asked = _IFREQ.pack(ifname.encode(errors="surrogateescape"), address)
            fcntl.ioctl(opened, _SIOCGHWTSTAMP, asked)
    except OSError:
        return
    _, sent, received = _CONFIG.unpack(config)
    if sent or received:
        yield Unsaved(Kind.TIMESTAMPING, f"tx_type {sent} rx_filter {received}")
