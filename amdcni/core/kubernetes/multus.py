"""What Multus makes of a pod: which plugin it calls, with which configuration and environment.

Multus 4; github.com/k8snetworkplumbingwg/multus-cni, pkg/types/conf.go and pkg/multus/multus.go.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import attrs

from amdcni.core import libcni
from amdcni.core.codec import given_keys, structure
from amdcni.core.errors import InvalidManifest, UnsupportedVersion
from amdcni.core.kubernetes.allocation import Allocation
from amdcni.core.kubernetes.objects import NetworkAttachmentDefinition, Pod
from amdcni.core.kubernetes.selections import NetworkSelection
from amdcni.core.libcni import Conversation, Wanted
from amdcni.core.names import ContainerId, IfName
from amdcni.core.spec import AttachmentId, Json, PluginCall, PluginList, Result

T = TypeVar("T")

DEVICE_INFO_DIR: Final = "/var/run/k8s.cni.cncf.io/devinfo/cni"
"""Where plugins with the capability CNIDeviceInfoFile leave what they know about a device."""


TAKEN: Final[Mapping[str, str]] = {
    "lo": "the loopback netdev of every pod",
    "eth0": "the cluster network, which is attached first,",
}
"""The names that a pod's interfaces have before Multus attaches networks, and whose they are."""


@attrs.frozen
class Delegate:
    """One network that Multus attaches to a pod, as one interface, by the plugins of `network`.

    `device` is None if the definition names no resource.  `version` is the cniVersion as it is
    written, possibly empty.
    """

    selection: NetworkSelection
    definition: NetworkAttachmentDefinition
    ifname: IfName
    device: str | None
    network: PluginList
    version: str

    @property
    def configuration(self) -> Json:
        """The definition's configuration with the device in it, as in the documented flow.

        A call has more: `pciBusID`, and what the selection asks for.
        """
        config, device = self.definition.config, self.device
        added = {} if device is None else {"deviceID": device}
        plugins = [{**plugin, **added} for plugin in self.definition.plugins]
        return {**config, "plugins": plugins} if self.definition.is_list else plugins[0]

    @property
    def capability_args(self) -> dict[str, Any]:
        """What plugins that declare the capabilities get as runtimeConfig, except for the file."""
        asked = self.selection
        args: dict[str, Any] = {
            "portMappings": list(asked.port_mappings),
            "bandwidth": asked.bandwidth,
            "ips": list(asked.ips),
            "mac": asked.mac,
            "infinibandGUID": asked.infiniband_guid,
            "deviceID": self.device,
        }
        return {name: value for name, value in args.items() if value}


@attrs.frozen
class Sandbox:
    """What the container runtime has made for a pod: an ID, and the path of a netns."""

    container_id: ContainerId
    netns: str


# ---- which networks


def delegates_of(
    pod: Pod, definitions: Iterable[NetworkAttachmentDefinition], allocation: Allocation
) -> tuple[Delegate, ...]:
    """The networks of a pod in the order in which Multus attaches them.

    Each that needs a device takes the next one of its resource: a definition that is selected twice
    takes two.  Multus itself attaches without a device where there are too few, and lets the plugin
    find out.

    Raises: InvalidManifest for a definition that is missing or given twice, too few devices, a
    device or an interface name that is given twice, an interface name that is taken from the start,
    and an invalid configuration.
    """
    _refuse_twice(allocation, pod)
    left = {resource: iter(devices) for resource, devices in allocation.items()}
    found: list[Delegate] = []
    for selection, definition in zip(pod.networks, selected(pod, definitions), strict=True):
        device = _next_device(pod, definition, allocation, left)
        ifname = selection.ifname or IfName(f"net{len(found) + 1}")
        if ifname in TAKEN:
            raise InvalidManifest(
                f"{pod} gives the name {ifname!r} to {definition}, but {TAKEN[ifname]} has it"
            )
        if ifname in [delegate.ifname for delegate in found]:
            raise InvalidManifest(f"{pod} gives the name {ifname!r} to two interfaces")
        network, version = _network_of(definition, device, selection.cni_args)
        found.append(Delegate(selection, definition, ifname, device, network, version))
    return tuple(found)


def selected(
    pod: Pod, definitions: Iterable[NetworkAttachmentDefinition]
) -> tuple[NetworkAttachmentDefinition, ...]:
    """The definition of each network that a pod selects.

    Raises: InvalidManifest for one that is missing or given twice.
    """
    known = _by_name(definitions)
    for selection in pod.networks:
        if str(selection) not in known:
            raise InvalidManifest(
                f"{pod} selects the NetworkAttachmentDefinition {selection}, which is not there; "
                f"there is {', '.join(sorted(known)) or 'none'}"
            )
    return tuple(known[str(selection)] for selection in pod.networks)


def _by_name(
    definitions: Iterable[NetworkAttachmentDefinition],
) -> dict[str, NetworkAttachmentDefinition]:
    known: dict[str, NetworkAttachmentDefinition] = {}
    for definition in definitions:
        if str(definition.id) in known:
            raise InvalidManifest(f"{definition} is given twice")
        known[str(definition.id)] = definition
    return known


def _refuse_twice(allocation: Allocation, pod: Pod) -> None:
    devices = [device for each in allocation.values() for device in each]
    twice = sorted({device for device in devices if devices.count(device) > 1})
    if twice:
        raise InvalidManifest(f"the device {', '.join(twice)} is allocated to {pod} twice")


def _next_device(
    pod: Pod,
    definition: NetworkAttachmentDefinition,
    allocation: Allocation,
    left: Mapping[str, Iterator[str]],
) -> str | None:
    if definition.resource is None:
        return None
    device = next(left.get(definition.resource, iter(())), None)
    if device is None:
        count = len(allocation.get(definition.resource, ()))
        raise InvalidManifest(
            f"{pod} selects {definition} more often than it has devices of "
            f"{definition.resource}: {count} are allocated to it"
        )
    return device


def _network_of(
    definition: NetworkAttachmentDefinition, device: str | None, cni_args: Json | None
) -> tuple[PluginList, str]:
    """The plugins with what Multus adds to each, and the cniVersion as written."""
    what, config = f"{definition}: spec.config", definition.config
    listed = config if definition.is_list else {key: config.get(key) for key in _COMMON}
    plugins = [_with_added(entry, device, cni_args, what) for entry in definition.plugins]
    raw = given_keys({**listed, "plugins": plugins}, PluginList)
    try:
        network = structure(raw, PluginList, InvalidManifest, what)
    except UnsupportedVersion as fault:
        raise InvalidManifest(f"{what}: {fault.message}") from None
    return network, config.get("cniVersion") or ""


_COMMON: Final = ("name", "cniVersion")


def _with_added(
    plugin: Json, device: str | None, cni_args: Json | None, what: str
) -> dict[str, Any]:
    added: dict[str, Any] = {} if device is None else {"deviceID": device, "pciBusID": device}
    if cni_args is not None:
        args = plugin.get("args") or {}
        own = args.get("cni") or {} if isinstance(args, dict) else None
        if not isinstance(own, dict):
            raise InvalidManifest(f"{what}: args.cni is not an object, so cni-args cannot be added")
        added["args"] = {**args, "cni": {**own, **cni_args}}
    return {**plugin, **added}


# ---- which calls


def add(delegate: Delegate, pod: Pod, sandbox: Sandbox) -> Conversation[Result]:
    """Attach one network: the calls of its plugins, as `amdcni.core.libcni.add` makes them."""
    wanted = wanted_of(delegate, pod, sandbox)
    return _as_written(libcni.add(delegate.network, wanted), delegate.version)


def calls_to_add(delegate: Delegate, pod: Pod, sandbox: Sandbox) -> tuple[PluginCall, ...]:
    """The calls of `add`, if each plugin answers with the interface and nothing else."""
    calls: list[PluginCall] = []

    def execute(call: PluginCall) -> Json:
        calls.append(call)
        return {"interfaces": [{"name": delegate.ifname, "sandbox": sandbox.netns}]}

    libcni.conduct(add(delegate, pod, sandbox), execute)
    return tuple(calls)


def delete(
    delegate: Delegate, pod: Pod, sandbox: Sandbox, result: Result | None
) -> Conversation[None]:
    """Detach one network; Multus does so in the reverse order of `delegates_of`.

    `result` is what ADD gave, None if that is no longer known.  Unlike in `add`, the requests for
    addresses are in runtimeConfig alone, and not in CNI_ARGS.
    """
    wanted = attrs.evolve(wanted_of(delegate, pod, sandbox), args=_args(pod, sandbox))
    return _as_written(libcni.delete(delegate.network, wanted, result), delegate.version)


def wanted_of(delegate: Delegate, pod: Pod, sandbox: Sandbox) -> Wanted:
    """What Multus asks libcni for."""
    id = AttachmentId(sandbox.container_id, delegate.ifname)
    asked = delegate.selection
    requests = {"MAC": asked.mac, "IP": ",".join(asked.ips)}
    args = tuple((key, value) for key, value in requests.items() if value)
    capability_args = delegate.capability_args
    if delegate.device is not None:
        name = f"{asked}-{sandbox.container_id}_{delegate.ifname}".replace("/", "-")
        capability_args["CNIDeviceInfoFile"] = f"{DEVICE_INFO_DIR}/{name}"
    return Wanted(id, sandbox.netns, (*_args(pod, sandbox), *args), capability_args)


def _args(pod: Pod, sandbox: Sandbox) -> tuple[tuple[str, str], ...]:
    """CNI_ARGS: first as Multus sets it, and then once more as the container runtime set it."""
    of_pod = (
        ("K8S_POD_NAMESPACE", pod.id.namespace),
        ("K8S_POD_NAME", pod.id.name),
        ("K8S_POD_INFRA_CONTAINER_ID", sandbox.container_id),
        ("K8S_POD_UID", pod.uid or ""),
    )
    return (("IgnoreUnknown", "true"), *of_pod, ("IgnoreUnknown", "1"), *of_pod)


def _as_written(conversation: Conversation[T], version: str) -> Conversation[T]:
    """The same calls with the cniVersion as it is written, even if empty."""
    try:
        call = next(conversation)
        while True:
            written = attrs.evolve(call, config={**call.config, "cniVersion": version})
            call = conversation.send((yield written))
    except StopIteration as end:
        value: T = end.value
        return value
