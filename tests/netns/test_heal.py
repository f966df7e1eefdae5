"""`amdcni heal`, GC and STATUS return the NICs that no call will return any more."""

import json
from pathlib import Path
from typing import Any

import pytest

from amdcni.testing import Nic, Node, Pod, differences, dump
from tests.netns.command import output_of_amdcni, run_amdcni, start_amdcni
from tests.netns.read_only_folder import read_only, writable
from tests.netns.runtime import (
    BDF,
    STATE,
    Runtime,
    addresses,
    by_both,
    damage,
    ifnames,
    plugin_folder,
    record_of,
    records,
    remains,
)

OTHER = "0000:c2:00.0"


def heal(node: Node, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit status and the findings of `amdcni heal --json`."""
    done = run_amdcni(node, "heal", "--json", *options)
    assert done.stdout, done
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return done.returncode, found


def test_on_a_node_without_records_there_is_nothing_to_heal(node: Node) -> None:
    assert heal(node) == (0, [])
    assert "Nothing to heal" in output_of_amdcni(node, "heal")


@by_both
def test_heal_restores_a_nic_whose_netns_has_died(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    node.ip("route add 192.0.2.0/24 via 10.0.0.1 dev eth1 table 1000")
    node.ip("neighbour add 10.0.0.1 lladdr 02:00:00:00:00:77 dev eth1")
    node.sysctl("net/ipv4/conf/eth1/rp_filter", 2)
    before = dump(node)
    runtime.added(pod)
    pod.delete()
    assert ifnames(node) == {"net1"}
    status, (finding,) = heal(node, "--dry-run")
    assert (status, finding["found"], finding["healed"]) == (0, "returned", False)
    assert ifnames(node) == {"net1"}
    status, (finding,) = heal(node)
    assert (status, finding["found"], finding["healed"]) == (0, "returned", True)
    assert (finding["device"], finding["host_ifname"]) == (BDF, "eth1")
    assert damage(before, node) == []
    assert heal(node) == (0, [])


def test_a_dry_run_leaves_even_a_damaged_record_where_it_is(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    record_of(node).write_text("{")
    before = dump(node), remains(node)
    status, (finding,) = heal(node, "--dry-run")
    assert (status, finding["device"], finding["found"]) == (1, BDF, None)
    assert "not JSON" in finding["failure"]
    assert differences(before[0], dump(node)) == []
    assert remains(node) == before[1]
    status, (finding,) = heal(node)
    assert (status, finding["device"]) == (1, BDF)
    assert not record_of(node).exists()
    # An operator has to look, and is reminded until that is done.
    set_aside = f"the record of {BDF} was damaged and set aside as {STATE}/{BDF}.json.damaged-"
    for command in ("heal", "attachments"):
        assert set_aside in run_amdcni(node, command).stdout.decode()


STUCK = """case $CNI_COMMAND in
  DEL) echo >>{folder}/called; [ -e {folder}/well ] || sleep 1000 ;;
  *) echo '{{"cniVersion":"1.0.0","ips":[{{"address":"10.9.9.9/24"}}]}}' ;;
esac"""


def test_an_ipam_plugin_that_hangs_blocks_no_call_about_another_nic(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    other = node.add_nic(OTHER, "eth2", ["10.0.1.0/31"], peer_addresses=["10.0.1.1/31"])
    path = [plugin_folder(tmp_path / "bin", stuck=STUCK.format(folder=tmp_path))]
    before = dump(node)
    leasing = runtime.having(ipam={"type": "stuck"}, cniVersion="1.0.0")
    killed = leasing.start_to_die(("before", 5), "ADD", netns=pod, path=path).wait()
    assert not killed.succeeded
    assert ifnames(node) != {"eth1", "eth2"}
    second = runtime.having(deviceID=other.bdf, pciBusID=other.bdf)
    pod2 = node.add_pod("pod2")
    for _ in range(2):
        second.added(pod2, container_id="container-2", path=path)
        assert second.delete(pod2, container_id="container-2", path=path).succeeded
        assert differences(before, dump(node)) == []
    assert not (tmp_path / "called").exists()
    assert set(records(node)) == {f"{BDF}.json"}
    (tmp_path / "well").touch()
    done = run_amdcni(node, "heal", "--json", env={"CNI_PATH": str(path[0])})
    assert (done.returncode, json.loads(done.stdout)[0]["healed"]) == (0, True)
    assert (tmp_path / "called").read_text() == "\n"
    assert damage(before, node) == []


def test_heal_restores_two_nics_that_were_both_called_net1(
    runtime: Runtime, node: Node, nic: Nic
) -> None:
    node.add_nic(OTHER, "eth2", ["10.0.1.0/31", "fd01::8/64"])
    before = dump(node)
    pods = {BDF: node.add_pod("pod1"), OTHER: node.add_pod("pod2")}
    for device, pod in pods.items():
        runtime.having(deviceID=device, pciBusID=device).added(pod, container_id=pod.name)
    for pod in pods.values():
        pod.delete()
    assert "net1" in ifnames(node)
    status, findings = heal(node)
    assert (status, [f["healed"] for f in findings]) == (0, [True, True])
    assert damage(before, node) == []


@pytest.mark.parametrize("command", ["GC", "STATUS"])
def test_gc_and_status_heal_too(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, command: str
) -> None:
    before = dump(node)
    runtime.added(pod)
    pod.delete()
    ours = runtime.having("deviceID", "pciBusID")
    assert ours.call(command).succeeded
    assert damage(before, node) == []


def test_a_nic_of_a_living_pod_is_left_alone(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    before, in_pod = dump(node), dump(pod)
    status, (finding,) = heal(node)
    assert (status, finding["found"], finding["healed"]) == (0, "held", False)
    assert damage(before, node) == [f"amd-host-device/{BDF}.json is left"]
    assert differences(in_pod, dump(pod)) == []
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]


def test_a_stranger_with_the_old_name_is_left_alone_and_the_table_says_what_was_done(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    pod.delete()
    node.ip("link add eth1 type bridge")
    node.learn(nic, "eth1_1")
    node.forget(nic, "eth1")
    said = output_of_amdcni(node, "heal")
    assert BDF in said
    assert "returned" in said
    assert addresses(node, "eth1_1") == ["10.0.0.0/31", "fd00::8/64"]
    assert addresses(node, "eth1") == []
    assert records(node) == {}


def test_why_a_nic_was_not_healed_is_a_sentence_that_no_terminal_cuts_off(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    pod.delete()
    read_only(node)
    status, (finding,) = heal(node)
    assert (status, finding["healed"]) == (1, False)
    said = run_amdcni(node, "heal", env={"COLUMNS": "80"}).stdout.decode()
    assert f"{BDF} (eth1) was not healed: {finding['failure']}" in said.splitlines()
    writable(node)
    assert heal(node)[0] == 0
    assert damage(before, node) == []


def test_many_healers_at_once_do_no_harm(runtime: Runtime, node: Node, nic: Nic, pod: Pod) -> None:
    before = dump(node)
    runtime.added(pod)
    pod.delete()
    healers = [start_amdcni(node, "heal", "--json") for _ in range(6)]
    for healer in healers:
        healer.wait()
    assert heal(node) == (0, [])
    assert damage(before, node) == []
