"""Pods, definitions of networks, and allocated devices that fit together."""

from typing import Any

from attrs import frozen
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.kubernetes import (
    Allocation,
    NetworkAttachmentDefinition,
    NetworkSelection,
    ObjectName,
    Pod,
    Sandbox,
)
from amdcni.core.names import IfName
from amdcni.testing.strategies.addressing import ip_interfaces
from amdcni.testing.strategies.names import (
    container_ids,
    ethernet_macs,
    netns_paths,
    pci_addresses,
    plugin_names,
    versions,
)
from amdcni.testing.strategies.values import json_objects

labels: SearchStrategy[str] = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,6}[a-z0-9])?", fullmatch=True)
"""Names of Kubernetes objects, as DNS labels."""

object_names: SearchStrategy[ObjectName] = st.builds(ObjectName, labels, labels)
"""Names of namespaced objects."""

resources: SearchStrategy[str] = st.sampled_from(["amd.com/nic", "amd.com/vnic", "intel.com/sriov"])
"""Names of extended resources."""

uids: SearchStrategy[str] = st.uuids().map(str)
"""UIDs of objects."""

_requested_ifnames: SearchStrategy[IfName] = labels.map(IfName)
_requested_ips = ip_interfaces.map(str) | ip_interfaces.map(lambda address: str(address.ip))


def selections_of(id: ObjectName) -> SearchStrategy[NetworkSelection]:
    """Selections of one definition, with requests of every kind."""
    return st.builds(
        NetworkSelection,
        name=st.just(id.name),
        namespace=st.just(id.namespace),
        ifname=st.none() | _requested_ifnames,
        mac=st.none() | ethernet_macs,
        ips=st.lists(_requested_ips, max_size=2).map(tuple),
        infiniband_guid=st.none() | ethernet_macs,
        cni_args=st.none() | json_objects,
        gateways=st.lists(ip_interfaces.map(lambda address: address.ip), max_size=2).map(tuple),
        port_mappings=st.lists(st.just({"hostPort": 80}), max_size=1).map(tuple),
        bandwidth=st.none() | st.just({"ingressRate": 1}),
    )


network_selections: SearchStrategy[NetworkSelection] = object_names.flatmap(selections_of)
"""Elements of the annotation `k8s.v1.cni.cncf.io/networks`."""


@st.composite
def _definitions(draw: DrawFn) -> NetworkAttachmentDefinition:
    id = draw(object_names)
    config: dict[str, Any] = {"name": draw(labels), "cniVersion": draw(versions)}
    plugins = [
        {"type": name, **draw(st.sampled_from([{}, {"args": {"cni": {"own": 1}}}]))}
        for name in draw(st.lists(plugin_names, min_size=1, max_size=2))
    ]
    config |= {"plugins": plugins} if len(plugins) > 1 or draw(st.booleans()) else plugins[0]
    return NetworkAttachmentDefinition(id, draw(st.none() | resources), config)


definitions: SearchStrategy[NetworkAttachmentDefinition] = _definitions()
"""Definitions of networks, with a single configuration or a list."""

sandboxes: SearchStrategy[Sandbox] = st.builds(Sandbox, container_ids, netns_paths)
"""What a container runtime has made for a pod."""


@frozen
class PodFlow:
    """A pod, the definitions that it selects, and enough devices."""

    pod: Pod
    definitions: tuple[NetworkAttachmentDefinition, ...]
    allocation: Allocation


@st.composite
def _pod_flows(draw: DrawFn) -> PodFlow:
    known = draw(st.lists(definitions, max_size=3, unique_by=lambda each: each.id))
    selected = draw(st.lists(st.sampled_from(known), max_size=4)) if known else []
    networks, names = [], set()
    for position, definition in enumerate(selected, start=1):
        selection = draw(selections_of(definition.id))
        name = selection.ifname or f"net{position}"
        if name not in names:
            names.add(name)
            networks.append(selection)
    networks = networks if len(networks) == len(selected) else []
    wanted = [each.resource for each in selected if each.resource is not None]
    devices = iter(
        draw(st.lists(pci_addresses.map(str), min_size=8, max_size=8, unique=True).map(sorted))
    )
    allocation = {
        resource: tuple(next(devices) for _ in range(wanted.count(resource)))
        for resource in sorted(set(wanted))
    }
    pod = Pod(draw(object_names), draw(uids), tuple(networks))
    return PodFlow(pod, tuple(known), allocation)


pod_flows: SearchStrategy[PodFlow] = _pod_flows()
"""Pods whose networks can all be attached."""
