"""Who the pods are, and what the cluster lets them do: the namespace, the account, its rights."""

from typing import Any, Final

from amdcni.deployment.metadata import NAME, cluster_wide, named
from amdcni.deployment.platforms import Platform, traits_of
from amdcni.deployment.rendering import Because
from amdcni.deployment.settings import Settings

_SYSTEM: Final = "kube-system"


def namespace(settings: Settings) -> tuple[dict[str, Any], ...]:
    """The namespace, unless it is one that the cluster has of itself."""
    if settings.namespace == _SYSTEM:
        return ()
    privileged = Because(
        "privileged",
        "The pods enter the node's own namespaces and write into its binDir. Clusters that enforce "
        "the Pod Security Standards, as Talos does by itself and RKE2 with its CIS profile, admit "
        "no such pod into any other namespace.",
    )
    metadata = cluster_wide()
    metadata["labels"] = {
        **metadata["labels"],
        "pod-security.kubernetes.io/enforce": privileged,
        "pod-security.kubernetes.io/audit": "privileged",
        "pod-security.kubernetes.io/warn": "privileged",
    }
    if settings.platform is Platform.OPENSHIFT:
        metadata["annotations"] = {
            "openshift.io/node-selector": Because(
                "", "A selector that the cluster has for all namespaces would leave nodes out."
            )
        }
    object_ = {"apiVersion": "v1", "kind": "Namespace"}
    return ({**object_, "metadata": {"name": settings.namespace, **metadata}},)


def account(settings: Settings) -> tuple[dict[str, Any], ...]:
    """The service account of all pods, with what its platform wants of it."""
    no_token = Because(False, "Only the agent's own container is given a token, by a volume.")
    found: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": named(settings),
            "automountServiceAccountToken": no_token,
        }
    ]
    traits = traits_of(settings.platform)
    if traits.needs_constraints:
        found.append(_constraints(settings))
    if traits.needs_quota and settings.namespace != _SYSTEM:
        found.append(_quota(settings))
    return tuple(found)


def _constraints(settings: Settings) -> dict[str, Any]:
    return {
        "apiVersion": "security.openshift.io/v1",
        "kind": "SecurityContextConstraints",
        "metadata": {"name": NAME, **cluster_wide()},
        "users": [f"system:serviceaccount:{settings.namespace}:{NAME}"],
        "allowPrivilegedContainer": Because(
            True, "For the agent's container; the DaemonSet says what it needs of it."
        ),
        "allowPrivilegeEscalation": True,
        "allowHostPID": True,
        "allowHostNetwork": True,
        "allowHostPorts": Because(
            True, "The port of the metrics, which with hostNetwork is the node's."
        ),
        "allowHostDirVolumePlugin": Because(True, "The binDir, and when uninstalling the records."),
        "allowHostIPC": False,
        "allowedCapabilities": ["DAC_OVERRIDE", "FOWNER", "SYS_PTRACE"],
        "readOnlyRootFilesystem": True,
        "runAsUser": {"type": "RunAsAny"},
        "seLinuxContext": {"type": "RunAsAny"},
        "fsGroup": {"type": "RunAsAny"},
        "supplementalGroups": {"type": "RunAsAny"},
        "seccompProfiles": ["*"],
        "volumes": ["hostPath", "projected"],
    }


def _quota(settings: Settings) -> dict[str, Any]:
    scope = {
        "operator": "In",
        "scopeName": "PriorityClass",
        "values": [settings.priority_class_name],
    }
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": named(settings),
        "spec": {
            "hard": {
                "pods": Because(
                    "1G",
                    "GKE admits pods of a critical priority only into namespaces with such a "
                    "quota. It is not meant to limit anything.",
                )
            },
            "scopeSelector": {"matchExpressions": [scope]},
        },
    }


def event_rights(settings: Settings) -> tuple[dict[str, Any], ...]:
    """The only right that the agent has in the cluster; none if it is to post no events."""
    if not settings.events:
        return ()
    rule = {
        "apiGroups": [""],
        "resources": ["events"],
        "verbs": Because(
            ["create", "patch"],
            "An event that happens again is counted in the one that is there. In all namespaces, "
            "because an event is in that of the pod that it is about.",
        ),
    }
    metadata = {"name": NAME, **cluster_wide()}
    rbac = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": settings.namespace}
    return (
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": metadata,
            "rules": [rule],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": NAME},
            "subjects": [subject],
        },
    )
