"""CHECK finds what is wrong and nothing else; STATUS, GC and silence are as in CNI 1.1."""

import json
from pathlib import Path
from typing import Any

import pytest

from amdcni.testing import Nic, Node, Outcome, Pod, differences, dump
from tests.netns.command import run_amdcni
from tests.netns.runtime import (
    BDF,
    DEBIAN,
    TRY_AGAIN,
    Runtime,
    addresses,
    by_both,
    by_delegate,
    damage,
    expect_silence,
    hide_plugins,
    natively,
    records,
)

CHECK_FAILED = 108
NOT_AVAILABLE = 50


@pytest.mark.parametrize(
    ("damages", "words"),
    [
        (["address del 10.0.0.0/31 dev net1"], ["net1 lacks 10.0.0.0/31"]),
        (["address del fd00::8/64 dev net1"], ["net1 lacks fd00::8/64"]),
        (["link set net1 down"], ["net1 is down"]),
        (
            ["address change fd00::8/64 dev net1 preferred_lft 0"],
            ["net1: fd00::8/64 is deprecated"],
        ),
        (["link set net1 down", "link set net1 name lost0"], ["'lost0'", "'net1'"]),
        (["link del net1"], [BDF, "any more"]),
        (["link del net1", "link add net1 type bridge"], [BDF, "any more"]),
    ],
)
def test_check_finds_what_is_wrong(
    runtime: Runtime, nic: Nic, pod: Pod, damages: list[str], words: list[str]
) -> None:
    result = runtime.added(pod)
    expect_silence(runtime.check(pod, result))
    pod.ip_batch(damages)
    runtime.check(pod, result).expect_error(CHECK_FAILED, *words)


@pytest.mark.thorough
@natively
def test_check_finds_a_duplicate_address_and_amdcni_check_a_lost_link_too(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    """Duplicate address detection has just begun when CHECK comes, which waits until it ends."""
    result = runtime.added(pod)
    nic.peer.ip("address add fd00::8/64 dev wire nodad")
    pod.sysctl("net/ipv6/conf/net1/accept_dad", 1)
    pod.ip_batch(["address del fd00::8/64 dev net1", "address add fd00::8/64 dev net1"])
    runtime.check(pod, result).expect_error(CHECK_FAILED, "fd00::8/64 is somebody else's")
    nic.peer.ip("link set wire down")
    done = run_amdcni(node, "check", "--json")
    (checked,) = json.loads(done.stdout)
    assert done.returncode == 1
    assert ["no link" in line for line in checked["problems"]] == [True, False]


def test_check_finds_a_netdev_back_on_the_host_and_a_replaced_or_missing_netns(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    result = runtime.added(pod)
    pod.ip(f"link set net1 netns {node.netns}")
    runtime.check(pod, result).expect_error(CHECK_FAILED, BDF, "any more")
    pod.recreate()
    runtime.check(pod, result).expect_error(CHECK_FAILED, pod.netns, "not the network namespace")
    pod.delete()
    runtime.check(pod, result).expect_error(CHECK_FAILED, pod.netns)


def test_check_reports_everything_at_once(runtime: Runtime, nic: Nic, pod: Pod) -> None:
    result = runtime.added(pod)
    pod.ip_batch(["address flush dev net1", "link set net1 down"])
    words = ["is down", "lacks 10.0.0.0/31", "lacks fd00::8/64"]
    runtime.check(pod, result).expect_error(CHECK_FAILED, *words)


def test_check_without_an_add_reports_an_unknown_container(
    runtime: Runtime, nic: Nic, pod: Pod
) -> None:
    runtime.check(pod, {"cniVersion": "1.1.0"}).expect_error(3, "container-1/net1")


def test_check_without_prev_result_says_what_is_missing(
    runtime: Runtime, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    runtime.call("CHECK", netns=pod).expect_error(7, "prevResult")


def test_check_tolerates_what_chained_plugins_change(runtime: Runtime, nic: Nic, pod: Pod) -> None:
    result = runtime.added(pod)
    pod.ip_batch(
        [
            "link set net1 mtu 1400 txqueuelen 77 promisc on",
            "link set net1 address 02:00:00:00:99:99",
            "route flush dev net1 table main",
            "address add 10.77.0.1/24 dev net1",
        ]
    )
    pod.sysctl("net/ipv4/conf/net1/rp_filter", 2)
    expect_silence(runtime.check(pod, result))
    elsewhere = {"address": "203.0.113.7/24"}  # Of an earlier or later plugin, and of no netdev.
    expect_silence(runtime.check(pod, {**result, "ips": [elsewhere, *result["ips"]]}))


@by_both
def test_check_finds_a_promised_route_that_is_missing_and_not_one_in_another_table(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.ip("route add 198.51.100.0/24 via 10.0.0.1 dev eth1")
    ours = runtime.having(copyRoutes=True)
    result = ours.added(pod)
    assert [route["dst"] for route in result["routes"]] == ["198.51.100.0/24"]
    expect_silence(ours.check(pod, result))
    pod.ip("route add 198.51.100.0/24 via 10.0.0.1 dev net1 table 100")
    pod.ip("route delete 198.51.100.0/24 table main")
    expect_silence(ours.check(pod, result))
    pod.ip("route delete 198.51.100.0/24 table 100")
    pod.ip("route add unreachable 198.51.100.0/24")
    missing = "net1 lacks the route to 198.51.100.0/24"
    ours.check(pod, result).expect_error(CHECK_FAILED, missing)
    # A plugin that is chained after ours may remove a route, and then takes it out of the result.
    expect_silence(ours.check(pod, {**result, "routes": []}))
    command = ours.plugin.with_name("amdcni")
    assert missing in node.run([command, "check", "--json"]).stdout.decode()


def chained(
    runtime: Runtime, pod: Pod, command: str, plugin: dict[str, Any], previous: Any
) -> Outcome:
    """Call a plugin that is chained after ours, as libcni does."""
    config = {"cniVersion": "1.0.0", "name": "fabric", "prevResult": previous, **plugin}
    return runtime.node.cni(command, DEBIAN / plugin["type"], config, netns=pod)


@by_both
def test_check_and_del_work_with_sbr_and_tuning_chained(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    tuning = {"type": "tuning", "sysctl": {"net.ipv4.conf.all.log_martians": "1"}}
    plugins: list[dict[str, Any]] = [{"type": "sbr"}, {**tuning, "mac": "02:00:00:00:77:77"}]
    ours = runtime.having(cniVersion="1.0.0")
    result = ours.added(pod)
    assert result["ips"][0]["gateway"] == "10.0.0.1"
    for plugin in plugins:
        outcome = chained(runtime, pod, "ADD", plugin, result)
        assert outcome.succeeded, outcome
        result = outcome.answer
    assert "10.0.0.1" in pod.ip("route show table 100")
    expect_silence(ours.check(pod, result))
    for plugin in reversed(plugins):
        assert chained(runtime, pod, "DEL", plugin, result).succeeded
    expect_silence(ours.having(prevResult=result).delete(pod))
    assert addresses(node, "eth1") == ["10.0.0.0/31", "fd00::8/64"]
    assert [line for line in differences(before, dump(node)) if "address 10.0" in line] == []


# STATUS


def status(runtime: Runtime, **options: Any) -> Outcome:
    """Call STATUS as a runtime does: the variables of an attachment are set but empty."""
    return runtime.call("STATUS", container_id="", netns="", ifname="", args="", **options)


def test_status_is_silent_when_an_add_would_work(runtime: Runtime, nic: Nic) -> None:
    expect_silence(status(runtime))
    expect_silence(status(runtime.having(ipam={"type": "host-local"})))


@by_delegate
def test_status_names_a_delegate_that_is_missing(runtime: Runtime, node: Node) -> None:
    hide_plugins(node)
    status(runtime).expect_error(NOT_AVAILABLE, "host-device", "/opt/cni/bin")


def test_status_names_an_ipam_plugin_that_is_missing(runtime: Runtime) -> None:
    missing = runtime.having(ipam={"type": "no-such-ipam"})
    status(missing).expect_error(NOT_AVAILABLE, "no-such-ipam")


@by_delegate
def test_status_names_the_plugin_for_the_hosts_addresses_if_that_is_missing(
    runtime: Runtime, node: Node
) -> None:
    folder = node.root / "run/bin"
    folder.mkdir()
    (folder / "host-device").write_bytes((DEBIAN / "host-device").read_bytes())
    (folder / "host-device").chmod(0o755)
    hide_plugins(node)
    status(runtime, path=["/run/bin"]).expect_error(NOT_AVAILABLE, "'static'", "/run/bin")


def test_status_names_a_privilege_that_is_missing(runtime: Runtime) -> None:
    status(runtime, privileged=False).expect_error(NOT_AVAILABLE, "CAP_NET_ADMIN")


def test_status_passes_on_the_error_of_a_plugin_of_cni_1_1(
    runtime: Runtime, tmp_path: Path
) -> None:
    said = json.dumps({"cniVersion": "1.1.0", "code": 51, "msg": "the pool is being moved"})
    versions = json.dumps({"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]})
    plugin = tmp_path / "pool"
    plugin.write_text(
        f"#!/bin/sh\n[ $CNI_COMMAND = VERSION ] && {{ echo '{versions}'; exit; }}\n"
        f"echo '{said}'; exit 1\n"
    )
    plugin.chmod(0o755)
    pooled = runtime.having(ipam={"type": "pool"})
    status(pooled, path=[tmp_path, DEBIAN]).expect_error(51, "the pool is being moved")


# GC


def gc(runtime: Runtime, *valid: tuple[str, str]) -> Outcome:
    """Call GC with these attachments as the valid ones."""
    listed = [{"containerID": container_id, "ifname": ifname} for container_id, ifname in valid]
    return runtime.having(**{"cni.dev/valid-attachments": listed}).call(
        "GC", container_id="", netns="", ifname="", args=""
    )


@pytest.fixture
def three(runtime: Runtime, node: Node, nic: Nic) -> dict[str, Pod]:
    """Three attachments, `one` and `two` of our network and `foreign` of another."""
    pods = {}
    for number, name in enumerate(("one", "two", "foreign"), 1):
        bdf = BDF if number == 1 else f"0000:d{number}:00.0"
        if number > 1:
            node.add_nic(bdf, f"eth{number}", [f"10.0.{number}.0/31"])
        network = "other" if name == "foreign" else "fabric"
        pods[name] = node.add_pod(name)
        lent = runtime.having(deviceID=bdf, pciBusID=bdf, name=network)
        lent.added(pods[name], container_id=name)
    return pods


def holders(node: Node) -> set[str]:
    """Return the container IDs that hold a device."""
    return {record["id"]["containerID"] for record in records(node).values()}


@by_both
def test_gc_releases_exactly_what_is_not_in_the_list(
    runtime: Runtime, node: Node, three: dict[str, Pod]
) -> None:
    expect_silence(gc(runtime, ("one", "net1"), ("foreign", "net1"), ("never", "net1")))
    assert holders(node) == {"one", "foreign"}
    assert addresses(node, "eth2") == ["10.0.2.0/31"]
    expect_silence(gc(runtime, ("one", "net1")))
    assert holders(node) == {"one", "foreign"}
    expect_silence(gc(runtime, ("one", "net7")))
    assert holders(node) == {"foreign"}
    assert addresses(node, "eth1") == ["10.0.0.0/31", "fd00::8/64"]


def test_gc_with_an_empty_list_releases_all_of_the_network_and_nothing_else(
    runtime: Runtime, node: Node, three: dict[str, Pod]
) -> None:
    expect_silence(gc(runtime))
    expect_silence(gc(runtime))
    assert holders(node) == {"foreign"}


def test_gc_releases_what_it_can_and_reports_the_rest(
    runtime: Runtime, node: Node, three: dict[str, Pod]
) -> None:
    three["one"].ip(f"link set net1 netns {three['foreign'].netns} name elsewhere")
    gc(runtime).expect_error(TRY_AGAIN, BDF)
    assert holders(node) == {"one", "foreign"}
    assert addresses(node, "eth2") == ["10.0.2.0/31"]


@pytest.mark.parametrize("absent", [{}, {"cni.dev/valid-attachments": None}])
def test_gc_without_a_list_releases_nothing(
    runtime: Runtime, node: Node, three: dict[str, Pod], absent: dict[str, object]
) -> None:
    expect_silence(runtime.having(**absent).call("GC", container_id="", netns="", ifname=""))
    assert holders(node) == {"one", "two", "foreign"}


@pytest.mark.parametrize("listed", [7, {}, [7], [{"containerID": "one"}], ["one/net1"]])
def test_gc_with_an_invalid_list_is_refused_and_releases_nothing(
    runtime: Runtime, node: Node, three: dict[str, Pod], listed: object
) -> None:
    wrong = runtime.having(**{"cni.dev/valid-attachments": listed})
    outcome = wrong.call("GC", container_id="", netns="", ifname="")
    outcome.expect_error(7, "cni.dev/valid-attachments")
    assert holders(node) == {"one", "two", "foreign"}


@pytest.mark.parametrize("command", ["GC", "STATUS"])
@pytest.mark.parametrize("version", ["0.1.0", "0.4.0", "1.0.0"])
def test_gc_and_status_do_not_exist_before_1_1(
    runtime: Runtime, command: str, version: str
) -> None:
    outcome = runtime.having(cniVersion=version).call(command, container_id="", ifname="")
    outcome.expect_error(1, command, "1.1.0")


def test_logs_go_to_the_configured_file_at_the_configured_level(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    talkative = runtime.having(logLevel="info", logFile="/run/amd-host-device.log")
    added = talkative.add(pod)
    assert added.succeeded
    assert "event=done" in added.stderr
    assert talkative.delete(pod).stdout == b""
    lines = (node.root / "run/amd-host-device.log").read_text().splitlines()
    assert [("verb=ADD" in line, "verb=DEL" in line) for line in lines] == [
        (True, False),
        (False, True),
    ]
    assert damage(before, node) == []
