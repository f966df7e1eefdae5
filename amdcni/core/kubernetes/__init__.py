"""From a pod's annotation to the call of a plugin, as Kubernetes and Multus do it, purely.

    pod = parse_pod(manifest)
    definitions = [parse_definition(manifest) for manifest in manifests]
    delegates = delegates_of(pod, definitions, allocation_from_checkpoint(checkpoint, pod))
    result = conduct(add(delegates[0], pod, sandbox), execute)

Phase by phase: what a pod asks for (`objects`, `selections`), which devices the kubelet has
allocated to it (`allocation`), what Multus makes of both (`multus`), and the annotation that it
writes in the end (`status`).
"""

from amdcni.core.kubernetes.allocation import (
    CHECKPOINT,
    Allocation,
    allocation_from_checkpoint,
    allocation_from_environment,
    allocation_from_pod_resources,
)
from amdcni.core.kubernetes.golang import to_go_json
from amdcni.core.kubernetes.multus import (
    Delegate,
    Sandbox,
    add,
    calls_to_add,
    delegates_of,
    delete,
    selected,
)
from amdcni.core.kubernetes.objects import (
    NetworkAttachmentDefinition,
    ObjectName,
    Pod,
    parse_definition,
    parse_pod,
)
from amdcni.core.kubernetes.selections import NetworkSelection, parse_selections
from amdcni.core.kubernetes.status import NetworkStatus, status_annotation, statuses_of

__all__ = [
    "CHECKPOINT",
    "Allocation",
    "Delegate",
    "NetworkAttachmentDefinition",
    "NetworkSelection",
    "NetworkStatus",
    "ObjectName",
    "Pod",
    "Sandbox",
    "add",
    "allocation_from_checkpoint",
    "allocation_from_environment",
    "allocation_from_pod_resources",
    "calls_to_add",
    "delegates_of",
    "delete",
    "parse_definition",
    "parse_pod",
    "parse_selections",
    "selected",
    "status_annotation",
    "statuses_of",
    "to_go_json",
]
