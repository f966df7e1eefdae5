"""What Kubernetes, AMD's device plugin and Multus do before the plugin runs, in small.

It holds the objects of the integration document and no more than what that document says of them.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from amdcni.testing import Node

AMD: Final = "0x1dd8"  # Pensando, in sysfs' spelling


@frozen
class Definition:
    """A NetworkAttachmentDefinition: which plugin to call, and for devices of which resource."""

    name: str
    resource: str
    config: Mapping[str, Any]

    def manifest(self) -> str:
        config = json.dumps(self.config)
        return f"""\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: {self.name}
  annotations:
    k8s.v1.cni.cncf.io/resourceName: {self.resource}
spec:
  config: '{config}'"""


@frozen
class PodObject:
    """A pod as the API server has it; `networks` is the annotation that Multus reads."""

    name: str
    namespace: str
    uid: str
    networks: str
    resource: str
    count: int

    def manifest(self) -> str:
        return f"""\
apiVersion: v1
kind: Pod
metadata:
  name: {self.name}
  annotations:
    k8s.v1.cni.cncf.io/networks: {self.networks}
spec:
  containers:
  - name: app
    image: ubuntu:22.04
    resources:
      requests: {{{self.resource}: {self.count}}}
      limits: {{{self.resource}: {self.count}}}"""


POD: Final = PodObject(
    name="network-workload",
    namespace="default",
    uid=str(uuid.uuid4()),
    networks="amd-host-device-nad-nic, amd-host-device-nad-nic",
    resource="amd.com/nic",
    count=2,
)
NAD: Final = Definition(
    name="amd-host-device-nad-nic",
    resource=POD.resource,
    config={"name": "amd-host-device-nad", "cniVersion": "0.3.1", "type": "amd-host-device"},
)
CLUSTER_NETWORK: Final = {
    "name": "cluster-network",
    "cniVersion": "1.0.0",
    "type": "ptp",
    "ipam": {"type": "host-local", "subnet": "10.244.1.0/24"},
}


@frozen
class PluginCall:
    """One call of a plugin that Multus makes for a pod."""

    ifname: str
    definition: str
    added: Mapping[str, str]
    """What Multus has put into the configuration of the definition."""
    config: Mapping[str, Any] = field(repr=False)

    @property
    def stdin(self) -> bytes:
        """The configuration as Go writes it: sorted, without spaces."""
        return json.dumps(self.config, sort_keys=True, separators=(",", ":")).encode()


def find_nics(node: Node) -> list[str]:
    """The PCI addresses that the device plugin offers: AMD's Ethernet functions, by sysfs."""
    functions = sorted(Path(node.root / "sys/bus/pci/devices").iterdir())
    return [
        function.name
        for function in functions
        if (function / "vendor").read_text().strip() == AMD
        and (function / "class").read_text().startswith("0x0200")
    ]


def announcement(resource: str, devices: Sequence[str]) -> dict[str, str]:
    """The variable by which the device plugin tells what it has allocated."""
    name = resource.upper().replace(".", "_").replace("/", "_")
    return {f"PCIDEVICE_{name}": ",".join(devices)}


def plugin_calls(
    pod: PodObject, definitions: Mapping[str, Definition], announced: Mapping[str, str]
) -> Iterator[PluginCall]:
    """The calls for the pod's secondary networks: each takes the next device of its resource."""
    left = {variable: devices.split(",") for variable, devices in announced.items()}
    names = [name.strip() for name in pod.networks.split(",")]
    for number, name in enumerate(names, start=1):
        definition = definitions[name]
        (variable,) = announcement(definition.resource, ())
        device = left[variable].pop(0)
        added = {"deviceID": device, "pciBusID": device}
        yield PluginCall(f"net{number}", name, added, {**definition.config, **added})


def cni_args(pod: PodObject, container_id: str) -> str:
    """CNI_ARGS as Multus gives it: what the runtime said, and the same again."""
    said = {
        "K8S_POD_NAMESPACE": pod.namespace,
        "K8S_POD_NAME": pod.name,
        "K8S_POD_INFRA_CONTAINER_ID": container_id,
        "K8S_POD_UID": pod.uid,
    }
    words = ";".join(f"{key}={value}" for key, value in said.items())
    return f"IgnoreUnknown=true;{words};IgnoreUnknown=1;{words}"
