"""A NIC that carries something stays on the host, and what it carries stays whole."""

import json

from amdcni.testing import Nic, Node, Pod, dump
from tests.netns.command import run_amdcni
from tests.netns.runtime import Runtime, damage, expect_silence, natively

PROTECTED = 103

CHILDREN = {
    "link add top link eth1 type macvlan": "carries top",
    "link add top link eth1 type macvtap": "carries top",
    "link add top type vxlan id 1 dev eth1 dstport 4789": "carries top",
    "link add top type vxlan id 1 local 10.0.0.0 dstport 4789": "carries top (from 10.0.0.0)",
    "link add top type vxlan id 1 local fd00::8 dstport 4789": "carries top (from fd00::8)",
    "link add top type vxlan id 1 remote 10.0.0.1 dstport 4789": "carries top (to 10.0.0.1)",
    "link add top type bridge": "is a member of top",
}


def protection_of(node: Node) -> object:
    """Return what `amdcni devices` says about the NIC's netdev."""
    first, *_ = json.loads(run_amdcni(node, "devices", "--json").stdout)
    (netdev,) = first["netdevs"]
    assert netdev["uplink"] == ("default route" in (netdev["protected"] or ""))
    return netdev["protected"]


@natively
def test_a_nic_that_carries_something_is_refused_and_nothing_of_it_is_lost(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    for adding, words in CHILDREN.items():
        node.ip(adding)
        if "member" in words:
            node.ip("link set eth1 master top")
        runtime.add(pod).expect_error(PROTECTED, f"eth1 {words};")
        if "member" in words:
            assert protection_of(node) == words
        node.ip("link delete top")
    assert damage(before, node) == []
    node.ip("link add top type vxlan id 1 remote 192.0.2.1 dstport 4789")
    assert protection_of(node) is None
    runtime.added(pod)


@natively
def test_a_nic_that_receives_for_a_macvlan_in_another_netns_is_refused(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    """The NIC would lose the macvlan's address, and the macvlan would receive nothing any more."""
    other = node.add_pod("pod2")
    node.ip("link add top address 02:00:00:00:00:77 link eth1 type macvlan mode bridge")
    node.ip("link set top netns pod2")
    other.ip("link set top up")
    runtime.add(pod).expect_error(PROTECTED, "eth1", "02:00:00:00:00:77")
    other.ip("link delete top")
    runtime.added(pod)


WAYS = (
    (["route add default dev eth1", "route add ::/0 dev eth2"], "IPv4"),
    (["route add default dev eth2", "route add ::/0 dev eth1"], "IPv6"),
    (["route add default dev top", "route add ::/0 dev eth2"], "IPv4"),
    (["route add 0.0.0.0/1 dev eth1", "route add 128.0.0.0/1 dev eth2"], "IPv4"),
    (["route add default dev eth1", "route add unreachable default metric 9"], "IPv4"),
)
"""The routes that are set, and the family for which `eth1` is the only way out."""

NOT_NEEDED = (
    ["route add default dev eth1", "route add default dev eth2 metric 9"],
    ["route add default nexthop dev eth1 nexthop dev eth2"],
    ["route add default dev eth1 table 100"],
)
"""Routes with which the node does not need `eth1`."""


@natively
def test_a_nic_that_is_an_ip_familys_only_way_out_is_refused(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.add_nic("0000:c2:00.0", "eth2", ["10.0.2.0/31", "fd02::8/64"])
    for routes, family in WAYS:
        if "default dev top" in routes[0]:
            node.ip("link add top type vxlan id 1 dev eth1 dstport 4789")
            node.ip("link set top up")
        node.ip_batch(routes)
        words = f"carries the node's only default route of {family}"
        runtime.add(pod).expect_error(PROTECTED, words)
        node.ip_batch([route.replace("add", "delete") for route in routes])
    node.ip("link delete top")
    for routes in NOT_NEEDED:
        node.ip_batch(routes)
        assert protection_of(node) is None
        node.ip_batch([route.replace("add", "delete") for route in routes])
    node.ip_batch(NOT_NEEDED[0])
    runtime.added(pod)


VF = "0000:c1:00.1"


@natively
def test_of_a_physical_function_and_its_virtual_one_only_the_first_is_lent(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.add_nic(VF, "eth2", ["10.2.0.0/31"])
    node.sysfs.make_virtual(VF, 0, of=nic.bdf)
    other, before = node.add_pod("pod2"), dump(node)
    physical = runtime
    virtual = runtime.having(deviceID=VF, pciBusID=VF)
    why = f"has the virtual function {VF}, which container pod2 has as 'net1'"
    virtual.added(other, container_id="pod2")
    physical.add(pod).expect_error(PROTECTED, f"{nic.bdf} {why}; one pod would control")
    assert protection_of(node) == why
    expect_silence(virtual.delete(other, container_id="pod2"))
    assert protection_of(node) is None
    physical.added(pod)
    why = f"belongs to the physical function {nic.bdf}, which container"
    virtual.add(other, container_id="pod2").expect_error(PROTECTED, f"{VF} {why}")
    expect_silence(physical.delete(pod))
    assert damage(before, node) == []
