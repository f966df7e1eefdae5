"""What the kubelet does with the sandboxes of pods."""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final

from attrs import frozen

from amdcni.testing import Namespace
from tests.runtime.containerd import Containerd
from tests.runtime.cri import Pending

READY = "SANDBOX_READY"
HOST_NAMESPACES: Final[Mapping[str, str]] = MappingProxyType({"network": "NODE", "pid": "NODE"})
"""Those of a pod with `hostNetwork` and `hostPID`."""


@frozen
class Kubelet:
    """Runs pods, each with one sandbox at a time, by means of a container runtime."""

    runtime: Containerd
    cgroup: str
    """The cgroup below which those of the pods are."""

    def start_pod(self, name: str, on_host: bool = False) -> Pending:
        """Start the next sandbox of a pod."""
        attempts = [int(each["metadata"].get("attempt", 0)) for each in self.sandboxes(name)]
        config = self.config_of(name, max(attempts, default=-1) + 1, on_host)
        return self.runtime.cri.start("RunPodSandbox", config=config)

    def run(self, name: str, on_host: bool = False) -> str:
        """Return the ID of the next sandbox of a pod, which must start."""
        return str(self.start_pod(name, on_host).wait()["pod_sandbox_id"])

    def config_of(self, name: str, attempt: int, on_host: bool = False) -> dict[str, Any]:
        """Return the configuration of a sandbox, perhaps of one that may do what the host may."""
        metadata = {"name": name, "uid": f"uid-of-{name}", "namespace": "default"}
        security = {"namespace_options": dict(HOST_NAMESPACES), "privileged": True}
        return {
            "metadata": metadata | {"attempt": attempt},
            "hostname": "" if on_host else name,
            "log_directory": f"/run/pods/{name}",
            "linux": {
                "cgroup_parent": f"/{self.cgroup}",
                **({"security_context": security} if on_host else {}),
            },
        }

    def sandboxes(self, name: str) -> list[dict[str, Any]]:
        """Return the sandboxes of a pod that the runtime knows, ended ones too."""
        items = self.runtime.cri.call("ListPodSandbox").get("items", [])
        return [item for item in items if item["metadata"]["name"] == name]

    def is_ready(self, sandbox: str) -> bool:
        """Return whether the runtime knows a sandbox and that it is at work."""
        items = self.runtime.cri.call("ListPodSandbox").get("items", [])
        # A state that is absent is the first one of its kind.
        return any(each["id"] == sandbox and each.get("state", READY) == READY for each in items)

    def synchronize(self, name: str) -> str:
        """Return the ID of the sandbox that a pod has after sweeping up what has ended of it.

        This is what the kubelet does after each change and when it has lost the runtime.
        """
        ready = []
        for sandbox in self.sandboxes(name):
            if self.is_ready(sandbox["id"]):
                ready.append(str(sandbox["id"]))
            else:
                self.end_sandbox(sandbox["id"])
        match ready:
            case []:
                return self.run(name)
            case [only]:
                return only
            case several:
                raise AssertionError(f"{name} has several sandboxes: {several}")

    def end(self, name: str) -> None:
        """End a pod: stop and remove all its sandboxes."""
        for sandbox in self.sandboxes(name):
            self.end_sandbox(sandbox["id"])

    def end_sandbox(self, sandbox: str) -> None:
        """Stop and remove a sandbox."""
        self.start_stop(sandbox).wait()
        self.runtime.cri.call("RemovePodSandbox", pod_sandbox_id=sandbox)

    def start_stop(self, sandbox: str) -> Pending:
        """Start to stop a sandbox."""
        return self.runtime.cri.start("StopPodSandbox", pod_sandbox_id=sandbox)

    def pid_of(self, sandbox: str) -> int:
        """Return the number, on the node, of the process in a sandbox."""
        return int(self._info_of(sandbox)["pid"])

    def network_of(self, sandbox: str) -> Namespace:
        """Return the network namespace of a sandbox."""
        namespaces = self._info_of(sandbox)["runtimeSpec"]["linux"]["namespaces"]
        (path,) = [each["path"] for each in namespaces if each["type"] == "network"]
        # The first part is a link that leads out of the node as a test sees it.
        return self.runtime.machine.namespace(f"/run/netns/{PurePosixPath(path).name}")

    def _info_of(self, sandbox: str) -> Any:
        answer = self.runtime.cri.call("PodSandboxStatus", pod_sandbox_id=sandbox, verbose=True)
        return json.loads(answer["info"]["info"])
