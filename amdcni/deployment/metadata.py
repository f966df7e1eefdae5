"""How the objects are named, and by which labels they are found."""

from typing import Any, Final

from amdcni.deployment.rendering import Because
from amdcni.deployment.settings import Settings

NAME: Final = "amdcni"
"""The name of each object of which there is one."""

AGENT: Final = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/component": "agent"}
"""The labels of the agents' pods."""

UNINSTALLER: Final = {**AGENT, "app.kubernetes.io/component": "uninstall"}
"""The labels of the pods that uninstall."""


def named(settings: Settings, name: str = NAME, **more: Any) -> dict[str, Any]:
    """The metadata of an object in the namespace."""
    return {"name": name, "namespace": settings.namespace, **cluster_wide(), **more}


def cluster_wide() -> dict[str, Any]:
    """The metadata of an object that is in no namespace, but for its name."""
    return {"labels": {"app.kubernetes.io/name": NAME}}


def tolerations(settings: Settings) -> Any:
    """Which taints the pods tolerate."""
    return Because(
        [_toleration(each.key, each.value, each.effect) for each in settings.tolerations],
        "A node that has lent a NIC has to get it back, also while it is tainted or drained.",
    )


def _toleration(key: str | None, value: str | None, effect: str | None) -> dict[str, str]:
    if key is None:
        return {"operator": "Exists"}
    found = {"key": key, "operator": "Exists"}
    if value is not None:
        found |= {"operator": "Equal", "value": value}
    return found if effect is None else {**found, "effect": effect}
