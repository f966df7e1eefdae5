"""An example: a definition of a network, and a pod that asks for it."""

import json
from typing import Any, Final

from amdcni.core.request import Mover
from amdcni.deployment.rendering import Because
from amdcni.deployment.settings import Settings

_NETWORK: Final = "amd-nic"


def definition(settings: Settings) -> dict[str, Any]:
    """The NetworkAttachmentDefinition."""
    configuration = {
        "cniVersion": "1.0.0",
        "name": _NETWORK,
        "type": "amd-host-device",
        "mover": Mover.NATIVE.value,
    }
    if settings.data_dir is not None:
        configuration["dataDir"] = settings.data_dir
    resource = Because(
        settings.resource_name,
        "Multus adds to the configuration a device of this resource that the pod was given.",
    )
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {
            "name": _NETWORK,
            "annotations": {"k8s.v1.cni.cncf.io/resourceName": resource},
        },
        "spec": {
            "config": Because(
                json.dumps(configuration),
                "The mover native needs no other plugin on the node.",
            )
        },
    }


def pod(settings: Settings) -> dict[str, Any]:
    """A pod that is lent one NIC."""
    one = {settings.resource_name: 1}
    container = {
        "name": "app",
        "image": "ubuntu:22.04",
        "command": ["sleep", "infinity"],
        "resources": {"requests": one, "limits": one},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "workload",
            "annotations": {"k8s.v1.cni.cncf.io/networks": _NETWORK},
        },
        "spec": {"containers": [container]},
    }
