"""What each verb is going to do, as values: nothing here touches anything.

ADD is `plan_add`: the record first, then what the mover does, then the record again.  Everything
that gives a device back, be it DEL, GC, healing, or the undo of an ADD that failed, is
`plan_release`, or the part of it that applies.
"""

from collections.abc import Collection
from typing import Final, assert_never

import attrs

from amdcni.core.aspects.addresses import relabelled
from amdcni.core.aspects.routes import with_shared
from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.calls import add_call, config_for_plugins, ipam_call, owes_plugins
from amdcni.core.capture import Captured, Details, capture
from amdcni.core.errors import (
    DeviceHeld,
    DeviceNotFound,
    IfnameTaken,
    InvalidEnvironment,
    InvalidName,
)
from amdcni.core.host import (
    Load,
    Netdev,
    Netns,
    SysfsDevice,
    names_of,
    netdev_named,
    reports_protocols,
)
from amdcni.core.identity import is_plugged, is_software
from amdcni.core.names import (
    IFNAME_MAX_BYTES,
    DeviceKey,
    IfName,
    PciAddress,
    parse_ifname,
)
from amdcni.core.protection import Surroundings, refuse_protected
from amdcni.core.request import AddRequest, DelRequest, DeviceSelector, Mover
from amdcni.core.resolve import Candidates, fits_record, key_of, resolve
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
    netdev = _chosen(request.device.selector, snapshot)
    if netdev is not None:
        refuse_protected(netdev, snapshot.surroundings)
    record = record_of(request, snapshot, netdev)
    for other in snapshot.records:
        if other.key == record.key:
            raise _held(other)
    match record.mover:
        case Mover.DELEGATE:
            handing_over = _by_delegate(record, netdev)
        case Mover.NATIVE:
            handing_over = _by_ourselves(record, netdev, snapshot.pod, request.device.mtu)
        case _:
            assert_never(record.mover)
    return Plan(
        (
            Planned(SaveRecord(record), undo=(ForgetRecord(record.key),)),
            *handing_over,
            *_routes_after(record, copied=request.device.copy_routes),
            Planned(ConfirmRecord(record)),
        )
    )


def record_in(plan: Plan) -> Attachment:
    """The record that a plan of `plan_add` begins with."""
    (record,) = [p.step.record for p in plan.steps if isinstance(p.step, SaveRecord)]
    return record


def _by_delegate(record: Attachment, netdev: Netdev | None) -> tuple[Planned, ...]:
    """The mover `delegate`: it does all the work, and we look."""
    delegated = Planned(DelegateAdd(add_call(record), record, netdev), undo=_give_back(record))
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
            raise _held(record)


def _chosen(selector: DeviceSelector, snapshot: Snapshot) -> Netdev | None:
    """The netdev that is meant; one that is away is held by whoever the records tell of."""
    try:
        return resolve(selector, snapshot.candidates)
    except DeviceNotFound:
        for record in snapshot.records:
            if fits_record(selector, record):
                raise _held(record) from None
        raise


def _held(record: Attachment) -> DeviceHeld:
    return DeviceHeld(
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
    device = snapshot.candidates.device
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
        hardware=None if device is None else device.hardware,
    )


def _mover_for(request: AddRequest, netdev: Netdev | None, key: DeviceKey) -> Mover:
    """Who moves the netdev: what is made by software is not trusted to the delegate.

    That takes it through a netns of its own (host-device 1.9), with which the kernel destroys such
    a netdev if the delegate is killed.
    """
    software = netdev is not None and is_software(netdev.kind, key.bus_device)
    return Mover.NATIVE if software else request.device.mover


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
    destroyed: bool = False,
    limit_s: float | None = None,
) -> Release:
    """Give the device of `record` back, from the record and the bus device alone.

    The record stays until the IPAM plugin, too, has taken its addresses back.  Only the next holder
    of the device does not wait for that (`ipam_required` False): the host is whole without.

    A record of an earlier boot restores nothing: the node's own boot configuration is right.  Of a
    netdev that was `destroyed` nothing is left to restore.  The record of a device that is not
    plugged in, `device` being what sysfs says of it, stays.  A plugin may work `limit_s` seconds;
    None is as long as any.
    """
    mark = SaveRecord(record.detaching()) if record.phase is Phase.ATTACHED else None
    forget = ForgetRecord(record.key, taken_over=record.taken_over, folder=record.folder)
    if record.boot_id != boot_id:
        return Release(None, (ReleaseIpam(record, limit_s),), forget)
    if not is_plugged(record, device):
        return Release(mark, (ReleasePlugins(record, limit_s=limit_s),), None)
    if destroyed:
        return Release(mark, (ReleasePlugins(record, ipam_required, limit_s),), forget)
    return Release(mark, _give_back(record, ipam_required, limit_s), forget)


def plan_homecoming(
    record: Attachment, boot_id: str, device: SysfsDevice | None, *, destroyed: bool = False
) -> Release:
    """As much of `plan_release` as needs no plugin: a plugin that hangs keeps no netdev away.

    The record stays if a plugin is still to be told (`plan_farewell`).
    """
    whole = plan_release(record, boot_id, device, destroyed=destroyed)
    work = tuple(step for step in whole.work if not isinstance(step, _FAREWELLS))
    return Release(whole.mark, work, None if owes_plugins(record) else whole.forget)


def plan_farewell(
    record: Attachment, boot_id: str, device: SysfsDevice | None, limit_s: float | None
) -> Release:
    """The rest of `plan_release` once all of `plan_homecoming` has succeeded."""
    whole = plan_release(record, boot_id, device, limit_s=limit_s)
    work = tuple(step for step in whole.work if isinstance(step, _FAREWELLS))
    return Release(None, work, whole.forget)


_FAREWELLS: Final = (ReleasePlugins, ReleaseIpam)
"""The steps that execute plugins."""


def _give_back(
    record: Attachment, ipam_required: bool = True, limit_s: float | None = None
) -> tuple[Step, ...]:
    home = () if record.captured is None else _homecoming(record, record.captured)
    return (ReleasePlugins(record, ipam_required, limit_s), *home)


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
