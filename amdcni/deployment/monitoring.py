"""What monitors the agents by the operators of Prometheus and Grafana, if it is asked for."""

from typing import Any, Final

import attrs

from amdcni.deployment.metadata import AGENT, named
from amdcni.deployment.rendering import Because
from amdcni.deployment.settings import Settings

_GROUP: Final = "monitoring.coreos.com/v1"


@attrs.frozen
class Files:
    """The alerts and the dashboard, as they are without Kubernetes."""

    rules: Any
    """What a file of rules for Prometheus has in it."""

    dashboard: str
    """The dashboard, as Grafana imports it."""


def monitoring(settings: Settings, files: Files) -> tuple[dict[str, Any], ...]:
    """The objects that were asked for."""
    found: list[dict[str, Any]] = []
    if settings.pod_monitor:
        found.append(_pod_monitor(settings))
    if settings.alerts:
        rule = {"apiVersion": _GROUP, "kind": "PrometheusRule"}
        found.append({**rule, "metadata": _selected(settings), "spec": files.rules})
    if settings.dashboard:
        found.append(_dashboard(settings, files.dashboard))
    return tuple(found)


def _selected(settings: Settings) -> dict[str, Any]:
    """The metadata of what Prometheus' operator selects by labels."""
    metadata = named(settings)
    metadata["labels"] = {**metadata["labels"], **dict(settings.monitoring_labels)}
    return metadata


def _pod_monitor(settings: Settings) -> dict[str, Any]:
    node = {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "instance"}
    return {
        "apiVersion": _GROUP,
        "kind": "PodMonitor",
        "metadata": _selected(settings),
        "spec": {
            "selector": {"matchLabels": AGENT},
            "jobLabel": Because(
                "app.kubernetes.io/name", "The alerts expect the job to be called amdcni."
            ),
            "podMetricsEndpoints": [{"port": "metrics", "relabelings": [node]}],
        },
    }


def _dashboard(settings: Settings, dashboard: str) -> dict[str, Any]:
    metadata = named(settings, "amdcni-dashboard")
    found_by = Because("1", "By which the sidecar of Grafana's chart finds it.")
    metadata["labels"] = {**metadata["labels"], "grafana_dashboard": found_by}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"amdcni.json": dashboard},
    }
