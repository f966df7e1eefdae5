"""A NIC that carries something stays on the host, and what it carries stays whole."""

import json
import sysconfig
from pathlib import Path

import pytest

from amdcni.testing import Nic, Node, Pod, dump
from tests.netns.runtime import Runtime, damage, natively

AMDCNI = Path(sysconfig.get_path("scripts")) / "amdcni"
PROTECTED = 103

CHILDREN = {
    "macvlan": ("link add top link eth1 type macvlan", "carries top"),
    "macvtap": ("link add top link eth1 type macvtap", "carries top"),
    "vxlan with dev": ("link add top type vxlan id 1 dev eth1 dstport 4789", "carries top"),
    "vxlan with local": (
        "link add top type vxlan id 1 local 10.0.0.0 dstport 4789",
        "carries top (from 10.0.0.0)",
    ),
    "vxlan with IPv6 local": (
        "link add top type vxlan id 1 local fd00::8 dstport 4789",
        "carries top (from fd00::8)",
    ),
    "vxlan with remote": (
        "link add top type vxlan id 1 remote 10.0.0.1 dstport 4789",
        "carries top (to 10.0.0.1)",
    ),
    "bridge": ("link add top type bridge", "is a member of top"),
}


def protection_of(node: Node) -> object:
    """What `amdcni devices` tells of the NIC's netdev."""
    (nic,) = json.loads(node.run([str(AMDCNI), "devices", "--json"]).stdout)
    return nic["netdevs"][0]["protected"]


@natively
def test_a_nic_that_carries_something_is_refused_and_nothing_of_it_is_lost(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    for adding, words in CHILDREN.values():
        node.ip(adding)
        if "member" in words:
            node.ip("link set eth1 master top")
        before = dump(node)
        runtime.add(pod).expect_error(PROTECTED, f"eth1 {words};")
        assert protection_of(node) == words
        assert damage(before, node) == []
        node.ip("link delete top")
    node.ip("link add top type vxlan id 1 remote 192.0.2.1 dstport 4789")
    assert protection_of(node) is None
    runtime.added(pod)


@natively
def test_a_nic_that_receives_for_a_macvlan_in_another_netns_is_refused(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    """The address would be gone from the NIC, and no packet come to the macvlan any more."""
    other = node.add_pod("pod2")
    node.ip("link add top address 02:00:00:00:00:77 link eth1 type macvlan mode bridge")
    node.ip("link set top netns pod2")
    other.ip("link set top up")
    runtime.add(pod).expect_error(PROTECTED, "eth1", "02:00:00:00:00:77")
    other.ip("link delete top")
    runtime.added(pod)


@natively
def test_an_rdma_device_of_software_keeps_its_netdev(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    device = node.root / "sys/class/infiniband/rxe0"
    device.mkdir(parents=True)
    (device / "parent").write_text("eth1\n")
    runtime.add(pod).expect_error(PROTECTED, "rxe0")


@natively
@pytest.mark.parametrize(
    ("routes", "family"),
    [
        (["route add default dev eth1", "-6 route add default dev eth2"], "IPv4"),
        (["route add default dev eth2", "-6 route add default dev eth1"], "IPv6"),
        (["route add default dev top", "-6 route add default dev eth2"], "IPv4"),
        (["route add 0.0.0.0/1 dev eth1", "route add 128.0.0.0/1 dev eth2"], "IPv4"),
        (["route add default dev eth1", "route add unreachable default metric 9"], "IPv4"),
        (["route add default dev eth1", "route add default dev eth2 metric 9"], None),
        (["route add default nexthop dev eth1 nexthop dev eth2"], None),
        (["route add default dev eth1 table 100"], None),
    ],
)
def test_each_family_keeps_a_way_out(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, routes: list[str], family: str | None
) -> None:
    node.add_nic("0000:c2:00.0", "eth2", ["10.0.2.0/31", "fd02::8/64"])
    if "default dev top" in routes[0]:
        node.ip("link add top type vxlan id 1 dev eth1 dstport 4789")
        node.ip("link set top up")
    for route in routes:
        node.ip(route)
    uplinks = {
        netdev["ifname"]: netdev["uplink"]
        for each in json.loads(node.run([str(AMDCNI), "devices", "--json"]).stdout)
        for netdev in each["netdevs"]
    }
    assert uplinks["eth1"] == (family is not None)
    if family is None:
        runtime.added(pod)
    else:
        runtime.add(pod).expect_error(PROTECTED, f"only default route of {family}")
