"""Several state folders as if they were one: no record is overlooked, no device has two locks."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.errors import DeviceBusy, StateFailure
from amdcni.core.names import DeviceKey
from amdcni.effects.store import Store
from amdcni.effects.stores import Stores
from tests.unit.state_folder import A, B, Reports, record_of


@pytest.fixture
def default(tmp_path: Path) -> Path:
    return tmp_path / "default"


def stores(default: Path, folder: str = "", *, alone: bool = False) -> Stores:
    """The stores of a call whose `dataDir` is the default folder, or one next to it."""
    home = default.parent / folder if folder else default
    return Stores(str(home), Reports(), default=str(default), alone=alone)


def saved(default: Path, folder: str, key: DeviceKey, phase: Phase = Phase.ATTACHED) -> Attachment:
    """A record as a call leaves it that got as far as `phase`."""
    call = stores(default, folder)
    call.save(record_of(key, Phase.ATTACHING))
    call.save(record_of(key, phase))
    return record_of(key, phase)


def keys(default: Path, folder: str = "", *, alone: bool = False) -> list[DeviceKey]:
    return [record.key for record in stores(default, folder, alone=alone).all()]


def test_what_was_saved_in_any_folder_is_found_by_a_call_with_any_other(default: Path) -> None:
    first, second = saved(default, "f", A), saved(default, "g", B, Phase.DETACHING)
    for folder in ("", "f", "g", "h"):
        found = stores(default, folder)
        assert set(record.key for record in found.all()) == {A, B}
        assert (found.find(A), found.read(A), found.find(B)) == (first, first, second)
        assert A.bus_device is not None
        assert found.of(A.bus_device) == (first,)
        assert found.unfinished() == (B,)
    assert not (default.parent / "h").exists()


def test_with_alone_only_the_given_folder_is_read(
    default: Path,
) -> None:
    saved(default, "f", A)
    saved(default, "", B)
    assert keys(default, "f", alone=True) == [A]
    assert keys(default, alone=True) == [B]


def test_a_record_is_written_to_and_removed_from_the_folder_it_was_read_from(default: Path) -> None:
    saved(default, "f", A)
    for act in ("save", "forget"):
        call = stores(default, "g")
        record = call.find(A)
        assert record is not None
        if act == "save":
            call.save(record.detaching())
            assert Store(str(default.parent / "f"), Reports()).find(A) == record.detaching()
        else:
            call.forget(A, record.folder)
        assert not (default.parent / "g").exists()
        assert Store(str(default), Reports()).find(A) is None
    assert keys(default) == []
    assert stores(default).unfinished() == ()


def test_the_index_names_a_folder_from_its_first_record_until_its_last(default: Path) -> None:
    for key in (A, B):
        saved(default, "f", key)
        assert set(stores(default).indexed().values()) == {str(default.parent / "f")}
    for key, left in ((A, 1), (B, 0)):
        stores(default).forget(key)
        assert len(stores(default).indexed()) == left


def test_a_record_in_the_default_folder_needs_no_index(default: Path) -> None:
    saved(default, "", A)
    assert not (default / "folders").exists()


def test_without_the_index_no_record_is_written(default: Path) -> None:
    default.write_text("in the way")
    with pytest.raises(StateFailure):
        saved(default, "f", A)
    assert not (default.parent / "f" / f"{A}.json").exists()
    with pytest.raises(StateFailure):
        stores(default, "f").require_writable()


def test_a_missing_folder_or_an_invalid_entry_in_the_index_is_skipped(default: Path) -> None:
    saved(default, "f", A)
    saved(default, "g", B)
    (default.parent / "f").rename(default.parent / "away")
    for name, data in (("x", b"relative"), ("y", b"\0"), ("z", b"/" + b"a" * 9000)):
        (default / "folders" / name).write_bytes(data)
    (default / "folders" / "folder").mkdir()
    assert keys(default) == [B]
    assert stores(default).find(A) is None
    (default.parent / "away").rename(default.parent / "f")
    assert set(keys(default)) == {A, B}


@pytest.mark.parametrize("name", ["default", "default/", "link", "f/../default"])
def test_one_folder_under_several_names_counts_as_one(default: Path, name: str) -> None:
    default.mkdir()
    (default.parent / "f").mkdir()
    (default.parent / "link").symlink_to(default)
    call = Stores(f"{default.parent}/{name}", Reports(), default=str(default))
    with call.lock(A.lock_name, wait_s=0):
        call.save(record_of(A))
    assert [record.key for record in call.all()] == [A]
    assert call.indexed() == {}


@pytest.mark.parametrize("others", ["", "f", "g"])
def test_calls_with_different_folders_exclude_each_other(default: Path, others: str) -> None:
    mine = stores(default, "f")
    with mine.lock(A.lock_name, wait_s=0):
        assert mine.holds(A.lock_name)
        with (
            pytest.raises(DeviceBusy),
            stores(default, others).lock(A.lock_name, wait_s=0),
        ):
            pass
        with stores(default, others).lock(B.lock_name, wait_s=0):
            pass
    assert not mine.holds(A.lock_name)
    with stores(default, others).lock(A.lock_name, wait_s=0):
        pass


def test_calls_also_exclude_an_earlier_version_in_the_same_folder(default: Path) -> None:
    saved(default, "f", A)
    earlier = Store(str(default.parent / "f"), Reports())
    with (
        earlier.lock(A.lock_name, wait_s=0),
        pytest.raises(DeviceBusy),
        stores(default, "f").lock(A.lock_name, wait_s=0),
    ):
        pass
    with stores(default, "f").lock(A.lock_name, wait_s=0) as _, pytest.raises(DeviceBusy):
        earlier.lock(A.lock_name, wait_s=0).__enter__()


def test_a_folder_of_an_earlier_version_is_indexed_by_the_first_call(
    default: Path,
) -> None:
    (default.parent / "f" / "locks").mkdir(parents=True)
    Store(str(default.parent / "f"), Reports()).save(record_of(A))
    looking = Stores(str(default.parent / "f"), Reports(), default=str(default), looks_only=True)
    for call, found in ((looking, []), (stores(default, "f"), [A])):
        with call.lock(B.lock_name, wait_s=0):
            pass
        assert keys(default) == found


def test_a_lock_can_be_taken_if_one_of_the_folders_cannot_be_made(default: Path) -> None:
    default.write_text("in the way")
    (default.parent / "f").mkdir()
    with stores(default, "f").lock(A.lock_name, wait_s=0):
        pass
    with pytest.raises(StateFailure), stores(default).lock(A.lock_name, wait_s=0):
        pass
    with (
        pytest.raises(StateFailure),
        Stores("/proc/no", Reports(), default=str(default)).lock(A.lock_name, wait_s=0),
    ):
        pass


def test_an_impossible_data_dir_hides_no_record(default: Path) -> None:
    saved(default, "f", A)
    for hostile in ("/" + "a" * 5000, "/proc/self/no", "/dev/null", str(default / f"{A}.json")):
        call = Stores(hostile, Reports(), default=str(default))
        with call.lock(A.lock_name, wait_s=0):
            record = call.find(A)
            assert record is not None
            call.save(record.detaching())
            assert call.unfinished() == (A,)


def test_a_damaged_record_is_set_aside_under_the_locks_of_its_call(default: Path) -> None:
    saved(default, "f", A)
    (default.parent / "f" / f"{A}.json").write_text("{")
    call = stores(default, "g")
    with call.lock(A.lock_name, wait_s=0):
        assert call.find(A) is None
    assert call.was_damaged(A)
    assert [key for key, _ in call.set_aside()] == [A]


def test_a_stale_marker_in_another_folder_is_removed_when_the_work_has_ended(default: Path) -> None:
    saved(default, "f", A, Phase.ATTACHING)
    (default.parent / "f" / f"{A}.json").unlink()
    saved(default, "g", A)
    assert stores(default).unfinished() == ()


def test_with_looks_only_reading_writes_nothing(default: Path) -> None:
    saved(default, "f", A)
    before = sorted(path for path in default.parent.rglob("*"))
    looking = Stores(str(default), Reports(), default=str(default), looks_only=True)
    assert looking.all() != ()
    looking.multipath()
    assert sorted(path for path in default.parent.rglob("*")) == before


def test_plugins_inherit_every_lock(default: Path) -> None:
    (default.parent / "f").mkdir()
    call = stores(default, "f")
    with call.lock(A.lock_name, wait_s=0):
        assert len(call.held_locks) == 2
        for fd in call.held_locks:
            os.fstat(fd)
    assert not call.held_locks


def write_until_killed(default: Path, at: int) -> None:
    """Save a record and forget it, in a process that ends before its write number `at`."""
    count = 0

    def mortal(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                os._exit(9)
            return real(*args, **named)

        return act

    for name in ("rename", "mkdir", "fsync", "open", "unlink"):
        setattr(os, name, mortal(getattr(os, name)))
    call = stores(default, "f")
    call.save(record_of(A))
    call.forget(A, str(default.parent / "f"))


def test_a_kill_at_any_write_leaves_no_record_outside_the_index(
    tmp_path: Path,
) -> None:
    at, killed = 1, True
    while killed:
        default = tmp_path / str(at) / "default"
        pid = os.fork()
        if pid == 0:
            try:
                write_until_killed(default, at)
            finally:
                os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
        written = sorted((default.parent / "f").glob("*.json"))
        assert [record.key for record in stores(default).all()] == [A] * len(written)
        at += 1
    assert at > 10


def test_the_folder_does_not_count_when_records_are_compared(default: Path) -> None:
    record = saved(default, "f", A)
    found = stores(default).find(A)
    assert found == record
    assert found is not None
    assert found.folder == str(default.parent / "f")
    assert attrs.evolve(found, folder=None) == found
