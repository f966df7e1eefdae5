"""The pods of `amdcni manifests` install, serve, are upgraded, and leave the node as it was."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from amdcni_agent.asking import ask
from tests.netns.agents import SOCKET
from tests.patience import wait_until
from tests.runtime.containerd import BIN_DIR
from tests.runtime.field import Field
from tests.runtime.gates import Place
from tests.runtime.host_pods import HostPod, pods_in
from tests.runtime.images import Image, write_image, write_successor
from tests.trees import built_tree

INSTALLED = f"{BIN_DIR}/.amdcni/amdcni"
"""The command of the version in use."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, Image]:
    """The image of this checkout, and that of a later version."""
    built, folder = built_tree(tmp_path_factory), tmp_path_factory.mktemp("images")
    write_successor(built, folder / "tree", "9.0.0")
    return write_image(built, folder), write_image(folder / "tree", folder)


@frozen
class Cluster:
    """A node on which the DaemonSet of the manifests has a pod, one at a time."""

    field: Field

    def install(self, image: Image) -> HostPod:
        """Run a pod of the DaemonSet up to the end of its init container."""
        (spec,) = pods_in(self.field.amdcni("manifests", "--image", image.reference))
        pod = HostPod.on(self.field, "amdcni", spec)
        (install,) = spec["initContainers"]
        assert pod.run(install) == 0, pod.log_of(install)
        assert self.installed() == image.tree
        return pod

    def start(self, image: Image) -> tuple[HostPod, str]:
        """Run a pod of the DaemonSet up to an agent that serves; return its container, too."""
        pod = self.install(image)
        (agent,) = pod.spec["containers"]
        container = pod.start(agent)
        wait_until(lambda: self.about() is not None, "the agent serves")
        return pod, container

    def about(self) -> Mapping[str, Any] | None:
        """Return what the agent of the node says of itself."""
        return ask(str(self.field.machine.root / SOCKET.lstrip("/")))

    def served(self) -> int:
        """Return how many calls the agent of the node has begun to serve."""
        about = self.about()
        assert about is not None
        return int(about["begun"])

    def uninstall(self, image: Image) -> tuple[int, str]:
        """Return how the pod that uninstalls ends, and what it says."""
        words = ("--image", image.reference, "--set", "nodes=node-1", "--uninstall")
        (spec,) = pods_in(self.field.amdcni("manifests", *words))
        pod = HostPod.on(self.field, "uninstall", spec)
        (container,) = spec["containers"]
        status = pod.run(container)
        said = pod.log_of(container)
        pod.end()
        return status, said

    def installed(self) -> str:
        """Return the name of the tree whose command is in use."""
        return Path(os.readlink(self.field.machine.root / INSTALLED.lstrip("/"))).parts[0]


@pytest.fixture
def cluster(field: Field, images: tuple[Image, Image]) -> Iterator[Cluster]:
    """A node that has both images; in the end nothing of either is left on it."""
    for image in images:
        field.runtime.load(image.archive)
    before = contents(field.machine.root / BIN_DIR.lstrip("/"))
    cluster = Cluster(field)
    yield cluster
    status, said = cluster.uninstall(images[1])
    assert status == 0, said
    assert contents(field.machine.root / BIN_DIR.lstrip("/")) == before
    field.require_whole()


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return what is in each file, and where each link leads."""
    paths = [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in paths
    }


def test_sandboxes_work_with_what_the_daemon_set_installs(
    cluster: Cluster, images: tuple[Image, Image]
) -> None:
    field = cluster.field
    pod, container = cluster.start(images[0])
    field.require_lent(field.kubelet.run("pod"))
    assert cluster.served() == 3
    pod.start_stop(container).wait()
    pod.end()
    # Without the agent, the launcher executes the tree that is installed beside it.
    field.kubelet.end("pod")
    sandbox = field.kubelet.run("pod")
    field.require_lent(sandbox)
    status, said = cluster.uninstall(images[0])
    assert status == 1
    assert "NICs are lent" in said
    field.require_lent(sandbox)
    field.kubelet.end("pod")


def test_versions_replace_one_another_between_calls(
    cluster: Cluster, images: tuple[Image, Image]
) -> None:
    field = cluster.field
    for old, new in (images, reversed(images)):
        pod, container = cluster.start(old)
        sandbox = field.kubelet.run("pod")
        pod.start_stop(container).wait()
        pod.end()
        pod, container = cluster.start(new)
        field.require_lent(sandbox)
        field.kubelet.end("pod")
        pod.start_stop(container).wait()
        pod.end()


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
@pytest.mark.parametrize(
    "place", [("before", "host-device", "eth0"), ("before", "static", "eth2")], ids="-".join
)
def test_a_call_ends_with_the_version_with_which_it_has_begun(
    cluster: Cluster, images: tuple[Image, Image], place: Place, verb: str
) -> None:
    field = cluster.field
    pod, container = cluster.start(images[0])
    if verb == "DEL":
        sandbox = field.kubelet.run("pod")
    gate = field.gates.closed(place, verb)
    call = field.kubelet.start_stop(sandbox) if verb == "DEL" else field.kubelet.start_pod("pod")
    gate.wait_for_caller()
    stopping = pod.start_stop(container)
    gate.open()
    call.wait()
    stopping.wait()
    pod.end()
    pod, container = cluster.start(images[1])
    field.kubelet.end("pod")
    pod.start_stop(container).wait()
    pod.end()


def test_a_call_without_an_agent_works_on_while_another_version_is_installed(
    cluster: Cluster, images: tuple[Image, Image]
) -> None:
    field = cluster.field
    cluster.install(images[0]).end()
    gate = field.gates.closed(("before", "static", "eth2"), "ADD")
    starting = field.kubelet.start_pod("pod")
    gate.wait_for_caller()
    for image in reversed(images):
        cluster.install(image).end()
    gate.open()
    field.require_lent(starting.wait()["pod_sandbox_id"])
    field.kubelet.end("pod")


def test_an_agent_that_is_killed_with_its_pod_loses_nothing(
    cluster: Cluster, images: tuple[Image, Image]
) -> None:
    field = cluster.field
    pod, _ = cluster.start(images[0])
    gate = field.gates.closed(("before", "host-device", "eth0"), "ADD")
    starting = field.kubelet.start_pod("pod")
    gate.wait_for_caller()
    pod.end()
    gate.open()
    field.require_lent(starting.wait()["pod_sandbox_id"])
    pod, container = cluster.start(images[1])
    field.kubelet.end("pod")
    pod.start_stop(container).wait()
    pod.end()
