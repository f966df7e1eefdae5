"""Host before = host after: an ordinary ADD, a working pod, a DEL, attribute by attribute."""

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.testing import Nic, Node, Pod, differences, dump, skip_reason, throwaway_node
from tests.netns.runtime import (
    BDF,
    DEBIAN,
    LEASES,
    Runtime,
    addresses,
    by_both,
    by_delegate,
    damage,
    expect_silence,
    ifnames,
    plugin_folder,
    records,
    remains,
)
from tests.patience import wait_until

ROUTER = Path(__file__).with_name("router.py")

INTERFACE = {"name": "net1", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/pod1"}
OLD = {
    "ip4": {"ip": "10.0.0.0/31", "gateway": "10.0.0.1"},
    "ip6": {"ip": "fd00::8/64"},
}
IPS = [
    {"address": "10.0.0.0/31", "gateway": "10.0.0.1", "interface": 0},
    {"address": "fd00::8/64", "interface": 0},
]
VERSIONED = [{**IPS[0], "version": "4"}, {**IPS[1], "version": "6"}]
RESULTS: dict[str | None, dict[str, Any]] = {
    None: {"cniVersion": "0.1.0", **OLD},
    "": {"cniVersion": "0.1.0", **OLD},
    "0.1.0": {"cniVersion": "0.1.0", **OLD},
    "0.2.0": {"cniVersion": "0.2.0", **OLD},
    "0.3.0": {"cniVersion": "0.3.0", "interfaces": [INTERFACE], "ips": VERSIONED},
    "0.3.1": {"cniVersion": "0.3.1", "interfaces": [INTERFACE], "ips": VERSIONED},
    "0.4.0": {"cniVersion": "0.4.0", "interfaces": [INTERFACE], "ips": VERSIONED},
    "1.0.0": {"cniVersion": "1.0.0", "interfaces": [INTERFACE], "ips": IPS},
    "1.1.0": {
        "cniVersion": "1.1.0",
        "interfaces": [{**INTERFACE, "mtu": 1500, "pciID": BDF}],
        "ips": IPS,
    },
}
"""The whole result of ADD, by the cniVersion of the configuration, or None if that has none."""


def round_trip(runtime: Runtime, pod: Pod) -> list[str]:
    """Return what an ADD followed by a DEL has changed on the host."""
    before = dump(runtime.node)
    result = runtime.added(pod)
    assert ifnames(pod) == {"net1"}
    expect_silence(runtime.having(prevResult=result).delete(pod))
    assert ifnames(pod) == set()
    return damage(before, runtime.node)


# Versions


@by_both
@pytest.mark.parametrize("version", RESULTS)
def test_in_every_version_the_pod_reaches_its_peer_and_the_host_is_restored(
    runtime: Runtime, nic: Nic, pod: Pod, version: str | None
) -> None:
    before = dump(runtime.node)
    if version is None:
        runtime = runtime.having("cniVersion")
    else:
        runtime = runtime.having(cniVersion=version)
    added = runtime.add(pod)
    assert added.answer == RESULTS[version], added
    assert added.stderr == ""
    assert "netdev eth1 is gone" in "".join(differences(before, dump(runtime.node)))
    assert all(pod.ping(peer) for peer in nic.peers)
    checked = runtime.check(pod, added.answer)
    if version in ("0.4.0", "1.0.0", "1.1.0"):
        expect_silence(checked)
        runtime = runtime.having(prevResult=added.answer)
    else:
        checked.expect_error(1, "CHECK", "0.4.0")
    expect_silence(runtime.delete(pod))
    assert damage(before, runtime.node) == []
    assert ifnames(pod) == set()


@pytest.mark.parametrize("version", ["0.5.0", "1.1.1", "2.0.0", "1.1", "v1.1.0"])
def test_an_unknown_version_is_refused_before_anything_is_touched(
    runtime: Runtime, nic: Nic, pod: Pod, version: str
) -> None:
    before = dump(runtime.node)
    runtime.having(cniVersion=version).add(pod).expect_error(1, version, "0.1.0")
    assert damage(before, runtime.node) == []


@by_both
def test_two_nics_of_one_pod_are_lent_and_returned_independently(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    other = node.add_nic("0000:c2:00.0", "eth2", ["10.0.0.2/31", "fd00:2::8/64"])
    before = dump(node)
    second = runtime.having(deviceID=other.bdf, pciBusID=other.bdf)
    runtime.added(pod, ifname="net1")
    second.added(pod, ifname="net2")
    assert all(pod.ping(peer) for peer in (*nic.peers, *other.peers))
    expect_silence(second.delete(pod, ifname="net2"))
    assert all(pod.ping(peer) for peer in nic.peers)
    assert set(records(node)) == {f"{BDF}.json"}
    expect_silence(runtime.delete(pod, ifname="net1"))
    assert damage(before, node) == []


# Attributes of the netdev


@by_both
def test_an_admin_down_nic_is_up_in_the_pod_and_down_again_on_the_host(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    nic = node.add_nic(BDF, "eth1", ["10.0.0.0/31"], up=False)
    before = dump(node)
    runtime.added(pod)
    assert pod.ping(nic.peers[0])
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []
    (link,) = node.ip_json("link show dev eth1")
    assert "UP" not in link["flags"]


@by_both
def test_a_nic_without_addresses_is_lent_and_returned_without_any(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.add_nic(BDF, "eth1")
    before = dump(node)
    result = runtime.added(pod)
    assert result.get("ips", []) == []
    assert addresses(pod) == []
    (link,) = pod.ip_json("link show dev net1")
    assert "UP" in link["flags"]
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@pytest.mark.parametrize("alias", [None, "fabric 0, port 1", "net1", "eth7", "größe"])
def test_an_alias_that_the_delegate_overwrites_is_restored(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, alias: str | None
) -> None:
    if alias is not None:
        node.output_of(["ip", "link", "set", "eth1", "alias", alias])
    assert round_trip(runtime, pod) == []


def test_the_pod_and_the_result_have_the_mtu_of_the_nic(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31"], mtu=9000)
    before = dump(node)
    (interface,) = runtime.added(pod)["interfaces"]
    assert (interface["mtu"], interface["pciID"]) == (9000, BDF)
    assert pod.ip_json("link show dev net1")[0]["mtu"] == 9000
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


@pytest.mark.parametrize("ifname", ["q", "enp193s0f1npf0", "ionic-0_x.1@y", "eth1"])
def test_a_nic_with_any_name_returns_under_that_name(
    runtime: Runtime, node: Node, pod: Pod, ifname: str
) -> None:
    node.add_nic(BDF, ifname, ["10.0.0.0/31"])
    assert round_trip(runtime, pod) == []


# Attributes of addresses


ADDRESSES: Mapping[str, list[str]] = {
    "a label": ["10.0.0.1/24 label eth1:fabric", "10.0.0.2/24 label eth1"],
    "a broadcast address": ["10.0.0.1/24 broadcast 10.0.0.7", "10.1.0.1/24 broadcast +"],
    "no broadcast address": ["10.0.0.1/24"],
    "a peer": ["10.0.0.1 peer 10.9.0.1/32", "10.0.0.2 peer 10.9.1.0/24", "fd00::1 peer fd09::1/64"],
    "a scope": ["10.0.0.1/24 scope link", "10.0.1.1/24 scope host", "10.0.2.1/24 scope 77"],
    "a metric": ["10.0.0.1/24 metric 50", "fd00::1/64 metric 70"],
    "no prefix route": ["10.0.0.1/24 noprefixroute", "fd00::1/64 noprefixroute"],
    "no duplicate address detection": ["fd00::1/64 nodad", "fd00::2/64"],
    "a deprecated address": ["10.0.0.1/24 preferred_lft 0", "fd00::1/64 preferred_lft 0"],
    "lifetimes": [
        "10.0.0.1/24 valid_lft 1000 preferred_lft 900",
        "fd00::1/64 valid_lft 2000 preferred_lft 0",
        "fd00::2/64 valid_lft forever preferred_lft 500",
    ],
    "secondaries": [f"10.0.{net}.{host}/24" for host in (9, 1, 5) for net in (2, 1)],
    "the order of many": [f"fd00::{number}/64" for number in (9, 1, 5, 3)],
    "host prefixes": ["10.0.0.1/32", "fd00::1/128"],
    "one address with several peers": [
        "10.0.0.1 peer 10.9.0.1/24",
        "10.0.0.1 peer 10.9.1.1/24",
        "10.0.0.1/24",
    ],
    "one address with several prefixes": ["10.0.0.1/24", "10.0.0.1/16", "10.0.0.1/32"],
    "point-to-point prefixes": ["10.0.0.0/31", "10.0.0.3/31", "fd00::/127", "fd00::3/127"],
    "a link-local address set by hand": ["fe80::1/64", "169.254.7.7/16 scope link"],
}


@pytest.mark.parametrize("words", ADDRESSES.values(), ids=list(ADDRESSES))
def test_every_attribute_of_an_address_is_restored(
    runtime: Runtime, node: Node, pod: Pod, words: list[str]
) -> None:
    node.add_nic(BDF, "eth1", words, peer_addresses=[])
    assert round_trip(runtime, pod) == []


KERNELS_OWN = "fe80::ff:fe00:1"


def link_locals(node: Node) -> list[str]:
    (link,) = node.ip_json("-6 address show dev eth1 scope link")
    return [entry["local"] for entry in link.get("addr_info", [])]


@by_both
@pytest.mark.parametrize("ready", ["at once", "later"])
@pytest.mark.parametrize("order", [("fe80::1", KERNELS_OWN), (KERNELS_OWN, "fe80::1")])
def test_link_local_addresses_are_listed_as_before_whenever_the_link_is_ready(
    runtime: Runtime, node: Node, pod: Pod, order: tuple[str, str], ready: str
) -> None:
    """The kernel makes its own when the link is ready, and lists the latest first."""
    nic = node.add_nic(BDF, "eth1", [], peer_addresses=[])
    wait_until(lambda: link_locals(node) == [KERNELS_OWN], "the link is ready")
    if order[0] == KERNELS_OWN:
        node.ip_batch(["link set eth1 down", "link set eth1 addrgenmode none", "link set eth1 up"])
    node.ip("address add fe80::1/64 dev eth1")
    node.sysctl("net/ipv6/conf/eth1/addr_gen_mode", 0)
    assert link_locals(node) == list(order)
    before = dump(node)
    runtime.added(pod)
    if ready == "later":
        nic.peer.ip("link set wire down")
    expect_silence(runtime.delete(pod))
    nic.peer.ip("link set wire up")
    wait_until(lambda: damage(before, node) == [], "the link is ready again")


@by_both
def test_a_secret_that_was_set_before_the_mode_of_generation_does_not_change_it(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    """The kernel sets the mode to 2 with the secret."""
    node.add_nic(BDF, "eth1", [])
    wait_until(lambda: link_locals(node) == [KERNELS_OWN], "the link is ready")
    node.sysctl("net/ipv6/conf/eth1/stable_secret", "2001:db8::5")
    node.sysctl("net/ipv6/conf/eth1/addr_gen_mode", 0)
    assert round_trip(runtime, pod) == []


@by_both
def test_the_pod_gets_all_addresses_in_the_order_of_the_host(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    words = ["10.0.0.9/24", "10.0.0.1/24", "10.1.0.1/24", "fd00::9/64", "fd00::1/64"]
    node.add_nic(BDF, "eth1", words)
    seen = addresses(node, "eth1")
    result = runtime.added(pod)
    assert addresses(pod) == seen
    assert sorted(ip["address"] for ip in result["ips"]) == sorted(words)
    assert runtime.delete(pod).succeeded


@pytest.mark.parametrize(
    ("address", "gateway"),
    [
        ("10.0.0.0/31", "10.0.0.1"),
        ("10.0.0.7/31", "10.0.0.6"),
        ("fd00::/127", "fd00::1"),
        ("fd00::1/127", "fd00::"),
        ("10.0.0.1/30", None),
        ("fd00::1/126", None),
    ],
)
def test_only_a_point_to_point_prefix_has_the_peer_as_gateway(
    runtime: Runtime, node: Node, pod: Pod, address: str, gateway: str | None
) -> None:
    nic = node.add_nic(BDF, "eth1", [address])
    (ip,) = runtime.added(pod)["ips"]
    assert (ip["address"], ip.get("gateway")) == (address, gateway)
    assert pod.ping(ip.get("gateway", nic.peers[0]))


@by_both
def test_lifetimes_keep_running_while_the_pod_has_the_nic(
    runtime: Runtime, node: Node, pod: Pod, tmp_path: Path
) -> None:
    lifetimes = {
        "10.0.0.1/24": (1000, 900),
        "10.0.0.2/24": (1000, 50),
        "10.0.0.3/24": (50, 50),
        "fd00::1/64": (1000, 900),
        "fd00::2/64": (50, 50),
    }
    node.add_nic(
        BDF,
        "eth1",
        [f"{address} valid_lft {v} preferred_lft {p}" for address, (v, p) in lifetimes.items()],
        peer_addresses=[],
    )
    later = tmp_path / "a-minute-later"
    later.write_text(f'#!/bin/sh\nexec unshare --time --boottime 60 --fork -- "{runtime.plugin}"\n')
    later.chmod(0o755)
    if node.run(["unshare", "--time", "--boottime", "60", "--fork", "true"]).returncode != 0:
        pytest.skip("no time namespaces here")
    before = dump(node)
    runtime.added(pod)
    expect_silence(Runtime(node, later, runtime.config).delete(pod))
    (link,) = node.ip_json("address show dev eth1")
    seen = {
        f"{entry['local']}/{entry['prefixlen']}": (
            entry["valid_life_time"],
            entry["preferred_life_time"],
        )
        for entry in link["addr_info"]
        if not entry["local"].startswith("fe80:")
    }
    expected = {
        "10.0.0.1/24": (940, 840),
        "10.0.0.2/24": (940, 0),
        "fd00::1/64": (940, 840),
    }
    assert seen.keys() == expected.keys()
    for address, wanted in expected.items():
        assert all(abs(a - b) < 10 for a, b in zip(seen[address], wanted, strict=True)), seen
    assert remains(node) == []
    others = [line for line in differences(before, dump(node)) if " from now, is " not in line]
    ended = re.compile(r"10\.0\.0\.[23]\b|fd00::2\b")
    assert [line for line in others if not ended.search(line)] == []


# What the kernel makes


def advertise(nic: Nic, *prefixes: str) -> None:
    """Let the peer send one router advertisement (RFC 4861 §4.2)."""
    nic.peer.output_of([sys.executable, "-I", "-S", ROUTER, *prefixes])


@by_both
def test_addresses_from_router_advertisements_are_left_to_the_kernel(
    runtime: Runtime, node: Node, pod: Pod
) -> None:
    node.sysctl("net/ipv6/conf/default/use_tempaddr", 2)
    nic = node.add_nic(BDF, "eth1", ["fd00::8/64", "10.0.0.0/31"])
    advertise(nic, "fd07::")
    slaac = [a for a in addresses(node, "eth1") if a.startswith("fd07:")]
    assert len(slaac) == 2  # One of them is a temporary address.
    result = runtime.added(pod)
    assert sorted(ip["address"] for ip in result["ips"]) == ["10.0.0.0/31", "fd00::8/64"]
    assert sorted(addresses(pod)) == ["10.0.0.0/31", "fd00::8/64"]
    expect_silence(runtime.delete(pod))
    assert sorted(addresses(node, "eth1")) == ["10.0.0.0/31", "fd00::8/64"]
    assert remains(node) == []
    advertise(nic, "fd07::")
    (link,) = node.ip_json("address show dev eth1")
    again = [entry for entry in link["addr_info"] if entry["local"].startswith("fd07:")]
    assert len(again) == 2
    assert all(entry["dynamic"] and entry["valid_life_time"] < 4294967295 for entry in again)


# ipam


def test_ipam_in_the_configuration_takes_precedence_over_the_hosts_addresses(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    static = {"type": "static", "addresses": [{"address": "192.0.2.1/24"}]}
    with_ipam = runtime.having(ipam=static)
    assert [ip["address"] for ip in with_ipam.added(pod)["ips"]] == ["192.0.2.1/24"]
    assert addresses(pod) == ["192.0.2.1/24"]
    expect_silence(with_ipam.delete(pod))
    assert damage(before, node) == []


@by_both
@pytest.mark.parametrize("version", ["0.2.0", "1.1.0"])
def test_a_lease_of_host_local_lasts_as_long_as_the_attachment(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, version: str
) -> None:
    before = dump(node)
    ipam = {"type": "host-local", "ranges": [[{"subnet": "192.0.2.0/24"}]]}
    with_ipam = runtime.having(ipam=ipam, cniVersion=version)
    with_ipam.added(pod)
    assert addresses(pod) == ["192.0.2.2/24"]
    lease = node.root / LEASES.lstrip("/") / "fabric/192.0.2.2"
    assert lease.read_text().split() == ["container-1", "net1"]
    expect_silence(with_ipam.delete(pod))
    assert damage(before, node) == []


@pytest.mark.parametrize("ipam", [{}, None])
def test_an_empty_ipam_means_the_hosts_addresses(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, ipam: object
) -> None:
    before = dump(node)
    result = runtime.having(ipam=ipam).added(pod)
    assert [ip["address"] for ip in result["ips"]] == list(nic.addresses)
    assert sorted(addresses(pod)) == sorted(nic.addresses)
    expect_silence(runtime.having(ipam=ipam).delete(pod))
    assert damage(before, node) == []


@pytest.mark.parametrize("ipam", ["", "host-local", ["static"], 7, {"type": 7}, {"type": "../x"}])
def test_an_invalid_ipam_is_refused_before_anything_is_touched(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, ipam: object
) -> None:
    before = dump(node)
    runtime.having(ipam=ipam).add(pod).expect_error(7, "$.ipam")
    assert damage(before, node) == []


# What is passed on to the delegate


@by_delegate
def test_the_delegate_gets_every_key_and_the_whole_environment(
    runtime: Runtime, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    keys = {"x": {"y": [1, None, "ü", 1e3]}, "args": {"cni": {"foo": "bar"}}, "runtimeConfig": {}}
    env = {"PATH": os.defpath, "EXTRA": "a b", "LANG": "C"}
    script = f"env >$0.env; tee $0.stdin | {DEBIAN}/host-device"
    folder = plugin_folder(tmp_path / "bin", host_device=script)
    arguments = "IgnoreUnknown=1;K8S_POD_NAME=pod;IgnoreUnknown=1"
    ours = runtime.having(**keys, cniVersion="1.0.0")
    ours.added(pod, path=[folder], env=env, args=arguments)
    variables = (folder / "host-device.env").read_text().splitlines()
    assert {f"CNI_ARGS={arguments}", "EXTRA=a b", "LANG=C"} <= set(variables)
    given = json.loads((folder / "host-device.stdin").read_bytes())
    assert given.keys() == {*ours.config, "device", "ipam"}
    assert {key: given[key] for key in ours.config} == ours.config


# Any host


def words(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return words that follow `ip address add`, drawn from `parts`, which may be empty."""
    return st.tuples(*parts).map(lambda drawn: " ".join(filter(None, drawn)))


def perhaps(*some: str) -> st.SearchStrategy[str]:
    return st.sampled_from(["", *some])


lifetimes = perhaps(
    "preferred_lft 0", "valid_lft 3000 preferred_lft 2000", "valid_lft 3000 preferred_lft 0"
)
prefixes = st.builds(
    "10.{}.0.{}/{}".format,
    st.integers(0, 1),
    st.integers(1, 9),
    st.sampled_from([8, 16, 24, 31, 32]),
)
peers = st.builds("10.0.0.{} peer 10.9.{}.1/24".format, st.integers(1, 9), st.integers(0, 9))
ipv4_addresses = words(
    prefixes | peers,
    perhaps("label eth1:a", "label eth1:b"),
    # Never a shared one: of two addresses that share one, the first would own the broadcast route.
    perhaps("broadcast +"),
    perhaps("metric 50", "metric 70"),
    perhaps("noprefixroute"),
    lifetimes,
)
ipv6_addresses = words(
    st.builds("fd00::{:x}/{}".format, st.integers(1, 9), st.sampled_from([48, 64, 127, 128]))
    | st.builds("fd00::{:x} peer fd09::{:x}/64".format, st.integers(1, 9), st.integers(1, 9)),
    perhaps("nodad"),
    perhaps("metric 50", "metric 70"),
    perhaps("noprefixroute"),
    lifetimes,
)


def local_address_of(address: str) -> str:
    return re.split("[ /]", address)[0]


@given(
    # Of two with the same local address, the first would own its local route.
    configured=st.lists(ipv4_addresses | ipv6_addresses, max_size=9, unique_by=local_address_of),
    # One for all: the kernel sorts by scope, which hides the order in which addresses were set.
    scope=perhaps("scope link", "scope host"),
    alias=perhaps("fabric"),
    up=st.booleans(),
)
def test_any_host_is_the_same_before_and_after(
    plugin: Path, configured: list[str], scope: str, alias: str, up: bool
) -> None:
    if reason := skip_reason():
        pytest.skip(reason)
    with throwaway_node() as node:
        node.add_nic(BDF, "eth1", up=up)
        node.output_of(["ip", "link", "set", "eth1", "alias", alias])
        node.ip_batch([f"address add {words} {scope} dev eth1" for words in configured])
        assert round_trip(Runtime(node, plugin), node.add_pod("pod1")) == []
