"""The nodes of the test kit: their sysfs, their pods, and what runs in them and on the wire."""

import os
import subprocess
from pathlib import Path

import pytest

from amdcni.testing import CommandFailed, Nic, Node, ping
from amdcni.testing.namespaces import finish
from amdcni.testing.nics import peer_address_of
from tests.netns.runtime import BDF, DEBIAN
from tests.patience import is_alive, wait_until

HOST_DEVICE = DEBIAN / "host-device"


def shown_in_sysfs(node: Node, folder: str = f"/sys/bus/pci/devices/{BDF}/net") -> list[str]:
    """Return the netdevs that one who looks into the folder can open."""
    script = f"cd {folder} && for name in *; do [ -r $name/ifindex ] && echo $name; done; :"
    return node.output_of(["sh", "-c", script]).split()


# The fake sysfs


def test_the_net_folder_of_a_pci_function_follows_the_netdev_into_a_pod_and_back(
    node: Node, nic: Nic
) -> None:
    pod = node.add_pod("pod1")
    assert shown_in_sysfs(node) == ["eth1"]
    node.ip(f"link set eth1 netns {pod.name} name net1")
    assert shown_in_sysfs(node) == []
    pod.ip(f"link set net1 netns {node.netns} name eth1")
    assert shown_in_sysfs(node) == ["eth1"]


def test_class_net_shows_the_netdevs_of_the_node(node: Node, nic: Nic) -> None:
    assert node.output_of(["ls", "/sys/class/net"]).split() == ["eth1", "lo"]
    address = node.output_of(["cat", f"/sys/bus/pci/devices/{BDF}/net/eth1/address"])
    assert address.strip() == nic.mac


def test_a_pci_function_is_where_its_bus_and_its_driver_say(node: Node, nic: Nic) -> None:
    home = f"/sys/devices/pci0000:c1/{BDF}"
    for path in (f"/sys/bus/pci/devices/{BDF}", f"/sys/bus/pci/drivers/ionic/{BDF}"):
        assert node.output_of(["readlink", "-f", path]).strip() == home
    assert (
        node.output_of(["readlink", "-f", f"{home}/driver"]).strip().endswith("pci/drivers/ionic")
    )
    assert node.output_of(["cat", f"{home}/vendor", f"{home}/numa_node"]).split() == ["0x1dd8", "0"]


def test_only_our_own_pci_functions_are_on_the_bus(node: Node, nic: Nic) -> None:
    assert node.output_of(["ls", "/sys/bus/pci/devices"]).split() == [BDF]


def test_a_virtio_netdev_is_below_its_virtio_device(node: Node) -> None:
    node.add_nic(BDF, "eth1", driver="virtio-pci", virtio=3)
    assert shown_in_sysfs(node, f"/sys/bus/pci/devices/{BDF}/virtio3/net") == ["eth1"]
    assert not (node.sysfs.function(BDF) / "net").exists()


def test_a_function_may_have_several_netdevs(node: Node, nic: Nic) -> None:
    node.add_nic(BDF, "eth2")
    assert shown_in_sysfs(node) == ["eth1", "eth2"]


def test_each_netdev_of_a_function_is_shown_whatever_becomes_of_pods(node: Node, nic: Nic) -> None:
    node.add_nic(BDF, "port1")
    pod = node.add_pod("pod1")
    for _ in range(2):
        pod.delete()
        assert shown_in_sysfs(node) == ["eth1", "port1"]
        pod.create()


def test_a_function_with_a_userspace_driver_has_no_net_folder(node: Node) -> None:
    node.add_function(BDF, driver="vfio-pci", numa_node=1)
    home = node.sysfs.function(BDF)
    assert (home / "driver").readlink().name == "vfio-pci"
    assert (home / "numa_node").read_text() == "1\n"
    assert not (home / "net").exists()


def test_the_netdev_of_an_auxiliary_device_is_below_it_and_not_below_the_function(
    node: Node, nic: Nic
) -> None:
    node.add_nic(BDF, "eth1s4", auxiliary="mlx5_core.sf.4")
    folder = "/sys/bus/auxiliary/devices/mlx5_core.sf.4"
    assert shown_in_sysfs(node, f"{folder}/net") == ["eth1s4"]
    assert shown_in_sysfs(node) == ["eth1"]
    real = node.output_of(["readlink", "-f", folder]).strip()
    assert real == f"/sys/devices/pci0000:c1/{BDF}/mlx5_core.sf.4"


def test_sysfs_learns_the_new_name_of_a_renamed_nic(node: Node, nic: Nic) -> None:
    node.ip("link set eth1 down")
    node.ip("link set eth1 name fabric0")
    node.refresh()
    assert shown_in_sysfs(node) == ["fabric0"]


def test_sysfs_does_not_take_a_stranger_with_the_name_of_a_nic_for_it(node: Node, nic: Nic) -> None:
    node.ip("link set eth1 down")
    node.ip("link set eth1 name fabric0")
    node.ip("link add eth1 type bridge")
    node.refresh()
    assert shown_in_sysfs(node) == ["fabric0"]


def test_an_unplugged_nic_is_gone_from_sysfs_and_from_the_pod(node: Node, nic: Nic) -> None:
    pod = node.add_pod("pod1")
    node.ip("link set eth1 netns pod1")
    node.unplug(nic)
    assert node.output_of(["ls", "/sys/bus/pci/devices", "/sys/devices/pci0000:c1"]).count(BDF) == 0
    assert [link["ifname"] for link in pod.ip_json("link show")] == ["lo"]


# Pods


def test_a_nic_comes_home_from_a_dying_pod_as_hardware_does(node: Node, nic: Nic) -> None:
    pod = node.add_pod("pod1")
    node.ip("link set eth1 netns pod1 name net1")
    pod.ip("address add 10.0.0.0/31 dev net1")
    pod.ip("link set net1 up mtu 1400")
    pod.delete()
    (link,) = node.ip_json("address show dev net1")
    assert (link["mtu"], link["address"], link["addr_info"]) == (1400, nic.mac, [])
    assert "UP" not in link["flags"]
    assert shown_in_sysfs(node) == ["net1"]


def test_a_nic_whose_name_is_taken_comes_home_under_a_name_of_the_kernels(node: Node) -> None:
    for number, bdf in enumerate(("0000:c1:00.0", "0000:c2:00.0")):
        node.add_nic(bdf, f"eth{number}")
        pod = node.add_pod(f"pod{number}")
        node.ip(f"link set eth{number} netns {pod.name} name net1")
        (link,) = pod.ip_json("link show dev net1")
        pod.delete()
    assert shown_in_sysfs(node, "/sys/bus/pci/devices/0000:c2:00.0/net") == [
        f"dev{link['ifindex']}"
    ]


def test_the_other_end_of_a_cable_is_gone_when_its_pod_is(node: Node) -> None:
    pod = node.add_pod("pod1")
    for number in range(20):
        node.ip(f"link add cable{number} type veth peer name net{number} netns pod1")
    pod.delete()
    assert [link for link in node.ip_json("link show") if link["ifname"] != "lo"] == []


def test_a_recreated_pod_has_the_same_path_and_another_inode(node: Node) -> None:
    pod = node.add_pod("pod1")
    path, inode = pod.netns, pod.inode
    pod.recreate()
    assert pod.netns == path == "/run/netns/pod1"
    assert pod.inode != inode


# Running programs


def test_a_program_sees_exactly_the_environment_that_it_is_given(node: Node) -> None:
    given = {"ONE": "1", "EMPTY": "", "NOT_UTF8": "\udcff"}
    seen = node.run(["/usr/bin/env", "-0"], env=given).stdout.split(b"\0")
    assert sorted(seen) == [b"", b"EMPTY=", b"NOT_UTF8=\xff", b"ONE=1"]


def test_a_program_is_started_in_the_folder_asked_for_with_all_of_its_input(
    node: Node, tmp_path: Path
) -> None:
    data = os.urandom(1 << 20)
    done = node.run(["sh", "-c", "pwd >&2; cat"], stdin=data, cwd=tmp_path)
    assert done.stdout == data
    assert done.stderr.decode().strip() == str(tmp_path)


def test_the_process_id_of_a_started_program_is_its_own(node: Node) -> None:
    with node.start(["sh", "-c", "echo $$"]) as process:
        stdout, _ = process.communicate()
    assert int(stdout) == process.pid


def test_a_program_that_takes_too_long_is_killed_with_its_children(node: Node) -> None:
    process = node.start(["sh", "-c", "sleep 1000 & echo $!; wait"])
    assert process.stdout is not None
    child = int(process.stdout.readline())
    with pytest.raises(subprocess.TimeoutExpired):
        finish(process, timeout_s=0.2)
    wait_until(lambda: not is_alive(child), "the child is gone")


def test_a_program_without_privilege_cannot_configure_the_network(node: Node) -> None:
    done = node.run(["ip", "link", "set", "lo", "down"], privileged=False)
    assert done.returncode != 0
    assert b"not permitted" in done.stderr


def test_a_failing_command_says_what_ip_says(node: Node) -> None:
    with pytest.raises(CommandFailed, match=r"ip link set nowhere up .*Cannot find device"):
        node.ip("link set nowhere up")


def test_a_covered_folder_takes_no_more_than_its_size(node: Node) -> None:
    folder = node.cover("/usr/lib/cni", size_bytes=4096)
    assert list(folder.iterdir()) == []
    with pytest.raises(OSError, match="No space left"):
        (folder / "too-big").write_bytes(bytes(8192))
    assert not folder.samefile("/usr/lib/cni")


# The wire


def test_the_peer_answers_on_a_31_and_over_ipv6_and_from_a_pod(node: Node, nic: Nic) -> None:
    assert nic.peers == ("10.0.0.1", "fd00::9")
    for peer in nic.peers:
        assert len(node.ping(peer, count=3)) == 3
    pod = node.add_pod("pod1")
    node.ip("link set eth1 netns pod1 name net1")
    pod.ip_batch(["link set net1 up", *(f"address add {a} dev net1" for a in nic.addresses)])
    for peer in nic.peers:
        (taken_s,) = pod.ping(peer)
        assert 0 < taken_s < 2


def test_a_link_local_peer_answers(node: Node, nic: Nic) -> None:
    (link,) = nic.peer.ip_json("address show dev wire")
    (address,) = (entry["local"] for entry in link["addr_info"] if entry["scope"] == "link")
    assert node.ping(f"{address}%eth1")


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("10.0.0.1/31", "10.0.0.0/31"),
        ("10.0.0.8/24 label eth1:x", "10.0.0.9/24"),
        ("10.0.0.254/24", "10.0.0.253/24"),
        ("10.0.0.1/24", "10.0.0.2/24"),
        ("fd00::/127", "fd00::1/127"),
        ("fd00::8/64", "fd00::9/64"),
        ("10.0.0.1 peer 10.0.9.9/32", "10.0.9.9 peer 10.0.0.1"),
        ("10.0.0.1/32", None),
    ],
)
def test_the_peer_has_the_address_next_to_the_nics(address: str, peer: str | None) -> None:
    assert peer_address_of(address) == peer


def test_nobody_answers_where_nobody_is(node: Node, nic: Nic) -> None:
    nic.peer.ip("link set wire down")
    assert node.ping("10.0.0.1", timeout_s=0.1) == []
    with pytest.raises(CommandFailed, match="unreachable"):
        node.ping("192.0.2.1")


def test_the_checksum_of_an_echo_request_is_valid_and_only_its_own_reply_an_answer() -> None:
    request = ping.echo_request(8, 7, 1)
    assert ping.internet_checksum(request) == 0
    reply = bytes([0]) + request[1:]
    assert ping.is_answer(reply, 0, 7, 1)
    assert not ping.is_answer(request, 0, 7, 1)
    assert not ping.is_answer(reply, 0, 7, 2)
    assert not ping.is_answer(reply, 0, 8, 1)


def test_nics_with_the_same_subnet_reach_each_their_own_peer(node: Node) -> None:
    node.add_nic("0000:c1:00.0", "eth1", ["10.0.0.2/24"])
    node.add_nic("0000:c2:00.0", "eth2", ["10.0.0.2/24"])
    for ifname, name in (("eth1", "pod1"), ("eth2", "pod2")):
        pod = node.add_pod(name)
        node.ip(f"link set {ifname} netns {name}")
        pod.ip_batch([f"link set {ifname} up", f"address add 10.0.0.2/24 dev {ifname}"])
        assert pod.ping("10.0.0.3")


# A real plugin


@pytest.mark.skipif(not HOST_DEVICE.exists(), reason="containernetworking-plugins not installed")
def test_the_host_device_plugin_finds_a_nic_by_its_pci_address_and_moves_it_in_and_out(
    node: Node, nic: Nic
) -> None:
    pod = node.add_pod("pod1")
    addresses = [{"address": address} for address in nic.addresses]
    config = {
        "cniVersion": "1.0.0",
        "name": "fabric",
        "type": "host-device",
        "pciBusID": BDF,
        "ipam": {"type": "static", "addresses": addresses},
    }
    added = node.cni("ADD", HOST_DEVICE, config, netns=pod, ifname="net1")
    assert added.succeeded, added
    assert added.answer["interfaces"][0]["sandbox"] == pod.netns
    assert all(pod.ping(peer) for peer in nic.peers)
    assert shown_in_sysfs(node) == []
    deleted = node.cni("DEL", HOST_DEVICE, config, netns=pod, ifname="net1")
    assert deleted.succeeded
    assert deleted.answer is None
    assert shown_in_sysfs(node) == ["eth1"]


@pytest.mark.skipif(not HOST_DEVICE.exists(), reason="containernetworking-plugins not installed")
def test_an_unset_variable_and_a_verbatim_configuration_reach_the_plugin(node: Node) -> None:
    config = {"cniVersion": "1.0.0", "name": "fabric", "device": "eth1"}
    pod = node.add_pod("pod1")
    outcome = node.cni("ADD", HOST_DEVICE, config, netns=pod, unset=["CNI_IFNAME"])
    assert outcome.error_code == 4
    assert "CNI_IFNAME" in outcome.answer["msg"]
    assert node.cni("ADD", HOST_DEVICE, b"{", netns=pod).error_code == 6


def test_a_relative_path_of_a_plugin_is_one_from_the_folder_of_the_test(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "echo").write_text('#!/bin/sh\necho \'{"cniVersion": "1.1.0"}\'\n')
    (tmp_path / "echo").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in ("./echo", Path("echo")):
        assert node.cni("ADD", path, {}).expect_result() == {"cniVersion": "1.1.0"}
    # A plain name is looked for on PATH: this is the program of the machine.
    assert node.cni("ADD", "echo", {}).stdout == b"\n"
