"""The NIC has its ifindex again, so that what knows it by that holds again."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from amdcni.testing import Nic, Node, Pod, dump
from tests.netns.runtime import (
    BDF,
    DEBIAN,
    Runtime,
    addresses,
    by_both,
    damage,
    expect_silence,
    natively,
    plugin_folder,
)

LABEL = "addrlabel add prefix fd00::/64 dev eth1 label 99"


def ifindex_of(where: Node | Pod, ifname: str = "eth1") -> int:
    (link,) = where.ip_json(f"link show dev {ifname}")
    return int(link["ifindex"])


@pytest.fixture
def nic(node: Node) -> Nic:
    """A NIC by whose ifindex the host labels addresses."""
    nic = node.add_nic(BDF, "eth1", ["10.0.0.0/31", "fd00::8/64"])
    node.ip(f"-6 {LABEL}")
    return nic


@pytest.fixture
def ifindex(node: Node, nic: Nic, pod: Pod) -> Iterator[int]:
    """The ifindex of the NIC, which another netdev has in the pod."""
    ifindex = ifindex_of(node)
    pod.ip(f"link add taken index {ifindex} type veth peer name far index 9999")
    yield ifindex
    (label,) = [each for each in node.ip_json("-6 addrlabel list") if each["address"] == "fd00::"]
    assert label["ifname"] == "eth1" if ifindex_of(node) == ifindex else "eth1" not in label


@by_both
def test_a_nic_whose_ifindex_the_pod_uses_has_it_again_after_del(
    node: Node, runtime: Runtime, pod: Pod, ifindex: int
) -> None:
    before = dump(node)
    runtime.added(pod)
    assert ifindex_of(pod, "net1") != ifindex
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []
    assert ifindex_of(node) == ifindex


@by_both
def test_a_nic_whose_ifindex_the_pod_uses_has_it_again_after_a_failed_add(
    node: Node, runtime: Runtime, pod: Pod, ifindex: int, tmp_path: Path
) -> None:
    before = dump(node)
    folder = plugin_folder(tmp_path / "plugins", broken='[ "$CNI_COMMAND" = DEL ]')
    broken = runtime.having(ipam={"type": "broken"})
    assert not broken.add(pod, path=[folder]).succeeded
    assert damage(before, node) == []
    assert ifindex_of(node) == ifindex


@by_both
def test_a_nic_whose_ifindex_the_host_has_given_away_gets_another_one_and_says_so(
    node: Node, runtime: Runtime, pod: Pod, ifindex: int
) -> None:
    before = dump(node)
    runtime.added(pod)
    node.ip(f"link add stranger index {ifindex} type veth peer name far index 9998")
    deleted = runtime.delete(pod)
    assert deleted.succeeded
    assert re.search(rf"event=renumbered .*was={ifindex} now=\d+", deleted.stderr), deleted
    assert ifindex_of(node, "stranger") == ifindex
    node.ip("link delete stranger")
    (line,) = damage(before, node)
    assert "ifindex" in line


@natively
def test_a_nic_that_somebody_took_home_and_uses_keeps_the_ifindex_that_it_has_there(
    node: Node, runtime: Runtime, pod: Pod, ifindex: int
) -> None:
    runtime.added(pod)
    pod.ip(f"link set net1 netns {node.netns}")
    node.ip("address add 192.0.2.1/24 dev net1")
    now = ifindex_of(node, "net1")
    assert now != ifindex
    deleted = runtime.delete(pod)
    assert deleted.succeeded
    assert re.search(rf"event=renumbered .*was={ifindex} now={now}", deleted.stderr), deleted
    assert ifindex_of(node) == now
    assert "192.0.2.1/24" in addresses(node, "eth1")


@by_both
def test_after_a_del_killed_before_any_change_the_next_one_gives_the_nic_its_ifindex(
    node: Node, runtime: Runtime, pod: Pod, ifindex: int
) -> None:
    before = dump(node)
    for number in itertools.count(1, 2):
        runtime.added(pod)
        outcome = runtime.start_to_die(("change", number), "DEL", netns=pod, path=[DEBIAN]).wait()
        assert runtime.delete(pod).succeeded
        assert damage(before, node) == [], f"killed before change {number}"
        assert ifindex_of(node) == ifindex, f"killed before change {number}"
        if outcome.succeeded:
            break
    assert number > 10
