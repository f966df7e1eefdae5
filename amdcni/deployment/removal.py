"""The Jobs that uninstall: one for each node, because a Job is done when a pod of it is."""

import hashlib
import os
from typing import Any, Final

from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni.deployment.metadata import UNINSTALLER, named, tolerations
from amdcni.deployment.on_the_host import bin_dir_volume, writer
from amdcni.deployment.rendering import Because
from amdcni.deployment.settings import Settings
from amdcni_shim.client import SOCKET_PATH

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
    here = {"key": "metadata.name", "operator": "In", "values": [node]}
    nodes = {"nodeSelectorTerms": [{"matchFields": [here]}]}
    secret = settings.image_pull_secret
    return {
        "serviceAccountName": "amdcni",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **({"imagePullSecrets": [{"name": secret}]} if secret else {}),
        "hostPID": Because(True, "It looks which processes still work from the tree."),
        "hostNetwork": Because(True, "It must not need a NIC or an address of the cluster."),
        "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": nodes},
        },
        "tolerations": tolerations(settings),
        "restartPolicy": Because("Never", "The logs of each attempt stay."),
        "containers": [_uninstaller(settings, image)],
        "volumes": [
            bin_dir_volume(settings),
            *(
                {"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
                for name, path in _seen(settings).items()
            ),
        ],
    }


def _uninstaller(settings: Settings, image: str) -> dict[str, Any]:
    privileged = Because(
        True,
        "It must not remove what a process works with, and the profile of AppArmor that "
        "containers have by default hides the processes of the node from any other container.",
    )
    security = {"privileged": privileged, "readOnlyRootFilesystem": True}
    container = writer(settings, image, "uninstall", security)
    mounts = [
        {"name": name, "mountPath": path, "readOnly": True}
        for name, path in _seen(settings).items()
    ]
    return {
        **container,
        "args": [*container["args"], f"--data-dir={DEFAULT_DATA_DIR}"],
        "volumeMounts": [*container["volumeMounts"], *mounts],
    }


def _seen(settings: Settings) -> dict[str, str]:
    """What it looks at: where records may be, at the node's own paths, and the agent's socket."""
    found: dict[str, str] = {
        "records": DEFAULT_DATA_DIR,
        "socket": os.path.dirname(os.fsdecode(SOCKET_PATH)),
    }
    folder = settings.data_dir
    if folder is not None and not f"{folder}/".startswith(f"{DEFAULT_DATA_DIR}/"):
        found["more-records"] = folder
    return found
