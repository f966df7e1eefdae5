"""The plugin in a network configuration list, followed by plugins of the CNI project."""

import json
from pathlib import Path

import attrs
import pytest

from amdcni.core.codec import parse_plugin_list
from amdcni.core.errors import PluginFailed
from amdcni.core.libcni import Wanted
from amdcni.core.names import ContainerId, IfName
from amdcni.core.spec import AttachmentId, PluginList
from amdcni.runtime import Cache
from amdcni.runtime import Runtime as Cni
from amdcni.testing import Nic, Node, Pod, dump, executor
from tests.netns.runtime import DEBIAN, Runtime, addresses, by_delegate, damage

NET1 = AttachmentId(ContainerId("container-1"), IfName("net1"))


@pytest.fixture
def cni(node: Node, plugin: Path, tmp_path: Path) -> Cni:
    """A runtime inside the node, with our plugin and Debian's."""
    return Cni(executor(node, [plugin.parent, DEBIAN]), Cache(str(tmp_path)))


def network_of(runtime: Runtime, *behind: dict[str, object], version: str = "1.0.0") -> PluginList:
    """Return a list with our plugin first."""
    ours = {
        key: value for key, value in runtime.config.items() if key not in ("cniVersion", "name")
    }
    source = {"cniVersion": version, "name": "fabric", "plugins": [ours, *behind]}
    return parse_plugin_list(json.dumps(source).encode())


def test_tuning_after_us_changes_the_pods_netdev_and_the_host_is_restored(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cni: Cni
) -> None:
    before = dump(node)
    tuning = {"type": "tuning", "mtu": 1300, "promisc": True, "capabilities": {"mac": True}}
    network = network_of(runtime, tuning)
    mac = "02:00:00:00:00:99"
    attachment = Wanted(NET1, pod.netns, capability_args={"mac": mac})
    result = cni.add(network, attachment)
    (link,) = pod.ip_json("link show dev net1")
    assert (link["mtu"], link["promiscuity"], link["address"]) == (1300, 1, mac)
    assert [str(ip.address) for ip in result.ips] == ["10.0.0.0/31", "fd00::8/64"]
    cni.check(network, attachment)
    cni.delete(network, attachment)
    assert damage(before, node) == []
    calls = [f"{exchange.call.verb} {exchange.call.plugin}" for exchange in cni.transcript]
    there = [
        f"{verb} {name}" for verb in ("ADD", "CHECK") for name in ("amd-host-device", "tuning")
    ]
    assert calls == [*there, "DEL tuning", "DEL amd-host-device"]


def test_the_result_includes_those_of_the_plugins_before_us(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cni: Cni
) -> None:
    before = dump(node)
    ours = network_of(runtime)
    network = attrs.evolve(ours, plugins=({"type": "loopback"}, *ours.plugins))
    attachment = Wanted(NET1, pod.netns)
    result = cni.add(network, attachment)
    assert [interface.name for interface in result.interfaces] == ["lo", "net1"]
    on = {str(ip.address): result.interfaces[ip.interface or 0].name for ip in result.ips}
    assert on == {"127.0.0.1/8": "lo", "::1/128": "lo", "10.0.0.0/31": "net1", "fd00::8/64": "net1"}
    cni.check(network, attachment)
    cni.delete(network, attachment)
    assert damage(before, node) == []


def test_the_documented_list_gives_the_pod_its_own_table_and_restores_the_host(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cni: Cni
) -> None:
    node.ip("route add 192.0.2.0/24 via 10.0.0.1 dev eth1")
    before = dump(node)
    page = (Path(__file__).parents[2] / "docs/how-to/chain-plugins.md").read_text()
    documented = parse_plugin_list(page.partition("```json\n")[2].partition("```")[0].encode())
    ours, *behind = documented.plugins
    plugins = ({**runtime.config, **ours}, *behind)
    network, attachment = attrs.evolve(documented, plugins=plugins), Wanted(NET1, pod.netns)
    cni.add(network, attachment)
    table = {(route["dst"], route.get("gateway")) for route in pod.ip_json("route show table 100")}
    assert {("192.0.2.0/24", "10.0.0.1"), ("default", "10.0.0.1")} <= table
    (link,) = pod.ip_json("link show dev net1")
    assert link["mtu"] == 4200
    cni.delete(network, attachment)
    assert damage(before, node) == []


@by_delegate
def test_if_a_plugin_after_us_fails_the_nic_stays_in_the_pod_until_del(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cni: Cni
) -> None:
    before = dump(node)
    network = network_of(runtime, {"type": "tuning", "sysctl": {"net.no.such": "1"}})
    attachment = Wanted(NET1, pod.netns)
    with pytest.raises(PluginFailed):
        cni.add(network, attachment)
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]
    cni.delete(network, attachment)
    assert damage(before, node) == []


@by_delegate
def test_status_and_gc_of_a_list_reach_us(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, cni: Cni, tmp_path: Path
) -> None:
    before = dump(node)
    network = network_of(runtime, version="1.1.0")
    cni.status(network)
    cni.add(network, Wanted(NET1, pod.netns))
    cni.gc(network, [NET1])
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]
    # A runtime that has lost its cache has nothing to detach; the plugin still knows.
    (tmp_path / "results/fabric-container-1-net1").unlink()
    cni.gc(network, [attrs.evolve(NET1, ifname=IfName("net2"))])
    assert damage(before, node) == []
