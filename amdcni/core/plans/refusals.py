"""Why an ADD is refused before anything has changed; for uplinks see `core.protection`."""

from collections.abc import Iterable

from amdcni.core.attachment import Attachment
from amdcni.core.errors import (
    DeviceHeld,
    DeviceProtected,
    IfnameTaken,
    InvalidEnvironment,
    PolicyDenies,
)
from amdcni.core.host import (
    Netdev,
    Netns,
    SysfsDevice,
    netdev_named,
)
from amdcni.core.identity import has_come_back
from amdcni.core.plans.snapshot import Snapshot
from amdcni.core.policy import denial_of, traits_of
from amdcni.core.protection import protection_by
from amdcni.core.request import AddRequest, DeviceSelector
from amdcni.core.spec import AttachmentId


def refuse_bad_pod(request: AddRequest, host: Netns, pod: Netns) -> None:
    """Raise if the pod's netns cannot take a netdev called CNI_IFNAME."""
    if pod.id == host.id:
        raise InvalidEnvironment(
            f"CNI_NETNS {request.netns!r} is the host's own network namespace; "
            "a NIC is not moved to where it already is"
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
            raise held_by(record)


def refuse_come_back(netdev: Netdev | None, snapshot: Snapshot) -> None:
    """Raise if the netdev is on the host only because a reset has taken it from a living pod."""
    for record in snapshot.records:
        if netdev is not None and has_come_back(record, netdev):
            raise held_by(record)


def refuse_denied(netdev: Netdev | None, snapshot: Snapshot) -> None:
    """Raise PolicyDenies if the node's policy does not lend the device."""
    own = traits_of(netdev, snapshot.candidates.device)
    denial = denial_of(snapshot.policy, (own, *snapshot.below))
    if denial is not None:
        raise PolicyDenies(f"{own.ifname or own.address} is not lent: {denial}")


def refuse_lent_kin(
    attachment: AttachmentId, device: SysfsDevice | None, kin: Iterable[Attachment]
) -> None:
    """Raise DeviceProtected if another pod has what controls `device`, or what `device` controls.

    A pod may have both.
    """
    for record in kin:
        if device is not None and record.id.container_id != attachment.container_id:
            found = protection_by(record, device)
            raise DeviceProtected(f"{device.bus_device} {found.why}; {found.remedy}")


def held_by(record: Attachment) -> DeviceHeld:
    """The error that says who holds the device."""
    return DeviceHeld(
        f"{record.key} is held by container {record.id.short} as "
        f"{record.id.ifname!r} in {record.netns.path!r} since {record.since}; "
        "it is free once that attachment is deleted"
    )
