"""What an installation does, refuses and says: its plans, its note, and the two commands."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from amdcni.core.errors import InstallFailed
from amdcni.core.install.plans import plan_install
from amdcni.core.install.removal import plan_cleanup, plan_uninstall
from amdcni.core.install.tree import File
from amdcni.effects.installing.look import look, read_tree
from amdcni.effects.installing.perform import perform
from tests.unit.binaries import (
    FOREIGN,
    BuiltTree,
    amdcni,
    amdcni_install,
    amdcni_uninstall,
    build_tree,
    install,
    is_installed,
    picture,
    uninstall,
)


def test_a_tree_without_a_manifest_that_can_be_read_is_not_removed(
    bin_dir: Path, tree: BuiltTree
) -> None:
    install(bin_dir, tree)
    (bin_dir / ".amdcni" / tree.name / "MANIFEST.json").write_text("{")
    remedy = "; install that version again, or remove the folder by hand$"
    with pytest.raises(InstallFailed, match=f"{tree.name} cannot be removed: .*{remedy}"):
        plan_uninstall(look(bin_dir))


# ---- what is in the way


def a_folder(at: Path) -> None:
    at.mkdir(parents=True)
    (at / "x").write_bytes(b"")


def a_fifo(at: Path) -> None:
    os.mkfifo(at)


@pytest.mark.parametrize(
    ("where", "make", "words"),
    [
        ("amd-host-device", a_folder, "amd-host-device is a folder, which cannot be kept aside"),
        ("amd-host-device", a_fifo, "amd-host-device is a FIFO, which cannot be kept aside"),
        (".amdcni", a_fifo, r"\.amdcni is not a folder"),
        (".amdcni/amdcni", a_folder, r"\.amdcni/amdcni is a folder where a file belongs"),
        (".amdcni/installed.json", a_folder, "installed.json is a folder where a file belongs"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_has_changed(
    bin_dir: Path, tree: BuiltTree, where: str, make: Callable[[Path], None], words: str
) -> None:
    make(bin_dir / where)
    before = sorted(bin_dir.rglob("*"))
    said = amdcni_install(bin_dir, tree)
    assert (said.status, sorted(bin_dir.rglob("*"))) == (1, before)
    with pytest.raises(InstallFailed, match=words):
        install(bin_dir, tree)


@pytest.mark.parametrize("path", ["MANIFEST.json", "lib/empty", "bin/python3"])
def test_a_folder_instead_of_a_file_of_the_tree_is_refused(
    bin_dir: Path, tree: BuiltTree, path: str
) -> None:
    a_folder(bin_dir / ".amdcni" / tree.name / path)
    with pytest.raises(InstallFailed, match="is a folder where a file belongs"):
        install(bin_dir, tree)


def test_a_damaged_tree_is_not_installed(bin_dir: Path, tree: BuiltTree) -> None:
    (bin_dir / "amd-host-device").write_bytes(FOREIGN)
    (tree.path / "lib/deep/er/module.py").write_bytes(b"something else")
    before = picture(bin_dir)
    said = amdcni_install(bin_dir, tree)
    assert (said.status, picture(bin_dir)) == (1, before)
    assert "module.py' differs from its manifest; take the tree anew" in said.stderr


@pytest.mark.parametrize("there", [True, False])
def test_what_is_no_tree_is_refused(bin_dir: Path, tree: BuiltTree, there: bool) -> None:
    path = tree.path / "MANIFEST.json"
    path.write_text("{") if there else path.unlink()
    said = amdcni_install(bin_dir, tree)
    assert (said.status, list(bin_dir.iterdir())) == (1, [])
    assert ("is not JSON" if there else "is not a tree") in said.stderr
    assert "Traceback" not in said.stderr


def test_a_command_that_is_not_in_a_tree_asks_for_one(bin_dir: Path) -> None:
    said = amdcni("install", "--bin-dir", bin_dir)
    assert "does not run from a tree" in said.stderr
    assert "--from TREE" in said.stderr


def test_a_tree_for_another_machine_and_a_missing_folder_are_refused(
    bin_dir: Path, tmp_path: Path, tree: BuiltTree
) -> None:
    other = build_tree(tmp_path / "other", "1.1", arch="s390x")
    assert "is for s390x, and this machine is" in amdcni_install(bin_dir, other).stderr
    assert "is not a folder" in amdcni_install(tmp_path / "no", tree).stderr
    assert list(bin_dir.iterdir()) == []


# ---- what happens


def test_an_installation_is_repeated_without_changing_anything(
    bin_dir: Path, tree: BuiltTree
) -> None:
    said = amdcni_install(bin_dir, tree)
    assert said.stdout.splitlines()[-1] == f"{tree.name} is installed in {bin_dir}."
    assert is_installed(bin_dir, tree)
    before = picture(bin_dir)
    said = amdcni_install(bin_dir, tree)
    assert (
        said.stdout == f"{tree.name} is installed in {bin_dir} already; there is nothing to do.\n"
    )
    assert picture(bin_dir) == before


def test_a_dry_run_says_all_that_the_installation_then_does(bin_dir: Path, tree: BuiltTree) -> None:
    (bin_dir / "amd-host-device").write_bytes(FOREIGN)
    before = picture(bin_dir)
    text = amdcni_install(bin_dir, tree, "--dry-run").stdout
    told = amdcni_install(bin_dir, tree, "--dry-run", "--json").json
    assert picture(bin_dir) == before
    assert "would keep the amd-host-device that is not ours as .amdcni/kept/" in text
    assert f"would replace amd-host-device by the launcher of {tree.name}" in text
    assert "would put 7 files and 7 folders" in text
    done = amdcni_install(bin_dir, tree, "--json").json
    assert (told.pop("dry_run"), done.pop("dry_run")) == (True, False)
    assert told == done
    assert done["installed"] == tree.name
    assert done["before"] is None


def test_an_older_version_may_replace_a_newer_one_and_says_so(
    bin_dir: Path, tree: BuiltTree, older: BuiltTree
) -> None:
    amdcni_install(bin_dir, tree)
    said = amdcni_install(bin_dir, older)
    assert f"{older.name} is older than {tree.name}" in said.stdout
    assert f"{older.name} is installed in {bin_dir}, instead of {tree.name}." in said.stdout
    # The way back needs no other tree.
    again = amdcni("install", "--bin-dir", bin_dir, "--from", bin_dir / ".amdcni" / tree.name)
    assert (again.status, "is older than" in again.stdout) == (0, False)
    assert is_installed(bin_dir, tree)
    assert is_installed(bin_dir, tree)


def versions(bin_dir: Path) -> list[str]:
    return sorted(
        path.parent.name.split("-")[0] for path in bin_dir.glob(".amdcni/*-*/MANIFEST.json")
    )


def test_the_previous_tree_and_those_in_use_stay(bin_dir: Path, tmp_path: Path) -> None:
    trees = [build_tree(tmp_path / f"1.{n}", f"1.{n}") for n in range(6)]
    for tree in trees[:4]:
        install(bin_dir, tree, None)
    assert versions(bin_dir) == ["1.0", "1.1", "1.2", "1.3"]
    install(bin_dir, trees[4], frozenset({trees[1].name}))
    assert versions(bin_dir) == ["1.1", "1.3", "1.4"]
    install(bin_dir, trees[5], frozenset())
    assert versions(bin_dir) == ["1.4", "1.5"]
    # Repeating it does not make the previous one older.
    install(bin_dir, trees[5], frozenset())
    assert versions(bin_dir) == ["1.4", "1.5"]
    manifest = read_tree(trees[0].path)
    seen = look(bin_dir)
    noted = plan_install(manifest, seen, None).notes
    assert noted == (
        f"{trees[4].name} stays: whether a process works with it cannot be seen from here",
    )
    in_use = plan_install(manifest, seen, {trees[4].name}).notes
    assert in_use == (f"{trees[4].name} stays: a process works with it",)
    (bin_dir / ".amdcni" / trees[4].name / "MANIFEST.json").write_text("{")
    (unreadable,) = plan_install(manifest, look(bin_dir), ()).notes
    assert "stays: the manifest is not JSON" in unreadable


def test_a_version_whose_switch_was_killed_is_not_mistaken_for_the_previous_one(
    bin_dir: Path, tmp_path: Path
) -> None:
    trees = [build_tree(tmp_path / f"1.{n}", f"1.{n}") for n in range(3)]
    install(bin_dir, trees[0], frozenset())
    plan = plan_install(read_tree(trees[1].path), look(bin_dir), frozenset())
    switch = next(n for n, step in enumerate(plan.steps) if "replace" in step.describe())
    perform(plan.steps[:switch], bin_dir, trees[1].path)
    install(bin_dir, trees[2], frozenset())
    # Calls of 1.0 may still be at work.
    assert "1.0" in versions(bin_dir)


def test_without_its_note_an_installation_still_knows_what_is_ours(
    bin_dir: Path, tree: BuiltTree, older: BuiltTree
) -> None:
    install(bin_dir, older)
    (bin_dir / ".amdcni/installed.json").write_text("{}")
    install(bin_dir, tree, frozenset())
    assert is_installed(bin_dir, tree)
    assert not list(bin_dir.glob(".amdcni/kept"))
    assert uninstall(bin_dir) == ()
    assert list(bin_dir.iterdir()) == []


def test_without_its_tree_a_launcher_of_ours_is_not_kept_as_somebody_elses(
    bin_dir: Path, tree: BuiltTree, older: BuiltTree
) -> None:
    install(bin_dir, older)
    (bin_dir / ".amdcni" / older.name / "MANIFEST.json").unlink()
    install(bin_dir, tree, frozenset())
    assert not list(bin_dir.glob(".amdcni/kept"))
    notes = uninstall(bin_dir)
    assert len(notes) == 6
    assert all("no manifest lists it" in note for note in notes)


def test_the_same_file_is_back_with_all_its_attributes(bin_dir: Path, tree: BuiltTree) -> None:
    foreign = bin_dir / "amd-host-device"
    foreign.write_bytes(FOREIGN)
    foreign.chmod(0o4751)
    os.utime(foreign, ns=(1, 2))
    was = foreign.stat()
    install(bin_dir, tree)
    install(bin_dir, tree)
    (kept,) = bin_dir.glob(".amdcni/kept/*")
    assert kept.read_bytes() == FOREIGN
    uninstall(bin_dir)
    now = foreign.stat()
    assert (now.st_ino, now.st_mode, now.st_mtime_ns) == (was.st_ino, was.st_mode, 2)
    assert [path.name for path in bin_dir.iterdir()] == ["amd-host-device"]


def test_without_hard_links_a_copy_is_kept(
    bin_dir: Path, tree: BuiltTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    foreign = bin_dir / "amd-host-device"
    foreign.write_bytes(FOREIGN)
    foreign.chmod(0o4751)
    os.utime(foreign, ns=(1, 2))
    install(bin_dir, tree)
    uninstall(bin_dir)
    now = foreign.stat()
    assert (foreign.read_bytes(), now.st_mtime_ns) == (FOREIGN, 2)
    assert stat.S_IMODE(now.st_mode) == 0o4751


def test_each_foreign_plugin_is_kept_and_the_last_one_comes_back(
    bin_dir: Path, tree: BuiltTree
) -> None:
    foreign = bin_dir / "amd-host-device"
    for content in (b"1", b"2", b"2"):
        foreign.unlink(missing_ok=True)
        foreign.write_bytes(content)
        install(bin_dir, tree)
    kept = {path.name: path.read_bytes() for path in bin_dir.glob(".amdcni/kept/*")}
    assert kept == {"amd-host-device": b"1", "amd-host-device.1": b"2"}
    said = amdcni_uninstall(bin_dir)
    assert said.status == 1
    assert "kept/amd-host-device stays: another amd-host-device came after it" in said.stdout
    assert foreign.read_bytes() == b"2"
    assert (bin_dir / ".amdcni/kept/amd-host-device").read_bytes() == b"1"
    assert versions(bin_dir) == []


def test_a_plugin_that_somebody_put_over_ours_stays_at_the_removal(
    bin_dir: Path, tree: BuiltTree
) -> None:
    foreign = bin_dir / "amd-host-device"
    foreign.write_bytes(b"1")
    install(bin_dir, tree)
    foreign.unlink()
    foreign.write_bytes(b"2")
    (note,) = uninstall(bin_dir)
    assert note == ".amdcni/kept/amd-host-device stays: another amd-host-device came after it"
    assert foreign.read_bytes() == b"2"


def test_a_missing_executable_is_no_reason_not_to_give_back_what_was_kept(
    bin_dir: Path, tree: BuiltTree
) -> None:
    foreign = bin_dir / "amd-host-device"
    foreign.write_bytes(b"1")
    install(bin_dir, tree)
    foreign.unlink()
    assert uninstall(bin_dir) == ()
    assert picture(bin_dir).keys() == {"amd-host-device"}
    install(bin_dir, tree)
    foreign.unlink()
    (bin_dir / ".amdcni/kept/amd-host-device").unlink()
    assert uninstall(bin_dir) == ()
    assert picture(bin_dir) == {}


def test_what_is_not_ours_in_a_tree_stays_and_is_named(bin_dir: Path, tree: BuiltTree) -> None:
    install(bin_dir, tree)
    root = bin_dir / ".amdcni" / tree.name
    (root / "lib/deep/notes.txt").write_text("mine")
    (root / "share/licence").write_text("changed")
    (root / "lib/deep/__pycache__").mkdir()
    (root / "lib/deep/__pycache__/module.pyc").write_bytes(b"made by Python")
    (bin_dir / ".amdcni/amdcni").unlink()
    (bin_dir / ".amdcni/amdcni").symlink_to("/somewhere/else")
    said = amdcni_uninstall(bin_dir)
    assert said.status == 1
    left = {path for path, about in picture(bin_dir).items() if about[0] != "folder"}
    inside = f".amdcni/{tree.name}"
    mine = {f"{inside}/lib/deep/notes.txt", f"{inside}/share/licence"}
    assert left == {*mine, ".amdcni/amdcni"}
    assert all(path in said.stdout for path in mine)


def test_a_folder_with_the_name_of_a_leftover_hinders_nothing(
    bin_dir: Path, tree: BuiltTree, older: BuiltTree
) -> None:
    install(bin_dir, older)
    folder, leftover = bin_dir / ".amdcni/.new-folder", bin_dir / ".amdcni/.new-1"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    leftover.write_bytes(b"half a file")
    assert amdcni_install(bin_dir, tree).status == 0
    assert not leftover.exists()
    assert amdcni_uninstall(bin_dir).status == 0
    assert (folder / "mine").read_text() == "mine"


def test_a_tree_whose_manifest_cannot_be_read_is_not_removed_by_guessing(
    bin_dir: Path, tree: BuiltTree, older: BuiltTree
) -> None:
    install(bin_dir, older)
    install(bin_dir, tree)
    manifest = bin_dir / ".amdcni" / older.name / "MANIFEST.json"
    newer = json.loads(manifest.read_text()) | {"format": 2}
    for text, words in (
        ("{", "is not JSON"),
        (json.dumps(newer), "has format 2"),
        ((tree.path / "MANIFEST.json").read_text(), "its manifest is that of"),
    ):
        manifest.write_text(text)
        before = picture(bin_dir)
        said = amdcni_uninstall(bin_dir)
        assert (said.status, picture(bin_dir)) == (1, before)
        assert f".amdcni/{older.name} cannot be removed" in said.stderr
        assert words in said.stderr
    install(bin_dir, older)
    assert uninstall(bin_dir) == ()


def test_a_removal_is_shown_done_and_repeated(bin_dir: Path, tree: BuiltTree) -> None:
    assert amdcni_uninstall(bin_dir).stdout == f"Nothing is installed in {bin_dir}.\n"
    install(bin_dir, tree)
    before = picture(bin_dir)
    assert "would remove amd-host-device" in amdcni_uninstall(bin_dir, "--dry-run").stdout
    told = amdcni_uninstall(bin_dir, "--dry-run", "--json").json
    assert picture(bin_dir) == before
    done = amdcni_uninstall(bin_dir, "--json")
    assert (told.pop("dry_run"), done.json["dry_run"]) == (True, False)
    assert {**done.json, **told} == done.json
    assert (done.status, done.json["removed"], list(bin_dir.iterdir())) == (0, tree.name, [])
    assert amdcni_uninstall(bin_dir).status == 0
    install(bin_dir, tree)
    assert amdcni_uninstall(bin_dir).stdout == f"Removed from {bin_dir}: {tree.name}.\n"


def test_a_removal_names_every_tree_that_it_has_removed(bin_dir: Path, tmp_path: Path) -> None:
    trees = [build_tree(tmp_path / version, version) for version in ("1.0", "2.0")]
    for each in trees:
        install(bin_dir, each)
    names = [each.name for each in trees]
    assert amdcni_uninstall(bin_dir, "--dry-run", "--json").json["trees"] == names
    removed = amdcni_uninstall(bin_dir)
    assert removed.stdout == f"Removed from {bin_dir}: {', '.join(names)}.\n"


def test_a_cleanup_leaves_what_was_installed_before(bin_dir: Path, tree: BuiltTree) -> None:
    install(bin_dir, tree)
    (bin_dir / ".amdcni/.new-7").write_bytes(b"half")
    perform(plan_cleanup(read_tree(tree.path), look(bin_dir)), bin_dir)
    assert is_installed(bin_dir, tree)
    assert not (bin_dir / ".amdcni/.new-7").exists()


def test_a_removal_imports_nothing_once_it_has_begun(bin_dir: Path, tree: BuiltTree) -> None:
    install(bin_dir, tree)
    (bin_dir.parent / "state").mkdir(mode=0o700)
    program = f"""
import sys
from amdcni.cli import main
removed, late = [], []
def watch(event, arguments):
    if event == "os.remove":
        removed.append(arguments)
    elif event == "import" and removed:
        late.append(arguments[0])
sys.addaudithook(watch)
words = ["--bin-dir", {str(bin_dir)!r}, "--data-dir", {str(bin_dir.parent / "state")!r}]
status = main(["uninstall", *words], sys.stdout, sys.stderr)
print(len(removed) > 5, late, status)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "True [] 0", done


@pytest.mark.parametrize("foreign", [True, False])
def test_a_nic_that_is_lent_while_the_executable_is_withdrawn_gets_it_back(
    bin_dir: Path, tree: BuiltTree, foreign: bool
) -> None:
    if foreign:
        (bin_dir / "amd-host-device").write_bytes(FOREIGN)
    install(bin_dir, tree)
    before, state = picture(bin_dir), bin_dir.parent / "state"
    state.mkdir(mode=0o700)
    program = f"""
import sys
from amdcni.cli import main
def watch(event, arguments):
    if event in ("os.remove", "os.rename") and "{bin_dir}/amd-host-device" in map(str, arguments):
        open("{state}/0000:01:00.0.json", "w").write("a record that is being written")
sys.addaudithook(watch)
words = ["uninstall", "--bin-dir", "{bin_dir}", "--data-dir", "{state}"]
sys.exit(main(words, sys.stdout, sys.stderr))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, "0000:01:00.0: " in done.stderr) == (1, True), done
    now = picture(bin_dir)
    assert is_installed(bin_dir, tree)
    assert {path: about[:3] for path, about in now.items()} == {
        path: about[:3] for path, about in before.items()
    }


def test_a_file_of_another_hash_is_not_the_same() -> None:
    assert File("0" * 64, 0o644) != File("0" * 64, 0o755)


def test_a_kept_file_that_was_not_replaced_yet_is_not_kept_any_longer(
    bin_dir: Path, tree: BuiltTree
) -> None:
    foreign = bin_dir / "amd-host-device"
    foreign.write_bytes(FOREIGN)
    before = picture(bin_dir)
    plan = plan_install(read_tree(tree.path), look(bin_dir), ())
    steps = [step.describe() for step in plan.steps]
    kept = next(n for n, words in enumerate(steps) if words.startswith("keep the"))
    perform(plan.steps[: kept + 1], bin_dir, tree.path)
    perform(plan_cleanup(read_tree(tree.path), look(bin_dir)), bin_dir)
    assert picture(bin_dir) == before
    perform(plan.steps[: kept + 1], bin_dir, tree.path)
    assert uninstall(bin_dir) == ()
    assert picture(bin_dir) == before


def test_a_damaged_manifest_beside_a_whole_one_counts_for_nothing(
    bin_dir: Path, tree: BuiltTree
) -> None:
    whole = (tree.path / "MANIFEST.json").read_bytes()
    for name, install_again in (("MANIFEST.begun", True), ("MANIFEST.json", False)):
        install(bin_dir, tree)
        root = bin_dir / ".amdcni" / tree.name
        (root / "MANIFEST.begun").write_bytes(whole)
        (root / name).write_bytes(b"{")
        if install_again:
            install(bin_dir, tree)
            assert is_installed(bin_dir, tree)
        assert uninstall(bin_dir) == ()
        assert picture(bin_dir) == {}


def test_what_comes_back_is_named_before(bin_dir: Path, tree: BuiltTree) -> None:
    (bin_dir / "amd-host-device").write_bytes(FOREIGN)
    install(bin_dir, tree)
    said = amdcni_uninstall(bin_dir, "--dry-run")
    back = "would put .amdcni/kept/amd-host-device back as amd-host-device"
    assert back in said.stdout.splitlines()


def test_an_unknown_folder_is_left_alone(bin_dir: Path, tree: BuiltTree) -> None:
    (bin_dir / ".amdcni/of-somebody").mkdir(parents=True)
    (bin_dir / ".amdcni/of-somebody/file").write_bytes(b"x")
    install(bin_dir, tree)
    assert plan_uninstall(look(bin_dir)).notes == ()
    uninstall(bin_dir)
    assert picture(bin_dir).keys() == {
        *(".amdcni", ".amdcni/of-somebody", ".amdcni/of-somebody/file")
    }
