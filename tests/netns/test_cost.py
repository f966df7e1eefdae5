"""What a call reads does not depend on what else is on the node."""

import json
from pathlib import Path

import pytest
from attrs import frozen

from amdcni.core.names import PciAddress
from amdcni.testing import Node, Pod
from amdcni.testing.cni import environment_of
from tests.netns.runtime import (
    BDF,
    Runtime,
    by_both,
    expect_silence,
    natively,
    record_of,
    state_folder,
)
from tests.netns.warm import start_warm

WATCHED_CALL = Path(__file__).with_name("watched_call.py")
COUNTED_CALL = Path(__file__).with_name("counted_call.py")
OTHERS = 1000


@frozen
class Asked:
    """How many netlink requests a call made, how many messages came back, and what it decoded.

    `netdevs` is how often it requested all netdevs of a network namespace.
    """

    requests: int
    messages: int
    netdevs: int
    records: int


def run_script(runtime: Runtime, script: Path, notes: str, command: str, pod: Pod) -> None:
    """Have a script make a call, which must succeed."""
    stdin = json.dumps(runtime.config).encode()
    env = environment_of(command, {"netns": pod})
    outcome = start_warm(runtime.node, [script, notes], stdin=stdin, env=env).wait()
    assert outcome.succeeded, outcome


def read_by(runtime: Runtime, command: str, pod: Pod) -> list[str]:
    """Make a call; return what it read in the state folder, in order."""
    notes = runtime.node.root / "run" / "watched"
    run_script(runtime, WATCHED_CALL, "/run/watched", command, pod)
    return [path for path in json.loads(notes.read_text()) if "/amd-host-device" in path]


@pytest.fixture
def others(node: Node, runtime: Runtime, pod: Pod) -> None:
    """Records of `OTHERS` other devices, each held by a living pod."""
    runtime.add(pod)
    text = record_of(node).read_text()
    expect_silence(runtime.delete(pod))
    for number in range(OTHERS):
        device = str(PciAddress(1, number >> 5, number & 31, 0))
        (state_folder(node) / f"{device}.json").write_text(text.replace(BDF, device))


def test_a_thousand_other_records_make_add_and_del_open_and_list_nothing_more(
    node: Node, runtime: Runtime, pod: Pod, request: pytest.FixtureRequest
) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31"])
    read_by(runtime, "ADD", pod), read_by(runtime, "DEL", pod)  # These make the folders.
    alone = [read_by(runtime, "ADD", pod), read_by(runtime, "DEL", pod)]
    request.getfixturevalue("others")
    assert len(list(state_folder(node).glob("0001:*.json"))) == OTHERS
    crowded = [read_by(runtime, "ADD", pod), read_by(runtime, "DEL", pod)]
    assert crowded == alone
    for paths in crowded:
        assert any(path.endswith(f"{BDF}.json") for path in paths)


KERNELS_OWN = 12
"""IPv6 addresses and routes that the kernel makes at some moment, before or after the call."""


def asked_by(runtime: Runtime, pod: Pod) -> tuple[Asked, Asked]:
    """Lend the NIC to the pod and return it; return what ADD and DEL asked for."""
    notes = runtime.node.root / "run" / "counted"
    found = []
    for command in ("ADD", "DEL"):
        run_script(runtime, COUNTED_CALL, "/run/counted", command, pod)
        found.append(Asked(**json.loads(notes.read_text())))
    return found[0], found[1]


def routed(node: Node, ifname: str, router: str, network: str, numbers: range) -> None:
    """Set a route for each number; every fourth one has a second hop."""
    lines = []
    for number in numbers:
        hops = f"via {router} dev {ifname}"
        if number % 4 == 0:
            hops = f"nexthop {hops} nexthop via 10.3.0.1 dev eth3"
        lines.append(f"route add {network}.{number}.0/24 proto bird {hops}")
    node.output_of(["ip", "-batch", "-"], stdin="\n".join(lines).encode())


@natively
def test_requests_grow_with_the_nics_own_routes_and_with_nothing_else(
    node: Node, runtime: Runtime, pod: Pod
) -> None:
    """Other routes and netdevs come in dumps, whose number is fixed."""
    node.add_nic(BDF, "eth1", ["10.1.0.0/31"])
    node.add_nic("0000:c2:00.0", "eth2", ["10.2.0.0/31"])
    node.add_nic("0000:c3:00.0", "eth3", ["10.3.0.0/31"])
    some, others, links = 20, 200, 50
    routed(node, "eth1", "10.1.0.1", "172.16", range(some))
    one = asked_by(runtime, pod)
    routed(node, "eth1", "10.1.0.1", "172.16", range(some, 2 * some))
    two = asked_by(runtime, pod)
    routed(node, "eth1", "10.1.0.1", "172.16", range(2 * some, 3 * some))
    three = asked_by(runtime, pod)
    routed(node, "eth2", "10.2.0.1", "172.17", range(others))
    batch = "\n".join(f"link add v{n} type veth peer name w{n}" for n in range(links // 2))
    node.output_of(["ip", "-batch", "-"], stdin=batch.encode())
    crowded = asked_by(runtime, pod)
    for verb in (0, 1):
        assert three[verb].requests - two[verb].requests == two[verb].requests - one[verb].requests
        first, second = (
            two[verb].messages - one[verb].messages,
            three[verb].messages - two[verb].messages,
        )
        assert abs(second - first) <= KERNELS_OWN
        assert crowded[verb].requests == three[verb].requests
        dumped = crowded[verb].messages - three[verb].messages
        assert dumped < 12 * (others + 3 * links)
    assert three[0].requests - two[0].requests == some // 4  # The remaining hops are set.
    assert three[1].requests - two[1].requests == some


@by_both
def test_netdevs_are_read_once_before_a_call_and_a_record_is_decoded_once(
    node: Node, runtime: Runtime, pod: Pod
) -> None:
    """The delegate moves the netdev itself, so the pod has to be read before and after.

    A DEL reads what is in the pod and on the host.  The host is read once more, to verify, if
    something had to be set when the netdev was up again.
    """
    node.add_nic(BDF, "eth1", ["10.1.0.0/31"])
    asked_by(runtime, pod)
    add, delete = asked_by(runtime, pod)
    node.ip("route add 172.16.0.0/24 via 10.1.0.1 dev eth1")
    _, delete_routed = asked_by(runtime, pod)
    delegated = runtime.config["mover"] == "delegate"
    read = (add.netdevs, delete.netdevs, delete_routed.netdevs)
    assert read == ((3, 3, 4) if delegated else (2, 2, 3))
    assert (add.records, delete.records) == (0, 1)
