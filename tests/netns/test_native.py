"""The mover `native` on a real kernel: what the pod gets, and what fails halfway."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from amdcni.testing import Nic, Node, Pod, Section, differences, dump, skip_reason, throwaway_node
from amdcni.testing.cni import environment_of
from tests.netns.runtime import (
    BDF,
    DEBIAN,
    Runtime,
    addresses,
    by_delegate,
    damage,
    expect_silence,
    hide_plugins,
    ifnames,
    natively,
    plugin_folder,
)
from tests.patience import wait_until

MAC = "02:00:00:00:aa:bb"

BIND = """
import socket, sys
for address in sys.argv[1:]:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as server:
        server.bind((address, 4791))
"""
"""A server that binds addresses, which fails while one of them is tentative."""


def link_of(where: Node | Pod, ifname: str = "net1") -> Any:
    """Return a netdev with its addresses, as `ip` shows it."""
    (link,) = where.ip_json(f"-details address show dev {ifname}")
    return link


def routes_of(where: Node | Pod) -> list[str]:
    """Return the routes of all tables as `ip` prints them, sorted."""
    return sorted(
        line.strip()
        for family in ("-4", "-6")
        for line in where.ip(f"-details {family} route show table all").splitlines()
    )


# Without any plugin


@natively
def test_all_verbs_work_without_any_other_plugin(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    hide_plugins(node)
    status = runtime.call("STATUS", container_id="", netns="", ifname="", args="", path=[])
    expect_silence(status)
    result = runtime.added(pod, path=[])
    assert all(pod.ping(peer) for peer in nic.peers)
    expect_silence(runtime.check(pod, result, path=[]))
    expect_silence(runtime.delete(pod, path=[]))
    assert damage(before, node) == []


@natively
def test_a_device_with_a_userspace_driver_is_lent_without_any_other_plugin(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.add_function(BDF, driver="vfio-pci")
    before = dump(node)
    hide_plugins(node)
    assert runtime.added(pod) == {"cniVersion": "1.1.0"}
    assert runtime.delete(pod).succeeded
    assert damage(before, node) == []


# The same pod and the same result


IPAM = {
    "type": "static",
    "addresses": [
        {"address": "192.0.2.1/24", "gateway": "192.0.2.254"},
        {"address": "198.51.100.0/31"},
        {"address": "2001:db8::1/64", "gateway": "2001:db8::2"},
    ],
    "routes": [
        {"dst": "0.0.0.0/0"},
        {"dst": "203.0.113.0/24", "gw": "192.0.2.7"},
        {"dst": "::/0"},
    ],
}


@by_delegate
@pytest.mark.parametrize("version", ["0.2.0", "0.4.0", "1.1.0"])
@pytest.mark.parametrize("ipam", [None, IPAM], ids=["the host's addresses", "static"])
def test_the_pod_and_the_result_are_the_same_as_with_the_delegate(
    runtime: Runtime, node: Node, pod: Pod, version: str, ipam: object
) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31", "10.1.0.1/24 broadcast +", "fd00::8/64 nodad"])
    seen = []
    for mover in ("delegate", "native"):
        ours = runtime.having(mover=mover, ipam=ipam, cniVersion=version, dns={"domain": "x"})
        result = ours.added(pod)
        # The kernel adds the local route of an IPv6 address a moment after the address.
        if ipam is None:
            wait_until(lambda: "local fd00::8 " in " ".join(routes_of(pod)), "the route is there")
        seen.append((result, link_of(pod), routes_of(pod)))
        assert ours.delete(pod).succeeded
    for delegated, native in zip(*seen, strict=True):
        assert without_nodad(native) == without_nodad(delegated)


def without_nodad(seen: Any) -> Any:
    """Return what `ip` shows without what the delegate cannot set."""
    if isinstance(seen, dict) and "addr_info" in seen:
        plain = [
            {key: value for key, value in entry.items() if key != "nodad"}
            for entry in seen["addr_info"]
        ]
        return {**seen, "addr_info": plain}
    return seen


@natively
def test_the_pod_gets_the_addresses_with_all_their_attributes(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    words = [
        "10.0.0.1/24 label eth1:fabric broadcast 10.0.0.7 metric 50",
        "10.0.1.1/24 label eth1 scope link",
        "10.0.2.1 peer 10.9.0.1/32",
        "10.0.3.1/24 noprefixroute valid_lft 1000 preferred_lft 0",
        "fd00::1/64 metric 70 noprefixroute",
        "fd00::2 peer fd09::1/64",
    ]
    node.add_nic(BDF, "eth1", words, peer_addresses=[])
    before = dump(node)
    there = link_of(node, "eth1")["addr_info"]
    runtime.added(pod)
    here = link_of(pod)["addr_info"]

    def known(entry: dict[str, Any]) -> dict[str, Any]:
        changing = ("valid_life_time", "preferred_life_time", "nodad")
        kept = {key: value for key, value in entry.items() if key not in changing}
        if "label" in kept:
            kept["label"] = kept["label"].replace("eth1", "net1")
        return kept

    assert [known(entry) for entry in here] == [known(entry) for entry in there]
    limited = next(entry for entry in here if entry["local"] == "10.0.3.1")
    assert 900 < limited["valid_life_time"] <= 1000
    assert limited["preferred_life_time"] == 0
    assert all(e["nodad"] for e in here if e["family"] == "inet6" and e["scope"] != "link")
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


# IPv6 at once


@pytest.fixture
def slow_node() -> Any:
    """A node with duplicate address detection, like real ones."""
    if reason := skip_reason():
        pytest.skip(reason)
    with throwaway_node(duplicate_address_detection=True) as node:
        yield node


def binds(pod: Pod, *words: str) -> bool:
    """Return whether a server in the pod can bind the addresses now."""
    return pod.run([sys.executable, "-I", "-S", "-c", BIND, *words]).returncode == 0


def test_a_server_in_the_pod_can_bind_the_ipv6_address_at_once(
    slow_node: Node, plugin: Path
) -> None:
    slow_node.add_nic(BDF, "eth1", ["fd00::8/64"])
    dump(slow_node)  # This waits until the address is no longer tentative.
    pod = slow_node.add_pod("pod1")
    native = Runtime(slow_node, plugin).having(mover="native")
    native.added(pod)
    assert binds(pod, "fd00::8")
    assert native.delete(pod).succeeded
    dump(slow_node)
    delegated = native.having(mover="delegate")
    delegated.added(pod)
    assert not binds(pod, "fd00::8"), "this kernel has no duplicate address detection"
    assert delegated.delete(pod).succeeded


def test_add_waits_until_an_ipam_address_can_be_bound(slow_node: Node, plugin: Path) -> None:
    slow_node.add_nic(BDF, "eth1")
    pod = slow_node.add_pod("pod1")
    ipam = {"type": "static", "addresses": [{"address": "fd00::8/64"}]}
    native = Runtime(slow_node, plugin).having(mover="native", ipam=ipam)
    native.added(pod)
    assert binds(pod, "fd00::8")
    assert native.delete(pod).succeeded


def test_an_add_is_undone_if_somebody_else_has_the_ipam_address(
    slow_node: Node, plugin: Path
) -> None:
    slow_node.add_nic(BDF, "eth1", ["fd00::8/64"], peer_addresses=["fd00::9/64"])
    before = dump(slow_node)
    pod = slow_node.add_pod("pod1")
    ipam = {"type": "static", "addresses": [{"address": "fd00::9/64"}]}
    native = Runtime(slow_node, plugin).having(mover="native", ipam=ipam)
    native.add(pod).expect_error(105, "fd00::9", "somebody else's")
    assert damage(before, slow_node) == []


@natively
def test_ipv6_is_enabled_in_a_pod_that_has_disabled_it(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    for name in ("all", "default", "lo"):
        pod.sysctl(f"net/ipv6/conf/{name}/disable_ipv6", 1)
    runtime.added(pod)
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


# The host's sysctls


IPV6 = "net/ipv6/conf/eth1"


def link_locals(where: Node | Pod, ifname: str = "net1") -> list[str]:
    """Return the link-local addresses of a netdev."""
    found = link_of(where, ifname)["addr_info"]
    return [
        each["local"] for each in found if each["scope"] == "link" and each["family"] == "inet6"
    ]


def without_link_local(node: Node, **keys: int) -> None:
    """Have the host make no link-local address, as network managers do."""
    for name, value in keys.items():
        node.sysctl(f"{IPV6}/{name}", value)
    node.ip("-6 address flush dev eth1 scope link")


@natively
@pytest.mark.parametrize("keys", [{"addr_gen_mode": 1}, {"disable_ipv6": 1}], ids=str)
def test_a_pod_has_no_link_local_address_that_the_host_does_not_have(
    runtime: Runtime, node: Node, pod: Pod, keys: dict[str, int]
) -> None:
    """It would shift the GID indexes of RoCE."""
    node.add_nic(BDF, "eth1", ["10.0.0.0/31"])
    without_link_local(node, **keys)
    before = dump(node)
    result = runtime.added(pod)
    assert link_locals(pod) == []
    assert pod.sysctl("net/ipv6/conf/net1/addr_gen_mode") == "1"
    expect_silence(runtime.check(pod, result))
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []
    runtime.having(addrGenMode="kernel").added(pod)
    assert len(link_locals(pod)) == 1
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
def test_a_pod_has_a_link_local_address_if_a_network_manager_has_set_that_of_the_host(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31", "fd00::8/64"])
    without_link_local(node, addr_gen_mode=1)
    node.ip("-6 address add fe80::77/64 dev eth1 noprefixroute nodad")
    before = dump(node)
    runtime.added(pod)
    assert len(link_locals(pod)) == 1
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@natively
@pytest.mark.parametrize("own", [True, False], ids=["its own", "the host's"])
def test_a_stable_private_link_local_address_goes_along_with_a_secret_of_its_own(
    runtime: Runtime, node: Node, pod: Pod, own: bool
) -> None:
    """The secret of the host's network namespace stays there: the pod has another address."""
    secret = "2001:0db8:0000:0000:0000:0000:0000:1234"
    if not own:
        node.sysctl("net/ipv6/conf/default/stable_secret", secret)
    node.add_nic(BDF, "eth1", ["10.0.0.0/31"])
    node.ip("link set eth1 down")
    if own:
        node.sysctl(f"{IPV6}/stable_secret", secret)
    node.ip("link set eth1 up")
    wait_until(lambda: link_locals(node, "eth1"), "the host makes its link-local address")
    assert node.sysctl(f"{IPV6}/addr_gen_mode") == "2"
    on_host, before = link_locals(node, "eth1"), dump(node)
    runtime.added(pod)
    assert (link_locals(pod) == on_host) == own
    assert len(link_locals(pod)) == 1
    assert pod.sysctl("net/ipv6/conf/net1/addr_gen_mode") == ("2" if own else "3")
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


COPIED = {
    "ipv4/conf/{}/arp_ignore": "1",
    "ipv4/conf/{}/arp_announce": "2",
    "ipv4/conf/{}/arp_filter": "1",
    "ipv4/conf/{}/rp_filter": "2",
    "ipv4/conf/{}/accept_local": "1",
    "ipv4/neigh/{}/gc_stale_time": "77",
    "ipv6/conf/{}/accept_ra": "0",
    "ipv6/conf/{}/autoconf": "0",
    "ipv6/neigh/{}/ucast_solicit": "7",
}
STAYING = {"ipv4/conf/{}/forwarding": "1", "ipv6/conf/{}/forwarding": "1"}


@natively
def test_with_copy_sysctls_the_pod_gets_those_of_the_host_that_do_not_make_it_a_router(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31", "fd00::8/64"])
    for path, value in {**COPIED, **STAYING}.items():
        node.sysctl(f"net/{path.format('eth1')}", value)
    before = dump(node)

    def those_of_pod(paths: dict[str, str]) -> dict[str, str]:
        return {path: pod.sysctl(f"net/{path.format('net1')}") for path in paths}

    runtime.added(pod)
    usual = those_of_pod({**COPIED, **STAYING})
    assert usual.items().isdisjoint({**COPIED, **STAYING}.items())
    expect_silence(runtime.delete(pod))
    ours = runtime.having(copySysctls=True)
    result = ours.added(pod)
    assert those_of_pod(COPIED) == COPIED
    assert those_of_pod(STAYING).items() <= usual.items()
    assert link_of(pod)["operstate"] == "UP"
    pod.sysctl("net/ipv4/conf/net1/arp_ignore", 0)
    expect_silence(ours.check(pod, result))
    expect_silence(ours.delete(pod))
    assert damage(before, node) == []


@natively
def test_the_pod_lists_the_addresses_in_the_order_of_the_host(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    """The GID indexes of RoCE follow that order."""
    words = ["fd00::1/64", "10.0.0.0/31", "fd00::9/64", "10.0.1.5/24", "fd00::5/64", "10.0.1.1/24"]
    node.add_nic(BDF, "eth1", words)
    on_host = [each["local"] for each in link_of(node, "eth1")["addr_info"]]
    runtime.added(pod)
    assert [each["local"] for each in link_of(pod)["addr_info"]] == on_host


# Another MTU and hardware address


@natively
@pytest.mark.parametrize(
    "keys", [{"mac": MAC}, {"runtimeConfig": {"mac": MAC}, "capabilities": {"mac": True}}], ids=str
)
def test_the_pod_gets_the_configured_mtu_and_mac_and_the_host_its_own_back(
    runtime: Runtime, node: Node, pod: Pod, keys: dict[str, Any]
) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31", "fd00::8/64"], mtu=9000)
    before = dump(node)
    ours = runtime.having(mtu=4000, **keys)
    result = ours.added(pod)
    assert (result["interfaces"][0]["mtu"], result["interfaces"][0]["mac"]) == (4000, MAC)
    assert (link_of(pod)["mtu"], link_of(pod)["address"]) == (4000, MAC)
    assert pod.ping("10.0.0.1")
    expect_silence(ours.check(pod, result))
    expect_silence(ours.delete(pod))
    assert damage(before, node) == []


@natively
@pytest.mark.parametrize("keys", [{"mtu": 17}, {"mac": "01:00:00:00:00:01"}], ids=str)
def test_an_add_is_undone_if_the_kernel_refuses_a_setting_in_the_pod(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, keys: dict[str, Any]
) -> None:
    before = dump(node)
    runtime.having(**keys).add(pod).expect_error(105, "net1", *map(str, keys.values()))
    assert damage(before, node) == []
    assert ifnames(pod) == set()


# Moves that fail halfway


RACING_CALL = """
import os, subprocess, sys
from amdcni.effects import netlink
from amdcni_shim.__main__ import main
move = netlink.Netlink.move
def late(self, netdev, to, ifname, ifindex=None, **attributes):
    if ifname == os.environ["CNI_IFNAME"]:
        take = ["nsenter", f"--net={os.environ['CNI_NETNS']}", "ip", "link", "add", ifname]
        subprocess.run([*take, "type", "bridge"], check=True)
    move(self, netdev, to, ifname, ifindex, **attributes)
netlink.Netlink.move = late
sys.exit(main(os.environ, sys.stdin.buffer, sys.stdout, sys.stderr))
"""
"""Serves a call like the executable; just before it moves the NIC, somebody takes the name."""


@natively
def test_a_netdev_that_was_moved_but_could_not_be_renamed_returns(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    done = node.run(
        [sys.executable, "-c", RACING_CALL],
        stdin=json.dumps(runtime.config).encode(),
        env=environment_of("ADD", {"netns": pod, "path": [DEBIAN]}),
    )
    error = json.loads(done.stdout)
    assert (done.returncode, error["code"]) == (1, 105), done
    assert "File exists" in error["msg"]
    assert damage(before, node) == []
    assert ifnames(pod) == {"net1"}


@natively
@pytest.mark.parametrize("altname", ["net1", "enp193s0"])
def test_an_altname_that_is_also_in_the_pod_does_no_harm(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, altname: str
) -> None:
    node.ip(f"link property add dev eth1 altname other altname {altname}")
    if altname != "net1":
        pod.ip(f"link add {altname} type bridge")
    before = dump(node)
    runtime.added(pod)
    assert link_of(pod)["altnames"] == ["other", f"amdcni-{BDF}"]
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


# IPAM plugins


@natively
def test_an_ipam_plugin_gets_the_whole_configuration_and_environment(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    before = dump(node)
    script = f"cat >$0.$CNI_COMMAND; exec {DEBIAN}/static <$0.$CNI_COMMAND"
    folder = plugin_folder(tmp_path / "bin", own=script)
    ipam = {"type": "own", "addresses": [{"address": "192.0.2.1/24"}]}
    ours = runtime.having(ipam=ipam, x={"y": [1, None, "ü"]}, cniVersion="1.0.0")
    result = ours.added(pod, path=[folder])
    expect_silence(ours.check(pod, result, path=[folder]))
    expect_silence(ours.having(prevResult=result).delete(pod, path=[folder]))
    assert json.loads((folder / "own.ADD").read_bytes()) == ours.config
    for command in ("CHECK", "DEL"):
        got = json.loads((folder / f"own.{command}").read_bytes())
        assert got == {**ours.config, "prevResult": result}
    assert damage(before, node) == []


@natively
def test_if_the_ipam_plugin_fails_on_del_the_host_is_restored_and_del_can_be_repeated(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    before = dump(node)
    script = f"[ $CNI_COMMAND = DEL ] && [ ! -e $0.ok ] && exit 3; exec {DEBIAN}/static"
    folder = plugin_folder(tmp_path / "bin", own=script)
    ipam = {"type": "own", "addresses": [{"address": "192.0.2.1/24"}]}
    ours = runtime.having(ipam=ipam, cniVersion="1.0.0")
    ours.added(pod, path=[folder])
    assert not ours.delete(pod, path=[folder]).succeeded
    assert differences(before, dump(node), sections=list(Section)) == []
    (folder / "own.ok").touch()
    assert ours.delete(pod, path=[folder]).succeeded
    assert damage(before, node) == []
