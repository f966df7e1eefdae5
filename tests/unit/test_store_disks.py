"""A state folder on a disk that is full or read-only, or that is not a folder at all."""

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from amdcni.core.attachment import Phase
from amdcni.core.errors import StateFailure
from amdcni.effects.store import Store
from tests.unit.state_folder import READ_ONLY, TINY, A, B, Reports, in_mounts, record_of, tree


def test_a_full_disk_is_reported_and_the_old_record_stays(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(record_of(A, args="old"))

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StateFailure, match="No space left"):
            store.save(record_of(A, Phase.ATTACHED, args="new"))
        with pytest.raises(StateFailure, match="No space left"):
            store.require_writable()
    assert store.find(A) == record_of(A, args="old")
    assert tree(folder) == {f"{A}.json", f"unfinished/{A}"}


def test_a_read_only_folder_can_be_read_and_locked_and_refuses_the_rest_with_a_reason(
    store: Store, folder: Path
) -> None:
    store.save(record_of(A))
    answer = in_mounts(
        folder,
        READ_ONLY,
        """
with store.lock(str(A), 0):
    again = attempt(lambda: Store(str(store._folder), reports).lock(str(A), 0).__enter__())
print(json.dumps({
    "found": store.find(A) == record_of(A),
    "again": again,
    "save": attempt(lambda: store.save(record_of(A))),
    "forget": attempt(lambda: store.forget(A)),
    "ready": attempt(store.require_writable),
}))
""",
    )
    assert answer["found"] is True
    assert answer["again"].startswith("DeviceBusy")
    for what in ("save", "forget", "ready"):
        assert answer[what].startswith("StateFailure")
        assert "Read-only file system" in answer[what]
    assert store.find(A) == record_of(A)


def test_damage_on_a_read_only_folder_is_reported_and_blocks_no_other_record(
    store: Store, folder: Path
) -> None:
    store.save(record_of(A))
    store.save(record_of(B))
    (folder / f"{A}.json").write_bytes(b"damaged")
    answer = in_mounts(
        folder,
        READ_ONLY,
        """
store._report = reports
print(json.dumps({"all": [str(r.key) for r in store.all()], "events": reports.events}))
""",
    )
    assert answer == {"all": [str(B)], "events": ["record-damaged"]}


def test_on_a_really_full_disk_records_can_be_forgotten_and_none_is_lost(
    folder: Path,
) -> None:
    answer = in_mounts(
        folder,
        TINY,
        """
store.save(record_of(A))
written = 0
with open(f"{store.folder}/ballast", "wb", buffering=0) as file:
    try:
        while True:
            written += file.write(bytes(512))
    except OSError:
        pass
big = record_of(A, args="x" * 9000)
answer = {
    "save": attempt(lambda: store.save(big)),
    "ready": attempt(store.require_writable),
    "still": store.find(A) == record_of(A),
    "names": sorted(os.listdir(store.folder)),
    "locked": attempt(lambda: store.lock("0000:07:00.0", 0).__enter__()),
    "forget": attempt(lambda: store.forget(A)),
    "left": [str(key) for key in store.device_keys()],
}
print(json.dumps(answer))
""",
    )
    assert answer["save"].startswith("StateFailure")
    assert "No space left" in answer["save"]
    assert answer["ready"].startswith("StateFailure")
    assert answer["still"] is True
    assert not [name for name in answer["names"] if name.endswith(".tmp")]
    assert answer["locked"] is None
    assert answer["forget"] is None
    assert answer["left"] == []


def test_a_state_folder_that_is_a_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_text("not a folder")
    store = Store(str(file), Reports())
    assert store.all() == ()
    with pytest.raises(StateFailure):
        store.save(record_of(A))
    with pytest.raises(StateFailure):
        store.require_writable()
    with pytest.raises(StateFailure), store.lock(str(A), 0):
        pass
    assert file.read_text() == "not a folder"


def test_calls_that_look_at_the_same_time_whether_the_folder_can_be_written_do_not_disturb_another(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink

    def unlink_before_another_writes(path: str) -> None:
        with suppress(FileNotFoundError):
            unlink(path)
        Path(path).touch()

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", unlink_before_another_writes)
        store.require_writable()
    store.require_writable()
    assert tree(folder) == set()
