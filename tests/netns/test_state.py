"""The state folder empty, damaged, foreign, newer, read-only or full: no address is lost."""

import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from amdcni.testing import Nic, Node, Pod, differences, dump
from tests.netns.command import output_of_amdcni, run_amdcni
from tests.netns.read_only_folder import read_only, writable
from tests.netns.runtime import (
    BDF,
    DEBIAN,
    STATE,
    Runtime,
    addresses,
    by_delegate,
    damage,
    expect_silence,
    fill_disk,
    ifnames,
    record_of,
    records,
    remains,
    state_folder,
)
from tests.netns.three_nics import without_marks

pytestmark = by_delegate


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "binary": lambda _: bytes(range(256)),
    "foreign": lambda _: b'{"interfaces": {"eth9": ["10.1.1.1/24"]}}',
    "a list": lambda _: b"[]",
    "of another device": lambda data: data.replace(BDF.encode(), b"0000:c9:00.0"),
}


@pytest.fixture(params=DAMAGES)
def damaged(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    """A function that damages a record in one of the ways."""
    change = DAMAGES[request.param]

    def damage_file(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return damage_file


def aside(node: Node) -> list[str]:
    """Return the records that were set aside."""
    return [path.name for path in state_folder(node).glob("*.damaged-*")]


def test_a_lent_nic_is_restored_even_if_its_record_is_damaged(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, damaged: Callable[[Path], None]
) -> None:
    before = dump(node)
    runtime.added(pod)
    damaged(record_of(node))
    outcome = runtime.delete(pod)
    assert outcome.succeeded, outcome
    assert "record-damaged" in outcome.stderr
    assert "salvaged" in outcome.stderr
    assert differences(before, dump(node)) == []
    assert len(aside(node)) == 1
    assert records(node) == {}


def test_a_damaged_record_of_a_nic_on_the_host_blocks_no_add(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, damaged: Callable[[Path], None]
) -> None:
    before = dump(node)
    runtime.added(pod)
    record = record_of(node).read_bytes()
    expect_silence(runtime.delete(pod))
    record_of(node).write_bytes(record)
    damaged(record_of(node))
    runtime.added(pod)
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]
    assert runtime.delete(pod).succeeded
    assert differences(before, dump(node)) == []


def test_a_damaged_record_blocks_no_other_device(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, damaged: Callable[[Path], None]
) -> None:
    other = node.add_nic("0000:c2:00.0", "eth2", ["10.0.0.2/31"])
    runtime.added(pod)
    damaged(record_of(node))
    second = runtime.having(deviceID=other.bdf, pciBusID=other.bdf)
    second.added(pod, ifname="net2")
    expect_silence(second.delete(pod, ifname="net2"))
    assert addresses(node, "eth2") == ["10.0.0.2/31"]
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]


@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_a_record_of_a_newer_format_is_refused_and_left_untouched(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, command: str
) -> None:
    runtime.added(pod)
    newer = record_of(node).read_bytes().replace(b'"format":1', b'"format":2')
    record_of(node).write_bytes(newer)
    before = dump(node), dump(pod)
    other = node.add_pod("pod2") if command == "ADD" else pod
    runtime.call(command, netns=other).expect_error(5, "format 2", BDF)
    assert record_of(node).read_bytes() == newer
    assert [
        differences(was, dump(where)) for was, where in zip(before, (node, pod), strict=True)
    ] == [
        [],
        [],
    ]


def test_go_mappings_and_foreign_files_in_the_folder_do_no_harm(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    folder = state_folder(node)
    folder.mkdir(parents=True)
    files = {
        "ip-interface-mappings.json": b'{"mappings": [truncated',
        "notes.txt": b"do not delete",
        "..json": b"{}",
        "not-a-device.json": b"{}",
        ".hidden.json": b"{}",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    runtime.added(pod)
    expect_silence(runtime.delete(pod))
    assert differences(before, dump(node)) == []
    assert {name: (folder / name).read_bytes() for name in files} == files


def test_with_a_read_only_folder_an_add_is_refused_and_changes_nothing(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    read_only(node)
    runtime.add(pod).expect_error(5, STATE, "Read-only")
    runtime.call("STATUS", netns=None, ifname=None, container_id=None).expect_error(50, STATE)
    assert damage(before, node) == []
    assert ifnames(pod) == set()


def test_a_del_with_a_read_only_folder_restores_the_host_and_says_that_the_record_stays(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    read_only(node)
    runtime.delete(pod).expect_error(5, "Read-only", BDF)
    # The mark goes with the record: until then it shows that the NIC was not reset.
    assert differences(before, without_marks(dump(node), [BDF])) == []
    # No word says that the host lacks something, or that only healing can help.
    said = run_amdcni(node, "attachments", "show", BDF).stdout.decode()
    assert "orphan: it is on the host: its pod is gone or has lost it" in said
    assert "restores what it lacks and removes its record" in said
    assert "bare" not in said
    assert "comes back" not in run_amdcni(node, "devices").stdout.decode()
    writable(node)
    assert runtime.delete(pod).succeeded
    assert damage(before, node) == []


def test_without_state_a_del_succeeds_even_where_nothing_can_be_written(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    node.output_of(["mount", "-o", "remount,ro", "/var/lib/cni"])
    assert runtime.delete(pod).succeeded
    assert runtime.delete(None).succeeded
    assert runtime.having("deviceID", "pciBusID").delete(pod).succeeded
    assert runtime.call("VERSION").answer["cniVersion"] == "1.1.0"
    runtime.add(pod).expect_error(5, STATE, "Read-only")
    assert differences(before, dump(node)) == []


def full(node: Node) -> Path:
    """Fill the disk with the state folder; return the file to delete to have space again."""
    filler = node.root / "var/lib/cni/filler"
    fill_disk(filler)
    return filler


def test_on_a_full_disk_an_add_is_refused_and_works_once_there_is_space(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    node.cover("/var/lib/cni", size_bytes=64 * 1024)
    filler = full(node)
    runtime.add(pod).expect_error(5, "No space left")
    assert differences(before, dump(node)) == []
    assert ifnames(pod) == set()
    runtime.call("STATUS", netns=None, ifname=None, container_id=None).expect_error(50, STATE)
    filler.unlink()
    runtime.added(pod)
    assert addresses(pod) == ["10.0.0.0/31", "fd00::8/64"]
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


def test_a_del_on_a_full_disk_restores_the_host(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    node.cover("/var/lib/cni", size_bytes=64 * 1024)
    runtime.added(pod)
    full(node).touch()
    assert runtime.delete(pod).succeeded
    assert differences(before, dump(node)) == []
    assert records(node) == {}


def out_of_space(node: Node) -> list[Path]:
    """Leave no room for data on the disk of the state folder; return the files to delete."""
    return [full(node)]


def out_of_inodes(node: Node) -> list[Path]:
    """Leave no room for another file there, not even an empty one."""
    files = (node.root / "var/lib/cni" / f"filler-{number}" for number in itertools.count())
    made = []
    with suppress(OSError):
        for file in files:
            file.touch()
            made.append(file)
    return made


@pytest.mark.thorough
@pytest.mark.parametrize("fill", [out_of_space, out_of_inodes])
def test_a_del_killed_at_any_moment_on_a_full_disk_leaves_no_mark(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, fill: Callable[[Node], list[Path]]
) -> None:
    """Where there is no room for a marker, the record's own file becomes one."""
    node.ip(f"link add link {nic.ifname} name mac1 type macvlan mode bridge")
    node.ip("address add 192.0.2.1/24 dev mac1")
    node.ip("link set mac1 up")
    by_name = runtime.having("deviceID", "pciBusID", device="mac1", mover="native")
    node.cover("/var/lib/cni", size_bytes=64 * 1024)
    node.output_of(["mount", "-o", "remount,nr_inodes=40", "/var/lib/cni"])
    before = dump(node)
    for number in itertools.count(1):
        by_name.added(pod)
        fillers = fill(node)
        moment = ("change", number)
        outcome = by_name.start_to_die(moment, "DEL", netns=pod, path=[DEBIAN]).wait()
        # The next call is about another device, or about this one if there is still a record.
        stranger = by_name.having(device="absent")
        assert stranger.delete(None, container_id="stranger").succeeded
        if records(node):
            assert by_name.delete(pod).succeeded
        assert differences(before, dump(node)) == [], f"killed before change {number}"
        for file in fillers:
            file.unlink()
        assert remains(node) == []
        if outcome.succeeded:
            break
    assert number > 5


def test_an_add_is_undone_if_the_disk_fills_up_while_the_delegate_runs(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, tmp_path: Path
) -> None:
    before = dump(node)
    node.cover("/var/lib/cni", size_bytes=64 * 1024)
    script = tmp_path / "host-device"
    fill = "dd if=/dev/zero of=/var/lib/cni/filler bs=4096 2>/dev/null"
    script.write_text(
        f"#!/bin/sh\n[ $CNI_COMMAND = ADD ] && {fill}\nexec /usr/lib/cni/host-device\n"
    )
    script.chmod(0o755)
    path = [tmp_path, Path("/usr/lib/cni")]
    runtime.having(cniVersion="1.0.0").add(pod, path=path).expect_error(5, "No space left")
    assert differences(before, dump(node)) == []
    assert records(node) == {}


def test_the_key_data_dir_moves_the_state(runtime: Runtime, node: Node, nic: Nic, pod: Pod) -> None:
    before = dump(node)
    moved = runtime.having(dataDir="/run/amd-host-device/elsewhere")
    moved.added(pod)
    record = node.root / "run/amd-host-device/elsewhere" / f"{BDF}.json"
    assert json.loads(record.read_bytes())["phase"] == "attached"
    assert (record.stat().st_mode & 0o777, record.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    (entry,) = (state_folder(node) / "folders").iterdir()
    assert entry.read_text() == "/run/amd-host-device/elsewhere\n"
    expect_silence(moved.delete(pod))
    assert damage(before, node) == []
    assert not record.exists()


EDITS: dict[str, Callable[[Runtime], dict[str, object] | bytes]] = {
    "another folder": lambda runtime: runtime.having(dataDir="/run/amd-host-device/third").config,
    "default folder": lambda runtime: runtime.having("dataDir", "deviceID", "pciBusID").config,
    "no such version": lambda runtime: runtime.having(cniVersion="1.1").config,
    "no JSON": lambda _: b"{",
}


@pytest.mark.parametrize("edit", EDITS)
def test_del_finds_the_record_even_if_the_configuration_has_changed(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, edit: str
) -> None:
    before = dump(node)
    moved = runtime.having(dataDir="/run/amd-host-device/elsewhere")
    moved.added(pod)
    outcome = node.cni("DEL", runtime.plugin, EDITS[edit](moved), netns=pod)
    assert outcome.succeeded, outcome
    assert damage(before, node) == []
    assert ifnames(pod) == set()


@pytest.mark.parametrize("by", ["heal", "STATUS", "another ADD"])
def test_a_nic_whose_pod_has_died_is_healed_whatever_folder_its_record_is_in(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, by: str
) -> None:
    before = dump(node)
    runtime.having(dataDir="/run/amd-host-device/elsewhere").added(pod)
    (row,) = json.loads(run_amdcni(node, "attachments", "--json").stdout)
    assert (row["device"], row["ifname"]) == (BDF, "net1")
    pod.delete()
    if by == "heal":
        output_of_amdcni(node, "heal")
    elif by == "STATUS":
        assert runtime.call("STATUS", container_id="", ifname="", netns="").succeeded
    else:
        other = node.add_pod("pod2")
        runtime.added(other, container_id="container-2")
        assert set(records(node)) == {f"{BDF}.json"}
        runtime.delete(other, container_id="container-2")
    assert damage(before, node) == []


def test_a_command_given_a_folder_looks_into_no_other(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.having(dataDir="/run/amd-host-device/elsewhere").added(pod)
    for folder, count in (("/run/amd-host-device/elsewhere", 1), (STATE, 0)):
        done = run_amdcni(node, "attachments", "--json", "--data-dir", folder)
        assert len(json.loads(done.stdout)) == count


def test_if_the_index_cannot_be_written_an_add_is_refused_and_changes_nothing(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    state_folder(node).write_text("in the way")
    runtime.having(dataDir="/run/amd-host-device/elsewhere").add(pod).expect_error(5, STATE)
    assert differences(before, dump(node)) == []
    assert ifnames(pod) == set()


@pytest.mark.parametrize("folder", ["relative/folder", ".", 7])
def test_a_data_dir_that_is_not_an_absolute_path_is_refused(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod, folder: object
) -> None:
    before = dump(node)
    runtime.having(dataDir=folder).add(pod).expect_error(7, "$.dataDir")
    assert damage(before, node) == []


def test_a_file_in_place_of_the_state_folder_is_reported_and_nothing_changes(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    state_folder(node).write_text("in the way")
    runtime.add(pod).expect_error(5, STATE)
    assert runtime.delete(pod).succeeded
    assert differences(before, dump(node)) == []
    assert ifnames(pod) == set()


def test_a_record_of_a_newer_format_blocks_no_other_device(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    other = node.add_nic("0000:c2:00.0", "eth2", ["10.0.0.2/31"])
    before = dump(node)
    state_folder(node).mkdir(parents=True)
    record_of(node).write_text('{"format": 1000, "from": "the future"}')
    second = runtime.having(deviceID=other.bdf, pciBusID=other.bdf)
    second.added(pod)
    assert second.having("deviceID", "pciBusID").delete(pod).succeeded
    assert differences(before, dump(node)) == []
    assert records(node) == {f"{BDF}.json": {"format": 1000, "from": "the future"}}


def test_what_a_crash_left_of_a_write_does_not_outlive_the_next_calls(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    before = dump(node)
    runtime.added(pod)
    expect_silence(runtime.delete(pod))
    (state_folder(node) / f".{BDF}.json.tmp").write_text("half a rec")
    (state_folder(node) / "unfinished" / BDF).touch()
    runtime.added(pod)
    expect_silence(runtime.delete(pod))
    assert damage(before, node) == []


def test_after_a_reboot_an_add_takes_the_addresses_of_this_boot(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    pod.recreate()
    node.ip_batch(
        ["link set net1 name eth1", "link set eth1 up", "address add 10.7.0.0/31 dev eth1"]
    )
    node.refresh()
    reboot(node)
    before = dump(node)
    runtime.added(pod)
    assert addresses(pod) == ["10.7.0.0/31"]
    assert runtime.delete(pod).succeeded
    assert damage(before, node) == []


def reboot(node: Node) -> None:
    """Give the kernel another boot ID, and remove all marks."""
    for link in node.ip_json("link show"):
        for altname in link.get("altnames", []):
            if altname.startswith("amdcni-"):
                node.ip(f"link property del dev {link['ifname']} altname {altname}")
    boot_id = node.root / "run/boot_id"
    boot_id.write_text("11111111-2222-3333-4444-555555555555\n")
    node.output_of(["mount", "--bind", "/run/boot_id", "/proc/sys/kernel/random/boot_id"])


def test_a_record_of_an_earlier_boot_restores_nothing(
    runtime: Runtime, node: Node, nic: Nic, pod: Pod
) -> None:
    runtime.added(pod)
    pod.delete()
    node.ip("link set net1 name eth1")
    node.refresh()
    reboot(node)
    before = dump(node)
    assert runtime.delete(pod).succeeded
    assert damage(before, node) == []
