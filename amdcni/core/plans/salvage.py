"""A new record for a netdev in a pod whose record is lost."""

import attrs

from amdcni.core.aspects.addresses import relabelled
from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured, Details, capture
from amdcni.core.errors import (
    InvalidName,
)
from amdcni.core.host import (
    Netns,
    SysfsDevice,
    netdev_named,
    reports_protocols,
)
from amdcni.core.names import (
    DeviceKey,
    IfName,
    parse_ifname,
)
from amdcni.core.plans.snapshot import Clock
from amdcni.core.request import DelRequest
from amdcni.core.spec import Json


def salvage(
    request: DelRequest, device: SysfsDevice, pod: Netns, clock: Clock, *, record_damaged: bool
) -> Attachment | None:
    """A new record for a netdev that is in the pod and has lost its own; None if there is none.

    The netdev is our NIC if its bus parent says so.  If no parent can be seen, it has to have a
    host name as alias (the delegate leaves it there), and there must have been a record, now
    damaged.  What can be returned is then what the netdev has in the pod.
    """
    bus_device = device.bus_device
    netdev = netdev_named(pod.netdevs, request.attachment.ifname)
    if netdev is None:
        return None
    proven = netdev.parent in (str(bus_device), *device.virtio)
    if not (proven or (record_damaged and netdev.parent is None and netdev.alias)):
        return None
    captured = _as_on_host(
        capture(netdev, Details(), protocols_reported=reports_protocols(pod.netdevs)),
        _ifname_or(netdev.alias, netdev.ifname),
    )
    config: Json = {**request.network.raw, "device": captured.ifname}
    return Attachment(
        network=request.network.name,
        id=request.attachment,
        netns=NetnsRef(pod.path, pod.id),
        key=DeviceKey(bus_device),
        phase=Phase.DETACHING,
        boot_id=clock.boot_id,
        read_at_s=clock.now_s,
        since=clock.wall,
        config=config,
        captured=captured,
        ipam=request.ipam,
        mover=request.mover,
        pod_ifindex=netdev.ifindex,
    )


def _as_on_host(in_pod: Captured, ifname: IfName) -> Captured:
    """What was captured in a pod, under its name on the host, which is the usual IPv4 label too."""
    addresses = relabelled(in_pod.addresses, in_pod.ifname, ifname)
    return attrs.evolve(in_pod, ifname=ifname, alias=None, addresses=addresses)


def _ifname_or(text: str | None, otherwise: IfName) -> IfName:
    try:
        return parse_ifname(text or "")
    except InvalidName:
        return otherwise
