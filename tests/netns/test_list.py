"""The plugin in a network configuration list, with plugins of the CNI project behind it."""

import json
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from amdcni.core.codec import parse_plugin_list
from amdcni.core.errors import PluginFailed
from amdcni.core.names import ContainerId, IfName
from amdcni.core.runtime import Cached, Wanted, add, check, conduct, delete, gc, status
from amdcni.core.spec import AttachmentId, Json, PluginList
from amdcni.core.steps import PluginCall
from amdcni.testing import Nic, Node, Pod, dump
from tests.netns.runtime import DEBIAN, Runtime, addresses, by_delegate, damage

NET1 = AttachmentId(ContainerId("container-1"), IfName("net1"))


@pytest.fixture
def execute(node: Node, plugin: Path) -> Callable[[PluginCall], Json]:
    """Executes calls inside the node: ours from its folder, all others from Debian's."""

    def answer(call: PluginCall) -> Json:
        executable = plugin if call.plugin == plugin.name else DEBIAN / call.plugin
        outcome = node.start_cni(
            call.verb.value,
            executable,
            call.config,
            container_id=call.attachment.container_id if call.attachment else "",
            ifname=call.attachment.ifname if call.attachment else "",
            netns=call.netns,
            args=call.args,
        ).wait()
        if not outcome.succeeded:
            told = outcome.answer or {}
            raise PluginFailed(call.plugin, told.get("code", 999), str(outcome))
        answered: Json = outcome.answer or {}
        return answered

    return answer


def network_of(runtime: Runtime, *behind: dict[str, object], version: str = "1.0.0") -> PluginList:
    """A list with our plugin in front."""
    ours = {
        key: value for key, value in runtime.config.items() if key not in ("cniVersion", "name")
    }
    source = {"cniVersion": version, "name": "fabric", "plugins": [ours, *behind]}
    return parse_plugin_list(json.dumps(source).encode())


def test_tuning_behind_us_changes_the_pods_netdev_and_the_host_gets_its_own_back(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, execute: Callable[[PluginCall], Json]
) -> None:
    before = dump(node)
    tuning = {"type": "tuning", "mtu": 1300, "promisc": True, "capabilities": {"mac": True}}
    network = network_of(runtime, tuning)
    mac = "02:00:00:00:00:99"
    attachment = Wanted(NET1, pod.netns, capability_args={"mac": mac})
    result = conduct(add(network, attachment), execute)
    (link,) = pod.ip_json("link show dev net1")
    assert (link["mtu"], link["promiscuity"], link["address"]) == (1300, 1, mac)
    assert [str(ip.address) for ip in result.ips] == ["10.0.0.0/31", "fd00::8/64"]
    conduct(check(network, attachment, result), execute)
    conduct(delete(network, attachment, result), execute)
    assert damage(before, node) == []


@by_delegate
def test_a_plugin_behind_us_that_fails_leaves_the_nic_to_the_del(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, execute: Callable[[PluginCall], Json]
) -> None:
    before = dump(node)
    network = network_of(runtime, {"type": "tuning", "sysctl": {"net.no.such": "1"}})
    attachment = Wanted(NET1, pod.netns)
    with pytest.raises(PluginFailed):
        conduct(add(network, attachment), execute)
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]
    conduct(delete(network, attachment, None), execute)
    assert damage(before, node) == []


@by_delegate
def test_status_and_gc_of_a_list_reach_us(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, execute: Callable[[PluginCall], Json]
) -> None:
    before = dump(node)
    network = network_of(runtime, version="1.1.0")
    conduct(status(network), execute)
    attachment = Wanted(NET1, pod.netns)
    result = conduct(add(network, attachment), execute)
    held = Cached(network, attachment, result)
    conduct(gc(network, [NET1], [held]), execute)
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]
    # A runtime that lost its cache knows of nothing to detach; the plugin does.
    conduct(gc(network, [attrs.evolve(NET1, ifname=IfName("net2"))], []), execute)
    assert damage(before, node) == []
