"""Each attachment returns its own NIC, and no call touches what belongs to somebody else."""

import os
from pathlib import Path

import pytest

from amdcni.testing import CommandFailed, Nic, Node, Pod, differences, dump
from tests.netns.runtime import (
    BDF,
    TRY_AGAIN,
    Runtime,
    addresses,
    by_both,
    damage,
    expect_silence,
    ifnames,
    records,
    state_folder,
)


def test_a_late_del_of_an_old_sandbox_leaves_the_new_owner_alone(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    new = node.add_pod("pod2")
    runtime.added(pod, container_id="old")
    expect_silence(runtime.delete(pod, container_id="old"))
    runtime.added(new, container_id="new")
    for netns in (pod, None, "/run/netns/gone"):
        expect_silence(runtime.delete(netns, container_id="old"))
    assert addresses(new) == ["10.0.0.0/31", "fd00::8/64"]
    assert [record["id"]["containerID"] for record in records(node).values()] == ["new"]
    expect_silence(runtime.delete(new, container_id="new"))
    assert damage(before, node) == []


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"deviceID": "", "pciBusID": None},
        {"deviceID": 7},
        {"deviceID": "../../etc"},
        {"deviceID": BDF, "pciBusID": "0000:c2:00.0"},
        {"deviceID": "0000:c2:00.0", "pciBusID": "0000:c2:00.0"},
        {"deviceID": BDF, "ipam": "nonsense", "logLevel": 3, "mover": "sledge", "prevResult": 5},
    ],
    ids=["absent", "empty", "numeric", "hostile", "contradicting", "another", "nonsense"],
)
def test_a_del_returns_the_nic_whatever_its_device_keys(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, keys: dict[str, object]
) -> None:
    before = dump(node)
    runtime.added(pod)
    assert runtime.having("deviceID", "pciBusID", **keys).delete(pod).succeeded
    assert damage(before, node) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, ["deviceID", "pciBusID", "runtimeConfig.deviceID"]),
        ({"deviceID": 7}, ["$.deviceID", "7"]),
        ({"deviceID": "c1:00.0"}, ["$.deviceID", "'c1:00.0'"]),
        ({"deviceID": BDF, "pciBusID": "0000:c2:00.0"}, [BDF, "0000:c2:00.0"]),
        ({"pciBusID": BDF, "runtimeConfig": {"deviceID": "0000:c2:00.0"}}, [BDF, "0000:c2:00.0"]),
        ({"deviceID": BDF, "DeviceID": "0000:c2:00.0"}, ["DeviceID", "'deviceID'"]),
        ({"deviceID": BDF, "ipam": "host-local"}, ["$.ipam", "a string"]),
        ({"deviceID": BDF, "ipam": {"subnet": "10.1.0.0/16"}}, ["$.ipam.type", "missing"]),
    ],
)
def test_an_add_with_unclear_device_keys_is_refused_and_changes_nothing(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, keys: dict[str, object], words: list[str]
) -> None:
    node.add_nic("0000:c2:00.0", "eth2", ["10.0.0.2/31"])
    before = dump(node)
    runtime.having("deviceID", "pciBusID", **keys).add(pod).expect_error(7, *words)
    assert damage(before, node) == []


def test_a_del_without_an_add_changes_nothing_not_even_an_admin_down_nic(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.add_nic(BDF, "eth1", up=False)
    before = dump(node)
    expect_silence(runtime.delete(pod))
    expect_silence(runtime.delete(None))
    assert damage(before, node) == []


def test_a_stranger_with_the_old_name_keeps_it_and_gets_none_of_the_addresses(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    node.ip("link add eth1 type bridge")
    node.ip("link set eth1 up")
    before = dump(node)
    node.learn(nic, "eth1_1")
    node.forget(nic, "eth1")
    outcome = runtime.delete(pod)
    assert outcome.succeeded, outcome
    assert "name-taken" in outcome.stderr
    assert "eth1_1" in outcome.stderr
    assert ifnames(node) == {"eth1", "eth1_1"}
    assert addresses(node, "eth1_1") == ["10.0.0.0/31", "fd00::8/64"]
    gone = [line for line in differences(before, dump(node)) if "eth1_1" not in line]
    assert gone == []
    assert records(node) == {}


def test_strangers_with_the_old_names_are_left_alone_when_the_netns_dies_too(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    node.ip("link add eth1 type bridge")
    node.ip("link add eth1_1 type bridge")
    before = dump(node)
    pod.delete()
    node.learn(nic, "eth1_2")
    assert runtime.delete(None).succeeded
    assert addresses(node, "eth1_2") == ["10.0.0.0/31", "fd00::8/64"]
    changed = [line for line in differences(before, dump(node)) if "eth1_2" not in line]
    assert changed == []
    assert records(node) == {}


@pytest.mark.parametrize("netns_known", [True, False])
def test_a_netdev_renamed_in_the_pod_returns_under_its_own_name(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, netns_known: bool
) -> None:
    before = dump(node)
    runtime.added(pod)
    pod.ip("link set net1 down")
    pod.ip("link set net1 name data0")
    pod.ip("link add net1 type bridge")
    pod.ip("link property add dev data0 altname eth1")
    assert runtime.delete(pod if netns_known else None).succeeded
    assert ifnames(pod) == {"net1"}
    assert damage(before, node) == []


def test_a_second_container_gets_an_error_that_names_the_living_holder(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    before = dump(node), dump(pod)
    outcome = runtime.add(node.add_pod("pod2"), container_id="second")
    outcome.expect_error(TRY_AGAIN, BDF, "container-1", "net1", pod.netns)
    assert differences(before[0], dump(node)) + differences(before[1], dump(pod)) == []


def test_another_pod_that_now_uses_the_netns_path_is_left_alone(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    pod.recreate()
    pod.ip("link add net1 type bridge")
    within = dump(pod)
    assert runtime.delete(pod).succeeded
    assert differences(within, dump(pod)) == []
    assert damage(before, node) == []


@by_both
@pytest.mark.parametrize("said", [True, False], ids=["path as before", "no netns"])
def test_a_del_restores_a_nic_whose_netns_has_died(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, said: bool
) -> None:
    before = dump(node)
    runtime.added(pod)
    pod.delete()
    assert ifnames(node) == {"net1"}
    expect_silence(runtime.delete(pod if said else None))
    assert damage(before, node) == []


@by_both
def test_two_nics_that_return_under_strange_names_get_their_own_back(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    other = node.add_nic("0000:c2:00.0", "eth2", ["10.0.0.2/31", "fd00:2::8/64"])
    before = dump(node)
    runtime.added(pod)
    second = runtime.having(deviceID=other.bdf, pciBusID=other.bdf)
    second_pod = node.add_pod("pod2")
    second.added(second_pod, container_id="second")
    pod.delete()
    second_pod.delete()
    (strange,) = ifnames(node) - {"net1"}
    assert strange.startswith("dev")
    # The second NIC still has its record, and no call has been about it.
    expect_silence(runtime.delete(None))
    assert addresses(node, "eth1") == ["10.0.0.0/31", "fd00::8/64"]
    third = node.add_pod("pod3")
    assert second.add(third, container_id="third").succeeded
    assert addresses(third) == ["10.0.0.2/31", "fd00:2::8/64"]
    expect_silence(second.delete(third, container_id="third"))
    assert damage(before, node) == []


def test_the_record_of_a_nic_in_another_netns_stays_until_it_is_back(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    elsewhere = node.add_pod("elsewhere")
    pod.ip(f"link set net1 netns {elsewhere.netns}")
    for netns in (pod, None):
        runtime.delete(netns).expect_error(TRY_AGAIN, BDF, pod.netns)
        assert set(records(node)) == {f"{BDF}.json"}
    elsewhere.ip(f"link set net1 netns {node.netns} name eth1")
    assert runtime.delete(pod).succeeded
    assert damage(before, node) == []


def test_the_record_of_an_unplugged_nic_stays_until_it_is_back(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    node.unplug(nic)
    for _ in range(2):
        outcome = runtime.delete(pod)
        assert outcome.succeeded, outcome
        assert "unplugged" in outcome.stderr
        assert set(records(node)) == {f"{BDF}.json"}
    node.add_nic(BDF, "eth1", mac=nic.mac, up=False)
    # A veth lacks the permanent hardware address by which a NIC is recognized, so mark it by hand.
    node.ip(f"link property add dev eth1 altname amdcni-{BDF}")
    assert runtime.delete(pod).succeeded
    assert damage(before, node) == []


@by_both
def test_the_next_add_restores_a_nic_whose_netns_has_died(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    pod.delete()
    assert ifnames(node) == {"net1"}
    other = node.add_pod("pod2")
    runtime.added(other, container_id="next")
    assert addresses(other) == ["10.0.0.0/31", "fd00::8/64"]
    assert runtime.delete(other, container_id="next").succeeded
    assert damage(before, node) == []


def test_a_taken_ifname_is_refused_before_anything_moves(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    pod.ip("link add net1 type bridge")
    runtime.add(pod).expect_error(104, "net1", pod.netns)
    pod.ip("link set net1 name other0")
    pod.ip("link property add dev other0 altname net1")
    runtime.add(pod).expect_error(104, "net1", pod.netns)
    assert damage(before, node) == []


@pytest.mark.parametrize(
    "keys",
    [
        {"device": "eth1"},
        {"device": "fabric-one"},
        {"hwaddr": "02:00:00:00:00:01"},
        {"kernelpath": f"/sys/devices/pci0000:c1/{BDF}"},
        {"pciBusID": BDF},
        {"deviceID": BDF.upper(), "runtimeConfig": {"deviceID": BDF}, "device": "eth1"},
    ],
    ids=["device", "altname", "hwaddr", "kernelpath", "pciBusID", "all that agree"],
)
def test_every_way_to_name_a_device_lends_the_same_nic(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, keys: dict[str, object]
) -> None:
    node.ip("link property add dev eth1 altname fabric-one")
    before = dump(node)
    named = runtime.having("deviceID", "pciBusID", **keys)
    named.added(pod)
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]
    assert named.delete(pod).succeeded
    assert damage(before, node) == []


def test_a_virtio_nic_is_found_one_level_down(runtime: Runtime, node: Node, pod: Pod) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31"], virtio=3)
    before = dump(node)
    runtime.added(pod)
    assert runtime.delete(pod).succeeded
    assert damage(before, node) == []


def test_an_auxiliary_device_is_lent_like_a_pci_one(runtime: Runtime, node: Node, pod: Pod) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31"], auxiliary="mlx5_core.sf.4")
    before = dump(node)
    sub_function = runtime.having("pciBusID", deviceID="mlx5_core.sf.4")
    sub_function.added(pod)
    assert addresses(pod) == ["10.0.0.0/31"]
    assert sub_function.delete(pod).succeeded
    assert damage(before, node) == []


def test_of_several_netdevs_on_one_function_one_must_be_named(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.add_nic(BDF, "eth2", ["10.0.0.2/31"])
    before = dump(node)
    runtime.add(pod).expect_error(102, "eth1, eth2", "'device'")
    second = runtime.having(device="eth2")
    second.added(pod)
    assert addresses(pod) == ["10.0.0.2/31"]
    runtime.having(device="eth1").added(pod, ifname="net2")
    assert set(records(node)) == {f"{BDF}@eth1.json", f"{BDF}@eth2.json"}
    assert second.delete(pod).succeeded
    assert runtime.delete(pod, ifname="net2").succeeded
    assert damage(before, node) == []


def test_a_device_with_a_userspace_driver_is_lent_without_a_netdev(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.add_function(BDF, driver="vfio-pci")
    before = dump(node)
    result = runtime.added(pod)
    assert "ips" not in result
    other = node.add_pod("pod2")
    runtime.add(other, container_id="second").expect_error(TRY_AGAIN, "container-1")
    assert runtime.delete(pod).succeeded
    assert damage(before, node) == []


def test_a_missing_device_and_a_missing_netdev_are_named(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    runtime.add(pod).expect_error(101, BDF, "no device")
    node.add_function(BDF, driver="ionic")
    runtime.add(pod).expect_error(101, BDF, "'ionic'", "no netdev")


@pytest.mark.parametrize(
    ("commands", "word"),
    [
        (["route add default via 10.0.0.1 dev eth1"], "default route"),
        (["-6 route add default via fd00::9 dev eth1"], "default route"),
        (["link add br0 type bridge", "link set eth1 master br0"], "br0"),
        (["link add link eth1 name child0 type macvlan"], "child0"),
        (["link add link eth1 name eth1.7 type vlan id 7"], "eth1.7"),
    ],
    ids=["uplink", "IPv6 uplink", "bridge member", "macvlan parent", "VLAN parent"],
)
def test_a_netdev_that_the_node_needs_is_refused(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, commands: list[str], word: str
) -> None:
    try:
        for command in commands:
            node.ip(command)
    except CommandFailed as failure:
        if "Unknown device type" not in str(failure):
            raise
        pytest.skip(f"this kernel does not know the kind of netdev in {command!r}")
    before = dump(node)
    runtime.add(pod).expect_error(103, "eth1", word)
    assert damage(before, node) == []


def test_with_a_second_uplink_the_first_can_be_lent(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.add_nic("0000:c2:00.0", "eth2", ["10.0.0.2/31"])
    node.ip("route add default via 10.0.0.1 dev eth1")
    node.ip("route add default via 10.0.0.3 dev eth2 metric 100")
    runtime.added(pod)


def test_a_sandbox_path_below_proc_works_like_any_other(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    process = pod.start(["sleep", "1000"])
    sandbox = f"/proc/{process.pid}/ns/net"
    assert runtime.added(sandbox)["interfaces"][0]["sandbox"] == sandbox
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]
    expect_silence(runtime.delete(sandbox))
    process.kill()
    process.communicate()
    assert damage(before, node) == []


def not_a_netns(node: Node) -> dict[str, str]:
    """Make things that are not network namespaces, and return their paths."""
    folder = node.root / "run/no-netns"
    folder.mkdir()
    (folder / "file").touch()
    os.mkfifo(folder / "fifo")
    bind = "touch $0 && mount --bind /proc/$$/ns/uts $0"
    node.output_of(["sh", "-c", bind, "/run/no-netns/mnt"])
    names = ("file", "fifo", "mnt", "missing")
    return {name: f"/run/no-netns/{name}" for name in names} | {
        "folder": "/run",
        "tty": "/dev/null",
    }


def test_add_refuses_what_is_not_a_pods_netns_and_del_ignores_it(
    runtime: Runtime, node: Node, nic: Nic
) -> None:
    before = dump(node)
    for path in not_a_netns(node).values():
        runtime.add(path).expect_error(4, "CNI_NETNS", path)
        assert not state_folder(node).exists()
        expect_silence(runtime.delete(path))
    runtime.add(node.netns).expect_error(4, "CNI_NETNS", "the host's own")
    assert damage(before, node) == []


def test_a_fifo_as_cni_netns_does_not_hang(runtime: Runtime, node: Node, nic: Nic) -> None:
    path = not_a_netns(node)["fifo"]
    runtime.start("ADD", netns=path).wait(20).expect_error(4, path)
    assert Path(node.root / path.lstrip("/")).is_fifo()
