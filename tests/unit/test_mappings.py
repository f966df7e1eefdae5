"""The Go plugin's file on a real file system: changed durably, and never an obstacle."""

import errno
import json
import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.errors import DeviceBusy, StateFailure
from amdcni.core.names import PciAddress
from amdcni.effects.mappings import FILE_NAME, Mappings
from amdcni.effects.store import Store
from amdcni.testing.strategies import json_values
from tests.unit.state_folder import Reports

A, B = PciAddress.parse("0000:01:00.0"), PciAddress.parse("0000:02:00.0")
ENTRIES: dict[str, Any] = {
    "0000:01:00.0": {"hostInterfaceName": "ens1", "hostInterfaceIPs": ["10.0.0.1/31"]},
    "0000:02:00.0": {"hostInterfaceName": "ens2", "state": "DOWN", "more": [1.5, None]},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / FILE_NAME
    path.write_text(json.dumps(ENTRIES, indent=2))
    return path


@pytest.fixture
def mappings(tmp_path: Path, reports: Reports) -> Mappings:
    return Mappings(str(tmp_path), Store(str(tmp_path), reports), reports)


def devices(mappings: Mappings) -> list[PciAddress]:
    return [mapping.device for mapping in mappings.read()]


def test_entries_are_read_and_removed_one_by_one(
    mappings: Mappings, file: Path, reports: Reports
) -> None:
    assert devices(mappings) == [A, B]
    mappings.remove(A)
    assert devices(mappings) == [B]
    assert json.loads(file.read_bytes()) == {"0000:02:00.0": ENTRIES["0000:02:00.0"]}
    mappings.remove(B)
    mappings.remove(B)
    assert json.loads(file.read_bytes()) == {}
    assert reports == []


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=3))
def test_entries_that_are_not_removed_stay_the_same(
    tmp_path_factory: pytest.TempPathFactory, others: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("state")
    path = folder / FILE_NAME
    path.write_text(json.dumps({**others, str(A): 1}))
    Mappings(str(folder), Store(str(folder), Reports()), Reports()).remove(A)
    assert json.dumps(json.loads(path.read_bytes())) == json.dumps(others)


def test_without_a_file_or_a_folder_there_are_no_mappings_and_no_report(
    tmp_path: Path, reports: Reports
) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        mappings = Mappings(str(folder), Store(str(folder), reports), reports)
        assert mappings.read() == ()
        mappings.remove(A)
        assert list(tmp_path.iterdir()) == []
    assert reports == []


def test_an_entry_has_the_files_age_on_the_clock_of_this_boot(
    mappings: Mappings, file: Path
) -> None:
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    (first, *_) = mappings.read()
    assert abs(first.written_s - now_s) < 60
    boot = time.time() - now_s
    for modified, this_boot in ((boot + 30, True), (boot - 30, False), (0, False)):
        os.utime(file, (modified, modified))
        assert [m.may_be_of_this_boot for m in mappings.read()] == [this_boot] * 2


def test_removing_an_entry_keeps_the_files_time(mappings: Mappings, file: Path) -> None:
    os.utime(file, ns=(1_234_567_890_123_456_789, 1_234_567_890_123_456_789))
    mappings.remove(A)
    assert file.stat().st_mtime_ns == 1_234_567_890_123_456_789


def test_removing_a_device_without_an_entry_takes_no_write_and_no_lock(
    mappings: Mappings, file: Path
) -> None:
    before = file.stat()
    mappings.remove(PciAddress.parse("0000:09:00.0"))
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [path.name for path in file.parent.iterdir()] == [FILE_NAME]


def test_the_file_is_flushed_before_its_rename_and_the_folder_after(
    mappings: Mappings, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(fd: int) -> None:
        done.append(f"fsync {os.path.basename(os.readlink(f'/proc/self/fd/{fd}'))}")
        fsync(fd)

    def note_rename(source: str, target: str) -> None:
        done.append(f"rename {os.path.basename(source)} {os.path.basename(target)}")
        rename(source, target)

    with mappings._store.lock(FILE_NAME, 0):
        pass  # Now the folder of the locks exists.
    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    mappings.remove(A)
    assert done == [
        f"fsync .{FILE_NAME}.tmp",
        f"rename .{FILE_NAME}.tmp {FILE_NAME}",
        f"fsync {file.parent.name}",
    ]


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff", b"{}" + b" " * 5_000_000])
def test_a_damaged_file_is_reported_once_and_left_alone(
    mappings: Mappings, file: Path, reports: Reports, data: bytes
) -> None:
    file.write_bytes(data)
    for _ in range(2):
        assert mappings.read() == ()
        mappings.remove(A)
    assert file.read_bytes() == data
    ((event, facts),) = reports
    assert (event, facts["path"]) == ("mappings-ignored", str(file))
    assert facts["reason"]


def test_an_unreadable_file_is_reported_once_and_left_alone(
    mappings: Mappings, file: Path, reports: Reports
) -> None:
    file.unlink()
    file.mkdir()
    for _ in range(2):
        assert mappings.read() == ()
        mappings.remove(A)
    assert file.is_dir()
    ((_, facts),) = reports
    assert facts["reason"].endswith("is not a regular file")


def test_reading_does_not_wait_for_a_fifo(mappings: Mappings, file: Path, reports: Reports) -> None:
    file.unlink()
    os.mkfifo(file)
    assert mappings.read() == ()
    mappings.remove(A)
    assert [event for event, _ in reports] == ["mappings-ignored"]


@pytest.mark.parametrize("operation", ["open", "fsync", "rename"])
def test_a_failed_write_is_raised_and_the_file_stays_whole(
    mappings: Mappings, file: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setattr(mappings._store, "lock", lambda *_: nullcontext())
    real_open = os.open

    def refuse(path: Any, flags: int = 0, *rest: Any, **keys: Any) -> Any:
        if operation == "open" and not flags & os.O_WRONLY:
            return real_open(path, flags, *rest, **keys)
        raise OSError(errno.ENOSPC, "No space left on device")

    before = file.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, operation, refuse)
        with pytest.raises(StateFailure, match=rf"{FILE_NAME}.*No space left"):
            mappings.remove(A)
    assert file.read_bytes() == before
    assert not file.with_name(f".{FILE_NAME}.tmp").exists()


def test_two_calls_take_turns(
    mappings: Mappings, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amdcni.effects.mappings._LOCK_WAIT_S", 0.05)
    other = Store(str(tmp_path), Reports())
    with other.lock(FILE_NAME, 0), pytest.raises(DeviceBusy):
        mappings.remove(A)
    assert devices(mappings) == [A, B]
    mappings.remove(A)
    assert devices(mappings) == [B]


def test_what_another_call_wrote_meanwhile_is_kept(
    mappings: Mappings, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = mappings._store.lock

    def lock_late(name: str, wait_s: float) -> Any:
        file.write_text(json.dumps({**ENTRIES, "0000:03:00.0": {}}))
        return lock(name, wait_s)

    monkeypatch.setattr(mappings._store, "lock", lock_late)
    mappings.remove(A)
    assert set(json.loads(file.read_bytes())) == {"0000:02:00.0", "0000:03:00.0"}
