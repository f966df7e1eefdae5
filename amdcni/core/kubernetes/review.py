"""What an ADD would make of a NetworkAttachmentDefinition, before any pod asks for it."""

from collections.abc import Mapping
from typing import Final, cast

import attrs

from amdcni.core.calls import plugins_for
from amdcni.core.codec import encode, parse_request
from amdcni.core.errors import AmdcniError
from amdcni.core.kubernetes.multus import Sandbox, calls_to_add, delegates_of
from amdcni.core.kubernetes.objects import (
    RESOURCE_NAME,
    NetworkAttachmentDefinition,
    ObjectName,
    Pod,
)
from amdcni.core.kubernetes.selections import NetworkSelection
from amdcni.core.names import ContainerId, PluginName
from amdcni.core.request import AddRequest, parse_environment
from amdcni.core.spec import Json
from amdcni.core.steps import PluginCall

LENDER: Final = PluginName("amd-host-device")


@attrs.frozen
class Review:
    """What an ADD would make of a definition.

    `lends` is whether it has a plugin of type amd-host-device at all.  `faults` are what ADD would
    refuse, with JSON paths; `plugins` are what it would execute, `chained` what Multus executes
    besides it, and `data_dirs` the state folders that it would use.
    """

    lends: bool
    faults: tuple[str, ...] = ()
    plugins: tuple[PluginName, ...] = ()
    chained: tuple[PluginName, ...] = ()
    data_dirs: tuple[str, ...] = ()


def review(definition: NetworkAttachmentDefinition) -> Review:
    """Follow the definition as far as amd-host-device, as if each pod got a device of its own."""
    lenders = [plugin for plugin in definition.plugins if plugin["type"] == LENDER]
    if not lenders:
        return Review(lends=False)
    faults: list[str] = []
    plugins: list[PluginName] = []
    chained: list[PluginName] = []
    data_dirs: list[str] = []
    if definition.resource is None and not all(map(_names_device, lenders)):
        faults.append(
            f"metadata.annotations has no {RESOURCE_NAME}, so Multus adds no device to spec.config"
        )
        definition = attrs.evolve(definition, resource=_RESOURCE)
    try:
        calls = _calls_of(definition)
    except AmdcniError as fault:
        return Review(lends=True, faults=(*faults, fault.message))
    for index, call in enumerate(calls):
        if call.plugin != LENDER:
            chained.append(call.plugin)
            continue
        try:
            request = request_of(call.variables(()), call.config)
        except AmdcniError as fault:
            at = f".plugins[{index}]" if definition.is_list else ""
            faults.append(f"spec.config{at}: {fault.message}")
        else:
            plugins += plugins_for(request.device.mover, request.device.ipam)
            data_dirs.append(request.network.data_dir)
    return Review(
        lends=True,
        faults=tuple(faults),
        plugins=tuple(dict.fromkeys(plugins)),
        chained=tuple(dict.fromkeys(chained)),
        data_dirs=tuple(dict.fromkeys(data_dirs)),
    )


_RESOURCE: Final = "amd.com/nic"
_DEVICE: Final = "0000:01:00.0"
_SANDBOX: Final = Sandbox(ContainerId("container"), "/run/netns/pod")
_NAMING_KEYS: Final = ("deviceID", "pciBusID", "runtimeConfig", "device", "hwaddr", "kernelpath")


def _names_device(plugin: Json) -> bool:
    """Whether it has a key that names one; whether that is a good one is for ADD to say."""
    return any(plugin.get(key) for key in _NAMING_KEYS)


def _calls_of(definition: NetworkAttachmentDefinition) -> tuple[PluginCall, ...]:
    """The calls of a pod that selects the definition alone."""
    selection = NetworkSelection(definition.id.name, definition.id.namespace)
    pod = Pod(ObjectName(definition.id.namespace, "pod"), networks=(selection,))
    resource = definition.resource
    allocation = {} if resource is None else {resource: (_DEVICE,)}
    (delegate,) = delegates_of(pod, (definition,), allocation)
    return calls_to_add(delegate, pod, _SANDBOX)


def request_of(environ: Mapping[str, str], config: Json) -> AddRequest:
    """What amd-host-device reads of an ADD; raises what it refuses, an AmdcniError."""
    return cast(AddRequest, parse_request(parse_environment(environ), encode(config).encode()))
