"""The plan that puts a netdev back into its pod, which lives and has lost it.

A reset or an update of a device makes a new netdev on the host, bare.  The record says all that the
pod has to get: no plugin is executed, whatever the mover, since the lease is still held, and the
policy is not asked again, since the device is lent already.  What has to come back to the host when
the attachment ends stays what was captured at first.
"""

import attrs

from amdcni.core import forecast
from amdcni.core.aspects import altnames, link
from amdcni.core.aspects.addresses import relabelled
from amdcni.core.aspects.change import Around, Stage
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured, Change, Details, capture, due, is_required
from amdcni.core.errors import DeviceProtected, IfnameTaken, NetdevLost
from amdcni.core.formats import copies_routes, moves_rdma
from amdcni.core.host import Netdev, Netns, names_of, netdev_named, reports_protocols
from amdcni.core.plans.attach import rdma_before, routes_after
from amdcni.core.plans.release import homecoming
from amdcni.core.plans.snapshot import Snapshot
from amdcni.core.protection import refuse_protected
from amdcni.core.rdma import Rdma, RdmaDevice, find_rdma
from amdcni.core.steps import (
    ConfigureInPod,
    ConfirmRecord,
    MoveIntoPod,
    Plan,
    Planned,
    RestoreLink,
    SaveRecord,
)


def plan_reattach(
    record: Attachment, captured: Captured, netdev: Netdev, snapshot: Snapshot
) -> Plan:
    """Attach the netdev of `record`, which is on the host, to its pod again.

    If it fails, the host has everything that was captured, and the record stays, unfinished.

    Raises: what forbids it, before anything has changed: NetdevLost, IfnameTaken, DeviceProtected.
    """
    _refuse_bad_pod(record, snapshot.pod)
    refuse_protected(netdev, snapshot.surroundings)
    _refuse_configured(record, captured, netdev, snapshot)
    captured = attrs.evolve(captured, ifindex=netdev.ifindex)
    rdma = tuple(_rdma_now(each, snapshot.rdma) for each in record.rdma)
    begun = attrs.evolve(record.reattaching(captured), rdma=rdma)
    taken = names_of(snapshot.pod.netdevs) | {record.id.ifname}
    in_the_way = tuple(sorted(taken & {*netdev.altnames, *(captured.altnames or ())}))
    changes = _link_due(captured, netdev, snapshot.host)
    # What it sets is also what the host is to have, so it needs no undo.
    link_again = (Planned(RestoreLink(netdev, changes)),) if changes else ()
    move = MoveIntoPod(begun, netdev, in_the_way, _mtu_of(record))
    # Writing the same again would forget what was noted of earlier attempts.
    noted = () if begun == record else (Planned(SaveRecord(begun)),)
    return Plan(
        (
            *noted,
            *link_again,
            *rdma_before(begun, moved=moves_rdma(record.config)),
            Planned(move, undo=homecoming(begun, captured)),
            Planned(ConfigureInPod(begun)),
            *routes_after(begun, copied=copies_routes(record.config)),
            Planned(ConfirmRecord(begun)),
        )
    )


def _rdma_now(device: RdmaDevice, rdma: Rdma) -> RdmaDevice:
    """The RDMA device as a reset has made it anew, under the name that it is to have again."""
    found = find_rdma(device, rdma.devices)
    return device if found is None else attrs.evolve(found, name=device.name)


def _link_due(captured: Captured, netdev: Netdev, host: Netns) -> tuple[Change, ...]:
    """What a netdev takes along when it moves; what it loses is set in the pod."""
    around = Around(captured.ifname, _others(netdev, host))
    changes: list[Change] = [
        *link.due(attrs.evolve(captured, alias=netdev.alias), netdev, None, around),
        *altnames.due(captured, netdev, None, around),
    ]
    return tuple(change for change in changes if change.stage is Stage.DOWN)


def _others(netdev: Netdev, host: Netns) -> tuple[Netdev, ...]:
    return tuple(each for each in host.netdevs if each.ifindex != netdev.ifindex)


def _mtu_of(record: Attachment) -> int | None:
    """The MTU that the netdev had in the pod when it was attached first, if that is known."""
    interfaces = () if record.result is None else record.result.interfaces
    ours = (each.mtu for each in interfaces if each.name == record.id.ifname and each.sandbox)
    return next(ours, None)


def _refuse_bad_pod(record: Attachment, pod: Netns) -> None:
    """Raise if the pod's netns cannot take the netdev under its name."""
    if pod.path != record.netns.path:
        raise NetdevLost(
            f"{record.key} cannot be attached to {record.id.in_short} again: "
            f"its network namespace is not at {record.netns.path!r} any more"
        )
    if netdev_named(pod.netdevs, record.id.ifname) is not None:
        raise IfnameTaken(
            f"{record.key} cannot be attached to {record.id.in_short} again: "
            f"{record.id.ifname!r} already exists in {pod.path!r}; it stays on the host"
        )


def _refuse_configured(
    record: Attachment, captured: Captured, netdev: Netdev, snapshot: Snapshot
) -> None:
    """Raise if the host would lose what somebody has set on the netdev since it came back.

    It loses nothing that is in the record: a network manager sets that again by itself.
    """
    losses = _losses(record, captured, netdev, snapshot)
    if losses:
        raise DeviceProtected(
            f"{netdev.ifname} is not attached to {record.id.in_short} again: "
            f"it has been configured on the host, which would be lost ({'; '.join(losses)}); "
            f"remove that, or keep the NIC on the host: amdcni release {record.key}"
        )


def _losses(
    record: Attachment, captured: Captured, netdev: Netdev, snapshot: Snapshot
) -> list[str]:
    """What would be missing once the netdev had been in the pod and returned by the record.

    The attributes of the netdev itself do not count: those of a new one are the driver's choice.
    """
    details, host = snapshot.details, snapshot.host
    elapsed_s = record.elapsed_s(snapshot.clock.now_s)
    bare = forecast.Found(attrs.evolve(netdev, token=None), on_host=True)
    back = forecast.netdev_at_home(captured, bare, host.netdevs, elapsed_s)
    new = Details(sysctls=details.sysctl_defaults)
    details_back = forecast.details_at_home(captured, back, new, host.netdevs, elapsed_s)
    set_now = _set_now(netdev, details, back, host)
    around = Around(netdev.ifname, _others(netdev, host))
    changes = due(set_now, back, details_back, around)
    return [
        change.describe()
        for change in changes
        if not isinstance(change, link.SetLink | altnames.SetAltname) and is_required(change)
    ]


def _set_now(netdev: Netdev, details: Details, back: Netdev, host: Netns) -> Captured:
    """What the netdev has now, and a new one would not have."""
    now = capture(netdev, details, protocols_reported=reports_protocols(host.netdevs))
    return attrs.evolve(
        now,
        addresses=relabelled(now.addresses, netdev.ifname, back.ifname),
        sysctls={
            name: value
            for name, value in now.sysctls.items()
            if details.sysctl_defaults.get(name) != value
        },
    )
