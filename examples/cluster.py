"""The objects of the integration document, and in small what AMD's device plugin does."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from amdcni.core.kubernetes import parse_definition, parse_pod
from amdcni.core.kubernetes.allocation import variable_of
from amdcni.effects.manifests import read_manifests
from amdcni.testing import Node

AMD: Final = "0x1dd8"  # Pensando, in sysfs' spelling
RESOURCE: Final = "amd.com/nic"
MANIFESTS: Final = Path(__file__).with_name("manifests")

((_, _pod), (_, _network)) = read_manifests(
    [str(MANIFESTS / "pod.yaml"), str(MANIFESTS / "network.yaml")]
)
# The API server gives the UID.
POD: Final = attrs.evolve(parse_pod(_pod), uid=str(uuid.uuid4()))
NAD: Final = parse_definition(_network)
CLUSTER_NETWORK: Final = {
    "name": "cluster-network",
    "cniVersion": "1.0.0",
    "type": "ptp",
    "ipam": {"type": "host-local", "subnet": "10.244.1.0/24"},
}


def manifest(name: str) -> str:
    """The text of a manifest."""
    return (MANIFESTS / name).read_text().rstrip()


def find_nics(node: Node) -> list[str]:
    """The PCI addresses that the device plugin offers: AMD's Ethernet functions in sysfs."""
    functions = sorted(Path(node.root / "sys/bus/pci/devices").iterdir())
    return [
        function.name
        for function in functions
        if (function / "vendor").read_text().strip() == AMD
        and (function / "class").read_text().startswith("0x0200")
    ]


def announcement(resource: str, devices: Sequence[str]) -> dict[str, str]:
    """The variable by which the device plugin announces what it has allocated."""
    return {variable_of(resource): ",".join(devices)}
