"""What an ADD would make of a NetworkAttachmentDefinition, before any pod asks for it."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final, cast

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.calls import plugins_for
from amdcni.core.codec import encode
from amdcni.core.errors import AmdcniError, PolicyDenies
from amdcni.core.formats import parse_request
from amdcni.core.formats.misspelt import misspelt_keys
from amdcni.core.kubernetes.multus import Sandbox, calls_to_add, delegates_of
from amdcni.core.kubernetes.objects import (
    RESOURCE_NAME,
    NetworkAttachmentDefinition,
    Pod,
)
from amdcni.core.kubernetes.selections import NetworkSelection
from amdcni.core.names import ContainerId, PluginName
from amdcni.core.places import places_of
from amdcni.core.policy import Policy, require_ipam, require_keys
from amdcni.core.request import (
    DEVICE_KEYS,
    OTHER_KEYS,
    AddRequest,
    parse_environment,
)
from amdcni.core.spec import Json, PluginCall

LENDER: Final = PluginName("amd-host-device")


@attrs.frozen
class Review:
    """What an ADD would make of a definition.

    `lends` is whether it has a plugin of type amd-host-device at all.  `faults` are what ADD would
    refuse, with JSON paths, and `misspelt` are keys that it ignores and that somebody has probably
    written wrong; `plugins` are what it would execute, `chained` what Multus executes
    besides it, and `data_dirs` the state folders that it would use.
    """

    lends: bool
    faults: tuple[str, ...] = ()
    plugins: tuple[PluginName, ...] = ()
    chained: tuple[PluginName, ...] = ()
    data_dirs: tuple[str, ...] = ()
    misspelt: tuple[str, ...] = ()


def review(definition: NetworkAttachmentDefinition, policy: Policy | None = None) -> Review:
    """Follow the definition as far as amd-host-device, as if each pod got a device of its own.

    Without a `policy` it is not known what the node's says.
    """
    lenders = [plugin for plugin in definition.plugins if plugin["type"] == LENDER]
    if not lenders:
        return Review(lends=False)
    faults: list[str] = []
    plugins: list[PluginName] = []
    chained: list[PluginName] = []
    data_dirs: list[str] = []
    misspelt: list[str] = []
    if lacks_device(definition):
        faults.append(NO_RESOURCE)
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
            faults.append(f"{_path(definition, index)}: {fault.message}")
        else:
            wrong = misspelt_keys(call.config)
            misspelt += [f"{_path(definition, index)}: {each}" for each in wrong]
            if policy is not None:
                own = denials_of(request, policy)
                faults += [f"{_path(definition, index)}: {said}" for said in own]
            plugins += plugins_for(request.device.mover, request.device.ipam)
            data_dirs.append(request.network.data_dir)
    return Review(
        lends=True,
        faults=tuple(faults),
        plugins=tuple(dict.fromkeys(plugins)),
        chained=tuple(dict.fromkeys(chained)),
        data_dirs=tuple(dict.fromkeys(data_dirs)),
        misspelt=tuple(misspelt),
    )


NO_RESOURCE: Final = (
    f"metadata.annotations has no {RESOURCE_NAME}, so Multus adds no device to spec.config"
)


def lacks_device(definition: NetworkAttachmentDefinition) -> bool:
    """Whether a plugin of ours gets no device, neither by the definition nor by Multus."""
    lenders = [plugin for plugin in definition.plugins if plugin["type"] == LENDER]
    return definition.resource is None and not all(map(_names_device, lenders))


def denials_of(request: AddRequest, policy: Policy) -> list[str]:
    """Why the policy does not let the configuration be what it is, in the words of an ADD."""
    faults = places_of(request.network, policy).faults
    found = ["; ".join(faults)] if faults else []
    for require in (
        partial(require_keys, policy, request.device.selector),
        partial(require_ipam, policy, request.device.ipam),
    ):
        try:
            require()
        except PolicyDenies as denial:
            found.append(denial.message)
    return found


def _path(definition: NetworkAttachmentDefinition, index: int) -> str:
    return f"spec.config.plugins[{index}]" if definition.is_list else "spec.config"


_RESOURCE: Final = "amd.com/nic"
_DEVICE: Final = "0000:01:00.0"
_SANDBOX: Final = Sandbox(ContainerId("container"), "/run/netns/pod")
_NAMING_KEYS: Final = tuple(key.partition(".")[0] for key in (*DEVICE_KEYS, *OTHER_KEYS))


def _names_device(plugin: Json) -> bool:
    """Whether it has a key that names one; whether the value is valid is for ADD to say."""
    return any(plugin.get(key) for key in _NAMING_KEYS)


def _calls_of(definition: NetworkAttachmentDefinition) -> tuple[PluginCall, ...]:
    """The calls of a pod of the same name that selects the definition alone."""
    selection = NetworkSelection(definition.id.name, definition.id.namespace)
    pod = Pod(definition.id, networks=(selection,))
    allocation = {definition.resource or _RESOURCE: (_DEVICE,)}
    (delegate,) = delegates_of(pod, (definition,), allocation)
    return calls_to_add(delegate, pod, _SANDBOX)


def request_of(environ: Mapping[str, str], config: Json) -> AddRequest:
    """What amd-host-device reads of an ADD; raises what it refuses, an AmdcniError."""
    return cast(AddRequest, parse_request(parse_environment(environ), encode(config).encode()))


def clash_of(request: AddRequest, earlier: Iterable[AddRequest]) -> str | None:
    """Why an ADD must fail after `earlier` ones of the same pod, as far as requests show.

    Two that agree in every key by which both name the device mean one netdev, or else the first is
    refused because several fit.
    """
    own = request.device.selector
    mine = attrs.asdict(own)
    for other in earlier:
        theirs = other.device.selector
        its = attrs.asdict(theirs)
        shared = [key for key in mine if None not in (mine[key], its[key])]
        if shared and all(mine[key] == its[key] for key in shared):
            return _taken_by(other, str(own))
        if other.attachment == request.attachment and own.netdev_keys and theirs.netdev_keys:
            return (
                f"another plugin of the same list gives the pod a netdev as "
                f"{request.attachment.ifname!r} first; lend each NIC through a network of its own"
            )
    return None


def clash_of_plans(
    record: Attachment, earlier: Iterable[tuple[AddRequest, Attachment]]
) -> str | None:
    """Why an ADD that would save `record` must fail after those that would save the others."""
    for request, other in earlier:
        if (record.key, record.host_ifname) == (other.key, other.host_ifname):
            return _taken_by(request, record.host_ifname or str(record.key))
    return None


def _taken_by(other: AddRequest, what: str) -> str:
    return (
        f"{what} is attached as {other.attachment.ifname!r} first; "
        "one device cannot be two interfaces of a pod"
    )
