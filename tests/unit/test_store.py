"""The state folder on a real file system: what is written there, and how durably."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.names import DeviceKey, IfName
from amdcni.core.retry import Attempts
from amdcni.effects.store import Store
from amdcni.testing.strategies import attachments
from tests.unit.state_folder import READ_ONLY, A, B, Reports, in_mounts, record_of, tree


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---- records


def test_a_record_is_found_as_it_was_saved(store: Store, folder: Path) -> None:
    record = record_of(A)
    store.save(record)
    assert Store(str(folder), Reports()).find(A) == record
    assert store.find(B) is None
    assert store.all() == (record,)


def test_a_missing_folder_whose_path_is_relative_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("some/state", Reports())
    store.save(record_of(A))
    assert store.find(A) == attrs.evolve(record_of(A), folder="some/state")
    assert (tmp_path / "some/state" / f"{A}.json").is_file()


@settings(max_examples=20)
@given(attachments)
def test_any_record_survives_the_disk(
    tmp_path_factory: pytest.TempPathFactory, record: Attachment
) -> None:
    folder = str(tmp_path_factory.mktemp("any"))
    store = Store(folder, Reports())
    store.save(attrs.evolve(record, phase=Phase.ATTACHING))
    store.save(record)
    kept, decoded = store.find(record.key), Store(folder, Reports()).find(record.key)
    assert kept == decoded == record
    assert kept is not None
    assert decoded is not None
    assert kept.read_from == decoded.read_from
    assert (record.key in store.unfinished()) == (record.phase is not Phase.ATTACHED)
    store.forget(record.key)
    assert store.all() == ()
    assert store.unfinished() == ()


def test_only_root_can_read_what_is_written_whatever_the_umask(store: Store, folder: Path) -> None:
    before = os.umask(0)
    try:
        store.save(record_of(A))
        with store.lock(str(A), 0):
            pass
    finally:
        os.umask(before)
    for path in folder.rglob("*"):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
    assert mode(folder) == 0o700


def test_a_missing_folder_holds_nothing_and_reading_does_not_make_it(
    store: Store, folder: Path
) -> None:
    assert (store.all(), store.find(A), store.unfinished()) == ((), None, ())
    assert not folder.exists()


def test_forgetting_leaves_nothing_but_the_lock(store: Store, folder: Path) -> None:
    with store.lock(str(A), 0):
        store.save(record_of(A))
        store.save(record_of(A, Phase.ATTACHED))
        store.forget(A)
        store.forget(A)
    assert tree(folder) == {f"locks/{A}"}


def test_forgetting_needs_no_folder(store: Store, folder: Path) -> None:
    store.forget(A)
    assert not folder.exists()


@pytest.mark.parametrize("phase", Phase)
def test_a_record_is_marked_while_its_work_has_not_ended(store: Store, phase: Phase) -> None:
    store.save(record_of(A))
    store.save(record_of(A, phase))
    assert store.unfinished() == (() if phase is Phase.ATTACHED else (A,))


def test_unfinished_work_is_found_without_reading_any_record(
    store: Store, folder: Path, reports: Reports
) -> None:
    store.save(record_of(A))
    (folder / f"{A}.json").write_bytes(b"damaged")
    assert store.unfinished() == (A,)
    assert store.device_keys() == (A,)
    assert reports == []


def test_files_of_others_are_ignored_and_kept(store: Store, folder: Path, reports: Reports) -> None:
    store.save(record_of(A))
    foreign = ["ip-interface-mappings.json", ".0000:02:00.0.json.tmp", "README", "x.json.damaged-1"]
    for name in foreign:
        (folder / name).write_text("{}")
    (folder / "unfinished" / "core").touch()
    assert [record.key for record in store.all()] == [A]
    assert store.unfinished() == (A,)
    assert reports == []
    assert set(foreign) <= tree(folder)


@pytest.mark.parametrize("text", ["0000:01:00.0@ens1", "@ens1", "@a@b", "@.json", "mlx5_core.sf.4"])
def test_every_key_can_be_a_file_name_and_is_read_back_unchanged(store: Store, text: str) -> None:
    key = DeviceKey.parse(text)
    store.save(record_of(key))
    assert store.device_keys() == (key,)
    assert store.unfinished() == (key,)
    assert store.find(key) == record_of(key)


def test_the_records_of_a_device_are_those_of_all_its_netdevs(store: Store) -> None:
    ours = [A, DeviceKey(A.bus_device, IfName("ens1")), DeviceKey(A.bus_device, IfName("ens2"))]
    for key in [*ours, B]:
        store.save(record_of(key))
    assert A.bus_device is not None
    assert {record.key for record in store.of(A.bus_device)} == set(ours)


# ---- durability


class Order(list[str]):
    """What the store asks the file system to do durably, in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.folder = folder
        for name in ("fsync", "rename", "unlink"):
            monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))

    def _noting(self, name: str, real: Callable[..., None]) -> Callable[..., None]:
        def noting(*arguments: Any, **keywords: Any) -> None:
            real(*arguments, **keywords)
            first = arguments[0]
            path = self._opened(first) if isinstance(first, int) else str(first)
            if "dir_fd" in keywords:
                path = os.path.join(self._opened(keywords["dir_fd"]), path)
            self.append(f"{name} {os.path.relpath(path, self.folder)}")

        return noting

    @staticmethod
    def _opened(fd: int) -> str:
        return os.readlink(f"/proc/self/fd/{fd}")


def test_a_record_is_durable_before_its_rename_and_the_rename_before_save_returns(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(record_of(B))
    order = Order(folder, monkeypatch)
    store.save(record_of(A))
    temporary = f".{A}.json.tmp"
    assert order == ["fsync unfinished", f"fsync {temporary}", f"rename {temporary}", "fsync ."]


def test_the_marker_of_unfinished_work_is_removed_after_the_record_is_durable(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(record_of(A))
    order = Order(folder, monkeypatch)
    store.save(record_of(A, Phase.ATTACHED))
    assert order[-2:] == ["fsync .", f"unlink unfinished/{A}"]
    store.save(record_of(A))
    order.clear()
    store.forget(A)
    assert order == [f"unlink {A}.json", "fsync .", f"unlink unfinished/{A}"]


def test_new_folders_are_durable_up_to_the_first_existing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order(tmp_path, monkeypatch)
    Store(str(tmp_path / "var" / "lib" / "cni" / "state"), Reports()).save(record_of(A))
    assert {"fsync .", "fsync var", "fsync var/lib", "fsync var/lib/cni"} <= set(order)


def test_a_reader_sees_the_old_record_or_the_new_one_never_half_of_it(
    store: Store, folder: Path, reports: Reports
) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    with writer:
        writer.stdout.readline()
        seen = set()
        while writer.poll() is None:
            record = store.find(A)
            assert record is not None
            assert len(set(record.args)) == 1
            seen.add(record.args[0])
    assert writer.returncode == 0
    assert seen == {"x", "y"}
    assert reports == []


WRITER = """
import sys
sys.path.insert(0, ".")
from amdcni.effects.store import Store
from tests.unit.state_folder import A, Reports, record_of
store = Store(sys.argv[1], Reports())
for number in range(100):
    store.save(record_of(A, args="xy"[number % 2] * 20000))
    if number == 0:
        print("begun", flush=True)
"""


def test_the_temporary_file_of_a_killed_writer_is_removed(store: Store, folder: Path) -> None:
    store.save(record_of(A))
    (folder / f".{A}.json.tmp").write_bytes(b"half")
    store.save(record_of(A, args="new"))
    assert not (folder / f".{A}.json.tmp").exists()
    (folder / f".{A}.json.tmp").write_bytes(b"half")
    store.forget(A)
    assert tree(folder) == set()


# ---- what is noted in a marker

noted = st.builds(
    Attempts, st.uuids().map(str), st.integers(0, 99), st.integers(0, 10**9), st.booleans()
)


@settings(max_examples=20)
@given(noted)
def test_a_note_about_unfinished_work_lasts_until_the_next_work_begins_or_the_record_is_gone(
    tmp_path_factory: pytest.TempPathFactory, seen: Attempts
) -> None:
    folder = str(tmp_path_factory.mktemp("state"))
    store = Store(folder, Reports())
    store.note(A, seen)
    assert (store.attempts(A), store.unfinished()) == (None, ())
    store.save(record_of(A, Phase.DETACHING))
    assert store.attempts(A) is None
    store.note(A, seen)
    assert Store(folder, Reports()).attempts(A) == seen
    store.save(record_of(A, Phase.ATTACHING))
    assert store.attempts(A) is None
    store.note(A, seen)
    store.remove(A)
    assert (store.attempts(A), store.unfinished()) == (None, (A,))


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b"boot 1 2 home", b"boot x 2 home\n"])
def test_a_damaged_note_is_treated_as_absent(store: Store, folder: Path, damage: bytes) -> None:
    store.save(record_of(A))
    (folder / "unfinished" / str(A)).write_bytes(damage)
    assert store.attempts(A) is None
    assert store.unfinished() == (A,)


def test_on_a_read_only_folder_a_note_is_silently_left_out(store: Store, folder: Path) -> None:
    store.save(record_of(A))
    answer = in_mounts(
        folder,
        READ_ONLY,
        """
from amdcni.core.retry import Attempts
store.note(A, Attempts("boot", 1, 2))
print(json.dumps({"noted": store.attempts(A) is not None}))
""",
    )
    assert answer == {"noted": False}
