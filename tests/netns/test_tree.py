"""The self-contained tree runs where there is nothing else: no Python, no libraries, no shell."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

import pytest
from attrs import frozen

from amdcni.cli.arguments import parser
from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni.testing import Nic, Node, Pod, dump
from amdcni_agent.asking import ask
from distribution import manifest
from tests.netns.runtime import BDF, Runtime, addresses, damage, expect_silence
from tests.patience import wait_until
from tests.trees import built_tree

pytestmark = pytest.mark.thorough

ROOT: Final = "/run/empty"
BIN_DIR: Final = "/opt/cni/bin"
PLUGIN: Final = Path(BIN_DIR, "amd-host-device")

MAKE_ROOT: Final = """
set -eu
root=$1 name=$2 tree=$3
bin=$root/opt/cni/bin
mkdir -p "$bin/.amdcni/$name"
for folder in proc sys dev run/netns run/amdcni-node; do
    mkdir -p "$root/$folder"
    mount --rbind "/$folder" "$root/$folder"
done
mount --bind "$tree" "$bin/.amdcni/$name"
mount -o remount,bind,ro "$bin/.amdcni/$name"
cp "$tree/bin/amd-host-device" "$bin/amd-host-device"
"""
"""Makes a root with a tree that nobody can write, where `amdcni install` puts it, and with what a
runtime shows of pods.  The fake sysfs of a throwaway node leads to its folder in /run."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_tree(tmp_path_factory)


@frozen
class EmptyRoot:
    """A root folder on a node with nothing but the tree, /proc, /sys, /dev and the pods' netns."""

    node: Node
    amdcni: str

    @property
    def through(self) -> tuple[str, ...]:
        """The command that runs the command appended to it in there."""
        return ("/usr/sbin/chroot", ROOT)

    def run(self, *words: str, stdin: bytes = b"") -> "CompletedProcess[bytes]":
        """Run the command `amdcni` with no environment at all."""
        return self.node.run([*self.through, self.amdcni, *words], stdin=stdin, env={})


@pytest.fixture
def empty_root(node: Node, nic: Nic, pod: Pod, tree: Path) -> EmptyRoot:
    name = manifest.read_name(tree)
    node.output_of(["sh", "-c", MAKE_ROOT, "sh", ROOT, name, str(tree)])
    return EmptyRoot(node, f"{BIN_DIR}/.amdcni/{name}/bin/amdcni")


@pytest.fixture
def runtime(node: Node) -> Runtime:
    return Runtime(node, PLUGIN).having(mover="native")


def test_nothing_of_the_machine_is_in_the_empty_root(empty_root: EmptyRoot) -> None:
    for program in ("/bin/sh", "/usr/bin/python3", "/lib/ld-linux-x86-64.so.2"):
        done = empty_root.node.run([*empty_root.through, program])
        assert (done.returncode, b"No such file" in done.stderr) == (127, True)


def test_the_plugin_lends_a_nic_and_gives_it_back(
    runtime: Runtime, empty_root: EmptyRoot, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    through = empty_root.through
    version = runtime.call("VERSION", through=through)
    assert "1.1.0" in version.answer["supportedVersions"]
    result = runtime.added(pod, through=through, path=[BIN_DIR], env={})
    assert {"10.0.0.0/31", "fd00::8/64"} <= set(addresses(pod, "net1"))
    assert pod.ping(nic.peers[0])
    expect_silence(runtime.check(pod, result, through=through, path=[BIN_DIR], env={}))
    state = Path(f"{node.root}{ROOT}/var/lib/cni/amd-host-device")
    assert list(state.glob("*.json"))
    for _ in range(2):
        expect_silence(runtime.delete(pod, through=through, path=[BIN_DIR], env={}))
    assert damage(before, node) == []
    assert not list(state.glob("*.json"))


def test_the_default_mover_says_that_host_device_has_to_be_on_the_node(
    runtime: Runtime, empty_root: EmptyRoot, node: Node, pod: Pod
) -> None:
    before = dump(node)
    failed = runtime.having("mover").add(pod, through=empty_root.through, path=[BIN_DIR], env={})
    failed.expect_error(None, "host-device", "install it there", '"mover": "native"')
    assert damage(before, node) == []


def test_a_broken_configuration_is_an_error_object(
    runtime: Runtime, empty_root: EmptyRoot, pod: Pod
) -> None:
    failed = runtime.having(deviceID=5).add(pod, through=empty_root.through, env={})
    failed.expect_error(7, "deviceID")


def test_what_the_node_preloads_into_its_own_programs_does_not_matter(
    empty_root: EmptyRoot, node: Node
) -> None:
    etc = Path(f"{node.root}{ROOT}/etc")
    etc.mkdir()
    # Debian's dynamic linker complains of it, and would not start if it needed another C library.
    (etc / "ld.so.preload").write_text("/no/such/library.so\n")
    done = empty_root.run("--version")
    assert (done.returncode, done.stderr) == (0, b"")


@contextmanager
def agent_in(root: EmptyRoot) -> Iterator[int]:
    """Run an agent in the empty root; its process ID."""
    argv = [*root.through, root.amdcni, "agent", "--metrics", "127.0.0.1:9464"]
    agent = root.node.start(argv, env={})
    try:
        wait_until(lambda: ask(f"{root.node.root}{ROOT}/run/amdcni/agent.sock"), "it serves")
        yield agent.pid
    finally:
        agent.terminate()
        _, stderr = agent.communicate()
        assert b"Traceback" not in stderr, stderr.decode()


def test_the_agent_serves_calls_from_the_empty_root(
    runtime: Runtime, empty_root: EmptyRoot, node: Node, pod: Pod
) -> None:
    before = dump(node)
    through = empty_root.through
    with agent_in(empty_root) as pid:
        assert Path(f"/proc/{pid}/comm").read_text() == "amdcni\n"
        runtime.added(pod, through=through, path=[BIN_DIR], env={})
        expect_silence(runtime.delete(pod, through=through, path=[BIN_DIR], env={}))
        said = json.loads(empty_root.run("status", "--json").stdout)
        assert said["agent"]["begun"] == 2
    assert damage(before, node) == []


MANIFESTS: Final = b"""
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: amd-nic
  annotations: {k8s.v1.cni.cncf.io/resourceName: amd.com/nic}
spec:
  config: '{"cniVersion": "1.0.0", "name": "amd-nic", "type": "amd-host-device"}'
---
apiVersion: v1
kind: Pod
metadata:
  name: workload
  annotations: {k8s.v1.cni.cncf.io/networks: amd-nic}
spec:
  containers: [{name: app, image: app}]
"""

COMMANDS: Final[Mapping[str, tuple[list[str], int, str]]] = {
    "attachments": ([], 0, "container-1"),
    "check": ([], 0, "container-1"),
    "completion": (["bash"], 0, "complete"),
    "conformance": (["--plugin", str(PLUGIN)], 2, "pip install 'PATH[testing]'"),
    "devices": ([], 0, BDF),
    "doctor": ([], 1, "host-device"),
    "explain": (["-", "--device", BDF, "--plan"], 1, "amd-nic"),
    "heal": ([], 0, "nothing"),
    "help": (["heal"], 0, "amdcni heal --dry-run"),
    "install": (["--bin-dir", BIN_DIR, "--dry-run"], 0, "installed.json"),
    "manifests": (["--image", "amdcni:test"], 0, "kind: DaemonSet"),
    "show": ([BDF], 0, "container-1"),
    "status": ([], 3, "1 lent"),
    "uninstall": (["--bin-dir", BIN_DIR, "--data-dir", DEFAULT_DATA_DIR], 1, BDF),
    "version": ([], 0, "amdcni "),
    # The last one, because then nothing is lent any more.
    "release": (["--yes", BDF], 0, BDF),
}
"""What each command is asked, its exit status, and some of what it says.  The agent has a test."""


def test_every_command_is_tried_in_the_empty_root() -> None:
    (commands,) = (action for action in parser()._actions if action.dest == "command")
    assert {"agent", *COMMANDS} == set(commands.choices or ())


def test_every_command_works_in_the_empty_root(
    runtime: Runtime, empty_root: EmptyRoot, pod: Pod
) -> None:
    runtime.added(pod, through=empty_root.through, path=[BIN_DIR], env={})
    assert empty_root.run("--version").returncode == 0
    for command, (words, status, said) in COMMANDS.items():
        done = empty_root.run(command, *words, stdin=MANIFESTS)
        everything = (done.stdout + done.stderr).decode()
        assert "Traceback" not in everything, everything
        assert (command, done.returncode, said in everything) == (command, status, True), everything


def test_the_tree_works_in_a_folder_whose_name_has_spaces_and_through_a_link(
    tree: Path, tmp_path: Path, node: Node
) -> None:
    copied = shutil.copytree(tree, tmp_path / "a folder" / "tree", symlinks=True)
    link = tmp_path / "amdcni"
    link.symlink_to(copied / "bin/amdcni")
    # Variables that would lead an interpreter or a dynamic linker astray.
    environ = {"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "LD_LIBRARY_PATH": "/nowhere"}
    done = node.run([link, "--version"], env=environ)
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, b"amdcni", b"")
