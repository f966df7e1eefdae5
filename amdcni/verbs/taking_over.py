"""Taking over what AMD's Go plugin lent: from an entry of its file to a record that is on disk.

The rules are those of `amdcni.core.takeover`.  Everything here is done under the device's lock, and
changes nothing but the record and the Go plugin's file.
"""

from collections.abc import Iterable

from amdcni.core import takeover
from amdcni.core.attachment import Attachment
from amdcni.core.errors import AmdcniError
from amdcni.core.host import SysfsDevice
from amdcni.core.mapping import GoMapping
from amdcni.core.names import BusDevice, DeviceKey, PciAddress
from amdcni.core.request import AddRequest, DelRequest
from amdcni.core.steps import ForgetRecord, Outcome, SaveRecord
from amdcni.ports import Node


def find_mapping(device: BusDevice | None, node: Node) -> GoMapping | None:
    """What the Go plugin noted of the device."""
    return next((mapping for mapping in node.mappings() if mapping.device == device), None)


def still_out(held: Iterable[Attachment], node: Node) -> tuple[GoMapping, ...]:
    """What the Go plugin noted of NICs that are still to come back, except the recorded `held`."""
    recorded = {record.key.bus_device for record in held}
    mappings = [mapping for mapping in node.mappings() if mapping.device not in recorded]
    host = node.host() if mappings else None
    return tuple(
        mapping
        for mapping in mappings
        if host is not None
        and (device := node.find_device(mapping.device)) is not None
        and takeover.is_out(mapping, host, device)
    )


def find_device(request: DelRequest, node: Node) -> PciAddress | None:
    """The device of a DEL that names none, by what the Go plugin lent to its network namespace.

    Only a netdev that still has the attachment's name is certainly meant.
    """
    if request.netns is None:
        return None
    mappings = node.mappings()
    pod = node.find_netns(request.netns) if mappings else None
    if pod is None:
        return None
    ifname = request.attachment.ifname
    for mapping in mappings:
        device = node.find_device(mapping.device)
        if device is not None:
            netdev = takeover.find_in_pod(mapping, ifname, pod, device)
            if netdev is not None and netdev.ifname == ifname:
                return mapping.device
    return None


def begin(
    request: AddRequest | DelRequest, bus_device: BusDevice | None, node: Node
) -> Attachment | None:
    """The record of a NIC that is due back, saved before anything changes; None if none is.

    There must be no record of the device.  A stale mapping is forgotten.

    Raises: DeviceHeld for an ADD while a pod has the NIC; StateFailure.
    """
    mapping = find_mapping(bus_device, node)
    device = None if mapping is None else node.find_device(mapping.device)
    if mapping is None or device is None:
        return None
    found = _found(request, mapping, device, node)
    if isinstance(found, takeover.Settled):
        _drop(mapping, f"the host has it configured as {found.netdev.ifname}", node)
    if not isinstance(found, takeover.Lent):
        return None
    record = takeover.record_of(request, mapping, found, device, node.clock())
    node.perform(SaveRecord(record), Outcome())
    node.report("taken-over", **record.facts)
    return record


def foresee(request: AddRequest, bus_device: BusDevice | None, node: Node) -> Attachment | None:
    """The record that `begin` would save for an ADD; nothing is changed.

    Raises: DeviceHeld while a pod has the NIC.
    """
    mapping = find_mapping(bus_device, node)
    device = None if mapping is None else node.find_device(mapping.device)
    if mapping is None or device is None:
        return None
    found = _found(request, mapping, device, node)
    if not isinstance(found, takeover.Lent):
        return None
    return takeover.record_of(request, mapping, found, device, node.clock())


def _found(
    request: AddRequest | DelRequest, mapping: GoMapping, device: SysfsDevice, node: Node
) -> takeover.Lent | takeover.Settled | None:
    host = node.host()
    if isinstance(request, AddRequest):
        return takeover.find_for_add(request, mapping, host, device)
    pod = None if request.netns is None else node.find_netns(request.netns)
    return takeover.find_for_del(request, mapping, host, pod, device)


def _drop(mapping: GoMapping, reason: str, node: Node) -> None:
    """Forget a mapping, whose contents the log keeps; a failure to do so hinders nobody."""
    facts = {
        "device": str(mapping.device),
        "ifname": mapping.ifname,
        "addresses": " ".join(map(str, mapping.addresses)),
    }
    try:
        node.perform(ForgetRecord(DeviceKey(mapping.device), taken_over=True), Outcome())
    except AmdcniError as failure:
        node.report("mapping-kept", **facts, reason=failure.message)
    else:
        node.report("mapping-dropped", **facts, reason=reason)
