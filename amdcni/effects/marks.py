"""The mark by which a netdev is known again wherever it goes: an alternative name of its own."""

from contextlib import suppress

from amdcni.core.attachment import Attachment
from amdcni.core.errors import DeviceProtected, KernelRefused
from amdcni.core.host import Netdev
from amdcni.core.names import is_mark
from amdcni.node import Namespace


def mark_on_host(host: Namespace, netdev: Netdev, record: Attachment) -> None:
    """Give the netdev, which has not gone anywhere yet, the mark of its record.

    The mark of an earlier record, which is no more, may be left on another netdev.  Hardware can do
    without a mark: it is known by its bus device.

    Raises: DeviceProtected where this kernel offers nothing else to know the netdev by.
    """
    try:
        _put(host, netdev, record)
    except KernelRefused as failure:
        if record.key.bus_device is None:
            raise DeviceProtected(
                f"{netdev.ifname} could not be told from other netdevs when it comes back: "
                f"{failure.message}; alternative names need Linux 5.5"
            ) from None


def _put(host: Namespace, netdev: Netdev, record: Attachment) -> None:
    try:
        host.add_altname(netdev, record.mark)
    except KernelRefused:
        others = [other for other in host.netdevs() if other.ifindex != netdev.ifindex]
        for other in others:
            if record.mark in other.altnames:
                host.drop_altname(other, record.mark)
        host.add_altname(netdev, record.mark)


def mark_in_pod(pod: Namespace, netdev: Netdev, record: Attachment) -> None:
    """Let the netdev, which is about to leave the pod, carry the mark of its record, and no other.

    It is known by its number now, so that a refusal matters only if the way home is interrupted.
    """
    with suppress(KernelRefused):
        for altname in netdev.altnames:
            if is_mark(altname) and altname != record.mark:
                pod.drop_altname(netdev, altname)
        if record.mark not in netdev.altnames:
            pod.add_altname(netdev, record.mark)


def unmark(host: Namespace, netdev: Netdev) -> None:
    """Take the mark away from the netdev, which is whole again; raises KernelRefused."""
    for altname in netdev.altnames:
        if is_mark(altname):
            host.drop_altname(netdev, altname)
