"""The test kit leaves no trace on the machine, and needs no root."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from amdcni.testing import Namespace, dump, skip_reason, throwaway_node
from tests.netns.runtime import BDF, DEBIAN
from tests.patience import is_alive, wait_until

HOST_DEVICE = DEBIAN / "host-device"
REPOSITORY = Path(__file__).parents[2]


def test_the_machine_keeps_its_network_its_mounts_and_its_files() -> None:
    if reason := skip_reason():
        pytest.skip(reason)

    def machine() -> tuple[object, ...]:
        folders = ("/run", "/run/netns", "/var/lib", "/var/lib/cni", "/sys", "/sys/bus")
        files = [sorted(Path(folder).glob("*")) for folder in folders]
        return dump(Namespace()), Path("/proc/self/mountinfo").read_text(), files

    before = machine()
    with throwaway_node() as node:
        node.add_nic(BDF, "eth1", ["10.0.0.0/31"])
        node.add_pod("pod1")
        (node.root / "var/lib/cni/file").touch()
        assert machine() == before
    assert machine() == before


def python_by(*prefix: str, script: str) -> "subprocess.Popen[str]":
    """Start Python on a script that can import the test kit, by way of a command."""
    # An interpreter below /root is out of reach for an ordinary user; Debian's own is not.
    for python in (sys.executable, "/usr/bin/python3"):
        runs_itself = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''])"
        if (
            subprocess.run(
                [*prefix, python, "-c", runs_itself], stderr=subprocess.DEVNULL
            ).returncode
            == 0
        ):
            break
    packages = Path(attrs.__file__).parents[1]
    return subprocess.Popen(
        [*prefix, python, "-c", script],
        env={"PYTHONPATH": f"{REPOSITORY}:{packages}", "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


SCENARIO = f"""
from amdcni.testing import throwaway_node, dump, differences
with throwaway_node() as node:
    nic = node.add_nic({BDF!r}, "eth1", ["10.0.0.0/31", "fd00::8/64"])
    before = dump(node)
    pod = node.add_pod("pod1")
    config = {{"cniVersion": "1.0.0", "name": "n", "type": "host-device", "pciBusID": {BDF!r}}}
    addresses = [{{"address": address}} for address in nic.addresses]
    config["ipam"] = {{"type": "static", "addresses": addresses}}
    added = node.cni("ADD", {os.fspath(HOST_DEVICE)!r}, config, netns=pod)
    assert added.succeeded, added
    assert all(pod.ping(peer) for peer in nic.peers)
    assert "netdev eth1 is gone" in "".join(differences(before, dump(node)))
    pod.delete()
print("user namespace" if node.isolation.user_namespace else "root")
"""


@pytest.mark.skipif(not HOST_DEVICE.exists(), reason="containernetworking-plugins not installed")
@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param(("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"), id="nobody"),
        pytest.param(("unshare", "--user", "--map-root-user"), id="root of a user namespace"),
    ],
)
def test_everything_works_without_root(prefix: tuple[str, ...]) -> None:
    if reason := skip_reason():
        pytest.skip(reason)
    if prefix[0] == "setpriv" and os.geteuid() != 0:
        prefix = ()
    with python_by(*prefix, script="import amdcni.testing") as importing:
        _, complaint = importing.communicate()
    if importing.returncode != 0:
        pytest.skip(f"the source or its packages are out of reach for others: {complaint}")
    with python_by(*prefix, script=SCENARIO) as process:
        stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert stdout.strip() == ("root" if prefix[:1] == ("unshare",) else "user namespace")


def test_where_it_is_not_allowed_the_reason_says_what_was_refused() -> None:
    if reason := skip_reason():
        pytest.skip(reason)
    script = "from amdcni.testing import skip_reason; print(skip_reason())"
    # A limit that holds only inside this user namespace.
    forbid = 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"'
    prefix = ("unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh")
    with python_by(*prefix, script=script) as process:
        stdout, stderr = process.communicate()
    assert stdout.startswith("no private network namespaces here: unshare"), stdout + stderr


@pytest.mark.parametrize("folder", ["/var/lib/cni", "/var/lib/other"])
def test_the_state_folder_is_private_whether_or_not_the_machine_has_one(folder: str) -> None:
    if reason := skip_reason():
        pytest.skip(reason)
    script = """
from pathlib import Path
from amdcni.testing import throwaway_node
was = sorted(Path("/var/lib").glob("*/*"))
with throwaway_node() as node:
    assert node.output_of(["ls", "/var/lib/cni"]) == ""
    node.output_of(["touch", "/var/lib/cni/file"])
    assert (node.root / "var/lib/cni/file").exists()
    assert node.output_of(["ls", "/var/lib"]).split() == ["cni", "other"]
    assert sorted(Path("/var/lib").glob("*/*")) == was
"""
    ours = f"mount -t tmpfs tmpfs /var/lib && mkdir -p /var/lib/other {folder}"
    private = f'{ours} && touch {folder}/was && exec "$@"'
    prefix = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", private, "sh")
    with python_by(*prefix, script=script) as process:
        _, stderr = process.communicate()
    assert process.returncode == 0, stderr


def test_a_node_disappears_when_its_owner_is_killed() -> None:
    if reason := skip_reason():
        pytest.skip(reason)
    script = f"""
from amdcni.testing import throwaway_node
with throwaway_node() as node:
    node.add_nic({BDF!r}, "eth1")
    pod = node.add_pod("pod1")
    sleeper = pod.start(["sh", "-c", "sleep 1000 & echo $!; wait"])
    child = sleeper.stdout.readline().decode().strip()
    print(node.isolation.pid, sleeper.pid, child, flush=True)
    input()
"""
    with python_by(script=script) as owner:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        assert len(pids) == 3
        owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, pids)), "the node's processes are gone")
