"""From a record to its netdev, by proof and never by likeness.

What a netdev looks like proves nothing: VLANs of one NIC are of one kind, with one hardware
address, and tunnels have none; a pod changes addresses and names as it likes; another netdev of the
same PCI function may appear at any time.  The proofs that a netdev is that of a record are:

- its number in the network namespace of the pod, which the kernel gives to no other netdev there;
- the record's mark, an alternative name that we gave it before it went anywhere;
- for hardware on the host: its bus device, if the netdev reports the same port as when it was
  captured, and is the only one of the device that does;
- if its ADD had not set the mark yet: the number that it has always had on the host.

Whatever the proof, the netdev has to be of the captured kind.  Several candidates are no proof.  A
netdev that is in its pod is not on the host, so the pod is searched first.
"""

from collections.abc import Collection, Iterable
from typing import Final

import attrs

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.capture import Captured
from amdcni.core.errors import NetdevLost
from amdcni.core.host import Netdev, Netns, SysfsDevice
from amdcni.core.names import BusDevice, IfName


@attrs.frozen
class Place:
    """Where a netdev is: the path of a network namespace, and its name in there."""

    netns: str
    ifname: IfName

    def way_home(self, heal: str) -> str:
        """How to bring the netdev to the host; `heal` is the command that heals.

        `$$` is the shell in which somebody types this.
        """
        out = f"nsenter --net={self.netns} ip link set {self.ifname} netns $$"
        return f"bring it out: {out}; then {heal}"


def find_in_pod(record: Attachment, pod: Netns | None) -> Netdev | None:
    """The netdev of `record` if it is in the pod's netns, `pod` being that netns as it is now."""
    captured = record.captured
    if captured is None or pod is None or not record.netns.is_alive_in(pod):
        return None
    fitting = [netdev for netdev in pod.netdevs if _fits(captured, netdev)]
    numbered = [netdev for netdev in fitting if netdev.ifindex == record.pod_ifindex]
    return _only(numbered) or _marked(record, fitting) or _hardware_anywhere(captured, fitting)


def find_home(
    record: Attachment,
    host: Iterable[Netdev],
    device: SysfsDevice | None,
    pod: Netns | None,
) -> Netdev | None:
    """The netdev of `record` if it is on the host and not in its pod.

    `host` are the netdevs there, `device` is what sysfs says of the bus device now, and `pod` the
    pod's netns as it is now.
    """
    captured = record.captured
    if captured is None or find_in_pod(record, pod) is not None:
        return None
    fitting = [netdev for netdev in host if _fits(captured, netdev)]
    marked = _marked(record, fitting)
    if marked is not None:
        return marked
    visible = device.ifnames if device is not None and is_plugged(record, device) else ()
    return _hardware(record, captured, fitting, visible) or _unmoved(record, captured, fitting)


def is_made_anew(record: Attachment, netdev: Netdev) -> bool:
    """Whether a netdev on the host, known as that of `record`, is not the one that left the host.

    A reset or an update of a device, and plugging it in again, make another netdev of the same
    hardware.  The one that left carries the mark of the record and, as its ifalias, the name that
    it had on the host: somebody has taken it out of its pod.
    """
    moved = record.mark in netdev.altnames or netdev.alias == record.host_ifname
    return record.key.bus_device is not None and not moved


def needs_mark(
    record: Attachment,
    netdev: Netdev,
    others: Iterable[Netdev],
    device: SysfsDevice | None,
) -> bool:
    """Whether its mark alone says that a netdev on the host, and not in the pod, is of `record`."""
    bare = without_mark(record, netdev)
    return find_home(record, (*others, bare), device, None) != bare


def without_mark(record: Attachment, netdev: Netdev) -> Netdev:
    """The netdev as it is seen once the mark of `record` has been removed from it."""
    altnames = tuple(name for name in netdev.altnames if name != record.mark)
    return attrs.evolve(netdev, altnames=altnames)


def find_anywhere(record: Attachment, netdevs: Iterable[Netdev]) -> Netdev | None:
    """The netdev of `record` if it is among those of a netns, whichever that is."""
    if record.captured is None:
        return None
    fitting = [netdev for netdev in netdevs if _fits(record.captured, netdev)]
    return _marked(record, fitting) or _hardware_anywhere(record.captured, fitting)


def is_plugged(record: Attachment, device: SysfsDevice | None) -> bool:
    """Whether the bus device of `record` is in the machine, and no other card in its place.

    A record without a bus device counts as plugged.
    """
    if record.key.bus_device is None:
        return True
    if device is None or record.hardware is None:
        return device is not None
    then, now = attrs.astuple(record.hardware), attrs.astuple(device.hardware)
    return all(None in pair or pair[0] == pair[1] for pair in zip(then, now, strict=True))


def is_replaced(record: Attachment, host: Iterable[Netdev], device: SysfsDevice | None) -> bool:
    """Whether another card is in the place of one that had no serial number, by its address.

    Only a netdev in the very place of one that was alone on its device says so.
    """
    captured = record.captured
    if captured is None or captured.permanent_mac is None or record.key.ifname is not None:
        return False
    unknown = attrs.evolve(captured, permanent_mac=None)
    visible = () if device is None else device.ifnames
    there = [n for n in host if n.ifname in visible and _fits(unknown, n)]
    macs = [netdev.permanent_mac for netdev in there]
    return bool(macs) and None not in macs and captured.permanent_mac not in macs


def dies_with_its_netns(record: Attachment) -> bool:
    """Whether the kernel destroys the netdev together with the netns that it is in.

    It does so with netdevs made by software.  It returns hardware to the host, and netdevs whose
    kind asks for that (`netns_refund` of its rtnl_link_ops: net/core/dev.c,
    default_device_exit_net).
    """
    captured = record.captured
    return captured is not None and is_software(captured.kind, record.key.bus_device)


def is_software(kind: str | None, bus_device: BusDevice | None) -> bool:
    """Whether a netdev of that kind, on that device, is destroyed with the netns that it is in."""
    return bus_device is None and kind is not None and kind not in _REFUNDED


_REFUNDED: Final = frozenset({"can", "vcan", "wwan"})


def may_be(record: Attachment, netdev: Netdev) -> bool:
    """Whether the netdev can be that of `record`, judged by what never changes."""
    return record.captured is not None and _fits(record.captured, netdev)


def has_come_back(record: Attachment, netdev: Netdev) -> bool:
    """Whether the netdev on the host is that of `record`, whose pod is alive and has lost it.

    The kernel gives the number of a netdev that has left to no other one.
    """
    captured = record.captured
    if captured is None or not _fits(captured, netdev):
        return False
    permanent = (captured.permanent_mac, netdev.permanent_mac)
    return None not in permanent or netdev.ifindex == captured.ifindex


def _fits(captured: Captured, netdev: Netdev) -> bool:
    """Whether the netdev can be the captured one, judged by what never changes."""
    permanent = {captured.permanent_mac, netdev.permanent_mac} - {None}
    return (
        netdev.kind == captured.kind
        and netdev.parent == captured.parent
        and (captured.link_type is None or netdev.link_type == captured.link_type)
        and (captured.port_name is None or netdev.port_name == captured.port_name)
        and (captured.port_id is None or netdev.port_id == captured.port_id)
        and len(permanent) < 2
    )


def _marked(record: Attachment, fitting: Iterable[Netdev]) -> Netdev | None:
    return next((netdev for netdev in fitting if record.mark in netdev.altnames), None)


def _hardware(
    record: Attachment, captured: Captured, fitting: Iterable[Netdev], visible: Collection[IfName]
) -> Netdev | None:
    """The netdev of the bus device on the host that is known to be the captured one.

    It is known by its permanent hardware address or, if it has none, by the number that it had on
    the host or in the pod: a netdev keeps its number when it moves, if that is free there.
    """
    of_device = [netdev for netdev in fitting if netdev.ifname in visible]
    numbers = {captured.ifindex, record.pod_ifindex}
    known = [
        netdev
        for netdev in of_device
        if (captured.permanent_mac is not None and netdev.permanent_mac is not None)
        or netdev.ifindex in numbers
    ]
    return _only(known)


def _hardware_anywhere(captured: Captured, fitting: Iterable[Netdev]) -> Netdev | None:
    """The netdev of the captured bus device and permanent address, wherever the kernel shows it."""
    if captured.parent is None or captured.permanent_mac is None:
        return None
    return _only([netdev for netdev in fitting if netdev.permanent_mac == captured.permanent_mac])


def _unmoved(record: Attachment, captured: Captured, fitting: Iterable[Netdev]) -> Netdev | None:
    """The netdev on the host that an interrupted call has not touched, or has fully restored.

    An ADD marks it before moving it, and the mark is removed when everything is as it was: before
    the former it is known by its number, and after the latter by its number and its name.
    """
    if record.phase is Phase.ATTACHED:
        return None
    numbered = [netdev for netdev in fitting if netdev.ifindex == captured.ifindex]
    if record.phase is Phase.DETACHING:
        numbered = [netdev for netdev in numbered if netdev.ifname == captured.ifname]
    return _only(numbered)


def _only(found: list[Netdev]) -> Netdev | None:
    return found[0] if len(found) == 1 else None


def lost(record: Attachment) -> NetdevLost:
    """The error of one who needs the record's netdev, and finds it nowhere."""
    return NetdevLost(
        f"the netdev of {record.key} is neither on the host nor in {record.netns.path!r}; "
        "it is held elsewhere, or gone; its record is kept"
    )
