"""The manifests by which a cluster runs amdcni, as values, from one set of settings.

    settings = parse_settings(["binDir=/opt/cni/bin"], Platform.PLAIN)
    print(render(installation(settings, "amdcni:1.0", files), "How it was made."))

Each module makes objects of one kind or purpose; `rendering` writes them with the reasons for what
is in them.  It is pure: the command `amdcni manifests` reads the files.
"""

from typing import Any

from amdcni.core.errors import InvalidSettings
from amdcni.deployment import access, agents, example, monitoring, removal
from amdcni.deployment.monitoring import Files
from amdcni.deployment.platforms import Platform
from amdcni.deployment.rendering import render
from amdcni.deployment.settings import KEYS, Settings, parse_settings
from amdcni.deployment.values import parse_image

__all__ = [
    "KEYS",
    "Files",
    "Platform",
    "Settings",
    "installation",
    "parse_image",
    "parse_settings",
    "render",
    "sample",
    "uninstallation",
]

Objects = tuple[dict[str, Any], ...]
"""Objects of Kubernetes, in the order in which they can be created."""


def installation(settings: Settings, image: str, files: Files) -> Objects:
    """What installs amdcni on the nodes and runs its agents.

    Raises: InvalidSettings if something is set that only uninstalling takes.
    """
    if settings.nodes is not None:
        raise InvalidSettings("nodes is for --uninstall; a nodeSelector chooses where to install")
    return (
        *access.namespace(settings),
        *access.account(settings),
        *access.event_rights(settings),
        agents.daemon_set(settings, image),
        *monitoring.monitoring(settings, files),
    )


def uninstallation(settings: Settings, image: str) -> Objects:
    """What removes amdcni from the nodes that were set.

    Raises: InvalidSettings if none was.
    """
    if settings.nodes is None:
        raise InvalidSettings(
            "on which nodes? set nodes=NAME,NAME; kubectl get nodes says which there are"
        )
    return (
        *access.namespace(settings),
        *access.account(settings),
        *(removal.job(settings, image, node) for node in settings.nodes),
    )


def sample(settings: Settings) -> Objects:
    """The example: a definition, and a pod that asks for it."""
    return (example.definition(settings), example.pod(settings))
