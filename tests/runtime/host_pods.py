"""Pods on the host's network, as their manifests describe them, run by a container runtime."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml
from attrs import frozen

from tests.patience import wait_until
from tests.runtime.cri import Pending
from tests.runtime.field import Field
from tests.runtime.kubelet import HOST_NAMESPACES

_TEMPLATES: Final = ("DaemonSet", "Job")
_BYTES: Final = {"Mi": 1 << 20}


def pods_in(manifests: str) -> Iterator[dict[str, Any]]:
    """Yield the specification of the pods of each DaemonSet and Job."""
    for found in yaml.safe_load_all(manifests):
        if found["kind"] in _TEMPLATES:
            yield found["spec"]["template"]["spec"]


@frozen
class HostPod:
    """A pod whose sandbox runs; its containers share the host's network and processes."""

    field: Field
    name: str
    spec: Mapping[str, Any]
    sandbox: str

    @classmethod
    def on(cls, field: Field, name: str, spec: Mapping[str, Any]) -> "HostPod":
        """Return a pod on a node, with the folders of the host that it wants and no container."""
        assert spec["hostNetwork"]
        assert spec["hostPID"]
        for volume in spec["volumes"]:
            if "hostPath" in volume:
                path = field.machine.root / volume["hostPath"]["path"].lstrip("/")
                path.mkdir(parents=True, exist_ok=True)
        return cls(field, name, spec, field.kubelet.run(name, on_host=True))

    def run(self, container: Mapping[str, Any]) -> int:
        """Return the exit status of a container when it has ended."""
        return self.wait(self.start(container))

    def start(self, container: Mapping[str, Any]) -> str:
        """Return the ID of a container that has been started."""
        cri = self.field.runtime.cri
        created = cri.call(
            "CreateContainer",
            pod_sandbox_id=self.sandbox,
            config=self._config_of(container),
            sandbox_config=self.field.kubelet.config_of(self.name, 0, on_host=True),
        )
        cri.call("StartContainer", container_id=created["container_id"])
        return str(created["container_id"])

    def wait(self, container: str) -> int:
        """Return the exit status of a started container when it has ended."""
        wait_until(lambda: self._status_of(container)["state"] == "CONTAINER_EXITED", "it ends")
        return int(self._status_of(container).get("exit_code", 0))

    def log_of(self, container: Mapping[str, Any]) -> str:
        """Return what a container has printed."""
        path = self.field.machine.root / f"run/pods/{self.name}/{container['name']}.log"
        return path.read_text()

    def start_stop(self, container: str) -> Pending:
        """Start to stop a container, in good order as long as the pod allows."""
        patience_s = self.spec.get("terminationGracePeriodSeconds", 30)
        return self.field.runtime.cri.start(
            "StopContainer", container_id=container, timeout=patience_s
        )

    def end(self) -> None:
        """Stop and remove the sandbox with its containers."""
        self.field.kubelet.end_sandbox(self.sandbox)

    def _status_of(self, container: str) -> dict[str, Any]:
        # A state that is absent is the first one of its kind.
        answer = self.field.runtime.cri.call("ContainerStatus", container_id=container)
        return {"state": "CONTAINER_CREATED", **answer["status"]}

    def _config_of(self, container: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the kubelet makes of a container."""
        paths = {
            volume["name"]: volume["hostPath"]["path"]
            for volume in self.spec["volumes"]
            if "hostPath" in volume
        }
        mounts = [
            {
                "container_path": mount["mountPath"],
                "host_path": paths[mount["name"]],
                "readonly": mount.get("readOnly", False),
            }
            for mount in container["volumeMounts"]
            if mount["name"] in paths
        ]
        # Without an API server there is no token, and nobody to say the node's name.
        envs = [
            {"key": variable["name"], "value": variable["value"]}
            for variable in container.get("env", [])
            if "value" in variable
        ]
        return {
            "metadata": {"name": container["name"]},
            "image": {"image": container["image"]},
            "args": container["args"],
            "envs": envs,
            "mounts": mounts,
            "log_path": f"{container['name']}.log",
            "linux": {
                "resources": _resources_of(container["resources"]),
                "security_context": _security_of(container["securityContext"]),
            },
        }


def _resources_of(resources: Mapping[str, Any]) -> dict[str, int]:
    memory = resources["limits"]["memory"]
    return {"memory_limit_in_bytes": int(memory[:-2]) * _BYTES[memory[-2:]]}


def _security_of(context: Mapping[str, Any]) -> dict[str, Any]:
    capabilities = context.get("capabilities", {})
    return {
        "privileged": context.get("privileged", False),
        "readonly_rootfs": context["readOnlyRootFilesystem"],
        "namespace_options": dict(HOST_NAMESPACES),
        "capabilities": {
            "add_capabilities": capabilities.get("add", []),
            "drop_capabilities": capabilities.get("drop", []),
        },
    }
