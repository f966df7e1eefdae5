"""The mark by which a netdev is identified wherever it goes: an alternative name of its own."""

from contextlib import suppress

from amdcni.core.attachment import Attachment
from amdcni.core.errors import DeviceProtected, KernelRefused
from amdcni.core.host import Netdev
from amdcni.core.names import DeviceKey, is_mark, mark_of
from amdcni.ports import Namespace


def mark_on_host(host: Namespace, netdev: Netdev, record: Attachment) -> None:
    """Give the netdev, which has not been moved yet, the mark of its record.

    Another netdev may still carry the mark, from an earlier record that is gone.  Hardware can do
    without a mark: it is identified by its bus device.

    Raises: DeviceProtected if this kernel offers nothing else to identify the netdev by.
    """
    try:
        _put(host, netdev, record)
    except KernelRefused as failure:
        if record.key.bus_device is None:
            raise DeviceProtected(
                f"{netdev.ifname} could not be identified when it comes back: "
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

    For now it is identified by its ifindex, so a refusal matters only if the return is interrupted.
    """
    with suppress(KernelRefused):
        for altname in netdev.altnames:
            if is_mark(altname) and altname != record.mark:
                pod.drop_altname(netdev, altname)
        if record.mark not in netdev.altnames:
            try:
                pod.add_altname(netdev, record.mark)
            except KernelRefused:
                # The pod may have filled the list, which has a limit in the kernel.
                pod.drop_altname(netdev, _least_needed(netdev, record))
                pod.add_altname(netdev, record.mark)


def _least_needed(netdev: Netdev, record: Attachment) -> str:
    """An alternative name that the pod gave, if there is one; captured ones come back."""
    captured = () if record.captured is None else record.captured.altnames or ()
    return next((name for name in netdev.altnames if name not in captured), record.mark)


def unmark(host: Namespace, key: DeviceKey) -> None:
    """Remove the mark of a record that is gone from the host's netdevs; raises KernelRefused."""
    netdev = host.find_netdev(mark_of(key))
    if netdev is not None:
        host.drop_altname(netdev, mark_of(key))
