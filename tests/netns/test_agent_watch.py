"""The agent heals by itself: because of what the kernel says, and not only every minute."""

from pathlib import Path
from typing import Final

import pytest

from amdcni.testing import Nic, Node, Pod, dump
from tests.netns.agents import agent_on, look_only_at_events, preparation
from tests.netns.resets import reset
from tests.netns.runtime import (
    BDF,
    LEASES,
    Runtime,
    addresses,
    by_delegate,
    damage,
    expect_silence,
    ifnames,
    natively,
    plugin_folder,
    records,
    remains,
)
from tests.patience import wait_until

BY_EVENTS_ALONE: Final = preparation(look_only_at_events)
"""Its first look is the only one that is not because of an event."""

LAST_RAIL = 8


def whole(node: Node, names: set[str]) -> bool:
    """Return whether no record is left and these netdevs are on the host."""
    return not records(node) and names <= ifnames(node)


def test_a_nic_whose_pod_dies_without_a_del_is_whole_again_because_of_its_link_event(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.ip("route add 192.0.2.0/24 via 10.0.0.1 dev eth1 table 1000")
    before = dump(node)
    with agent_on(node, before=BY_EVENTS_ALONE) as agent:
        runtime.added(pod)
        pod.delete()
        wait_until(lambda: whole(node, {"eth1"}), "the NIC is whole again")
        said = agent.end().stderr
    assert damage(before, node) == []
    assert "event=healed" in said
    # The runtime may still send the DEL; it has nothing to do.
    expect_silence(runtime.delete(None))
    assert damage(before, node) == []


@natively
def test_all_nics_that_come_home_at_once_are_healed(runtime: Runtime, node: Node) -> None:
    nics = [
        node.add_nic(f"0000:c{n}:00.0", f"eth{n}", [f"10.0.{n}.0/31"])
        for n in range(1, LAST_RAIL + 1)
    ]
    pod = node.add_pod("pod1")
    before = dump(node)
    with agent_on(node, before=BY_EVENTS_ALONE):
        for number, nic in enumerate(nics, start=1):
            lent = runtime.having(deviceID=nic.bdf, pciBusID=nic.bdf)
            lent.added(pod, ifname=f"net{number}")
        pod.delete()
        wait_until(lambda: whole(node, {nic.ifname for nic in nics}), "all NICs are whole again")
    assert damage(before, node) == []


def test_what_happened_before_the_agent_started_is_healed_at_its_start(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    pod.delete()
    with agent_on(node, before=BY_EVENTS_ALONE):
        wait_until(lambda: whole(node, {"eth1"}), "the NIC is whole again")
    assert damage(before, node) == []


def test_a_nic_that_is_reset_goes_back_into_its_living_pod(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    with agent_on(node, before=BY_EVENTS_ALONE) as agent:
        result = runtime.added(pod)
        reset(node, nic, pod)
        wait_until(lambda: "net1" in ifnames(pod), "the NIC is in its pod again")
        wait_until(agent.is_idle, "the look has ended")
        assert addresses(pod) == list(nic.addresses)
        expect_silence(runtime.check(pod, result))
        expect_silence(runtime.delete(pod))
        said = agent.end().stderr
    assert damage(before, node) == []
    assert "event=reattached" in said


@by_delegate
def test_ipam_leases_are_released(runtime: Runtime, node: Node, nic: Nic, pod: Pod) -> None:
    ipam = {"type": "host-local", "dataDir": LEASES, "subnet": "10.9.0.0/24"}
    before = dump(node)
    with agent_on(node, before=BY_EVENTS_ALONE):
        runtime.having(ipam=ipam).added(pod)
        assert any("networks" in path for path in remains(node))
        pod.delete()
        wait_until(lambda: not remains(node), "the lease is released")
    assert damage(before, node) == []


@by_delegate
def test_a_healing_that_fails_is_reported_and_hinders_no_call(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    second = node.add_nic("0000:c2:00.0", "eth2", ["10.0.2.0/31"])
    other = node.add_pod("pod2")
    before = dump(node)
    folder = plugin_folder(
        tmp_path / "plugins",
        refusing='case "$CNI_COMMAND" in DEL) exit 1; esac\n'
        'echo \'{"cniVersion":"1.1.0","ips":[{"address":"10.9.0.2/24"}]}\'',
    )
    with agent_on(node, before=BY_EVENTS_ALONE) as agent:
        lent = runtime.having(mover="native", ipam={"type": "refusing"})
        lent.added(pod, path=[folder])
        pod.delete()
        wait_until(lambda: "eth1" in ifnames(node), "the NIC is home")
        elsewhere = runtime.having(deviceID=second.bdf, pciBusID=second.bdf)
        elsewhere.added(other, container_id="other")
        assert addresses(other) == ["10.0.2.0/31"]
        expect_silence(elsewhere.delete(other, container_id="other"))
        assert list(records(node)) == [f"{BDF}.json"]
        said = agent.end().stderr
    assert "event=not-healed" in said
    assert ifnames(node) == {"eth1", "eth2"}
    expect_silence(runtime.delete(None, path=[plugin_folder(tmp_path / "new", refusing="exit 0")]))
    assert damage(before, node) == []


@pytest.mark.parametrize("how", ["created", "renamed"])
@natively
def test_other_netdevs_that_appear_change_nothing(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, how: str
) -> None:
    before = dump(node)
    with agent_on(node, before=BY_EVENTS_ALONE):
        runtime.added(pod)
        if how == "created":
            node.ip("link add other0 type bridge")
            node.ip("link del other0")
        else:
            node.ip("link add other0 type bridge")
            node.ip("link set other0 name other1")
            node.ip("link del other1")
        assert addresses(pod) == list(nic.addresses)
        expect_silence(runtime.delete(pod))
    assert damage(before, node) == []
