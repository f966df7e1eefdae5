"""The Jobs that uninstall: one for each node, because a Job is done when a pod of it is."""

import hashlib
import os.path
from typing import Any, Final

from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni.deployment.metadata import UNINSTALLER, named, tolerations
from amdcni.deployment.on_the_host import bin_dir_volume, writer
from amdcni.deployment.rendering import Because
from amdcni.deployment.settings import Settings

_PREFIX: Final = "amdcni-uninstall-"
_MAX_NAME: Final = 63
"""A Job's pods have its name as a label."""


def job(settings: Settings, image: str, node: str) -> dict[str, Any]:
    """The Job that uninstalls on one node."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": named(settings, _name(node)),
        "spec": {
            "backoffLimit": Because(
                6,
                "Uninstalling fails, and says so, as long as a pod has a NIC. It is tried again "
                "for about ten minutes.",
            ),
            "template": {
                "metadata": {"labels": UNINSTALLER},
                "spec": _pod(settings, image, node),
            },
        },
    }


def _name(node: str) -> str:
    name = f"{_PREFIX}{node}"
    if len(name) <= _MAX_NAME:
        return name
    digest = hashlib.sha256(node.encode()).hexdigest()[:8]
    return f"{name[: _MAX_NAME - len(digest) - 1].rstrip('.-')}-{digest}"


def _pod(settings: Settings, image: str, node: str) -> dict[str, Any]:
    folders = _state_folders(settings)
    container = writer(settings, image, "uninstall")
    mounts = [{"name": name, "mountPath": path, "readOnly": True} for name, path in folders.items()]
    here = {"key": "metadata.name", "operator": "In", "values": [node]}
    nodes = {"nodeSelectorTerms": [{"matchFields": [here]}]}
    secret = settings.image_pull_secret
    return {
        "serviceAccountName": "amdcni",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **({"imagePullSecrets": [{"name": secret}]} if secret else {}),
        "hostPID": Because(True, "It looks which processes still run from the tree."),
        "hostNetwork": Because(True, "It must not need a NIC or an address of the cluster."),
        "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": nodes},
        },
        "tolerations": tolerations(settings),
        "restartPolicy": Because("Never", "The logs of each attempt stay."),
        "containers": [{**container, "volumeMounts": [*container["volumeMounts"], *mounts]}],
        "volumes": [
            bin_dir_volume(settings),
            *(
                {"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
                for name, path in folders.items()
            ),
        ],
    }


def _state_folders(settings: Settings) -> dict[str, str]:
    """Where records may be, at the node's own paths: it has to see all of them."""
    # The folder of records itself may be missing, and Kubernetes would make it with another mode.
    found = {"records": os.path.dirname(DEFAULT_DATA_DIR)}
    if settings.data_dir is not None and not settings.data_dir.startswith(f"{found['records']}/"):
        found["more-records"] = settings.data_dir
    return found
