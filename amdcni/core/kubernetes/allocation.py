"""Which devices the kubelet has allocated to a pod, from each place that says so.

The device plugin allocates, the kubelet keeps that in its checkpoint and answers PodResources with
it, and the containers get variables.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from amdcni.core.codec import spell, structure
from amdcni.core.errors import InvalidManifest
from amdcni.core.kubernetes.objects import ObjectName, Pod
from amdcni.core.spec import Json

Allocation = Mapping[str, tuple[str, ...]]
"""The IDs of the devices of each resource, in the order in which networks take them."""

CHECKPOINT: Final = "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"
"""Where the kubelet keeps its checkpoint."""


# ---- variables


def allocation_from_environment(environ: Mapping[str, str], resources: Iterable[str]) -> Allocation:
    """What a device plugin has announced in variables, in its order.

    Both spellings are read: `PCIDEVICE_AMD_COM_NIC` with a list separated by commas, and
    `PCIDEVICE_AMD_COM_NIC_0` and so on with one device each; if both are there, the list counts.
    """
    found = {resource: tuple(_announced(environ, resource)) for resource in resources}
    return {resource: devices for resource, devices in found.items() if devices}


def variable_of(resource: str) -> str:
    """The variable that lists the devices of a resource."""
    return f"PCIDEVICE_{resource.upper().replace('.', '_').replace('/', '_')}"


def _announced(environ: Mapping[str, str], resource: str) -> Iterator[str]:
    name = variable_of(resource)
    numbered = re.compile(re.escape(name) + r"_([0-9]+)")
    texts = [environ[name]] if name in environ else []
    if not texts:
        matches = [match for key in environ if (match := numbered.fullmatch(key))]
        texts = [environ[match[0]] for match in sorted(matches, key=lambda match: int(match[1]))]
    for text in texts:
        yield from (device.strip() for device in text.split(",") if device.strip())


# ---- the kubelet's checkpoint


@attrs.frozen
class _Entry:
    pod_uid: str
    resource_name: str
    device_ids: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)


@attrs.frozen
class _Data:
    entries: tuple[_Entry, ...] | None = None


@attrs.frozen
class _Checkpoint:
    data: _Data


spell(_Entry, pod_uid="PodUID", resource_name="ResourceName", device_ids="DeviceIDs")
spell(_Data, entries="PodDeviceEntries")
spell(_Checkpoint, data="Data")


def allocation_from_checkpoint(checkpoint: Json, pod: Pod) -> Allocation:
    """What the kubelet's checkpoint says of a pod, by its UID; the IDs come sorted.

    Raises: InvalidManifest if it is not a checkpoint, or if the pod has no UID.
    """
    if pod.uid is None:
        raise InvalidManifest(
            f"{pod}: metadata.uid, by which the checkpoint knows pods, is missing; take the "
            "manifest from the API server (kubectl get pod -o yaml)"
        )
    return _gathered(_allocated(checkpoint, pod.uid))


def devices_allocated_to(checkpoint: Json, uid: str) -> frozenset[str]:
    """All devices that the kubelet's checkpoint says a pod has, of whatever resource.

    Raises: InvalidManifest if it is not a checkpoint.
    """
    return frozenset(device for _, device in _allocated(checkpoint, uid))


def _allocated(checkpoint: Json, uid: str) -> Iterator[tuple[str, str]]:
    """The resource and the ID of each device."""
    read = structure(checkpoint, _Checkpoint, InvalidManifest, "the kubelet's checkpoint")
    for entry in read.data.entries or ():
        if entry.pod_uid == uid:
            for devices in entry.device_ids.values():
                yield from ((entry.resource_name, device) for device in devices)


# ---- the kubelet's PodResources API


@attrs.frozen
class _Devices:
    resource_name: str
    device_ids: tuple[str, ...] = ()


@attrs.frozen
class _Container:
    devices: tuple[_Devices, ...] = ()


@attrs.frozen
class _PodResources:
    name: str
    namespace: str
    containers: tuple[_Container, ...] = ()


@attrs.frozen
class _Answer:
    pod_resources: tuple[_PodResources, ...] = ()


def allocation_from_pod_resources(answer: Json, pod: Pod) -> Allocation:
    """What an answer to PodResources' List says of a pod; the IDs come sorted.

    The answer is JSON, with the names of the protocol (`pod_resources`) or those of its mapping to
    JSON (`podResources`).

    Raises: InvalidManifest if it is not such an answer.
    """
    read = structure(_in_snake_case(answer), _Answer, InvalidManifest, "the PodResources answer")
    return _gathered(
        (devices.resource_name, device)
        for entry in read.pod_resources
        if ObjectName(entry.namespace, entry.name) == pod.id
        for container in entry.containers
        for devices in container.devices
        for device in devices.device_ids
    )


def _in_snake_case(value: Any) -> Any:
    match value:
        case dict():
            return {
                _CAPITAL.sub(r"_\g<0>", key).lower(): _in_snake_case(value[key]) for key in value
            }
        case list():
            return [_in_snake_case(member) for member in value]
        case _:
            return value


_CAPITAL: Final = re.compile("[A-Z]")


def _gathered(pairs: Iterable[tuple[str, str]]) -> Allocation:
    """The devices by resource, each list sorted, as Multus takes them."""
    found: dict[str, list[str]] = {}
    for resource, device in pairs:
        found.setdefault(resource, []).append(device)
    return {resource: tuple(sorted(devices)) for resource, devices in found.items()}
