"""The test kit itself: what stands on it can be no better than this."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest

from amdcni.testing import (
    CommandFailed,
    Namespace,
    Nic,
    Node,
    Section,
    differences,
    dump,
    ping,
    skip_reason,
    throwaway_node,
    unchanged,
)
from amdcni.testing.namespaces import finish
from amdcni.testing.nics import peer_address_of
from tests.patience import is_alive, wait_until

HOST_DEVICE = Path("/usr/lib/cni/host-device")
BDF = "0000:c1:00.0"
REPOSITORY = Path(__file__).parents[2]


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


# Dumps


ADDRESS = "10.0.0.2/24 label eth1:a dev eth1"
DELETE = "address delete 10.0.0.2/24 dev eth1"
CHANGES = {
    "netdev mtu": "link set eth1 mtu 1400",
    "netdev address": "link set eth1 address 02:00:00:00:ff:ff",
    "netdev flags": "link set eth1 down",
    "netdev promiscuity": "link set eth1 promisc on",
    "netdev allmulti": "link set eth1 allmulticast on",
    "netdev txqlen": "link set eth1 txqueuelen 77",
    "netdev ifalias": "link set eth1 alias fabric",
    "netdev altnames": "link property add dev eth1 altname fabric-one",
    "netdev group": "link set eth1 group 7",
    "netdev master": "link set eth1 master br0",
    "netdev inet6_addr_gen_mode": "link set eth1 addrgenmode none",
    "netdev token": "token set ::77 dev eth1",
    "netdev eth1 is gone": "link set eth1 netns pod1",
    "netdev br1 is new": "link add br1 type bridge",
    "address label": f"{DELETE}; address add 10.0.0.2/24 label eth1:b dev eth1",
    "address broadcast": f"{DELETE}; address add {ADDRESS} broadcast 10.0.0.9",
    "address scope": f"{DELETE}; address add {ADDRESS} scope link",
    "address metric": f"{DELETE}; address add {ADDRESS} metric 50",
    "address peer": "address add 10.0.0.2 peer 10.0.9.9/32 dev eth1",
    "address noprefixroute": f"{DELETE}; address add {ADDRESS} noprefixroute",
    "address valid": "address change fd00::8/64 dev eth1 valid_lft 1000 preferred_lft 1000",
    "address preferred": "address change fd00::8/64 dev eth1 preferred_lft 0",
    "address nodad": "address add fd00::77/64 dev eth1 nodad",
    "address 10.0.0.2/24": DELETE,
    "address fe80:": "address delete fe80::ff:fe00:1/64 dev eth1",
    "route 10.9.0.0/16 dev eth1 table 100": "route add 10.9.0.0/16 dev eth1 table 100",
    "route 0.0.0.0/0": "route add default via 10.0.0.3",
    "route ::/0": "-6 route add default via fd00::9",
    "route fd09::/64": "-6 route add fd09::/64 dev eth1 table 100",
    "route 10.7.0.0/16": "route change 10.7.0.0/16 dev eth1 mtu 1300",
    "route 10.6.0.0/16": (
        "route add 10.6.0.0/16 nexthop via 10.0.0.3 weight 2 nexthop via 10.0.0.4"
    ),
    "route expires": "-6 route change fd07::/64 dev eth1 metric 1024 expires 1000",
    "address fd06::8/64 on eth1: valid was": (
        "address change fd06::8/64 dev eth1 valid_lft 800 preferred_lft 700"
    ),
    "route fd07::/64": "-6 route change fd07::/64 dev eth1 metric 1024 proto 99",
    "rule": "rule add from 10.0.0.2 table 100",
    "rule IPv6": "-6 rule add from fd00::8 table 100",
    "nexthop": "nexthop add id 7 dev eth1",
    "neighbour 10.0.0.77": "neighbour add 10.0.0.77 lladdr 02:00:00:00:00:77 dev eth1",
    "neighbour fd00::77": "neighbour add fd00::77 lladdr 02:00:00:00:00:77 dev eth1",
    "neighbour proxy": "neighbour add proxy 10.0.0.78 dev eth1",
    "neighbour 10.0.0.66": "neighbour change 10.0.0.66 lladdr 02:00:00:00:00:67 dev eth1",
}


@pytest.fixture
def configured(node: Node) -> Node:
    node.add_nic(BDF, "eth1", ["10.0.0.2/24 label eth1:a", "fd00::8/64"])
    node.ip("address add fd06::8/64 dev eth1 valid_lft 1000 preferred_lft 900")
    node.add_pod("pod1")
    node.ip_batch(
        [
            "link add br0 type bridge",
            "route add 10.7.0.0/16 dev eth1",
            "route add fd07::/64 dev eth1 metric 1024",
            "neighbour add 10.0.0.66 lladdr 02:00:00:00:00:66 dev eth1",
        ]
    )
    return node


@pytest.mark.parametrize(("where", "command"), CHANGES.items())
def test_a_dump_tells_of_a_change(configured: Node, where: str, command: str) -> None:
    before = dump(configured)
    for part in command.split("; "):
        configured.ip(part)
    after = dump(configured)
    assert before != after
    section, *words = where.split(maxsplit=1)
    lines = differences(before, after, sections=[Section(section)])
    assert any(word in line for line in lines for word in words or [section]), lines


@pytest.mark.parametrize(
    "name",
    [
        "net/ipv4/conf/eth1/rp_filter",
        "net/ipv4/conf/default/rp_filter",
        "net/ipv4/neigh/eth1/gc_stale_time",
        "net/ipv6/conf/eth1/accept_ra_defrtr",
        "net/ipv6/neigh/eth1/gc_stale_time",
    ],
)
def test_a_dump_tells_of_a_sysctl(configured: Node, name: str) -> None:
    before = dump(configured)
    changed = 2 if configured.sysctl(name) != "2" else 1
    assert configured.sysctl(name, changed) == str(changed)
    folder, _, attribute = name.rpartition("/")
    lines = differences(before, dump(configured))
    assert any(line.startswith(f"sysctl {folder}: {attribute} was ") for line in lines)


def test_a_dump_tells_of_a_qdisc_and_of_its_options(configured: Node) -> None:
    before = dump(configured)
    configured.tc("qdisc add dev eth1 root handle 1: tbf rate 1mbit burst 10kb latency 50ms")
    shaped = dump(configured)
    assert "kind was noqueue, is tbf" in "".join(differences(before, shaped))
    configured.tc("qdisc change dev eth1 root handle 1: tbf rate 2mbit burst 10kb latency 50ms")
    (line,) = differences(shaped, dump(configured))
    assert line.startswith("qdisc root of eth1: options was ")


def test_a_dump_tells_of_the_order_of_addresses_which_chooses_the_source(node: Node) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.2/24", "10.0.0.3/24", "10.0.0.4/24"])
    before = dump(node)
    node.ip("address delete 10.0.0.3/24 dev eth1")
    without = dump(node)
    assert differences(before, without, sections=[Section.ADDRESS_ORDER]) == []
    node.ip("address add 10.0.0.3/24 dev eth1")
    (line,) = differences(before, dump(node))
    assert line == (
        "address order of inet on eth1: order was 10.0.0.2/24, 10.0.0.3/24, 10.0.0.4/24,"
        " is 10.0.0.2/24, 10.0.0.4/24, 10.0.0.3/24"
    )


def test_a_dump_does_not_depend_on_ifindexes(node: Node, nic: Nic) -> None:
    before = dump(node)
    (link,) = node.ip_json("link show dev eth1")
    pod = node.add_pod("pod1")
    pod.ip(f"link add br0 index {link['ifindex']} type bridge")
    node.ip("link set eth1 netns pod1")
    pod.ip(f"link set eth1 netns {node.netns}")
    node.ip_batch(["link set eth1 up", *(f"address add {a} dev eth1" for a in nic.addresses)])
    assert node.ip_json("link show dev eth1")[0]["ifindex"] != link["ifindex"]
    assert differences(before, dump(node)) == []
    assert before == dump(node)


def test_a_lifetime_that_merely_goes_on_is_no_change(node: Node) -> None:
    node.add_nic(BDF, "eth1", ["fd00::8/64 valid_lft 1000 preferred_lft 900"])
    before = dump(node)
    time.sleep(1.1)
    assert before == dump(node)


def test_a_dump_waits_for_duplicate_address_detection() -> None:
    if reason := skip_reason():
        pytest.skip(reason)
    with throwaway_node(duplicate_address_detection=True) as node:
        node.add_nic(BDF, "eth1", ["fd00::8/64"])
        (link,) = node.ip_json("address show dev eth1")
        assert any(entry.get("tentative") for entry in link["addr_info"])
        dump(node)
        (link,) = node.ip_json("address show dev eth1")
        assert not any(entry.get("tentative") for entry in link["addr_info"])


# Leaving no trace


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


def test_what_has_to_stay_as_it_was_is_compared_at_the_end(node: Node, nic: Nic) -> None:
    with unchanged(node):
        node.ip("address add 192.0.2.1/32 dev eth1")
        node.ip("address del 192.0.2.1/32 dev eth1")
    new = r"address 192\.0\.2\.1/32 on eth1 is new"
    with pytest.raises(AssertionError, match=new), unchanged(node):
        node.ip("address add 192.0.2.1/32 dev eth1")
