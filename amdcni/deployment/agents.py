"""The DaemonSet: on each node it installs the tree into the binDir and runs the agent."""

from typing import Any, Final

from amdcni.deployment.metadata import AGENT, named, tolerations
from amdcni.deployment.on_the_host import bin_dir_volume, unprivileged, writer
from amdcni.deployment.rendering import Because
from amdcni.deployment.settings import Settings

LONGEST_CALL_S: Final = 240
"""How long an agent that is to end waits for its calls: no client waits longer for its answer."""

_TOKEN: Final = "token"
_TOKEN_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


def daemon_set(settings: Settings, image: str) -> dict[str, Any]:
    """The DaemonSet of the agents."""
    strategy = {
        "type": "RollingUpdate",
        "rollingUpdate": {
            "maxUnavailable": Because(
                settings.max_unavailable,
                "Without its agent a node still serves every call, only slower.",
            )
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": named(settings),
        "spec": {
            "selector": {"matchLabels": AGENT},
            "updateStrategy": strategy,
            "minReadySeconds": Because(
                10, "An agent that soon ends again stops the update at the first nodes."
            ),
            "template": {"metadata": {"labels": AGENT}, "spec": _pod(settings, image)},
        },
    }


def _pod(settings: Settings, image: str) -> dict[str, Any]:
    volumes = [bin_dir_volume(settings), *([_token_volume()] if settings.events else [])]
    secret = settings.image_pull_secret
    return {
        "serviceAccountName": "amdcni",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **({"imagePullSecrets": [{"name": secret}]} if secret else {}),
        "hostPID": Because(
            True,
            "The agent enters the mount and network namespaces of the node's process 1, and names "
            "the namespaces of pods by processes of the node.",
        ),
        "hostNetwork": Because(
            True,
            "NICs are lent from the node's network. Neither the agent nor its start depends on the "
            "network of the cluster.",
        ),
        "priorityClassName": Because(
            settings.priority_class_name,
            "NICs come home within a second only while the agent runs.",
        ),
        "nodeSelector": dict(settings.node_selector),
        "tolerations": tolerations(settings),
        "terminationGracePeriodSeconds": Because(
            LONGEST_CALL_S,
            "After SIGTERM the agent takes no more calls and ends with the last of those at work. "
            "No client waits longer than this.",
        ),
        "initContainers": [writer(settings, image, "install", unprivileged(settings))],
        "containers": [_agent(settings, image)],
        "volumes": volumes,
    }


def _agent(settings: Settings, image: str) -> dict[str, Any]:
    return {
        "name": "agent",
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": [
            "agent",
            Because(
                f"--on-host={settings.bin_dir}",
                "It executes what was installed there, in the node's own namespaces: so paths, "
                "plugins and the namespaces of pods are the same with an agent and without.",
            ),
            f"--metrics={settings.metrics.argument}",
        ],
        "env": _environment(settings),
        **_ports(settings),
        **_probes(settings),
        "resources": _resources(settings),
        "securityContext": _SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **_mounts(settings),
    }


_SECURITY: Final = {
    "privileged": Because(
        True,
        "For the agent, and for the plugins that it calls as the runtime would: "
        "CAP_SYS_ADMIN and CAP_SYS_CHROOT to enter the namespaces of the node and of pods, "
        "CAP_NET_ADMIN and CAP_NET_RAW to move, configure and announce NICs, "
        "CAP_SYS_PTRACE to see the namespaces of other processes, "
        "CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH for files of other users. "
        "A list of these would not be enough: the profiles of AppArmor, seccomp and SELinux that "
        "containers have by default forbid the same, and all of them yield only to this. "
        "Nor would it be safer, since CAP_SYS_ADMIN with hostPID is root of the node already.",
    ),
    "readOnlyRootFilesystem": True,
}


def _environment(settings: Settings) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": "CNI_PATH",
            "value": Because(
                settings.bin_dir,
                "Where IPAM plugins are when a NIC is healed without a call; calls bring their "
                "own.",
            ),
        },
        _from_field("NODE_NAME", "spec.nodeName"),
    ]
    if settings.metrics.needs_node_ip:
        found.append(_from_field("NODE_IP", "status.hostIP"))
    return found


def _from_field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _ports(settings: Settings) -> dict[str, Any]:
    if not settings.metrics.port:
        return {}
    number = Because(
        settings.metrics.port, "On the node itself, so that the scheduler keeps it free."
    )
    port = {"name": "metrics", "containerPort": number, "protocol": "TCP"}
    return {"ports": [port]}


def _probes(settings: Settings) -> dict[str, Any]:
    if not settings.metrics.port:
        return {}
    healthy, ready = (settings.metrics.probe(path) for path in ("/healthz", "/readyz"))
    return {
        "startupProbe": {**healthy, "periodSeconds": 2, "failureThreshold": 60},
        "livenessProbe": Because(
            {**healthy, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
            "/healthz fails when the main process has been silent for 30 seconds. A restart costs "
            "no call: clients do the work of those that it breaks off.",
        ),
        "readinessProbe": {**ready, "periodSeconds": 5, "timeoutSeconds": 5},
    }


def _resources(settings: Settings) -> dict[str, Any]:
    limit = settings.cpu_limit
    limits: dict[str, Any] = {
        "memory": Because(
            settings.memory_limit.text,
            "At rest all processes of the agent take less than 60 MiB together. The rest is for up "
            "to 16 calls at once, with the plugins that they run.",
        )
    }
    if limit is not None:
        limits["cpu"] = limit.text
    requests = {"cpu": settings.cpu_request.text, "memory": settings.memory_request.text}
    if limit is not None:
        return {"requests": requests, "limits": limits}
    no_limit = "Without a limit of CPU, which would hold up the start of pods."
    return {"requests": requests, "limits": Because(limits, no_limit)}


def _mounts(settings: Settings) -> dict[str, Any]:
    if not settings.events:
        return {}
    mount = {"name": _TOKEN, "mountPath": _TOKEN_FOLDER, "readOnly": True}
    return {"volumeMounts": [mount]}


def _token_volume() -> dict[str, Any]:
    """What Kubernetes itself would mount into all containers of the pod."""
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    certificate = {"key": "ca.crt", "path": "ca.crt"}
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [certificate]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {
        "name": _TOKEN,
        "projected": Because({"sources": sources}, "With which the agent posts its events."),
    }
