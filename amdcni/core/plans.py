"""What each verb is going to do, as values: nothing here touches anything.

ADD is `plan_add`: the record first, then what the mover does, then the record again.  Everything
that gives a device back, be it DEL, GC, healing, or the undo of an ADD that failed, is
`plan_release`, or the part of it that applies.
"""

from collections.abc import Collection
from typing import assert_never

import attrs

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.calls import add_call, config_for_plugins, ipam_call
from amdcni.core.capture import Captured, capture, relabelled
from amdcni.core.errors import (
    DeviceHeld,
    IfnameTaken,
    InvalidEnvironment,
    InvalidName,
)
from amdcni.core.host import (
    Details,
    Load,
    Netdev,
    Netns,
    SysfsDevice,
    names_of,
    netdev_named,
    reports_protocols,
)
from amdcni.core.names import (
    IFNAME_MAX_BYTES,
    DeviceKey,
    IfName,
    PciAddress,
    parse_ifname,
)
from amdcni.core.protection import Surroundings, refuse_protected
from amdcni.core.request import AddRequest, DelRequest, DeviceSelector, Mover
from amdcni.core.resolve import Candidates, key_of, resolve
from amdcni.core.routes import with_shared
from amdcni.core.spec import Interface, Json, Result, Verb
from amdcni.core.steps import (
    BringHome,
    ConfigureInPod,
    ConfirmRecord,
    CopyRoutes,
    DelegateAdd,
    ForgetRecord,
    InspectPod,
    IpamAdd,
    KeepOtherHops,
    MoveIntoPod,
    Outcome,
    Plan,
    Planned,
    Release,
    ReleaseIpam,
    ReleasePlugins,
    RestoreConfiguration,
    SaveRecord,
    Step,
    VerifyHome,
)


@attrs.frozen
class Clock:
    """Now: CLOCK_BOOTTIME in whole seconds, the boot it belongs to, and for people ISO 8601."""

    now_s: int
    boot_id: str
    wall: str


@attrs.frozen
class Snapshot:
    """What an ADD has to know of the node, read under the device's lock.

    `details` are those of the selected netdev, and `load` is read for it.  `records` are of the
    same device; what was stale among them is healed already, so that all of them are live.
    `multipath` are the records, of any device, that hold a route with several hops.
    """

    clock: Clock
    host: Netns
    pod: Netns
    candidates: Candidates
    details: Details = attrs.field(factory=Details)
    load: Load = attrs.field(factory=Load)
    multipath: tuple[Attachment, ...] = ()
    records: tuple[Attachment, ...] = ()

    @property
    def surroundings(self) -> Surroundings:
        """What decides whether the node can do without the selected netdev."""
        return Surroundings(self.host.netdevs, self.details.ways_out, self.load)


# ---- ADD ---------------------------------------------------------------------------------------


def plan_add(request: AddRequest, snapshot: Snapshot) -> Plan:
    """The whole of ADD: hand the selected device to the attachment.

    Raises: whatever forbids it, before anything has changed: InvalidEnvironment, IfnameTaken,
    DeviceHeld, DeviceNotFound, DeviceAmbiguous, DeviceProtected.
    """
    refuse_held(request.device.selector, snapshot)
    refuse_bad_pod(request, snapshot.host, snapshot.pod)
    netdev = resolve(request.device.selector, snapshot.candidates)
    if netdev is not None:
        refuse_protected(netdev, snapshot.surroundings)
    record = record_of(request, snapshot, netdev)
    match request.device.mover:
        case Mover.DELEGATE:
            handing_over = _by_delegate(record)
        case Mover.NATIVE:
            handing_over = _by_ourselves(record, netdev, snapshot.pod, request.device.mtu)
        case _:
            assert_never(request.device.mover)
    return Plan(
        (
            Planned(SaveRecord(record), undo=(ForgetRecord(record.key),)),
            *handing_over,
            *_routes_after(record, copied=request.device.copy_routes),
            Planned(ConfirmRecord(record)),
        )
    )


def _by_delegate(record: Attachment) -> tuple[Planned, ...]:
    """The mover `delegate`: it does all the work, and we look."""
    delegated = Planned(DelegateAdd(add_call(record)), undo=_give_back(record))
    if record.captured is None:
        return (delegated,)
    return (delegated, Planned(InspectPod(record)))


def _by_ourselves(
    record: Attachment, netdev: Netdev | None, pod: Netns, mtu: int | None
) -> tuple[Planned, ...]:
    """The mover `native`: the IPAM plugin, if there is one, finds the netdev in the pod and up."""
    call = ipam_call(record, Verb.ADD, netns_alive=True)
    lease = () if call is None else (Planned(IpamAdd(record, call), (ReleasePlugins(record),)),)
    captured = record.captured
    if netdev is None or captured is None:
        return lease
    taken = names_of(pod.netdevs) | {record.id.ifname}
    in_the_way = tuple(name for name in netdev.altnames if name in taken)
    move = MoveIntoPod(record, netdev, in_the_way, mtu)
    return (
        Planned(move, undo=_homecoming(record, captured)),
        *lease,
        Planned(ConfigureInPod(record)),
    )


def _routes_after(record: Attachment, *, copied: bool) -> tuple[Planned, ...]:
    """What is due to the netdev's routes once it is in the pod."""
    captured = record.captured
    if captured is None:
        return ()
    kept = Planned(KeepOtherHops(record, captured))
    return (kept, Planned(CopyRoutes(record, captured))) if copied else (kept,)


def refuse_bad_pod(request: AddRequest, host: Netns, pod: Netns) -> None:
    """Raise if the pod's netns cannot take a netdev called CNI_IFNAME."""
    if pod.id == host.id:
        raise InvalidEnvironment(
            f"CNI_NETNS {request.netns!r} is the host's own network namespace; "
            "a NIC is not moved to where it is"
        )
    if netdev_named(pod.netdevs, request.attachment.ifname) is not None:
        raise IfnameTaken(
            f"CNI_IFNAME {request.attachment.ifname!r} already exists in {request.netns!r}"
        )


def refuse_held(selector: DeviceSelector, snapshot: Snapshot) -> None:
    """Raise if a live attachment has the selected device; the snapshot's records are all live."""
    device = snapshot.candidates.device
    for record in snapshot.records:
        if device is None or not device.ifnames or record.host_ifname == selector.ifname:
            raise DeviceHeld(
                f"{record.key} is held by container {record.id.container_id} as "
                f"{record.id.ifname!r} in {record.netns.path!r} since {record.since}; "
                "it is free once that attachment is deleted"
            )


def record_of(request: AddRequest, snapshot: Snapshot, netdev: Netdev | None) -> Attachment:
    """The record of an ADD that is about to begin; `netdev` None is a userspace driver's device."""
    captured = None
    if netdev is not None:
        protocols_reported = reports_protocols(snapshot.host.netdevs)
        captured = capture(netdev, snapshot.details, protocols_reported=protocols_reported)
        captured = _with_whole_routes(captured, snapshot)
    return Attachment(
        network=request.network.name,
        id=request.attachment,
        netns=NetnsRef(request.netns, snapshot.pod.id),
        key=key_of(snapshot.candidates.device, netdev, snapshot.records),
        phase=Phase.ATTACHING,
        boot_id=snapshot.clock.boot_id,
        read_at_s=snapshot.clock.now_s,
        since=snapshot.clock.wall,
        config=config_for_plugins(request, captured),
        args=request.invocation.environ.get("CNI_ARGS", ""),
        captured=captured,
        ipam=request.device.ipam,
        mover=request.device.mover,
        pod_mac=request.device.mac,
    )


def _with_whole_routes(captured: Captured, snapshot: Snapshot) -> Captured:
    """`captured` with the hops that its multipath routes have lost to records of this boot."""
    routes = captured.routes
    for record in snapshot.multipath:
        if record.boot_id == snapshot.clock.boot_id and record.captured is not None:
            routes = with_shared(
                routes,
                captured.ifname,
                record.captured.routes,
                in_transit=record.phase is Phase.ATTACHING,
            )
    return attrs.evolve(captured, routes=routes)


def confirmed(record: Attachment, outcome: Outcome) -> Attachment:
    """The record of an ADD that has succeeded, with the result that it answers.

    That is what the mover gave, with the MTU and the PCI address of our netdev.
    """
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


# ---- giving back -------------------------------------------------------------------------------


def plan_release(
    record: Attachment,
    boot_id: str,
    device: SysfsDevice | None,
    *,
    ipam_required: bool = True,
) -> Release:
    """Give the device of `record` back, from the record and the bus device alone.

    The record stays until the IPAM plugin, too, has taken its addresses back.  Only the next holder
    of the device does not wait for that (`ipam_required` False): the host is whole without.

    A record of an earlier boot restores nothing: the node's own boot configuration is right.  The
    record of a device that is not plugged in (`device` None, though the record names one) stays.
    """
    mark = SaveRecord(record.detaching()) if record.phase is Phase.ATTACHED else None
    forget = ForgetRecord(record.key, taken_over=record.taken_over)
    if record.boot_id != boot_id:
        return Release(None, (ReleaseIpam(record),), forget)
    if record.key.bus_device is not None and device is None:
        return Release(mark, (ReleasePlugins(record),), None)
    return Release(mark, _give_back(record, ipam_required), forget)


def _give_back(record: Attachment, ipam_required: bool = True) -> tuple[Step, ...]:
    home = () if record.captured is None else _homecoming(record, record.captured)
    return (ReleasePlugins(record, ipam_required), *home)


def _homecoming(record: Attachment, captured: Captured) -> tuple[Step, ...]:
    return (
        BringHome(record, captured),
        RestoreConfiguration(record, captured),
        VerifyHome(record, captured),
    )


def free_name(wanted: IfName, taken: Collection[str]) -> IfName:
    """`wanted` if nothing has that name yet, else the first free of `wanted_1`, `wanted_2` ...

    The name is cut where it would be too long for the kernel, which counts bytes.
    """
    name, number = str(wanted), 0
    while name in taken:
        number += 1
        stem = wanted.encode()[: IFNAME_MAX_BYTES - len(f"_{number}")]
        name = f"{stem.decode(errors='ignore')}_{number}"
    return parse_ifname(name)


# ---- what is there already ---------------------------------------------------------------------


def is_repeated(record: Attachment, request: AddRequest) -> bool:
    """Whether `request` is the very ADD that `record` tells the success of."""
    return (
        record.phase is Phase.ATTACHED
        and record.id == request.attachment
        and record.network == request.network.name
        and record.netns.path == request.netns
    )


def salvage(
    request: DelRequest, device: SysfsDevice, pod: Netns, clock: Clock, *, record_damaged: bool
) -> Attachment | None:
    """A record made anew for a netdev that is in the pod and has lost its own; None if none is.

    That is our NIC if its bus parent says so.  Without a parent to be seen, it has to have a host
    name as alias (the delegate leaves it there), and there must have been a record, now damaged.
    What can be given back then is what the netdev has in the pod.
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
