"""A tree that works is installed, used and removed, on file systems that do not always want to."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from amdcni.testing import Nic, Node, Pod
from tests.netns.runtime import BDF, STATE, Runtime, by_delegate, record_of
from tests.netns.working_tree import build_working_tree
from tests.unit.binaries import FOREIGN, BuiltTree, is_installed, picture


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> BuiltTree:
    return build_working_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def run(node: Node, *words: object) -> "subprocess.CompletedProcess[bytes]":
    done = node.run([str(word) for word in words])
    assert b"Traceback" not in done.stderr, done
    return done


def install(
    node: Node, tree: BuiltTree, bin_dir: Path, *words: str
) -> "subprocess.CompletedProcess[bytes]":
    """Run the tree's own command, which installs the tree that it is in."""
    return run(node, tree.path / "bin/amdcni", "install", "--bin-dir", bin_dir, *words)


def uninstall(node: Node, bin_dir: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the installed command, which removes the very tree that it runs from."""
    command = bin_dir / ".amdcni/amdcni"
    return run(node, command, "uninstall", "--bin-dir", bin_dir, "--data-dir", STATE, *words)


@pytest.mark.parametrize("there", [None, FOREIGN, b"#!/bin/sh\necho '{}'\n"])
def test_the_remedy_of_doctor_in_a_tree_puts_the_executable_in_its_place(
    node: Node, tree: BuiltTree, bin_dir: Path, there: bytes | None
) -> None:
    if there is not None:
        (bin_dir / "amd-host-device").write_bytes(there)
        (bin_dir / "amd-host-device").chmod(0o755)
    amdcni = tree.path / "bin/amdcni"
    finding = own_executable(node, amdcni, bin_dir)
    assert finding["verdict"] == "failed"
    command = f"amdcni install --bin-dir {bin_dir}"
    assert command in finding["remedy"]
    assert run(node, amdcni, *command.split()[1:]).returncode == 0
    assert own_executable(node, amdcni, bin_dir)["verdict"] == "passed"
    kept = [path.read_bytes() for path in (bin_dir / ".amdcni").glob("kept/*")]
    assert kept == ([] if there is None else [there])


def test_status_of_an_installed_tree_misses_the_executable_beside_it(
    node: Node, tree: BuiltTree, bin_dir: Path, tmp_path: Path
) -> None:
    assert install(node, tree, bin_dir).returncode == 0
    words = ("status", "--json", "--cni-conf-dir", tmp_path)

    def needs() -> list[str]:
        done = run(node, bin_dir / ".amdcni/amdcni", *words)
        return [each["words"] for each in json.loads(done.stdout)["needs"]]

    assert needs() == []
    (bin_dir / "amd-host-device").unlink()
    (missed,) = needs()
    remedy = f"install it: amdcni install --bin-dir {bin_dir}"
    assert missed == f"amd-host-device is not in {bin_dir}; {remedy}"


def own_executable(node: Node, amdcni: Path, bin_dir: Path) -> dict[str, Any]:
    """Return what doctor finds of amd-host-device, after the folder in which it should be."""
    done = run(node, amdcni, "doctor", "--json", "--bin-dir", bin_dir)
    found = [each for each in json.loads(done.stdout) if each["subject"] == "plugins"]
    assert found[0]["says"] == f"{bin_dir} exists"
    by_name: dict[str, Any] = next(each for each in found[1:] if "amd-host-device" in each["says"])
    return by_name


@by_delegate
def test_an_installed_tree_lends_and_is_removed_only_once_nothing_is_lent(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tree: BuiltTree, bin_dir: Path
) -> None:
    foreign = bin_dir / "amd-host-device"
    foreign.write_bytes(FOREIGN)
    foreign.chmod(0o700)
    before = picture(bin_dir)
    assert install(node, tree, bin_dir).returncode == 0
    assert is_installed(bin_dir, tree)
    installed = Runtime(node, foreign).having(**runtime.config)
    installed.added(pod)
    there = picture(bin_dir)
    refused = uninstall(node, bin_dir)
    assert refused.returncode == 1
    assert f"{BDF} (eth1) to container container-1 as net1".encode() in refused.stderr
    assert picture(bin_dir) == there

    record = record_of(node)
    whole = record.read_bytes()
    for content, words in (
        (whole.replace(b'"format":1', b'"format":9', 1), b"the record has format 9"),
        (b"{", b"is not JSON"),
    ):
        record.write_bytes(content)
        assert content != whole
        refused = uninstall(node, bin_dir)
        assert (refused.returncode, picture(bin_dir)) == (1, there)
        assert words in refused.stderr
        assert record.read_bytes() == content
    record.write_bytes(whole)
    assert installed.delete(pod).succeeded

    aside = record.with_name(f"{record.name}.damaged-1")
    aside.write_bytes(b"{")
    refused = uninstall(node, bin_dir)
    assert (refused.returncode, picture(bin_dir)) == (1, there)
    assert b"was damaged and set aside as" in refused.stderr
    aside.unlink()

    done = uninstall(node, bin_dir)
    assert (done.returncode, done.stderr) == (0, b""), done
    assert picture(bin_dir) == before


def test_an_agent_that_runs_from_a_tree_keeps_it(
    node: Node, tree: BuiltTree, bin_dir: Path
) -> None:
    install(node, tree, bin_dir)
    state = node.root / STATE[1:]
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = picture(bin_dir)
    agent = node.start([bin_dir / ".amdcni/amdcni", "agent", "--metrics", "off", "--events", "off"])
    try:
        assert agent.stderr is not None
        assert b"event=serving" in agent.stderr.readline()
        refused = uninstall(node, bin_dir)
        assert refused.returncode == 1
        assert f"process {agent.pid} (".encode() in refused.stderr
        assert b"end the agent" in refused.stderr
        assert picture(bin_dir) == there
    finally:
        agent.terminate()
        agent.communicate()
    assert uninstall(node, bin_dir).returncode == 0
    assert picture(bin_dir) == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("noexec", b"it is mounted noexec"),
        ("ro", b"is read-only; mount it writable"),
        ("size=16k", b"No space left on device; free some space"),
        ("nr_inodes=6", b"No space left on device; free some space"),
    ],
)
def test_a_file_system_that_cannot_take_it_is_left_as_it_was(
    node: Node, tree: BuiltTree, bin_dir: Path, options: str, words: bytes
) -> None:
    mounted = node.root / str(bin_dir)[1:]
    node.output_of(["mount", "-t", "tmpfs", "-o", "mode=755,size=50m", "tmpfs", str(bin_dir)])
    (mounted / "amd-host-device").write_bytes(FOREIGN)
    node.output_of(["mount", "-o", f"remount,{options}", str(bin_dir)])
    before = picture(mounted)
    for dry in ((), ("--dry-run",)) if options in ("noexec", "ro") else ((),):
        done = install(node, tree, bin_dir, *dry)
        assert done.returncode == 1
        assert words in done.stderr
        assert done.stderr.count(b"\n") == 1
        assert picture(mounted) == before
    node.output_of(["mount", "-o", "remount,rw,exec,size=50m,nr_inodes=1000", str(bin_dir)])
    assert install(node, tree, bin_dir).returncode == 0
    assert is_installed(mounted, tree)


def test_a_full_disk_does_not_prevent_the_removal(
    node: Node, tree: BuiltTree, bin_dir: Path
) -> None:
    node.output_of(["mount", "-t", "tmpfs", "-o", "mode=755,size=30m", "tmpfs", str(bin_dir)])
    mounted = node.root / str(bin_dir)[1:]
    (mounted / "amd-host-device").write_bytes(FOREIGN)
    before = picture(mounted)
    assert install(node, tree, bin_dir).returncode == 0
    (node.root / STATE[1:]).mkdir(mode=0o700, parents=True, exist_ok=True)
    node.run(["sh", "-c", f"cat /dev/zero > {bin_dir}/full"])
    assert uninstall(node, bin_dir).returncode == 0
    (mounted / "full").unlink()
    assert picture(mounted) == before


def test_another_file_system_inside_is_refused(node: Node, tree: BuiltTree, bin_dir: Path) -> None:
    (bin_dir / ".amdcni").mkdir()
    node.output_of(["mount", "-t", "tmpfs", "tmpfs", str(bin_dir / ".amdcni")])
    done = install(node, tree, bin_dir)
    assert (done.returncode, b"on another file system" in done.stderr) == (1, True)


# ---- from a container to the host

HOST = """
set -e
mount -t tmpfs -o mode=755 tmpfs /opt
mkdir -p /opt/cni/bin
TREE/bin/amdcni install --bin-dir /opt/cni/bin > /dev/null
if TREE/bin/amdcni agent --on-host /opt/cni/bin 2> /opt/refused; then exit 1; fi
export KUBERNETES_SERVICE_HOST=192.0.2.1 NODE_NAME=node1
FOO=bar unshare --mount --uts --ipc --net sh -ec '
    mount -t tmpfs -o mode=755 tmpfs /opt
    mkdir /opt/account
    touch /opt/account/token /opt/account/ca.crt
    exec TREE/bin/amdcni agent --on-host BIN --metrics off --service-account /opt/account
' 2> /opt/log &
for _ in $(seq 600); do
    if grep -q "event=serving" /opt/log || ! kill -0 $!; then break; fi
    sleep 0.1
done
cat /opt/refused /opt/log >&2
for kind in mnt net uts ipc; do
    [ $(readlink /proc/self/ns/$kind) = $(readlink /proc/$!/ns/$kind) ] && echo same $kind
done
readlink /proc/$!/exe
tr '\\0' '\\n' < /proc/$!/environ | grep FOO
for fd in /proc/$!/fd/*; do
    flags=$(sed -n "s/^flags:[^0-9]*//p" "${fd%/*}info/${fd##*/}")
    [ "$(readlink $fd)" != /account ] || [ $((flags & O_CLOEXEC)) != 0 ] || echo $fd inherited
done
grep -o "events-off.*" /opt/log || echo events on
kill -TERM $!
wait $!
echo ended
"""


def on_a_host(node: Node, tree: BuiltTree, bin_dir: str) -> "subprocess.CompletedProcess[bytes]":
    """Play a host with its own PID 1, and on it a container with hostPID that has another /opt."""
    script = HOST.replace("TREE", str(tree.path)).replace("BIN", bin_dir)
    script = script.replace("O_CLOEXEC", str(os.O_CLOEXEC))
    words = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc")
    return run(node, *words, "sh", "-c", script)


def test_the_agent_of_a_container_becomes_the_one_that_is_installed_on_the_host(
    node: Node, tree: BuiltTree
) -> None:
    done = on_a_host(node, tree, "/opt/cni/bin")
    assert done.stdout.decode().splitlines() == [
        *("same mnt", "same net", "same uts", "same ipc"),
        f"/opt/cni/bin/.amdcni/{tree.name}/bin/python3",
        "FOO=bar",
        "events on",
        "ended",
    ], done
    assert b"the pod needs hostPID: true" in done.stderr


def test_an_agent_that_is_not_installed_on_the_host_is_named(node: Node, tree: BuiltTree) -> None:
    done = on_a_host(node, tree, "/opt/other")
    assert f"cannot execute '/opt/other/.amdcni/{tree.name}/bin/amdcni' on the host".encode() in (
        done.stderr
    )
    assert b"run amdcni install of the same version before" in done.stderr
