"""Attachments of AMD's Go plugin, turned into records like ours, from which NICs are returned.

Its mapping names the device, but neither the holder nor the boot (`amdcni.core.mapping`).  So what
counts is where the NIC is now, and what is seen of it there:

- In the network namespace that a DEL names: it is that attachment's, and was lent in this boot, as
  no namespace outlives one.  It comes home with everything in the mapping.
- On the host, bare, with the name from the mapping as its ifalias: `host-device` left that when it
  moved the NIC, and a boot would have removed it.  Its pod is gone, and it gets everything back.
- On the host, bare and down, under that name or one of a pod, without the ifalias: the same, unless
  the Go plugin's file was last written before this boot.  What a boot leaves bare stays bare.
- On the host under that name, or with that ifalias, and up or with an address: somebody has
  configured it, for instance the node's boot.  That configuration is right, and the entry is stale.
- Anywhere else it may be another holder's.  It is left alone, and so is its entry.

Bare means without any address except those that the kernel makes by itself.
"""

import re
from typing import Final

import attrs

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured
from amdcni.core.errors import DeviceHeld
from amdcni.core.host import (
    USERSPACE_DRIVERS,
    Address,
    IpInterface,
    Netdev,
    Netns,
    NetnsId,
    SysfsDevice,
    netdev_named,
    reports_protocols,
)
from amdcni.core.kernel_made import is_kernels
from amdcni.core.mapping import GoMapping
from amdcni.core.names import DeviceKey, IfName
from amdcni.core.plans.snapshot import Clock
from amdcni.core.request import AddRequest, DelRequest

_POD_NAME: Final = re.compile(r"(net|dev)[0-9]+")
"""What Multus calls a NIC in a pod, or the kernel one that falls back but whose name is taken."""

GONE: Final = NetnsRef("", NetnsId(0, 0))
"""The network namespace of a pod that nobody knows any more; there never is one at this path."""


@attrs.frozen
class Lent:
    """The NIC of a mapping is the attachment's, or has fallen back to the host: it is due back."""

    netdev: Netdev
    netns: NetnsRef


@attrs.frozen
class Settled:
    """The NIC of a mapping is on the host, configured by somebody: the mapping is stale."""

    netdev: Netdev


def find_in_pod(
    mapping: GoMapping, ifname: IfName, pod: Netns, device: SysfsDevice
) -> Netdev | None:
    """The NIC of `mapping` if it is in `pod` as that of the attachment with `ifname`.

    The proof is the bus device that the kernel reports or, where it reports none, the ifalias that
    `host-device` left, while no netdev of the device is on the host.  The pod may have renamed it,
    and earlier Go plugins kept its host name; but then nothing else may be called `ifname`.
    """
    parents = (str(mapping.device), *device.virtio)
    ours = [
        netdev
        for netdev in pod.netdevs
        if netdev.parent in parents
        or (netdev.parent is None and netdev.alias == mapping.ifname and not device.ifnames)
    ]
    named = netdev_named(pod.netdevs, ifname)
    if named is not None:
        return named if named in ours else None
    return ours[0] if len(ours) == 1 else None


def find_on_host(
    mapping: GoMapping, ifname: IfName | None, host: Netns, device: SysfsDevice
) -> Lent | Settled | None:
    """What has become of the NIC of `mapping` if it is on the host; None if that is not known.

    `ifname` is that of the call, if there is one: one more name that a pod may have given it.
    """
    visible = [netdev for netdev in host.netdevs if netdev.ifname in device.ifnames]
    tagged = [netdev for netdev in visible if netdev.alias == mapping.ifname]
    named = [netdev for netdev in visible if netdev.ifname == mapping.ifname]
    fallen = [n for n in visible if n.ifname == ifname or _POD_NAME.fullmatch(n.ifname)]
    found = next((fitting for fitting in (tagged, named, fallen) if fitting), [])
    if len(found) != 1:
        return None
    netdev = found[0]
    bare = _is_bare(netdev, protocols_reported=reports_protocols(host.netdevs))
    if bare and (tagged or (not netdev.up and mapping.may_be_of_this_boot)):
        return Lent(netdev, GONE)
    return Settled(netdev) if tagged or named else None


def _is_bare(netdev: Netdev, *, protocols_reported: bool) -> bool:
    return all(
        is_kernels(address, netdev.mac, protocols_reported=protocols_reported)
        for address in netdev.addresses
    )


def find_for_del(
    request: DelRequest,
    mapping: GoMapping,
    host: Netns,
    pod: Netns | None,
    device: SysfsDevice,
) -> Lent | Settled | None:
    """What a DEL has to do with the NIC of `mapping`; None for nothing.

    `pod` is what is at the request's CNI_NETNS now.
    """
    ifname = request.attachment.ifname
    if pod is not None and pod.id != host.id:
        netdev = find_in_pod(mapping, ifname, pod, device)
        if netdev is not None:
            return Lent(netdev, NetnsRef(pod.path, pod.id))
    return find_on_host(mapping, ifname, host, device)


def find_for_add(
    request: AddRequest, mapping: GoMapping, host: Netns, device: SysfsDevice
) -> Lent | Settled | None:
    """What an ADD has to do with the NIC of `mapping` first; None for nothing.

    Raises: DeviceHeld if it is not on the host, and so in a pod.
    """
    if _is_away(device):
        raise DeviceHeld(
            f"{mapping.device} was lent by AMD's Go plugin, as {mapping.ifname!r} on the host, "
            "and has not come back; it is free once the pod that has it is deleted"
        )
    return find_on_host(mapping, request.attachment.ifname, host, device)


def is_out(mapping: GoMapping, host: Netns, device: SysfsDevice) -> bool:
    """Whether the NIC of `mapping` is still to come back, as far as the host can tell."""
    on_host = find_on_host(mapping, None, host, device)
    return _is_away(device) or isinstance(on_host, Lent)


def _is_away(device: SysfsDevice) -> bool:
    """Whether its driver has made a netdev that is not on the host, and so in a pod."""
    has_netdev = device.driver is not None and device.driver not in USERSPACE_DRIVERS
    return has_netdev and not device.ifnames


def record_of(
    request: AddRequest | DelRequest,
    mapping: GoMapping,
    lent: Lent,
    device: SysfsDevice,
    clock: Clock,
) -> Attachment:
    """The record from which the NIC of `mapping` is returned; nothing has changed yet.

    The call that found the NIC stands in for the unknown attachment.  Only a DEL is done with its
    own addresses; an ADD is going to want them.
    """
    netdev = lent.netdev
    others = [name for name in device.ifnames if name != netdev.ifname]
    captured = Captured(
        ifname=mapping.ifname,
        ifindex=netdev.ifindex,
        mac=netdev.mac,
        permanent_mac=netdev.permanent_mac,
        parent=netdev.parent,
        kind=netdev.kind,
        up=mapping.up,
        addresses=tuple(_address(interface, mapping.ifname) for interface in mapping.addresses),
    )
    return Attachment(
        network=request.network.name,
        id=request.attachment,
        netns=lent.netns,
        key=DeviceKey(mapping.device, mapping.ifname if others else None),
        phase=Phase.DETACHING,
        boot_id=clock.boot_id,
        read_at_s=clock.now_s,
        since=clock.wall,
        config={**request.network.raw, "device": mapping.ifname},
        args=request.invocation.environ.get("CNI_ARGS", ""),
        captured=captured,
        ipam=request.ipam if isinstance(request, DelRequest) else None,
        pod_ifindex=None if lent.netns == GONE else netdev.ifindex,
        taken_over=True,
    )


def _address(interface: IpInterface, ifname: IfName) -> Address:
    """The address as the kernel shows it when it was given without any attribute.

    Of IPv4 the label is the netdev's name; of IPv6 the scope follows from the address
    (net/ipv6/addrconf.c, rt_scope).
    """
    if interface.version == 4:
        return Address(interface, label=ifname)
    if interface.ip.is_loopback:
        return Address(interface, scope=254)
    if interface.ip.is_link_local:
        return Address(interface, scope=253)
    return Address(interface, scope=200 if interface.ip.is_site_local else 0)
