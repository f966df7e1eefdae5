"""What AMD's Go plugin lent before an upgrade is returned by the DEL that follows, or the next ADD.

Its ADD is imitated here: the real `host-device` with the host's addresses, and an entry in its
file, as in cni/plugins/amd-host-device of ROCm/network-operator.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from amdcni.testing import Nic, Node, Pod, differences, dump
from tests.netns.command import output_of_amdcni, run_amdcni
from tests.netns.read_only_folder import writable
from tests.netns.runtime import (
    BDF,
    DEBIAN,
    STATE,
    TRY_AGAIN,
    Runtime,
    addresses,
    by_delegate,
    damage,
    expect_silence,
    ifnames,
    records,
    state_folder,
)
from tests.netns.test_kill import is_killed
from tests.netns.test_state import reboot

pytestmark = by_delegate
"""What is taken over was moved by the delegate."""

OTHERS: dict[str, Any] = {
    "0000:77:00.0": {"hostInterfaceName": "ens77", "hostInterfaceIPs": ["10.1.1.1/24"], "new": 1.5},
}
"""Entries that no test removes."""

ADDRESSES = ["10.0.0.0/31", "fd00::8/64"]


def file_of(node: Node) -> Path:
    """Return the path of the Go plugin's file, as a test sees it."""
    return state_folder(node) / "ip-interface-mappings.json"


def entries(node: Node) -> dict[str, Any]:
    """Return the content of the Go plugin's file."""
    found: dict[str, Any] = json.loads(file_of(node).read_bytes())
    return found


def write(node: Node, content: object) -> None:
    """Write the Go plugin's file in the way that plugin does."""
    state_folder(node).mkdir(parents=True, exist_ok=True)
    file_of(node).write_text(json.dumps(content, indent=2))


def lend(node: Node, nic: Nic, pod: Pod, *, ifname: str = "net1") -> None:
    """Do the same as an ADD of the Go plugin."""
    own = list(nic.addresses)
    config = {
        "cniVersion": "1.0.0",
        "name": "fabric",
        "type": "host-device",
        "device": nic.ifname,
        "ipam": {"type": "static", "addresses": [{"address": address} for address in own]},
    }
    outcome = node.cni("ADD", DEBIAN / "host-device", config, netns=pod, ifname=ifname)
    assert outcome.succeeded, outcome
    before = entries(node) if file_of(node).exists() else OTHERS
    entry = {"hostInterfaceName": nic.ifname, "hostInterfaceIPs": own, "state": "UP"}
    write(node, {**before, nic.bdf: entry})


def is_forgotten(node: Node) -> bool:
    """Return whether no record and no entry is left, except the entries in OTHERS."""
    return (records(node), entries(node)) == (
        {file_of(node).name: OTHERS},
        OTHERS,
    )


@pytest.mark.parametrize("ifname", ["net1", "eth1"], ids=["as net1", "under its host name"])
@pytest.mark.parametrize("device", [True, False], ids=["by device", "without a device"])
def test_a_del_returns_what_the_go_plugin_lent(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, ifname: str, device: bool
) -> None:
    before = dump(node)
    lend(node, nic, pod, ifname=ifname)
    assert ifnames(pod) == {ifname}
    call = runtime if device else runtime.having("deviceID", "pciBusID")
    outcome = call.delete(pod, ifname="net1" if device else ifname)
    assert outcome.succeeded, outcome
    assert outcome.stderr.count("event=") == 1
    assert "event=taken-over" in outcome.stderr
    assert differences(before, dump(node)) == []
    assert is_forgotten(node)
    expect_silence(runtime.delete(None))


@pytest.mark.parametrize("fallen", [False, True], ids=["in the pod", "on the host, bare"])
def test_the_operator_sees_what_the_go_plugin_has_lent_until_it_is_back(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, fallen: bool
) -> None:
    def lent_by_go() -> Any:
        (device,) = json.loads(output_of_amdcni(node, "devices", "--json"))
        assert device["lost"] == []
        return device["lent_by_go"]

    lend(node, nic, pod)
    if fallen:
        pod.delete()
    assert lent_by_go() == {"host_ifname": "eth1", "host_addresses": ADDRESSES}
    shown = output_of_amdcni(node, "devices", "-o", "wide")
    for words in ("comes back", "by AMD's Go plugin", *ADDRESSES):
        assert words in shown
    sentence = f"{BDF} was lent by AMD's Go plugin, as eth1 with 10.0.0.0/31 and fd00::8/64"
    assert output_of_amdcni(node, "attachments").startswith(sentence)
    doctor = run_amdcni(node, "doctor").stdout.decode()
    assert f"passed    records: {sentence}" in doctor
    assert runtime.delete(None if fallen else pod.netns).succeeded
    assert lent_by_go() is None
    assert "No NIC is lent" in output_of_amdcni(node, "attachments")


def test_unusable_entries_are_reported_once_and_left_alone(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    strange = {**OTHERS, "net7": ["of", "another", 1.50], "0000:c9:00.0": {"state": None}}
    write(node, strange)
    lend(node, nic, pod)
    outcome = runtime.delete(pod)
    assert outcome.succeeded, outcome
    assert outcome.stderr.count("event=mappings-ignored") == 1
    assert "net7" in outcome.stderr
    assert "0000:c9:00.0.hostInterfaceName" in outcome.stderr
    assert differences(before, dump(node)) == []
    assert entries(node) == strange
    doctor = run_amdcni(node, "doctor").stdout.decode()
    assert f"failed    records: {STATE}/{file_of(node).name}: " in doctor


@pytest.mark.parametrize("known", [True, False], ids=["netns gone", "no netns"])
def test_a_nic_whose_pod_is_gone_is_restored_by_its_pci_address_alone(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, known: bool
) -> None:
    before = dump(node)
    lend(node, nic, pod)
    pod.delete()
    assert "net1" in ifnames(node)
    assert runtime.delete(pod.netns if known else None).succeeded
    node.refresh()
    assert differences(before, dump(node)) == []
    assert is_forgotten(node)


def test_two_nics_whose_pods_are_gone_get_their_own_names_back(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    second = node.add_nic("0000:c2:00.0", "eth2", ["10.0.0.2/31"])
    before = dump(node)
    other = node.add_pod("pod2")
    lend(node, nic, pod)
    lend(node, second, other)
    pod.delete()
    other.delete()
    for bdf in (second.bdf, nic.bdf):
        about = runtime.having(deviceID=bdf, pciBusID=bdf)
        assert about.delete(None, container_id=bdf.replace(":", "-")).succeeded
        node.refresh()
    assert differences(before, dump(node)) == []
    assert is_forgotten(node)


def test_an_add_heals_a_nic_whose_pod_is_gone_and_lends_it_again(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    lend(node, nic, pod)
    pod.delete()
    other = node.add_pod("pod2")
    runtime.added(other, container_id="other")
    assert addresses(other) == ADDRESSES
    assert entries(node) == OTHERS
    expect_silence(runtime.delete(other, container_id="other"))
    node.refresh()
    assert differences(before, dump(node)) == []
    assert is_forgotten(node)


def test_an_add_of_a_nic_that_a_pod_still_has_says_try_again(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    lend(node, nic, pod)
    other = node.add_pod("pod2")
    lent = dump(pod), file_of(node).read_bytes()
    runtime.add(other, container_id="other").expect_error(TRY_AGAIN, BDF, "AMD's Go plugin")
    assert differences(lent[0], dump(pod)) == []
    assert file_of(node).read_bytes() == lent[1]
    assert runtime.delete(pod).succeeded
    runtime.added(other, container_id="other")
    expect_silence(runtime.delete(other, container_id="other"))
    assert differences(before, dump(node)) == []


@pytest.mark.parametrize("netns", ["another", "gone", None])
def test_a_late_del_of_an_old_sandbox_leaves_the_new_owner_alone(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, netns: str | None
) -> None:
    other = node.add_pod("pod2")
    lend(node, nic, pod)
    lent = dump(node), dump(pod), file_of(node).read_bytes()
    where = {"another": other.netns, "gone": "/run/netns/gone", None: None}[netns]
    expect_silence(runtime.delete(where, container_id="old"))
    assert differences(lent[0], dump(node)) == []
    assert differences(lent[1], dump(pod)) == []
    assert file_of(node).read_bytes() == lent[2]


def test_a_nic_configured_at_boot_keeps_that_configuration(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    lend(node, nic, pod)
    pod.delete()
    node.ip_batch(
        [
            "link set net1 name eth1",
            "link set eth1 alias ''",
            "link set eth1 up",
            "address add 10.7.0.0/31 dev eth1",
        ]
    )
    node.refresh()
    before = dump(node)
    outcome = runtime.delete(None)
    assert outcome.succeeded, outcome
    assert "event=mapping-dropped" in outcome.stderr
    assert "10.0.0.0/31 fd00::8/64" in outcome.stderr
    assert differences(before, dump(node)) == []
    assert is_forgotten(node)


@pytest.mark.parametrize("old", [True, False])
def test_a_nic_down_without_the_alias_is_restored_unless_the_file_predates_the_boot(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, old: bool
) -> None:
    before = dump(node)
    lend(node, nic, pod)
    pod.delete()
    node.ip_batch(["link set net1 name eth1", "link set eth1 alias ''"])
    node.refresh()
    if old:
        os.utime(file_of(node), (1_000_000_000, 1_000_000_000))
    bare = dump(node)
    assert runtime.delete(None).succeeded
    assert differences(bare if old else before, dump(node)) == []
    assert is_forgotten(node)


def test_removing_an_entry_keeps_the_modification_time_of_the_file(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    """That time says of which boot the other entries are."""
    lend(node, nic, pod)
    os.utime(file_of(node), (1_000_000_000, 1_000_000_000))
    assert runtime.delete(pod).succeeded
    assert addresses(node, "eth1") == ADDRESSES
    assert is_forgotten(node)
    assert file_of(node).stat().st_mtime == 1_000_000_000


def test_a_reboot_during_a_takeover_ends_it(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    lend(node, nic, pod)
    assert is_killed(runtime, "DEL", pod, ("before", 2))
    assert records(node)[f"{BDF}.json"]["taken_over"] is True
    pod.delete()
    node.ip_batch(["link set net1 name eth1", "link set eth1 alias ''", "link set eth1 up"])
    node.refresh()
    reboot(node)
    before = dump(node)
    assert runtime.delete(None).succeeded
    assert differences(before, dump(node)) == []
    assert is_forgotten(node)


STEPS = (
    *("SaveRecord", "ReleasePlugins", "BringHome"),
    *("RestoreConfiguration", "VerifyHome", "ForgetRecord"),
)


@pytest.mark.thorough
def test_a_takeover_killed_before_any_system_call_loses_nothing(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before, other = dump(node), node.add_pod("pod2")
    number, killed = 0, True
    while killed:
        number += 1
        lend(node, nic, pod)
        killed = is_killed(runtime, "DEL", pod, ("change", number))
        if number % 2:
            assert runtime.delete(pod).succeeded
        else:
            pod.recreate()
            runtime.added(other, container_id="other")
            assert addresses(other) == ADDRESSES
            expect_silence(runtime.delete(other, container_id="other"))
        node.refresh()
        assert differences(before, dump(node)) == [], f"killed before change {number}"
        assert is_forgotten(node), f"killed before change {number}"
    assert number > 10


@pytest.mark.parametrize("number", range(1, len(STEPS) + 1), ids=STEPS)
def test_a_takeover_killed_between_steps_is_healed_by_a_call_about_another_device(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, number: int
) -> None:
    before = dump(node)
    lend(node, nic, pod)
    assert is_killed(runtime, "DEL", pod, ("before", number))
    stranger = runtime.having(deviceID="0000:c9:00.0", pciBusID="0000:c9:00.0")
    assert stranger.delete(None, container_id="stranger").succeeded
    if number == 1:
        assert ifnames(pod) == {"net1"}
        assert runtime.delete(pod).succeeded
    assert differences(before, dump(node)) == []
    assert is_forgotten(node)


def fifo(path: Path) -> None:
    """Replace the file by a FIFO, which would block a reader."""
    os.mkfifo(path)


def folder(path: Path) -> None:
    """Replace the file by a folder."""
    path.mkdir()


def loop(path: Path) -> None:
    """Replace the file by a link to itself."""
    path.symlink_to(path.name)


def huge(path: Path) -> None:
    """Replace the file by one that is larger than any real one."""
    path.write_bytes(b" " * 5_000_000 + b"{}")


def truncated(path: Path) -> None:
    """Replace the file by half of one."""
    path.write_text(json.dumps(OTHERS)[:50])


@pytest.mark.parametrize("put", [fifo, folder, loop, huge, truncated])
def test_whatever_is_in_place_of_the_file_stops_no_call(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, put: Any
) -> None:
    before = dump(node)
    state_folder(node).mkdir(parents=True)
    put(file_of(node))
    was = os.lstat(file_of(node))
    outcome = runtime.delete(None, container_id="old")
    assert outcome.succeeded, outcome
    assert outcome.stderr.count("event=mappings-ignored") == 1
    outcome = runtime.add(pod)
    assert outcome.succeeded, outcome
    assert outcome.stderr.count("event=mappings-ignored") == 1
    expect_silence(runtime.delete(pod))
    assert differences(before, dump(node)) == []
    now = os.lstat(file_of(node))
    assert (now.st_ino, now.st_mode, now.st_size) == (was.st_ino, was.st_mode, was.st_size)


def test_if_the_file_cannot_be_rewritten_record_and_entry_stay(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    lend(node, nic, pod)
    # A folder takes the place of the temporary file.
    blocker = file_of(node).with_name(f".{file_of(node).name}.tmp")
    blocker.mkdir()
    runtime.delete(pod).expect_error(5, file_of(node).name)
    assert differences(before, dump(node)) == []
    assert BDF in entries(node)
    assert f"{BDF}.json" in records(node)
    blocker.rmdir()
    assert runtime.delete(None).succeeded
    assert damage(before, node) == [f"amd-host-device/{file_of(node).name} is left"]
    assert is_forgotten(node)


def test_with_a_read_only_folder_nothing_is_taken_over_and_nothing_is_lost(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    lend(node, nic, pod)
    folder = "/var/lib/cni/amd-host-device"
    node.output_of(["mount", "--bind", folder, folder])
    node.output_of(["mount", "-o", "remount,bind,ro", folder])
    runtime.delete(pod).expect_error(5, "Read-only")
    assert ifnames(pod) == {"net1"}
    writable(node)
    assert runtime.delete(pod).succeeded
    assert differences(before, dump(node)) == []
    assert is_forgotten(node)


def test_many_dels_at_once_each_remove_their_own_entry(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    nics = [nic]
    nics += [node.add_nic(f"0000:d{n}:00.0", f"ens{n}", [f"10.2.{n}.0/31"]) for n in range(5)]
    before = dump(node)
    for number, each in enumerate(nics):
        lend(node, each, pod, ifname=f"net{number}")
    calls = [
        runtime.having(deviceID=each.bdf, pciBusID=each.bdf).start(
            "DEL", netns=pod, ifname=f"net{number}"
        )
        for number, each in enumerate(nics)
        for _ in range(2)
    ]
    outcomes = [call.wait() for call in calls]
    assert [outcome for outcome in outcomes if not outcome.succeeded] == []
    assert differences(before, dump(node)) == []
    assert is_forgotten(node)


def test_the_file_is_looked_for_in_the_configured_state_folder(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    lend(node, nic, pod)
    moved = node.root / "run/amd-host-device/elsewhere"
    shutil.move(state_folder(node), moved)
    assert runtime.having(dataDir="/run/amd-host-device/elsewhere").delete(pod).succeeded
    assert differences(before, dump(node)) == []
    assert json.loads((moved / file_of(node).name).read_bytes()) == OTHERS
