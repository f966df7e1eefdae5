"""Everything else that a netdev loses in a pod, and what a pod may change, is restored too."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amdcni.testing import Nic, Node, Pod, Section, differences, dump, skip_reason, throwaway_node
from amdcni.testing.strategies import (
    IP_COMMANDS,
    ROOT_QDISCS,
    ROUTE_COMMANDS,
    EthtoolChanges,
    HostConfiguration,
    change_ethtool,
    ethtool_changes,
    host_configurations,
)
from tests.netns.runtime import (
    BDF,
    TRY_AGAIN,
    Runtime,
    by_both,
    by_delegate,
    damage,
    expect_silence,
    ifnames,
    natively,
    plugin_folder,
    record_of,
    remains,
)

OTHER = "0000:c2:00.0"


@natively
@pytest.mark.parametrize("command", IP_COMMANDS)
def test_what_an_administrator_has_set_is_restored(
    runtime: Runtime, nic: Nic, pod: Pod, command: str
) -> None:
    node = runtime.node
    bare = dump(node)
    node.ip(command)
    before = dump(node)
    assert differences(bare, before) != []
    runtime.added(pod)
    assert ifnames(pod) == {"net1"}
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
def test_a_neighbour_without_arp_returns_to_a_nic_without_arp(
    runtime: Runtime, nic: Nic, pod: Pod
) -> None:
    """There, the kernel itself makes such neighbours, which nobody would miss."""
    node = runtime.node
    node.ip_batch(
        [
            "link set eth1 arp off",
            "neighbour add 10.0.0.80 lladdr 02:00:00:00:00:80 dev eth1 nud noarp",
            "neighbour add fd00::81 lladdr 02:00:00:00:00:81 dev eth1 nud noarp",
        ]
    )
    before = dump(node)
    runtime.added(pod)
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@by_delegate
@pytest.mark.parametrize(
    "sysctl",
    [
        "ipv4/conf/eth1/rp_filter=2",
        "ipv4/conf/eth1/arp_announce=2",
        "ipv4/conf/eth1/forwarding=1",
        "ipv4/neigh/eth1/base_reachable_time_ms=12345",
        "ipv4/neigh/eth1/unres_qlen_bytes=4096",
        "ipv6/conf/eth1/accept_ra=0",
        "ipv6/conf/eth1/accept_dad=2",
        "ipv6/conf/eth1/addr_gen_mode=1",
        "ipv6/conf/eth1/mtu=1300",
        "ipv6/conf/eth1/forwarding=1",
        "ipv6/conf/eth1/stable_secret=2001:db8::1",
        "ipv6/conf/eth1/disable_ipv6=1",
        "ipv6/neigh/eth1/retrans_time_ms=500",
    ],
)
def test_a_sysctl_of_the_netdev_is_restored(
    runtime: Runtime, nic: Nic, pod: Pod, sysctl: str
) -> None:
    node = runtime.node
    bare = dump(node)
    path, _, value = sysctl.partition("=")
    node.sysctl(f"net/{path}", value)
    before = dump(node)
    assert differences(bare, before) != []
    runtime.added(pod)
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
def test_only_those_sysctls_are_kept_that_a_new_netdev_does_not_have(
    runtime: Runtime, nic: Nic, pod: Pod
) -> None:
    """Most network namespaces show only by netlink what a new netdev does about neighbours."""
    changed = {"ipv4/neigh/gc_stale_time": "77", "ipv6/neigh/locktime": "20"}
    for name, value in changed.items():
        tree, _, leaf = name.rpartition("/")
        runtime.node.sysctl(f"net/{tree}/eth1/{leaf}", value)
    runtime.added(pod)
    kept = json.loads(record_of(runtime.node).read_text())["captured"]["sysctls"]
    assert {name: value for name, value in kept.items() if "/neigh/" in name} == changed
    expect_silence(runtime.delete(pod))


@pytest.mark.parametrize("qdisc", ROOT_QDISCS)
def test_a_root_qdisc_is_restored_with_its_options(
    runtime: Runtime, nic: Nic, pod: Pod, qdisc: str
) -> None:
    node = runtime.node
    node.tc(f"qdisc add dev eth1 root handle 11: {qdisc}")
    before = dump(node)
    runtime.added(pod)
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
@pytest.mark.parametrize(
    "command",
    [
        "link set net1 mtu 1300",
        "link set net1 address 02:00:00:00:00:99",
        "link set net1 txqueuelen 5",
        "link set net1 group 9",
        "link set net1 promisc on",
        "link set net1 arp off",
        "link set net1 multicast off",
        "link property add dev net1 altname theirs",
        "link property del dev net1 altname rail0",
        "address add 203.0.113.7/24 dev net1",
    ],
)
def test_what_a_pod_has_changed_is_undone(
    runtime: Runtime, nic: Nic, pod: Pod, command: str
) -> None:
    node = runtime.node
    node.ip("link property add dev eth1 altname rail0")
    before = dump(node)
    runtime.added(pod)
    pod.ip(command)
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


def test_a_hardware_address_that_was_set_is_restored(runtime: Runtime, nic: Nic, pod: Pod) -> None:
    node = runtime.node
    for command in ("down", "address 02:00:00:00:aa:bb", "up"):
        node.ip(f"link set eth1 {command}")
    before = dump(node)
    runtime.added(pod)
    pod.ip("link set net1 address 02:00:00:00:cc:dd")
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@by_both
def test_everything_is_restored_after_a_failed_add(
    runtime: Runtime, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    node = runtime.node
    routes = [ROUTE_COMMANDS[0], ROUTE_COMMANDS[1], ROUTE_COMMANDS[11]]
    commands = [*routes, *IP_COMMANDS[len(ROUTE_COMMANDS) :]]
    for command in commands:
        if "arp off" in command:
            continue  # Without it, the kernel takes no token.
        node.ip(command)
    before = dump(node)
    path = plugin_folder(tmp_path / "bin", moody="[ $CNI_COMMAND = DEL ] || exit 1")
    assert not runtime.having(ipam={"type": "moody"}).add(pod, path=[path]).succeeded
    assert damage(before, node) == []


def test_a_route_that_the_kernel_refuses_blocks_no_other_and_is_retried(
    runtime: Runtime, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    node = runtime.node
    node.ip("address add 198.51.100.1/32 dev lo")
    node.ip("route add 192.0.2.0/24 via 10.0.0.1 dev eth1 src 198.51.100.1")
    node.ip("route add 192.0.3.0/24 via 10.0.0.1 dev eth1")
    before = dump(node)
    runtime.added(pod)
    node.ip("address delete 198.51.100.1/32 dev lo")
    runtime.delete(pod).expect_error(TRY_AGAIN, "192.0.2.0/24")
    assert "192.0.3.0/24" in json.dumps(node.ip_json("route show"))
    node.ip("address add 198.51.100.1/32 dev lo")
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@by_both
@pytest.mark.parametrize("compatible", [True, False])
def test_nexthop_objects_with_their_groups_and_routes_are_restored(
    runtime: Runtime, node: Node, pod: Pod, compatible: bool
) -> None:
    """Even if the kernel does not show where a route by a nexthop object leads."""
    two_nics(node)
    node.sysctl("net/ipv4/nexthop_compat_mode", int(compatible))
    for command in NEXTHOPS:
        node.ip(command)
    before = dump(node)
    assert runtime.added(pod)
    assert ids_of(node) == ["2", "12", "21", "22"]
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


NEXTHOPS = (
    "nexthop add id 1 via 10.0.0.1 dev eth1",
    "nexthop add id 2 via 10.0.1.1 dev eth2",
    "nexthop add id 3 dev eth1 protocol static",
    "nexthop add id 4 via 10.77.0.9 dev eth1 onlink",
    "nexthop add id 5 via 10.0.0.1 dev eth1 encap ip id 7 dst 10.3.0.1",
    "nexthop add id 11 via fd00::9 dev eth1 encap seg6 mode encap segs fd09::1",
    "nexthop add id 12 via fd01::9 dev eth2",
    "nexthop add id 21 group 2,5/1,3/3",
    "nexthop add id 22 group 11/12,7",
    "nexthop add id 23 group 1 type resilient buckets 8 idle_timer 60 unbalanced_timer 300",
    "route add 192.0.2.0/24 nhid 21",
    "route add 192.0.2.0/24 nhid 1 metric 7",
    "route add 192.0.3.0/24 nhid 23",
    "-6 route add 2001:db8::/64 nhid 22",
    "-6 route add 2001:db8:1::/64 nhid 11",
    "route add 10.60.0.1 dev eth1",
    "nexthop add id 31 via 10.60.0.1 dev eth1",
    "route add 192.0.4.0/24 nhid 31",
)
"""Objects, groups and routes of every kind; the last object needs a route of its own."""


def ids_of(node: Node) -> list[str]:
    """The IDs of the nexthop objects and groups that there are."""
    return dump(node).names(Section.NEXTHOP)


@natively
def test_a_nexthop_id_that_was_taken_meanwhile_is_left_and_the_route_comes_back_without_it(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    two_nics(node)
    for command in (*NEXTHOPS[:2], "nexthop add id 3 group 1/2", "route add 192.0.2.0/24 nhid 1"):
        node.ip(command)
    node.ip("route add 192.0.3.0/24 nhid 3")
    runtime.added(pod)
    node.ip("nexthop add id 1 dev eth2")
    node.ip("nexthop replace id 3 group 2,9")
    outcome = runtime.delete(pod)
    assert outcome.succeeded
    assert "not-restored" in outcome.stderr
    assert "aspect=nexthops" in outcome.stderr
    (taken,) = node.ip_json("nexthop show id 1")
    assert taken["dev"] == "eth2"
    (route,) = node.ip_json("route show 192.0.2.0/24")
    assert (route["gateway"], route["dev"], route.get("nhid")) == ("10.0.0.1", "eth1", None)
    (group,) = node.ip_json("nexthop show id 3")
    assert group["group"] == [{"id": 2, "weight": 9}]


def test_with_copy_routes_the_pod_gets_the_hosts_routes_too(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    for number, command in enumerate(
        [
            "route add 192.0.2.0/24 via 10.0.0.1 dev eth1 metric 50 mtu 1400",
            "route add 192.0.3.0/24 dev eth1 scope link table 1000",
            "route add 192.0.4.0/24 via 192.0.3.1 dev eth1 table 1000 onlink src 10.0.0.0",
            "-6 route add 2001:db8::/64 via fd00::9 dev eth1",
        ]
    ):
        assert node.ip(command) == "", number
    before = dump(node)
    had = {
        name.replace("eth1", "net1")
        for name in before.names(Section.ROUTE)
        if "192.0." in name or "2001:db8:" in name
    }
    result = runtime.having(copyRoutes=True).added(pod)
    assert had <= set(dump(pod).names(Section.ROUTE))
    returned = {route["dst"]: route.get("gw") for route in result["routes"]}
    assert returned == {"192.0.2.0/24": "10.0.0.1", "2001:db8::/64": "fd00::9"}
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


def two_nics(node: Node) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31", "fd00::8/64"])
    node.add_nic(OTHER, "eth2", ["10.0.1.0/31", "fd01::8/64"])


MULTIPATH = [
    "route add 192.0.2.0/24 nexthop via 10.0.0.1 dev eth1 weight 3"
    " nexthop via 10.0.1.1 dev eth2 weight 5",
    "-6 route add 2001:db8::/64 nexthop via fd00::9 dev eth1 weight 2 nexthop via fd01::9 dev eth2",
]
GROUP = (
    *NEXTHOPS[:2],
    "nexthop add id 3 group 1,3/2,5",
    "route add 192.0.2.0/24 nhid 3",
    "nexthop add id 11 via fd00::9 dev eth1",
    "nexthop add id 12 via fd01::9 dev eth2",
    "nexthop add id 13 group 12/11,9 type resilient buckets 32 idle_timer 60",
    "-6 route add 2001:db8::/64 nhid 13",
)
"""A group of each kind, with members through both NICs."""


@pytest.mark.parametrize("command", MULTIPATH)
def test_a_multipath_route_loses_one_hop_while_the_nic_is_away(
    runtime: Runtime, node: Node, pod: Pod, command: str
) -> None:
    two_nics(node)
    node.ip(command)
    before = dump(node)
    runtime.added(pod)
    family = "-6 " if command.startswith("-6") else ""
    routes = node.ip_json(f"{family}route show")
    (left,) = [r for r in routes if r["dst"] in ("192.0.2.0/24", "2001:db8::/64")]
    assert left["dev"] == "eth2"
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@pytest.mark.parametrize("command", MULTIPATH)
@pytest.mark.parametrize("first", [BDF, OTHER])
def test_a_multipath_route_is_whole_again_when_both_nics_are_back(
    runtime: Runtime, node: Node, command: str, first: str
) -> None:
    two_nics(node)
    node.ip(command)
    before = dump(node)
    pods = {BDF: node.add_pod("pod1"), OTHER: node.add_pod("pod2")}
    for device, pod in pods.items():
        runtime.having(deviceID=device, pciBusID=device).added(pod, container_id=pod.name)
    second = OTHER if first == BDF else BDF
    for device in (first, second):
        ours = runtime.having(deviceID=device, pciBusID=device)
        expect_silence(ours.delete(pods[device], container_id=pods[device].name))
    assert damage(before, node) == []


@by_both
@pytest.mark.parametrize("first", [BDF, OTHER])
@pytest.mark.parametrize("in_between", [False, True])
def test_a_nexthop_group_is_whole_again_when_both_nics_are_back(
    runtime: Runtime, node: Node, first: str, in_between: bool
) -> None:
    two_nics(node)
    for command in GROUP:
        node.ip(command)
    before = dump(node)
    pods = {BDF: node.add_pod("pod1"), OTHER: node.add_pod("pod2")}
    ours = {device: runtime.having(deviceID=device, pciBusID=device) for device in pods}
    second = OTHER if first == BDF else BDF
    for device, pod in pods.items():
        ours[device].added(pod, container_id=pod.name)
    assert ids_of(node) == []
    expect_silence(ours[first].delete(pods[first], container_id=pods[first].name))
    assert len(ids_of(node)) == 4
    if in_between:
        ours[first].added(pods[first], container_id=pods[first].name)
        assert ids_of(node) == []
        expect_silence(ours[first].delete(pods[first], container_id=pods[first].name))
    expect_silence(ours[second].delete(pods[second], container_id=pods[second].name))
    assert damage(before, node) == []


def test_a_route_from_an_ipv6_address_without_duplicates_is_restored_at_once(
    plugin: Path,
) -> None:
    if reason := skip_reason():
        pytest.skip(reason)
    with throwaway_node(duplicate_address_detection=True) as node:
        node.add_nic(BDF, "eth1", ["10.0.0.0/31", "fd00::8/64"])
        dump(node)
        node.ip("-6 route add 2001:db8::/64 dev eth1 src fd00::8")
        runtime, pod, before = Runtime(node, plugin), node.add_pod("pod1"), dump(node)
        runtime.added(pod)
        expect_silence(runtime.delete(pod))
        assert damage(before, node) == []


@settings(max_examples=4 * settings().max_examples // 3)
@given(
    host=host_configurations,
    up=st.booleans(),
    mover=st.sampled_from(["delegate", "native"]),
    meddled=ethtool_changes,
)
def test_any_host_is_the_same_before_and_after(
    plugin: Path, host: HostConfiguration, up: bool, mover: str, meddled: EthtoolChanges
) -> None:
    if reason := skip_reason():
        pytest.skip(reason)
    with throwaway_node() as node:
        node.add_nic(BDF, "eth1", ["10.0.0.0/31", "fd00::8/64"], up=up)
        host.configure(node)
        ours = Runtime(node, plugin).having(mover=mover)
        runtime, pod, before = ours, node.add_pod("pod1"), dump(node)
        runtime.added(pod)
        change_ethtool(pod, "net1", meddled)
        runtime.delete(pod)
        assert damage(before, node) == []
        assert remains(node) == []
