"""The record of an ADD: when it begins, and when it has succeeded."""

from collections.abc import Collection, Iterable

import attrs

from amdcni.core.aspects import nexthops
from amdcni.core.aspects.routes import with_shared
from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.calls import config_for_plugins
from amdcni.core.capture import Captured, capture
from amdcni.core.host import (
    Netdev,
    Values,
    reports_protocols,
)
from amdcni.core.identity import is_software
from amdcni.core.names import (
    DeviceKey,
    PciAddress,
)
from amdcni.core.plans.snapshot import Snapshot
from amdcni.core.pod_sysctls import pod_sysctls
from amdcni.core.rdma import RdmaDevice, rdma_devices_of
from amdcni.core.request import AddRequest, Mover
from amdcni.core.resolve import key_of
from amdcni.core.spec import Interface, Result
from amdcni.core.steps import (
    Outcome,
)


def record_of(request: AddRequest, snapshot: Snapshot, netdev: Netdev | None) -> Attachment:
    """The record of an ADD about to begin; `netdev` is None for a userspace driver's device."""
    captured = None
    if netdev is not None:
        protocols_reported = reports_protocols(snapshot.host.netdevs)
        captured = capture(netdev, snapshot.details, protocols_reported=protocols_reported)
        captured = _with_whole_routes(captured, snapshot)
    device = snapshot.candidates.device
    rdma: tuple[RdmaDevice, ...] = ()
    if netdev is not None:
        moved = request.device.move_rdma
        rdma = rdma_devices_of(netdev, snapshot.host.netdevs, device, snapshot.rdma, moved=moved)
    key = key_of(device, netdev, snapshot.records)
    mover = _mover_for(request, netdev, key)
    return Attachment(
        network=request.network.name,
        id=request.attachment,
        netns=NetnsRef(request.netns, snapshot.pod.id),
        key=key,
        phase=Phase.ATTACHING,
        boot_id=snapshot.clock.boot_id,
        read_at_s=snapshot.clock.now_s,
        since=snapshot.clock.wall,
        config=config_for_plugins(request, mover, captured),
        args=request.invocation.environ.get("CNI_ARGS", ""),
        captured=captured,
        ipam=request.device.ipam,
        mover=mover,
        pod_mac=request.device.mac,
        pod_sysctls=_pod_sysctls_for(request, snapshot, netdev, mover),
        hardware=None if device is None else device.hardware,
        interrupts=snapshot.interrupts,
        rdma=rdma,
    )


def _mover_for(request: AddRequest, netdev: Netdev | None, key: DeviceKey) -> Mover:
    """Who moves the netdev: the delegate is not trusted with one made by software.

    The delegate takes it through a netns of its own (host-device 1.9), and if the delegate is
    killed, the kernel destroys such a netdev together with that netns.
    """
    software = netdev is not None and is_software(netdev.kind, key.bus_device)
    return Mover.NATIVE if software else request.device.mover


def _pod_sysctls_for(
    request: AddRequest, snapshot: Snapshot, netdev: Netdev | None, mover: Mover
) -> Values:
    """What our own mover sets in the pod; the delegate has the netdev up before it could be set."""
    if netdev is None or mover is not Mover.NATIVE:
        return {}
    return pod_sysctls(snapshot.details, netdev.addresses, request.device)


def in_transit(
    earlier: Collection[Attachment], later: Collection[Attachment]
) -> frozenset[DeviceKey]:
    """The devices that may have left or returned between two readings of the records.

    Meanwhile, the kernel may have had none or only a part of the routes through their netdevs.
    """
    left = [each for each in later if each.phase is Phase.ATTACHING or each not in earlier]
    return frozenset(record.key for record in (*left, *gone(earlier, later)))


def gone(earlier: Iterable[Attachment], later: Collection[Attachment]) -> tuple[Attachment, ...]:
    """The records that had another content at the first reading, or are not there any more."""
    return tuple(record for record in earlier if record not in later)


def _with_whole_routes(captured: Captured, snapshot: Snapshot) -> Captured:
    """`captured` with what its multipath routes and groups have lost to records of this boot."""
    routes, objects = captured.routes, nexthops.only(captured)
    for record in snapshot.multipath:
        if record.boot_id == snapshot.clock.boot_id and record.captured is not None:
            routes = with_shared(
                routes,
                captured.ifname,
                record.captured.routes,
                in_transit=record.key in snapshot.in_transit,
            )
            objects = nexthops.with_shared(objects, record.captured)
    return attrs.evolve(captured, routes=routes, **attrs.asdict(objects, recurse=False))


def confirmed(record: Attachment, outcome: Outcome) -> Attachment:
    """The record of an ADD that has succeeded, with the result that it answers.

    That is what the mover gave, with the MTU and the PCI address of our netdev.  A netdev that is
    attached again keeps the result that its ADD has answered.
    """
    if record.result is not None:
        return record.attached(record.result, outcome.pod_ifindex)
    result = outcome.result or Result()
    interfaces = tuple(
        _described(interface, record, outcome.pod_mtu)
        if interface.name == record.id.ifname and interface.sandbox
        else interface
        for interface in result.interfaces
    )
    return record.attached(attrs.evolve(result, interfaces=interfaces), outcome.pod_ifindex)


def _described(interface: Interface, record: Attachment, mtu: int | None) -> Interface:
    bus_device = record.key.bus_device
    pci_id = str(bus_device) if isinstance(bus_device, PciAddress) else interface.pci_id
    return attrs.evolve(interface, mtu=mtu or interface.mtu, pci_id=pci_id)


def is_repeated(record: Attachment, request: AddRequest) -> bool:
    """Whether `request` is the very ADD that has succeeded according to `record`."""
    return (
        (record.phase is Phase.ATTACHED or record.is_reattaching)
        and record.id == request.attachment
        and record.network == request.network.name
        and record.netns.path == request.netns
    )
