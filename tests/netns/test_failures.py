"""An ADD that fails after the move, for any reason: the host is as it was, and a retry works."""

import json
import sys
from pathlib import Path

import pytest

from amdcni.testing import Nic, Node, Pod, Section, differences, dump
from amdcni.testing.cni import environment_of
from tests.netns.runtime import (
    BDF,
    DEBIAN,
    LEASES,
    TRY_AGAIN,
    Runtime,
    addresses,
    by_both,
    by_delegate,
    damage,
    hide_plugins,
    ifnames,
    plugin_folder,
    remains,
)
from tests.patience import wait_until

RANGE_OF_ONE = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.9.0.0/29", "rangeStart": "10.9.0.2", "rangeEnd": "10.9.0.2"}]],
}


def fails_and_then_works(
    runtime: Runtime, pod: Pod, code: int, *words: str, path: list[Path]
) -> None:
    """Require an error that leaves nothing behind, and a retry that gets the host's addresses."""
    before = dump(runtime.node)
    runtime.add(pod, path=path).expect_error(code, *words)
    assert damage(before, runtime.node) == []
    sound = runtime.having(ipam=None)
    sound.added(pod)
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]
    assert sound.delete(pod).succeeded
    assert damage(before, runtime.node) == []


@by_both
def test_a_missing_ipam_plugin_is_an_error_before_anything_moves(
    runtime: Runtime, nic: Nic, pod: Pod
) -> None:
    broken = runtime.having(ipam={"type": "no-such-ipam"})
    fails_and_then_works(broken, pod, 106, "no-such-ipam", path=[DEBIAN])


@by_delegate
def test_an_add_is_undone_if_the_ipam_plugin_vanishes_after_the_move(
    runtime: Runtime, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    script = f'rm -f "{tmp_path}/bin/gone"; exec {DEBIAN}/host-device'
    path = plugin_folder(tmp_path / "bin", host_device=script, gone="exit 1")
    fails_and_then_works(runtime.having(ipam={"type": "gone"}), pod, 999, "gone", path=[path])


@by_both
def test_the_error_of_an_exhausted_range_is_passed_on_and_the_other_lease_stays(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    other = node.add_nic("0000:c2:00.0", "eth2", ["10.0.0.2/31"])
    before = dump(node)
    ranged = runtime.having(ipam=RANGE_OF_ONE)
    first = ranged.having(deviceID=other.bdf, pciBusID=other.bdf)
    first.added(node.add_pod("pod2"), container_id="first")
    ranged.add(pod).expect_error(999, "no IP addresses available")
    leases = node.root / LEASES.lstrip("/") / "fabric"
    assert (leases / "10.9.0.2").read_text().split() == ["first", "net1"]
    assert addresses(node, "eth1") == ["10.0.0.0/31", "fd00::8/64"]
    assert first.delete("/run/netns/pod2", container_id="first").succeeded
    ranged.added(pod)
    assert addresses(pod) == ["10.9.0.2/29"]
    assert ranged.delete(pod).succeeded
    assert damage(before, node) == []


@by_both
def test_if_the_ipam_plugin_fails_add_is_undone_and_passes_its_error_on(
    runtime: Runtime, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    answer = json.dumps({"cniVersion": "1.0.0", "code": 123, "msg": "no more today"})
    path = plugin_folder(
        tmp_path / "bin", moody=f"[ $CNI_COMMAND = DEL ] && exit; echo '{answer}'; exit 1"
    )
    fails_and_then_works(runtime.having(ipam={"type": "moody"}), pod, 123, "no more", path=[path])


@by_delegate
@pytest.mark.parametrize(
    ("script", "words"),
    [
        (f"{DEBIAN}/host-device >/dev/null; echo nonsense", ["not JSON"]),
        (f"{DEBIAN}/host-device >/dev/null; echo '[]'", ["a list"]),
        (f"{DEBIAN}/host-device >/dev/null; echo oops >&2; exit 3", ["exit status 3", "oops"]),
        (f"{DEBIAN}/host-device >/dev/null; kill -9 $$", ["-9"]),
        ('echo \'{"cniVersion":"1.0.0"}\'', ["net1", "is not in"]),
    ],
    ids=["prints nonsense", "prints a list", "just exits", "is killed", "moves nothing"],
)
def test_an_add_is_undone_if_the_delegate_gives_no_usable_answer(
    runtime: Runtime, nic: Nic, pod: Pod, tmp_path: Path, script: str, words: list[str]
) -> None:
    path = plugin_folder(
        tmp_path / "bin", host_device=f"[ $CNI_COMMAND = VERSION ] || {{ {script}; }}"
    )
    broken = runtime.having(cniVersion="1.0.0")
    fails_and_then_works(broken, pod, 107, *words, path=[path])


@by_delegate
def test_without_the_delegate_nothing_moves_and_the_error_names_the_folders(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    hide_plugins(node)
    outcome = runtime.add(pod)
    outcome.expect_error(106, "host-device", "/opt/cni/bin", "containernetworking-plugins")
    assert damage(before, node) == []


@by_delegate
def test_an_add_is_undone_and_a_netdev_that_took_its_ifname_left_alone(
    runtime: Runtime, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    before = dump(runtime.node)
    take = "nsenter --net=$CNI_NETNS ip link add net1 type bridge"
    script = f"[ $CNI_COMMAND = ADD ] && {take}; exec {DEBIAN}/host-device"
    path = plugin_folder(tmp_path / "bin", host_device=script)
    outcome = runtime.having(cniVersion="1.0.0").add(pod, path=[path])
    outcome.expect_error(999)
    assert damage(before, runtime.node) == []
    (link,) = pod.ip_json("-details link show dev net1")
    assert link["linkinfo"]["info_kind"] == "bridge"


@by_delegate
def test_a_lease_taken_by_a_failed_add_is_released(
    runtime: Runtime, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    fails_late = f"{DEBIAN}/host-device; [ $CNI_COMMAND = ADD ] && exit 3"
    path = plugin_folder(tmp_path / "bin", host_device=fails_late)
    leasing = runtime.having(ipam=RANGE_OF_ONE, cniVersion="1.0.0")
    fails_and_then_works(leasing, pod, 107, "exit status 3", path=[path])
    leasing.added(pod)
    assert addresses(pod) == ["10.9.0.2/29"]


@by_delegate
def test_nic_and_lease_are_returned_even_if_the_delegate_fails_to_undo(
    runtime: Runtime, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    fails_always = f"[ $CNI_COMMAND = ADD ] && {DEBIAN}/host-device >/dev/null; exit 3"
    path = plugin_folder(tmp_path / "bin", host_device=fails_always)
    leasing = runtime.having(ipam=RANGE_OF_ONE, cniVersion="1.0.0")
    fails_and_then_works(leasing, pod, 107, "exit status 3", path=[path])


@by_delegate
def test_a_del_returns_the_nic_even_if_the_delegate_is_gone(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    hide_plugins(node)
    outcome = runtime.delete(pod)
    assert outcome.succeeded, outcome
    assert "delegate-failed" in outcome.stderr
    assert damage(before, node) == []


@by_both
def test_a_del_that_cannot_release_a_lease_restores_the_host_and_can_be_repeated(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    before = dump(node)
    path = plugin_folder(
        tmp_path / "bin",
        host_local=f"[ $CNI_COMMAND = DEL ] && exit 3; exec {DEBIAN}/host-local",
    )
    leasing = runtime.having(ipam=RANGE_OF_ONE)
    leasing.added(pod)
    assert not leasing.delete(pod, path=[path]).succeeded
    assert differences(before, dump(node)) == []
    assert ifnames(pod) == set()
    assert leasing.delete(pod).succeeded
    assert damage(before, node) == []


@by_both
@pytest.mark.parametrize("by", ["DEL", "another ADD"])
def test_an_address_that_the_kernel_refuses_blocks_no_other_and_is_retried(
    runtime: Runtime, node: Node, pod: Pod, by: str
) -> None:
    words = ["fd00::8/64", "fd00::9/64", "10.0.0.0/31", "10.0.0.5/24"]
    node.add_nic(BDF, "eth1", words, peer_addresses=[])
    before = dump(node)
    runtime.added(pod)
    node.sysctl("net/ipv6/conf/default/disable_ipv6", 1)
    runtime.delete(pod).expect_error(TRY_AGAIN, "fd00::8/64", "fd00::9/64", "disabled")
    assert sorted(addresses(node, "eth1")) == ["10.0.0.0/31", "10.0.0.5/24"]
    assert "UP" in node.ip_json("link show dev eth1")[0]["flags"]
    node.sysctl("net/ipv6/conf/default/disable_ipv6", 0)
    node.sysctl("net/ipv6/conf/eth1/disable_ipv6", 0)
    if by == "DEL":
        assert runtime.delete(pod).succeeded
    else:
        runtime.added(pod, container_id="next")
        assert sorted(addresses(pod)) == sorted(words)
        assert runtime.delete(pod, container_id="next").succeeded
    assert damage(before, node) == []


@by_delegate
def test_an_address_that_conflicts_with_some_blocks_no_other(
    runtime: Runtime, node: Node, pod: Pod, tmp_path: Path
) -> None:
    words = ["10.0.0.2/24", "10.0.0.3/24", "10.1.0.0/31", "fd00::8/64"]
    node.add_nic(BDF, "eth1", words, peer_addresses=[])
    before = dump(node)
    ours = runtime.having(cniVersion="1.0.0")
    ours.added(pod)
    # A secondary address must have the scope of its primary (net/ipv4/devinet.c).
    quicker = "ip address add 10.0.0.1/24 scope link dev eth1"
    path = plugin_folder(tmp_path / "bin", host_device=f"{DEBIAN}/host-device && {quicker}")
    ours.delete(pod, path=[path]).expect_error(TRY_AGAIN, "10.0.0.2/24", "10.0.0.3/24")
    assert set(addresses(node, "eth1")) == {"10.0.0.1/24", "10.1.0.0/31", "fd00::8/64"}
    node.ip("address delete 10.0.0.1/24 dev eth1")
    assert ours.delete(pod).succeeded
    assert remains(node) == []
    assert sorted(addresses(node, "eth1")) == sorted(words)
    assert differences(before, dump(node), sections=[Section.NETDEV, Section.ADDRESS]) == []


HANGING_CALL = """
import os, sys
from amdcni.effects import plugins
from amdcni_shim.__main__ import main
plugins.TIME_LIMIT_S = 1.0
sys.exit(main(os.environ, sys.stdin.buffer, sys.stdout, sys.stderr))
"""
"""Serves a call like the executable, but gives the plugins that it calls one second."""


@pytest.mark.thorough
@by_delegate
def test_a_delegate_that_hangs_is_killed_with_its_children_and_the_move_undone(
    runtime: Runtime, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    before = dump(runtime.node)
    hang = f"trap '' TERM; {DEBIAN}/host-device >/dev/null; echo $$ >$0.pid; sleep 77 & wait; wait"
    script = f"if [ $CNI_COMMAND = ADD ]; then {hang}; else exec {DEBIAN}/host-device; fi"
    path = plugin_folder(tmp_path / "bin", host_device=script)
    done = runtime.node.run(
        [sys.executable, "-c", HANGING_CALL],
        stdin=json.dumps(runtime.having(cniVersion="1.0.0").config).encode(),
        env=environment_of("ADD", {"netns": pod, "path": [path]}),
    )
    error = json.loads(done.stdout)
    assert (done.returncode, error["code"]) == (1, 107)
    assert "did not end ADD within 1 s and was killed" in error["msg"]
    assert damage(before, runtime.node) == []
    group = (path / "host-device.pid").read_text().strip()
    wait_until(lambda: members(runtime.node, group) == "", "its children have ended")


def members(node: Node, group: str) -> str:
    """Return the living processes of a process group."""
    done = node.run(["ps", "-o", "pid=,stat=,args=", "-g", group])
    lines = done.stdout.decode().splitlines()
    return "\n".join(line for line in lines if "Z" not in line.split()[1])


@by_both
def test_a_failed_add_restores_labels_and_metrics_too(
    runtime: Runtime, node: Node, pod: Pod, tmp_path: Path
) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31 label eth1:fabric metric 70", "10.0.0.4/24 scope link"])
    before = dump(node)
    path = plugin_folder(tmp_path / "bin", moody="[ $CNI_COMMAND = DEL ] && exit; exit 1")
    failing = runtime.having(ipam={"type": "moody"})
    assert not failing.add(pod, path=[path]).succeeded
    assert damage(before, node) == []
