"""The state folder on a real file system: durable, never half, never in the way of others."""

import errno
import fcntl
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured
from amdcni.core.errors import DeviceBusy, StateFailure, StateTooNew
from amdcni.core.host import NetnsId
from amdcni.core.names import ContainerId, DeviceKey, IfName, NetworkName, PciAddress
from amdcni.core.retry import Attempts
from amdcni.core.spec import AttachmentId
from amdcni.effects.store import Store
from amdcni.testing.strategies import attachments
from tests.patience import wait_until

A = DeviceKey(PciAddress.parse("0000:01:00.0"))
B = DeviceKey(PciAddress.parse("0000:02:00.0"))


def record_of(key: DeviceKey, phase: Phase = Phase.ATTACHING, args: str = "") -> Attachment:
    return Attachment(
        network=NetworkName("fabric"),
        id=AttachmentId(ContainerId("pod1"), IfName("net1")),
        netns=NetnsRef("/run/netns/pod1", NetnsId(4, 7)),
        key=key,
        phase=phase,
        boot_id="boot-1",
        read_at_s=0,
        since="now",
        config={"name": "fabric"},
        args=args,
        captured=Captured(IfName("ens1"), 2, up=True),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


class Reports(list[tuple[str, dict[str, Any]]]):
    def __call__(self, event: str, **facts: Any) -> None:
        self.append((event, facts))

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self]


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def store(folder: Path, reports: Reports) -> Store:
    return Store(str(folder), reports)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# ---- what is written


def test_a_record_is_found_as_it_was_saved(store: Store, folder: Path) -> None:
    record = record_of(A)
    store.save(record)
    assert Store(str(folder), Reports()).find(A) == record
    assert store.find(B) is None
    assert store.all() == (record,)


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


def test_a_missing_folder_holds_nothing_and_is_not_made_by_looking(
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


def test_unfinished_work_is_found_without_reading_a_record(
    store: Store, folder: Path, reports: Reports
) -> None:
    store.save(record_of(A))
    (folder / f"{A}.json").write_bytes(b"damaged")
    assert store.unfinished() == (A,)
    assert store.device_keys() == (A,)
    assert reports == []


def test_other_peoples_files_are_none_of_our_business(
    store: Store, folder: Path, reports: Reports
) -> None:
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
def test_every_key_is_a_file_name_and_comes_back_as_itself(store: Store, text: str) -> None:
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
    """What the store asks the file system to make last, in its order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.folder = folder
        for name in ("fsync", "rename", "unlink"):
            monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))

    def _noting(self, name: str, real: Callable[..., None]) -> Callable[..., None]:
        def noting(*arguments: Any, **keywords: Any) -> None:
            real(*arguments, **keywords)
            first = arguments[0]
            path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else str(first)
            self.append(f"{name} {os.path.relpath(path, self.folder)}")

        return noting


def test_a_record_is_on_disk_before_it_has_its_name_and_its_name_before_save_returns(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(record_of(B))
    order = Order(folder, monkeypatch)
    store.save(record_of(A))
    temporary = f".{A}.json.tmp"
    assert order == ["fsync unfinished", f"fsync {temporary}", f"rename {temporary}", "fsync ."]


def test_the_mark_of_unfinished_work_goes_after_the_record_is_durable(
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


def test_new_folders_are_durable_up_to_the_first_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order(tmp_path, monkeypatch)
    Store(str(tmp_path / "var" / "lib" / "cni" / "state"), Reports()).save(record_of(A))
    assert {"fsync .", "fsync var", "fsync var/lib", "fsync var/lib/cni"} <= set(order)


def test_a_reader_sees_the_old_record_or_the_new_one_and_never_half(
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
from tests.unit.test_store import A, Reports, Store, record_of
store = Store(sys.argv[1], Reports())
for number in range(100):
    store.save(record_of(A, args="xy"[number % 2] * 20000))
    if number == 0:
        print("begun", flush=True)
"""


def test_what_a_killed_writer_left_is_taken_over(store: Store, folder: Path) -> None:
    store.save(record_of(A))
    (folder / f".{A}.json.tmp").write_bytes(b"half")
    store.save(record_of(A, args="new"))
    assert not (folder / f".{A}.json.tmp").exists()
    (folder / f".{A}.json.tmp").write_bytes(b"half")
    store.forget(A)
    assert tree(folder) == set()


# ---- damage


def damages(data: bytes) -> Iterator[tuple[str, bytes]]:
    plain = json.loads(data)
    yield "empty", b""
    yield "zeros", b"\0" * 4096
    yield "truncated", data[: len(data) // 2]
    yield "binary", b"\xff\xfe" + data
    yield "list", b"[]"
    yield "foreign", b'{"pci": "0000:01:00.0", "name": "ens1"}'
    yield "deep", b"[" * 100_000
    yield "of another device", data.replace(str(A).encode(), b"0000:0f:00.0")
    yield "format 0", json.dumps({**plain, "format": 0}).encode()
    yield "no phase", json.dumps({**plain, "phase": "dreaming"}).encode()
    yield "no captured address", json.dumps({**plain, "captured": {"ifname": "x" * 99}}).encode()


@pytest.mark.parametrize("which", range(11))
def test_a_damaged_record_is_set_aside_reported_and_blocks_nobody(
    store: Store, folder: Path, reports: Reports, which: int
) -> None:
    for key in (A, B):
        store.save(record_of(key))
    path = folder / f"{A}.json"
    damaged = list(damages(path.read_bytes()))[which][1]
    path.write_bytes(damaged)
    assert store.find(A) is None
    assert [record.key for record in store.all()] == [B]
    (aside,) = folder.glob(f"{A}.json.damaged-*")
    assert aside.read_bytes() == damaged
    assert reports.events == ["record-damaged"]
    assert reports[0][1]["path"] == str(aside)
    assert store.was_damaged(A)
    assert not store.was_damaged(B)
    store.save(record_of(A, args="again"))
    assert store.find(A) == record_of(A, args="again")


def test_whoever_only_looks_leaves_a_damaged_record_where_it_is(
    store: Store, folder: Path, reports: Reports
) -> None:
    for key in (A, B):
        store.save(record_of(key))
    path = folder / f"{A}.json"
    path.write_bytes(b"damaged")
    before = sorted(folder.rglob("*"))
    looking = Store(str(folder), reports, looks_only=True)
    assert [record.key for record in looking.all()] == [B]
    assert looking.of(PciAddress.parse(str(A))) == ()
    assert looking.was_damaged(A)
    assert path.read_bytes() == b"damaged"
    assert sorted(folder.rglob("*")) == before
    assert set(reports.events) == {"record-damaged"}
    assert reports[0][1]["path"] == str(path)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_are_set_aside(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    (folder / f"{A}.json").write_bytes(data)
    assert Store(str(folder), Reports()).find(A) is None
    (aside,) = folder.glob("*.json*")
    assert ".damaged-" in aside.name
    assert aside.read_bytes() == data


def test_a_damaged_record_is_left_to_the_call_that_works_on_its_device(
    store: Store, folder: Path, reports: Reports
) -> None:
    path = folder / f"{A}.json"
    store.save(record_of(A))
    path.write_bytes(b"damaged")
    with Store(str(folder), Reports()).lock(A.lock_name, wait_s=0):
        assert store.find(A) is None
        assert path.read_bytes() == b"damaged"
        assert store.was_damaged(A)
        assert reports.events == []
    assert store.find(A) is None
    assert not path.exists()


def test_an_entry_that_cannot_be_read_blocks_no_other_record(
    store: Store, folder: Path, reports: Reports
) -> None:
    store.save(record_of(A))
    (folder / f"{B}.json").mkdir()
    assert [record.key for record in store.all()] == [A]
    assert reports.events == ["record-unreadable"]


def test_a_reader_does_not_set_aside_the_record_that_replaced_a_damaged_one(
    store: Store, folder: Path
) -> None:
    store.save(record_of(B))
    path, good = folder / f"{A}.json", folder / "good"
    os.mkfifo(path)

    def replace_while_it_is_read() -> None:
        # The open ends when the reader is there; it goes on to read from the FIFO.
        with path.open("wb") as damaged:
            other = Store(str(folder / "other"), Reports())
            other.save(record_of(A))
            os.rename(folder / "other" / f"{A}.json", good)
            os.rename(good, path)
            damaged.write(b"damaged")

    writer = threading.Thread(target=replace_while_it_is_read)
    writer.start()
    store.all()
    writer.join()
    assert store.find(A) == record_of(A)


def test_a_record_of_a_newer_format_is_refused_and_left_untouched(
    store: Store, folder: Path, reports: Reports
) -> None:
    store.save(record_of(A))
    store.save(record_of(B))
    path = folder / f"{A}.json"
    newer = json.dumps({"format": 2, "what": "nobody knows"}).encode()
    path.write_bytes(newer)
    assert A.bus_device is not None
    with pytest.raises(StateTooNew, match="format 2"):
        store.find(A)
    with pytest.raises(StateTooNew, match="format 2"):
        store.of(A.bus_device)
    assert [record.key for record in store.all()] == [B]
    assert reports.events == ["record-too-new"]
    assert path.read_bytes() == newer
    assert tree(folder) == {f"{A}.json", f"{B}.json", f"unfinished/{A}", f"unfinished/{B}"}


# ---- disks that do not want


def test_a_full_disk_is_told_and_the_old_record_stays(
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


def in_mounts(folder: Path, mount: str, script: str) -> dict[str, Any]:
    """Run Python with `store` on a folder behind a mount of its own; what it prints as JSON."""
    folder.mkdir(exist_ok=True)
    program = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.unit.test_store import *
store, reports = Store({str(folder)!r}, Reports()), Reports()
def attempt(act):
    try:
        act()
    except Exception as failure:
        return f"{{type(failure).__name__}}: {{failure}}"
{script}
"""
    command = f"{mount} && exec {shlex.join([sys.executable, '-c', program])}".replace(
        "FOLDER", str(folder)
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command], capture_output=True, text=True, check=False
    )
    if done.returncode != 0 and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


READ_ONLY = "mount --bind FOLDER FOLDER && mount -o remount,bind,ro FOLDER"
TINY = "mount -t tmpfs -o size=16k tmpfs FOLDER"


def test_a_read_only_folder_can_be_read_and_locked_and_says_why_not_more(
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


def test_damage_on_a_read_only_folder_is_reported_and_blocks_nobody(
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


def test_on_a_disk_that_is_really_full_records_can_be_forgotten_and_none_is_lost(
    folder: Path,
) -> None:
    answer = in_mounts(
        folder,
        TINY,
        """
store.save(record_of(A))
written = 0
with open(store._folder / "ballast", "wb", buffering=0) as file:
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
    "names": sorted(path.name for path in store._folder.iterdir()),
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


def test_a_state_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
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


# ---- what is noted in a marker


noted = st.builds(
    Attempts, st.uuids().map(str), st.integers(0, 99), st.integers(0, 10**9), st.booleans()
)


@settings(max_examples=20)
@given(noted)
def test_what_was_noted_of_unfinished_work_lasts_until_the_next_work_begins(
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


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b"boot 1 2 home", b"boot x 2 home\n"])
def test_a_damaged_note_is_none(store: Store, folder: Path, damage: bytes) -> None:
    store.save(record_of(A))
    (folder / "unfinished" / str(A)).write_bytes(damage)
    assert store.attempts(A) is None
    assert store.unfinished() == (A,)


def test_nothing_is_noted_where_nothing_can_be_written(store: Store, folder: Path) -> None:
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


# ---- locks


def test_who_looks_sees_a_lock_and_takes_none(folder: Path) -> None:
    holder, looker = (Store(str(folder), Reports()) for _ in range(2))
    assert not looker.is_locked(str(A))
    assert not folder.exists()
    with holder.lock(str(A), 0):
        assert looker.is_locked(str(A))
        assert not looker.is_locked(str(B))
    assert not looker.is_locked(str(A))
    looking = True

    def look() -> None:
        while looking:
            looker.is_locked(str(A))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(300):
            with holder.lock(str(A), 0):
                pass
    finally:
        looking = False
        thread.join()


def test_who_looks_sees_the_lock_of_another_process_and_of_its_plugin(folder: Path) -> None:
    store = Store(str(folder), Reports())
    with holder(folder, "child") as process:
        assert store.is_locked(str(A))
        (child,) = children_of(process.pid)
        process.kill()
        process.wait()
        try:
            assert store.is_locked(str(A))
        finally:
            os.kill(child, signal.SIGKILL)
        wait_until(lambda: not store.is_locked(str(A)), "the lock is free")


def test_on_a_read_only_folder_nobody_waits_for_himself(store: Store, folder: Path) -> None:
    store.save(record_of(A))
    answer = in_mounts(
        folder,
        READ_ONLY,
        """
other = Store(str(store._folder), reports)
with store.lock(str(A), 0):
    with store.lock("ip-interface-mappings.json", 0):
        inside = attempt(lambda: other.lock(str(A), 0).__enter__())
    after = attempt(lambda: other.lock(str(A), 0).__enter__())
    seen = other.is_locked(str(A))
print(json.dumps({"inside": inside, "after": after, "seen": seen,
                  "end": attempt(lambda: other.lock(str(A), 0).__enter__()),
                  "unseen": not store.held_locks}))
""",
    )
    assert answer["inside"].startswith("DeviceBusy")
    assert answer["after"].startswith("DeviceBusy")
    assert (answer["seen"], answer["end"], answer["unseen"]) == (True, None, True)


def test_a_lock_excludes_others_from_its_device_and_from_no_other(folder: Path) -> None:
    first, second = (Store(str(folder), Reports()) for _ in range(2))
    with first.lock(str(A), 0):
        with pytest.raises(DeviceBusy, match=str(A)), second.lock(str(A), 0):
            pass
        with second.lock(str(B), 0):
            pass
    with second.lock(str(A), 0):
        pass


def test_a_lock_is_free_again_after_a_failure(folder: Path) -> None:
    store = Store(str(folder), Reports())
    with pytest.raises(RuntimeError), store.lock(str(A), 0):
        raise RuntimeError
    assert store.held_locks == ()
    with store.lock(str(A), 0):
        assert len(store.held_locks) == 1


HOLDER = """
import sys, time
sys.path.insert(0, ".")
from tests.unit.test_store import A, Reports, Store, subprocess
store = Store(sys.argv[1], Reports())
with store.lock(str(A), 0):
    if sys.argv[2] == "child":
        subprocess.Popen(["sleep", "1000"], pass_fds=store.held_locks, start_new_session=True)
    print("locked", flush=True)
    time.sleep(1000)
"""


def holder(folder: Path, kind: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), kind], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n"
    return process


def is_locked(folder: Path) -> bool:
    try:
        with Store(str(folder), Reports()).lock(str(A), 0):
            return False
    except DeviceBusy:
        return True


def test_a_lock_between_processes_ends_with_its_holder_however_that_ends(folder: Path) -> None:
    with holder(folder, "alone") as process:
        assert is_locked(folder)
        process.kill()
        process.wait()
        assert not is_locked(folder)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_lock_that_a_plugin_has_inherited_outlives_its_killed_holder(folder: Path) -> None:
    with holder(folder, "child") as process:
        (child,) = children_of(process.pid)
        process.kill()
        process.wait()
        try:
            assert is_locked(folder)
        finally:
            os.kill(child, signal.SIGKILL)
        wait_until(lambda: not is_locked(folder), "the lock is free")


def test_who_waits_gets_the_lock_when_it_is_free(folder: Path) -> None:
    store, order = Store(str(folder), Reports()), []

    def wait() -> None:
        with Store(str(folder), Reports()).lock(str(A), 60):
            order.append("waiter")

    with store.lock(str(A), 0):
        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.05)
        order.append("holder")
    waiter.join()
    assert order == ["holder", "waiter"]


def test_the_lock_of_a_finished_call_is_free_even_if_a_daemon_keeps_its_descriptor(
    folder: Path,
) -> None:
    store = Store(str(folder), Reports())
    with store.lock(str(A), 0):
        kept = os.dup(store.held_locks[0])
    try:
        assert not is_locked(folder)
    finally:
        os.close(kept)


def test_a_lock_file_that_another_user_left_without_rights_is_used_all_the_same(
    store: Store, folder: Path
) -> None:
    with store.lock(str(A), 0):
        pass
    (folder / "locks" / str(A)).chmod(0)
    fd = os.open(folder / "locks" / str(A), os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert is_locked(folder)
    finally:
        os.close(fd)
