"""What containers need that write into the node's binDir: `amdcni install` and its opposite."""

from typing import Any, Final

from amdcni.deployment.platforms import traits_of
from amdcni.deployment.rendering import Because
from amdcni.deployment.settings import Settings

MOUNTED: Final = "/host/cni-bin"
"""Where such a container has the node's binDir."""

_BIN_DIR: Final = "bin-dir"


def writer(settings: Settings, image: str, verb: str, security: dict[str, Any]) -> dict[str, Any]:
    """The container that runs a command on the binDir, named like the command."""
    return {
        "name": verb,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": [verb, f"--bin-dir={MOUNTED}"],
        "securityContext": security,
        "resources": {
            "requests": {
                "cpu": settings.cpu_request.text,
                "memory": settings.memory_request.text,
            },
            "limits": {"memory": settings.memory_limit.text},
        },
        "terminationMessagePolicy": Because(
            "FallbackToLogsOnError", "`kubectl describe pod` then says why it has failed."
        ),
        "volumeMounts": [{"name": _BIN_DIR, "mountPath": MOUNTED}],
    }


def bin_dir_volume(settings: Settings) -> dict[str, Any]:
    """The volume of the node's binDir."""
    path = {"path": settings.bin_dir, "type": "DirectoryOrCreate"}
    return {"name": _BIN_DIR, "hostPath": path}


def unprivileged(settings: Settings) -> dict[str, Any]:
    """The few rights with which such a container can do without being privileged."""
    capabilities = [
        Because(
            "DAC_OVERRIDE",
            "The binDir may belong to another user than root.",
        ),
        Because(
            "FOWNER",
            "A file of another user that has the plugin's name is kept aside.",
        ),
        Because(
            "SYS_PTRACE",
            "It looks which processes of the node still run from an installed tree. Where the "
            "container's profile does not let it, older trees are kept.",
        ),
    ]
    found: dict[str, Any] = {
        "runAsUser": 0,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": capabilities},
    }
    if traits_of(settings.platform).selinux:
        found["seLinuxOptions"] = Because(
            {"type": "spc_t"},
            "Where SELinux is enforced, other containers may not write into the binDir.",
        )
    return found
