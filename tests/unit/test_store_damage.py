"""A damaged record in the state folder is set aside and reported, and blocks no other."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.attachment import Phase
from amdcni.core.errors import StateTooNew
from amdcni.core.names import PciAddress
from amdcni.core.retry import Attempts
from amdcni.effects.store import Store
from tests.unit.state_folder import A, B, Reports, record_of, tree


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
def test_a_damaged_record_is_set_aside_and_reported_and_blocks_no_other(
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


def test_with_looks_only_a_damaged_record_stays_where_it_is(
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
def test_random_bytes_are_set_aside(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
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


def test_an_unreadable_entry_blocks_no_other_record(
    store: Store, folder: Path, reports: Reports
) -> None:
    store.save(record_of(A))
    (folder / f"{B}.json").mkdir()
    assert [record.key for record in store.all()] == [A]
    assert reports.events == ["record-unreadable"]


def test_a_reader_does_not_set_aside_the_record_that_replaced_a_damaged_one(
    store: Store, folder: Path
) -> None:
    path = folder / f"{A}.json"
    store.require_writable()
    path.write_bytes(b"damaged")

    class Waiting:
        """Locks only after another call has written the record."""

        def holds(self, device: str) -> bool:
            return store.holds(device)

        @contextmanager
        def lock(self, device: str, wait_s: float) -> Iterator[None]:
            store.save(record_of(A))
            with store.lock(device, wait_s):
                yield

    assert Store(str(folder), Reports(), guard=Waiting()).find(A) == record_of(A)
    assert path.exists()


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


# ---- what is no regular file


def replaced_by_link(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))


def replaced_by_pipe(path: Path) -> None:
    os.mkfifo(path)


def replaced_by_other_name(path: Path) -> None:
    precious = next(each / "precious" for each in path.parents if (each / "precious").exists())
    path.hardlink_to(precious)


SPECIAL = pytest.mark.parametrize(
    "replace",
    [replaced_by_link, replaced_by_pipe, replaced_by_other_name],
    ids=lambda made: made.__name__,
)


@SPECIAL
def test_a_store_waits_for_nothing_and_writes_to_nothing_but_its_own_files(
    store: Store, folder: Path, reports: Reports, replace: Callable[[Path], None]
) -> None:
    precious = folder.with_name("precious")
    precious.write_text("precious")
    store.require_writable()
    for name in (f".{A}.json.tmp", ".probe.tmp", f"unfinished/{A}", f"locks/{A}"):
        replace(folder / name)
    with store.lock(A.lock_name, wait_s=0):
        store.require_writable()
        store.attempts(A)
        store.note(A, Attempts("boot"))
        store.save(record_of(A))
        store.save(record_of(A, Phase.ATTACHED))
        replace(folder / f"unfinished/{A}")
        store.remove(A)
        store.forget(A)
    assert precious.read_text() == "precious"
    assert not list(folder.rglob("elsewhere"))
    assert store.unfinished() == ()


@pytest.mark.parametrize("replace", [replaced_by_link, replaced_by_pipe])
def test_what_is_no_regular_file_in_place_of_a_record_is_set_aside(
    store: Store, folder: Path, reports: Reports, replace: Callable[[Path], None]
) -> None:
    store.save(record_of(B))
    replace(folder / f"{A}.json")
    assert [record.key for record in store.all()] == [B]
    assert reports.events == ["record-damaged"]
    assert store.was_damaged(A)


def test_a_link_in_place_of_a_folder_for_markers_is_replaced(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.mkdir()
    for name in ("unfinished", "multipath", "several", "locks"):
        (folder / name).symlink_to(elsewhere)
    with store.lock(A.lock_name, wait_s=0):
        store.save(record_of(A))
    assert list(elsewhere.iterdir()) == []


def test_a_record_of_any_size_takes_little_memory(
    store: Store, folder: Path, reports: Reports
) -> None:
    store.save(record_of(B))
    with open(folder / f"{A}.json", "wb") as file:
        file.truncate(1 << 40)
    assert [record.key for record in store.all()] == [B]
    assert reports.events == ["record-damaged"]
