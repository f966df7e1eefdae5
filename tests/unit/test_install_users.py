"""Who works with an installed tree, which therefore stays: processes, and records of NICs."""

import os
import subprocess
from pathlib import Path

import pytest

from amdcni.effects.installing import processes
from amdcni.effects.installing.look import look
from amdcni.effects.installing.processes import is_on_the_host, sees_the_host, users_of
from tests.unit.binaries import (
    BuiltTree,
    amdcni,
    amdcni_uninstall,
    install,
    picture,
    write_tree,
)


def test_a_process_that_runs_from_a_tree_is_found_by_what_it_executes(
    bin_dir: Path, tmp_path: Path
) -> None:
    sleep = Path("/bin/sleep").resolve().read_bytes()
    tree = write_tree(
        tmp_path / "sleeping",
        "7.0",
        {"bin/amd-host-device": sleep, "bin/amdcni": b"", "bin/python3.11": sleep},
        {},
    )
    install(bin_dir, tree)
    before = picture(bin_dir)
    for program in (
        bin_dir / ".amdcni" / tree.name / "bin/python3.11",
        bin_dir / "amd-host-device",
    ):
        with subprocess.Popen([bin_dir / program, "1000"]) as process:
            try:
                said = amdcni_uninstall(bin_dir)
            finally:
                process.kill()
        assert f"process {process.pid}" in said.stderr
        assert "works from it" in said.stderr
        assert (said.status, picture(bin_dir)) == (1, before)
    with subprocess.Popen(["sleep", "1000"], cwd=bin_dir / ".amdcni" / tree.name) as process:
        try:
            (user,) = users_of([tree.name], {}) or ()
        finally:
            process.kill()
    assert (user.pid, user.name, user.tree) == (process.pid, "sleep", tree.name)


def test_a_launcher_that_has_been_replaced_still_needs_its_tree(
    bin_dir: Path, tmp_path: Path, tree: BuiltTree
) -> None:
    sleep = Path("/bin/sleep").resolve().read_bytes()
    files = {"bin/amd-host-device": sleep, "bin/amdcni": b""}
    sleeping = write_tree(tmp_path / "sleeping", "7.0", files, {})
    install(bin_dir, sleeping)
    with subprocess.Popen([bin_dir / "amd-host-device", "1000"]) as process:
        try:
            install(bin_dir, tree)
            seen = look(bin_dir)
            users = users_of(seen.trees, seen.launchers) or ()
        finally:
            process.kill()
    assert [(user.pid, user.tree) for user in users] == [(process.pid, sleeping.name)]


def a_proc(at: Path, own: str, of_1: str) -> Path:
    """A /proc in which the mount and IPC namespaces are files: the same name is the same one."""
    for process, names in (("self", own), ("1", of_1)):
        folder = at / process / "ns"
        folder.mkdir(parents=True)
        for kind, name in zip(("mnt", "ipc"), names, strict=True):
            (at / name).touch()
            (folder / kind).symlink_to(at / name)
    (at / "pid").touch()
    (at / "self/ns/pid").symlink_to(at / "pid")
    return at


def test_processes_of_the_host_are_seen_where_pid_1_is_the_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lonely = a_proc(tmp_path / "no hostPID", "ai", "ai")
    sharing = a_proc(tmp_path / "hostPID", "ai", "bj")
    of_the_pod = a_proc(tmp_path / "shareProcessNamespace", "ai", "bi")
    assert (sees_the_host(lonely), is_on_the_host(lonely)) == (False, False)
    assert (sees_the_host(sharing), is_on_the_host(sharing)) == (True, False)
    assert (sees_the_host(of_the_pod), is_on_the_host(of_the_pod)) == (False, False)
    assert (sees_the_host(tmp_path / "no"), is_on_the_host(tmp_path / "no")) == (False, False)
    for proc, on_host in ((lonely, True), (sharing, False)):
        inode = (proc / "pid").stat().st_ino
        monkeypatch.setattr(processes, "_INITIAL_PID_NAMESPACE", inode)
        assert (sees_the_host(proc), is_on_the_host(proc)) == (True, on_host)


def test_processes_that_may_not_be_looked_at_keep_every_tree(
    bin_dir: Path, tree: BuiltTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc = a_proc(tmp_path / "hostPID", "ai", "bj")
    (proc / "1/exe").symlink_to("/sbin/init")
    assert users_of([tree.name], {}, proc) == ()
    assert users_of([tree.name], {}, a_proc(tmp_path / "no hostPID", "ai", "ai")) is None
    readlink = os.readlink

    def refuse(path: Path) -> str:
        if path == proc / "1/exe":
            raise PermissionError(13, "Permission denied")
        return readlink(path)

    # What AppArmor does to a container.
    monkeypatch.setattr(os, "readlink", refuse)
    for name, users in (("systemd", ()), ("python3", None), ("ld-linux-x86-64", None)):
        (proc / "1/comm").write_text(f"{name}\n")
        assert users_of([tree.name], {}, proc) == users
    (proc / "1/comm").unlink()
    assert users_of([tree.name], {}, proc) is None


def test_a_removal_wants_to_know_where_the_records_are(
    bin_dir: Path, tree: BuiltTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(bin_dir, tree)
    before = picture(bin_dir)
    monkeypatch.setattr(processes, "_INITIAL_PID_NAMESPACE", 0)
    for words, reason in (
        ((), "whether these are the host's files cannot be seen from here"),
        (("--data-dir", "/no/such/folder"), "'/no/such/folder' is not a folder"),
    ):
        said = amdcni("uninstall", "--bin-dir", bin_dir, *words)
        assert reason in said.stderr
        assert (said.status, picture(bin_dir)) == (1, before)


def test_a_removal_looks_into_every_state_folder_that_the_given_one_names(
    bin_dir: Path, tree: BuiltTree, tmp_path: Path
) -> None:
    install(bin_dir, tree)
    before = picture(bin_dir)
    other, index = tmp_path / "other", tmp_path / "state/folders"
    for folder in (tmp_path / "state", index, other):
        folder.mkdir(mode=0o700)
    (index / "a").write_text("/no/such/folder\n")
    said = amdcni_uninstall(bin_dir)
    assert "there may be records in '/no/such/folder', which cannot be seen" in said.stderr
    assert (said.status, picture(bin_dir)) == (1, before)
    (index / "a").write_text(f"{other}\n")
    (other / "0000:01:00.0.json").write_text("{")
    said = amdcni_uninstall(bin_dir)
    assert "0000:01:00.0: " in said.stderr
    assert (said.status, picture(bin_dir)) == (1, before)
    (other / "0000:01:00.0.json").unlink()
    assert amdcni_uninstall(bin_dir).status == 0
