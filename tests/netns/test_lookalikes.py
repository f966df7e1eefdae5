"""Netdevs that look alike: none is taken for another, and no other is touched."""

import json

import pytest

from amdcni.testing import Dump, Nic, Node, Pod, differences, dump
from tests.netns.command import output_of_amdcni
from tests.netns.runtime import (
    BDF,
    Runtime,
    addresses,
    by_both,
    damage,
    expect_silence,
    ifnames,
    records,
)

ONE_MAC = "02:00:00:00:00:77"


@pytest.fixture
def twins(node: Node) -> Dump:
    """The host with two netdevs of one kind and hardware address, such as VLANs of one NIC.

    Their other ends are in another netns, as if in another node.
    """
    far = node.add_pod("far")
    for name, number in (("vlan100", 100), ("vlan200", 200)):
        node.ip(f"link add {name} address {ONE_MAC} type veth peer name w{number} netns {far.name}")
        far.ip(f"link set w{number} up")
        node.ip_batch([f"link set {name} up", f"address add 10.{number}.0.1/24 dev {name}"])
    return dump(node)


def on(runtime: Runtime, ifname: str) -> Runtime:
    """Return a runtime whose configuration names a netdev that is on no bus."""
    return runtime.having("deviceID", "pciBusID", device=ifname)


def found(node: Node) -> list[str]:
    """Return what `amdcni` finds for each record."""
    printed = output_of_amdcni(node, "attachments", "--json")
    return [entry["found"] for entry in json.loads(printed)]


@by_both
def test_of_two_lookalikes_the_lent_one_returns_and_the_other_is_left_alone(
    runtime: Runtime, node: Node, pod: Pod, twins: Dump
) -> None:
    lent = on(runtime, "vlan100")
    lent.added(pod)
    assert found(node) == ["held"]
    for call in ("STATUS", "GC"):
        expect_silence(lent.call(call, container_id="", ifname="", netns=""))
    output_of_amdcni(node, "heal")
    assert addresses(node, "vlan200") == ["10.200.0.1/24"]
    assert addresses(pod) == ["10.100.0.1/24"]
    expect_silence(lent.delete(pod))
    assert damage(twins, node) == []


def test_two_lookalikes_in_one_pod_return_and_are_not_mixed_up(
    runtime: Runtime, node: Node, pod: Pod, twins: Dump
) -> None:
    for number, name in ((1, "vlan100"), (2, "vlan200")):
        on(runtime, name).added(pod, ifname=f"net{number}")
    pod.ip_batch(["link set net1 down", "link set net1 name own", "link set net2 down"])
    pod.ip_batch(["link set net2 name net1", "link set own name net2"])
    for number, name in ((2, "vlan200"), (1, "vlan100")):
        expect_silence(on(runtime, name).delete(pod, ifname=f"net{number}"))
    assert damage(twins, node) == []


def test_a_netdev_without_a_hardware_address_is_restored(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.ip_batch(
        [
            "tuntap add dev tun0 mode tun",
            "tuntap add dev tun1 mode tun",
            "link set tun0 up",
            "address add 10.3.0.1/24 dev tun0",
        ]
    )
    before = dump(node)
    on(runtime, "tun0").added(pod)
    assert addresses(pod) == ["10.3.0.1/24"]
    expect_silence(on(runtime, "tun0").delete(pod))
    assert damage(before, node) == []


def test_a_netdev_given_another_hardware_address_in_the_pod_is_restored(
    runtime: Runtime, node: Node, pod: Pod, twins: Dump
) -> None:
    on(runtime, "vlan100").added(pod)
    pod.ip_batch(["link set net1 down", "link set net1 address 02:00:00:00:00:99"])
    expect_silence(on(runtime, "vlan100").delete(pod))
    assert damage(twins, node) == []


def test_a_software_netdev_ends_with_its_pod_and_del_removes_its_record(
    runtime: Runtime, node: Node, pod: Pod, twins: Dump
) -> None:
    lent = on(runtime, "vlan100")
    lent.added(pod)
    pod.delete()
    assert found(node) == ["destroyed"]
    outcome = lent.delete(pod)
    assert outcome.succeeded, outcome
    assert "10.100.0.1/24" in outcome.stderr
    assert records(node) == {}
    assert ifnames(node) >= {"vlan200"}
    assert addresses(node, "vlan200") == ["10.200.0.1/24"]


def test_del_of_a_netdev_deleted_in_its_pod_succeeds(
    runtime: Runtime, node: Node, pod: Pod, twins: Dump
) -> None:
    on(runtime, "vlan100").added(pod)
    pod.ip("link delete net1")
    outcome = on(runtime, "vlan100").delete(pod)
    assert outcome.succeeded, outcome
    assert "destroyed" in outcome.stderr
    assert records(node) == {}


def test_a_netdev_of_the_same_device_that_appears_meanwhile_is_left_alone(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    node.add_nic(BDF, "port1", ["10.5.0.1/24"], mac=nic.mac)
    with_port = dump(node)
    assert found(node) == ["held"]
    pod.delete()
    output_of_amdcni(node, "heal")
    assert [line for line in differences(before, dump(node)) if "port1" not in line] == []
    gone = [line for line in differences(with_port, dump(node)) if nic.ifname not in line]
    assert gone == []


def test_a_pod_whose_path_is_hidden_keeps_its_nic(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    """Another mount namespace may have another /run/netns, so a missing path proves nothing."""
    runtime.added(pod)
    node.add_nic(BDF, "port1", ["10.5.0.1/24"])
    inside = ["sh", "-c", "echo inside; exec sleep infinity"]
    holder = node.start(["nsenter", f"--net={pod.netns}", *inside])
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"inside\n"
        node.output_of(["umount", "--lazy", pod.netns])
        assert found(node) == ["held"]
        output_of_amdcni(node, "heal")
        assert addresses(node, "port1") == ["10.5.0.1/24"]
        assert len(records(node)) == 1
    finally:
        holder.kill()
        holder.communicate()


def test_a_pod_at_the_path_of_an_earlier_one_is_not_mistaken_for_it(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    """Even though the kernel gives it the inode and the numbers of the earlier one."""
    before = dump(node)
    runtime.added(pod)
    inode = pod.inode
    for _ in range(20):
        pod.recreate()
        if pod.inode == inode:
            break
    pod.ip("link add net1 type bridge")
    pod.ip("address add 10.0.0.0/31 dev net1")
    assert found(node) == ["returned"]
    expect_silence(runtime.delete(pod))
    assert ifnames(pod) == {"net1"}
    assert damage(before, node) == []
