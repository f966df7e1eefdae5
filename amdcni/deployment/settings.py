"""What can be set of the manifests: one typed table, from which the reference is checked."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from amdcni.core.errors import InvalidName, InvalidSettings
from amdcni.deployment.metrics import Metrics
from amdcni.deployment.platforms import Platform, traits_of
from amdcni.deployment.values import (
    ALL,
    Amount,
    Toleration,
    parse_folder,
    parse_label_name,
    parse_labels,
    parse_nodes,
    parse_object_name,
    parse_pull_policy,
    parse_resource_name,
    parse_share,
    parse_tolerations,
    parse_yes,
)
from amdcni_agent.address import DEFAULT_ADDRESS


@attrs.frozen
class Settings:
    """What was set; everything else is as usual."""

    platform: Platform
    image_pull_policy: str
    image_pull_secret: str | None
    namespace: str
    bin_dir: str
    data_dir: str | None
    node_selector: tuple[tuple[str, str], ...]
    tolerations: tuple[Toleration, ...]
    priority_class_name: str
    max_unavailable: int | str
    cpu_request: Amount
    cpu_limit: Amount | None
    memory_request: Amount
    memory_limit: Amount
    metrics: Metrics
    events: bool
    pod_monitor: bool
    alerts: bool
    dashboard: bool
    monitoring_labels: tuple[tuple[str, str], ...]
    resource_name: str
    nodes: tuple[str, ...] | None


@attrs.frozen
class Key:
    """One key of `--set`: what it sets, how its value is read, and what is otherwise as if set."""

    attribute: str
    parse: Callable[[str], Any]
    default: str | None = None


_NODES: Final = "kubernetes.io/os=linux,kubernetes.io/arch=amd64"
"""The nodes on which the image can run; on others its pods would fail for ever."""

KEYS: Final = {
    "imagePullPolicy": Key("image_pull_policy", parse_pull_policy, "IfNotPresent"),
    "imagePullSecret": Key("image_pull_secret", parse_object_name),
    "namespace": Key("namespace", parse_label_name, "amdcni"),
    "binDir": Key("bin_dir", parse_folder),
    "dataDir": Key("data_dir", parse_folder),
    "nodeSelector": Key("node_selector", parse_labels, _NODES),
    "tolerations": Key("tolerations", parse_tolerations, ALL),
    "priorityClassName": Key("priority_class_name", parse_object_name, "system-node-critical"),
    "maxUnavailable": Key("max_unavailable", parse_share, "10%"),
    "cpuRequest": Key("cpu_request", Amount.parse_cpu, "50m"),
    "cpuLimit": Key("cpu_limit", Amount.parse_cpu),
    "memoryRequest": Key("memory_request", Amount.parse_memory, "64Mi"),
    "memoryLimit": Key("memory_limit", Amount.parse_memory, "512Mi"),
    "metrics": Key("metrics", Metrics.parse, str(DEFAULT_ADDRESS)),
    "events": Key("events", parse_yes, "true"),
    "podMonitor": Key("pod_monitor", parse_yes, "false"),
    "alerts": Key("alerts", parse_yes, "false"),
    "dashboard": Key("dashboard", parse_yes, "false"),
    "monitoringLabels": Key("monitoring_labels", parse_labels, ""),
    "resourceName": Key("resource_name", parse_resource_name, "amd.com/nic"),
    "nodes": Key("nodes", parse_nodes),
}
"""All keys, in the order of the reference; each sets one attribute of Settings.

What has no default is left out unless it is set, except for binDir, which depends on the platform.
"""


def parse_settings(pairs: Iterable[str], platform: Platform) -> Settings:
    """What arguments such as `binDir=/opt/cni/bin` set.

    Raises: InvalidSettings, which names all faults at once.
    """
    faults: list[str] = []
    given: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            faults.append(f"{pair!r} is not KEY=VALUE")
        elif key not in KEYS:
            faults.append(f"there is no key {key!r}: {_meant(key)}")
        elif key in given:
            faults.append(f"{key} is set twice")
        else:
            try:
                given[key] = KEYS[key].parse(text)
            except InvalidName as fault:
                given[key] = None
                faults.append(f"{key}: {fault}")
    if not faults:
        settings = _completed(given, platform)
        faults += _contradictions(settings)
    if faults:
        raise InvalidSettings("; ".join(faults))
    return settings


def _completed(given: Mapping[str, Any], platform: Platform) -> Settings:
    defaults = {
        key: None if about.default is None else about.parse(about.default)
        for key, about in KEYS.items()
    }
    defaults["binDir"] = traits_of(platform).bin_dir
    values = {KEYS[key].attribute: value for key, value in {**defaults, **given}.items()}
    return Settings(platform, **values)


def _meant(key: str) -> str:
    """Which keys may have been meant."""
    spelled = {known.lower(): known for known in KEYS}
    near = difflib.get_close_matches(key.lower(), spelled, n=3, cutoff=0.5)
    if not near:
        return f"the keys are {', '.join(KEYS)}"
    return f"did you mean {' or '.join(spelled[each] for each in near)}?"


def _contradictions(settings: Settings) -> Iterable[str]:
    """What is wrong with settings that are right one by one."""
    if settings.memory_request > settings.memory_limit:
        yield "memoryRequest is more than memoryLimit"
    if settings.cpu_limit is not None and settings.cpu_request > settings.cpu_limit:
        yield "cpuRequest is more than cpuLimit"
    if settings.pod_monitor and not settings.metrics.can_be_scraped_from_outside:
        yield (
            f"podMonitor: Prometheus cannot reach metrics={settings.metrics}; "
            "set for example metrics=node:9464"
        )
