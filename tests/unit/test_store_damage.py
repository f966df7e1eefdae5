"""A damaged record in the state folder is set aside and reported, and blocks no other."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.errors import StateTooNew
from amdcni.core.names import PciAddress
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
    store.save(record_of(B))
    path, good = folder / f"{A}.json", folder / "good"
    os.mkfifo(path)

    def replace_while_it_is_read() -> None:
        # This open returns when the reader has opened the FIFO; it then goes on to read.
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
