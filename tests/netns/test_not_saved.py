"""What cannot be restored is named when the NIC is lent, each thing once, and nothing else."""

import re
import sys
from pathlib import Path

import pytest

from amdcni.testing import Node, Outcome, Pod
from amdcni.testing.strategies import ROOT_QDISCS
from tests.netns.runtime import BDF, Runtime, expect_silence, natively

LOST = {
    "-6 nexthop add id 10 encap seg6local action End.DX2 oif eth1 dev eth1": (
        "an encapsulation of the nexthop object 10"
    ),
    "-6 route add fd08::/64 encap seg6local action End.DX2 oif eth1 dev eth1": (
        "an encapsulation of the route to fd08::/64"
    ),
}
"""Commands for `ip`, and what is reported about their results."""

BOUND = (
    "-6 addrlabel add prefix fd00::/64 dev eth1 label 99",
    "mptcp endpoint add 10.0.0.0 dev eth1 signal",
)
"""What refers to the NIC by its ifindex, and holds again because the NIC gets that back."""

ON_ANOTHER = (
    "nexthop add id 20 dev other",
    "nexthop add id 21 group 20",
    "-6 addrlabel add prefix fd09::/64 dev other label 98",
)


def not_saved(outcome: Outcome) -> list[str]:
    """Return what was not saved, according to the log, which must have no other line."""
    lines = outcome.stderr.splitlines()
    found = [re.search(r'event=not-saved .*what="(?P<what>[^"]*)"', line) for line in lines]
    assert all(found), outcome
    return [each["what"] for each in found if each is not None]


def set_on(node: Node, commands: list[str]) -> None:
    """Run commands of `ip`; only those for MPTCP may be unknown to this kernel or iproute2."""
    for command in commands:
        done = node.run(["ip", *command.split()])
        assert done.returncode == 0 or "mptcp" in command, (command, done)


@natively
@pytest.mark.parametrize("renumbered", [False, True])
def test_each_thing_that_will_be_lost_is_named_once(
    runtime: Runtime, node: Node, pod: Pod, renumbered: bool
) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/24", "fd00::8/64"])
    for command in (
        "link add other type veth peer name far",
        "link set far up",
        "link set other up",
    ):
        node.ip(command)
    set_on(node, [*ON_ANOTHER, *LOST, *BOUND])
    if renumbered:
        (link,) = node.ip_json("link show dev eth1")
        pod.ip(f"link add taken index {link['ifindex']} type veth peer name far index 99")
    outcome = runtime.add(pod)
    assert outcome.succeeded, outcome
    expected = {*LOST.values()}
    reported = not_saved(outcome)
    assert len(reported) == len(expected)
    for what in expected:
        assert len([each for each in reported if each.startswith(what)]) == 1, (what, reported)


@natively
def test_nothing_is_reported_for_a_plain_nic(runtime: Runtime, node: Node, pod: Pod) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31", "fd00::8/64"])
    node.ip("neighbour add 10.0.0.1 lladdr 02:00:00:00:00:77 dev eth1")
    for number, qdisc in enumerate(ROOT_QDISCS, start=1):
        node.tc(f"qdisc replace dev eth1 root handle {number}: {qdisc}")
        assert not_saved(runtime.add(pod)) == []
        expect_silence(runtime.delete(pod))


@natively
def test_traffic_control_that_cannot_be_put_back_is_reported(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31"])
    for command in (
        "qdisc add dev eth1 root handle 3: stab linklayer atm overhead 10 htb default 10",
        "class add dev eth1 parent 3: classid 3:10 estimator 1sec 8sec htb rate 1mbit",
        "actions add action mirred egress mirror dev lo index 7",
        "qdisc add dev eth1 clsact",
        "filter add dev eth1 ingress prio 9 u32 match u32 0 0 action mirred index 7",
    ):
        node.tc(command)
    assert not_saved(runtime.add(pod)) == [
        "the size table of the qdisc htb",
        "the rate estimator of the class 3:10 of qdisc htb",
        "the filter u32 (priority 9, chain 0) of clsact ingress"
        " (the action mirred, which is shared)",
    ]
    expect_silence(runtime.delete(pod))
    assert "htb" in node.tc("class show dev eth1")


PROGRAMS = Path(__file__).with_name("programs.py")


@natively
def test_bpf_programs_are_reported_and_go_along_with_the_nic(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31"])
    loaded = node.run([sys.executable, str(PROGRAMS), "eth1"])
    if loaded.returncode != 0:
        pytest.skip(f"this kernel has no tcx, or lets us load no program: {loaded.stderr!r}")
    xdp, first, second = loaded.stdout.decode().split()
    expected = [f"the XDP program {xdp} (generic)", f"the tcx programs {first}, {second}"]
    assert not_saved(runtime.add(pod)) == expected
    (link,) = pod.ip_json("link show dev net1")
    assert str(link["xdp"]["prog"]["id"]) == xdp
    expect_silence(runtime.delete(pod))
    assert not_saved(runtime.add(pod)) == expected
