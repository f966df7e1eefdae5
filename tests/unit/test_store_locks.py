"""The locks of a state folder: between calls and processes, and with what these leave behind."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from amdcni.core.errors import DeviceBusy
from amdcni.effects.store import Store
from tests.patience import wait_until
from tests.unit.state_folder import READ_ONLY, A, B, Reports, in_mounts, record_of


def test_looking_at_a_lock_does_not_take_it(folder: Path) -> None:
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


def test_a_lock_of_another_process_or_its_plugin_is_seen(folder: Path) -> None:
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


def test_on_a_read_only_folder_one_process_can_hold_several_locks(
    store: Store, folder: Path
) -> None:
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


def test_a_lock_excludes_others_from_its_device_only(folder: Path) -> None:
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
import subprocess, sys, time
sys.path.insert(0, ".")
from amdcni.effects.store import Store
from tests.unit.state_folder import A, Reports
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


def test_a_lock_between_processes_ends_when_its_holder_is_killed(folder: Path) -> None:
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


def test_a_waiting_call_gets_the_lock_when_it_is_free(folder: Path) -> None:
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


def test_a_lock_file_without_permissions_is_still_used(store: Store, folder: Path) -> None:
    with store.lock(str(A), 0):
        pass
    (folder / "locks" / str(A)).chmod(0)
    fd = os.open(folder / "locks" / str(A), os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert is_locked(folder)
    finally:
        os.close(fd)
