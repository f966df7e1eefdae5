"""A NIC that comes back bare while its pod lives, as after a reset, is attached again."""

import json
from collections.abc import Callable
from signal import SIGKILL
from typing import Any

import pytest

from amdcni.testing import Nic, Node, Pod, differences, dump
from tests.netns.command import output_of_amdcni, run_amdcni
from tests.netns.resets import MADE_ANEW, reset
from tests.netns.runtime import (
    BDF,
    DEBIAN,
    TRY_AGAIN,
    Runtime,
    addresses,
    damage,
    expect_silence,
    ifnames,
    record_of,
    records,
)

STATIC = {"type": "static", "addresses": [{"address": "10.8.0.2/24"}, {"address": "fd08::2/64"}]}
HOST_LOCAL = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.9.0.0/24"}]],
    "routes": [{"dst": "192.0.2.0/24"}],
}
ADDRESSES = ["10.0.0.0/31", "10.0.0.5/24", "fd00::8/64"]
IPAMS = pytest.mark.parametrize("ipam", [None, STATIC, HOST_LOCAL], ids=["host", "static", "lease"])


@pytest.fixture
def nic(node: Node) -> Nic:
    """A NIC with attributes that only a record preserves."""
    words = ["10.0.0.0/31 label eth1:fabric metric 70", "10.0.0.5/24 scope link", "fd00::8/64"]
    nic = node.add_nic(BDF, "eth1", words, peer_addresses=["10.0.0.1/31"])
    node.ip_batch(
        [
            "link set eth1 alias fabric mtu 1400 txqueuelen 77 group 5",
            "link property add dev eth1 altname rail0",
            "route add 192.0.2.0/24 via 10.0.0.1 dev eth1 table 1000 metric 50 proto static",
            "route add 198.51.100.0/24 via 10.0.0.1 dev eth1 metric 60",
            "route add 2001:db8::/64 via fd00::9 dev eth1 metric 77",
            "neighbour add 10.0.0.1 lladdr 02:00:00:00:00:77 dev eth1",
        ]
    )
    return nic


def heal(node: Node, *options: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status of `amdcni heal` and what it says of the only device."""
    done = run_amdcni(node, "heal", "--json", *options)
    (finding,) = json.loads(done.stdout)
    return done.returncode, finding


def having(runtime: Runtime, ipam: object, **keys: object) -> Runtime:
    return runtime.having(**({} if ipam is None else {"ipam": ipam}), **keys)


@pytest.mark.parametrize(
    ("ipam", "copied"),
    [(None, False), (None, True), (STATIC, False), (HOST_LOCAL, False)],
    ids=["host", "copied", "static", "lease"],
)
def test_after_a_reset_the_pod_gets_its_nic_back_and_its_del_restores_the_host(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, ipam: object, copied: bool
) -> None:
    node.sysctl("net/ipv4/conf/eth1/arp_announce", 2)
    before = dump(node)
    with_sysctls = copied and runtime.config["mover"] == "native"
    keys = {"copySysctls": True} if with_sysctls else {}
    runtime = having(runtime, ipam, copyRoutes=copied, **keys)
    result = runtime.added(pod, path=[DEBIAN])
    assert (pod.sysctl("net/ipv4/conf/net1/arp_announce") == "2") == with_sysctls
    in_pod = dump(pod)
    for _ in range(2):
        reset(node, nic, pod)
        assert (ifnames(node), ifnames(pod)) == ({MADE_ANEW}, set())
        status, finding = heal(node)
        assert (status, finding["found"], finding["healed"]) == (0, "reset", True)
        # The kernel remembers that no duplicates were looked for of an address.
        changed = differences(in_pod, dump(pod))
        assert [each for each in changed if "nodad was absent" not in each] == []
        assert ifnames(node) == set()
        expect_silence(runtime.check(pod, result, path=[DEBIAN]))
    expect_silence(runtime.delete(pod, path=[DEBIAN]))
    assert damage(before, node) == []


def test_the_pod_reaches_its_peer_again(runtime: Runtime, node: Node, nic: Nic, pod: Pod) -> None:
    runtime.added(pod)
    reset(node, nic, pod)
    heal(node)
    assert pod.ping(nic.peers[0])


@IPAMS
@pytest.mark.parametrize("lives", [True, False])
def test_a_del_right_after_the_reset_restores_the_host(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, ipam: object, lives: bool
) -> None:
    before = dump(node)
    runtime = having(runtime, ipam)
    runtime.added(pod, path=[DEBIAN])
    reset(node, nic, pod)
    if not lives:
        pod.delete()
    expect_silence(runtime.delete(pod, path=[DEBIAN]))
    assert damage(before, node) == []


def test_a_pod_that_ends_after_the_reset_is_healed_to_the_host(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    reset(node, nic, pod)
    pod.delete()
    status, finding = heal(node)
    assert (status, finding["found"], finding["healed"]) == (0, "returned", True)
    assert damage(before, node) == []


@pytest.mark.parametrize("command", ["GC", "STATUS"])
def test_gc_and_status_attach_it_again_too(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, command: str
) -> None:
    runtime.added(pod)
    reset(node, nic, pod)
    outcome = runtime.having("deviceID", "pciBusID").call(command)
    assert outcome.succeeded
    assert "event=reattached" in outcome.stderr
    assert ifnames(pod) == {"net1"}


def test_every_command_says_the_same_of_it(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    words = "it was reset, and its pod, which lives, has lost it"
    result = runtime.added(pod)
    reset(node, nic, pod)
    (row,) = json.loads(output_of_amdcni(node, "attachments", "--json"))
    assert (row["found"], row["orphan"]) == ("reset", False)
    for command in ("attachments", f"attachments show {BDF}", "heal --dry-run", "check", "doctor"):
        assert words in wide(node, *command.split())
    assert words in wide(node, "devices")
    runtime.check(pod, result).expect_error(108, "is not in")
    runtime.add(node.add_pod("pod2"), container_id="other").expect_error(TRY_AGAIN, "container-1")
    assert "attached again" in wide(node, "heal")
    runtime.check(pod, result)
    assert words not in wide(node, "attachments")


WIDE = {"PATH": "/usr/bin:/bin", "COLUMNS": "400"}


def wide(node: Node, *words: str) -> str:
    """Return what the command prints on a terminal so wide that no sentence is folded."""
    return run_amdcni(node, *words, env=WIDE).stdout.decode()


# ---- what stays on the host


@pytest.mark.parametrize(
    "commands",
    [
        ["address add 10.9.9.9/24 dev eth9"],
        ["link set eth9 up", "route add 203.0.113.0/24 dev eth9"],
        ["neighbour add 10.1.1.1 lladdr 02:00:00:00:00:78 dev eth9"],
        ["link add br0 type bridge", "link set eth9 master br0"],
        ["link add v1 type vxlan id 4 dev eth9 dstport 4789"],
    ],
    ids=lambda commands: commands[-1].split()[0] + " " + commands[-1].split()[1],
)
def test_a_nic_that_somebody_uses_on_the_host_stays_there_until_it_is_free(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, commands: list[str]
) -> None:
    runtime.added(pod)
    reset(node, nic, pod)
    node.ip_batch(commands)
    before = dump(node)
    for options in (["--dry-run"], [], []):
        status, finding = heal(node, *options)
        assert (status, finding["found"], finding["healed"]) == (1, "reset", False)
        assert MADE_ANEW in finding["failure"]
        assert differences(before, dump(node)) == []
    assert ifnames(pod) == set()


def test_what_a_network_manager_sets_again_does_not_keep_it_on_the_host(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    reset(node, nic, pod)
    node.ip_batch(
        [
            f"link set {MADE_ANEW} name eth1",
            "link set eth1 up",
            "address add 10.0.0.0/31 label eth1:fabric metric 70 dev eth1",
            "address add fd00::8/64 dev eth1",
            "route add 198.51.100.0/24 via 10.0.0.1 dev eth1 metric 60",
        ]
    )
    assert heal(node)[1]["healed"]
    assert sorted(addresses(pod)) == ADDRESSES
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


def test_a_name_that_the_pod_has_given_away_keeps_it_on_the_host(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    reset(node, nic, pod)
    pod.ip("link add net1 type bridge")
    status, finding = heal(node)
    assert (status, finding["healed"]) == (1, False)
    assert "'net1' already exists" in finding["failure"]
    assert ifnames(node) == {MADE_ANEW}
    pod.ip("link delete net1")
    assert heal(node)[1]["healed"]
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


def test_other_hardware_in_the_slot_stays_on_the_host_and_is_reported(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    node.unplug(nic)
    node.add_nic(BDF, MADE_ANEW, device="0x1003")
    before = dump(node)
    _, finding = heal(node)
    assert (finding["found"], finding["healed"]) == ("unplugged", False)
    assert "another card" in run_amdcni(node, "doctor", env=WIDE).stdout.decode()
    assert differences(before, dump(node)) == []
    assert ifnames(pod) == set()
    assert record_of(node).exists()


def test_a_nic_that_somebody_takes_out_of_its_pod_is_returned_to_the_host(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    pod.ip(f"link set net1 netns {node.netns}")
    node.refresh()
    status, finding = heal(node)
    assert (status, finding["found"], finding["healed"]) == (0, "returned", True)
    assert damage(before, node) == []


# ---- kills


Sequel = Callable[[Runtime, Pod], None]


def heals(runtime: Runtime, pod: Pod) -> None:
    _, finding = heal(runtime.node)
    assert finding["failure"] is None
    assert finding["healed"] or finding["found"] == "held"
    assert sorted(addresses(pod)) == ADDRESSES
    expect_silence(runtime.delete(pod))


def deletes(runtime: Runtime, pod: Pod) -> None:
    assert runtime.delete(pod).succeeded


def ends(runtime: Runtime, pod: Pod) -> None:
    pod.delete()
    heal(runtime.node)


def adds(runtime: Runtime, pod: Pod) -> None:
    runtime.added(pod)
    assert sorted(addresses(pod)) == ADDRESSES
    expect_silence(runtime.delete(pod))


SEQUELS: tuple[Sequel, ...] = (heals, deletes, ends, adds)


@pytest.mark.parametrize("change", range(1, 24))
def test_killed_before_any_change_it_is_continued_or_ended_by_the_next_call(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, change: int, mover: str
) -> None:
    before = dump(node)
    runtime.added(pod)
    reset(node, nic, pod)
    asked = runtime.having("deviceID", "pciBusID")
    outcome = asked.start_to_die(("change", change), "STATUS").wait()
    assert outcome.exit_status in (0, -SIGKILL), outcome
    SEQUELS[(change + (mover == "native")) % len(SEQUELS)](runtime, pod)
    assert records(node) == {}
    assert damage(before, node) == []
