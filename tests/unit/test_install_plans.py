"""What the plans of installations and removals make of a folder of plugins, as values."""

from collections.abc import Mapping
from pathlib import PurePosixPath

import pytest
from attrs import evolve

from amdcni.core.errors import InstallFailed
from amdcni.core.install.plans import plan_install, switch_to
from amdcni.core.install.removal import plan_cleanup, plan_uninstall
from amdcni.core.install.seen import Installed, Seen
from amdcni.core.install.steps import (
    Flush,
    KeepAside,
    MakeFolder,
    Note,
    PutFile,
    PutLink,
    Remove,
    RemoveFolder,
    Rename,
    Step,
    Switch,
)
from amdcni.core.install.tree import (
    File,
    Folder,
    Found,
    Manifest,
    Special,
    SymbolicLink,
    TreeName,
)


def manifest_of(version: str, digit: str) -> Manifest:
    """That of a tree all of whose hashes consist of one digit."""
    launcher = File(digit * 64, 0o755)
    files = {"bin/amd-host-device": launcher, "bin/amdcni": File(digit * 64, 0o700)}
    name = TreeName(f"{version}-{digit * 12}")
    return Manifest(name, version, "x86_64", files, launcher, File(digit * 64, 0o644))


OLD, NEW = manifest_of("1.0", "a"), manifest_of("1.1", "b")
FOREIGN = File("f" * 64, 0o755)


def noted(*manifests: Manifest) -> tuple[Installed, ...]:
    return tuple(Installed(each.name, each.launcher.sha256) for each in manifests)


def tree_of(manifest: Manifest, ending: str = "json") -> dict[str, Found]:
    """What a tree looks like: complete, or, with `begun`, not yet."""
    root = f".amdcni/{manifest.name}"
    files = {f"{root}/{path}": each for path, each in manifest.files.items()}
    return with_folders({**files, f"{root}/MANIFEST.{ending}": manifest.itself})


def with_folders(paths: Mapping[str, Found]) -> dict[str, Found]:
    return {**{folder: Folder() for path in paths for folder in above(path)}, **paths}


def above(path: str) -> set[str]:
    """The folders that a path is in."""
    return {str(folder) for folder in PurePosixPath(path).parents if folder.name}


def removal_of(manifest: Manifest) -> tuple[Step, ...]:
    """The steps that remove a tree that is not complete."""
    root = f".amdcni/{manifest.name}"
    paths = ("bin/amd-host-device", "bin/amdcni", "MANIFEST.begun")
    folders = RemoveFolder(f"{root}/bin"), RemoveFolder(root)
    return (*(Remove(f"{root}/{path}") for path in paths), *folders)


# ---- installations


def finished(manifest: Manifest) -> Seen:
    """A folder of plugins into which one tree has been installed."""
    link = {".amdcni/amdcni": SymbolicLink(f"{manifest.name}/bin/amdcni")}
    note = {".amdcni/installed.json": File("d" * 64, 0o644)}
    paths = {**tree_of(manifest), **link, **note, "amd-host-device": manifest.launcher}
    return Seen(paths, {manifest.name: manifest}, installed=noted(manifest))


def test_a_tree_is_complete_once_all_of_it_is_on_disk_and_only_then_in_use() -> None:
    root = f".amdcni/{NEW.name}"
    files = [(path, each) for path, each in NEW.files.items() if isinstance(each, File)]
    assert plan_install(NEW, Seen({}), ()).steps == (
        MakeFolder(".amdcni"),
        MakeFolder(root),
        PutFile(f"{root}/MANIFEST.begun", "MANIFEST.json", NEW.itself),
        MakeFolder(f"{root}/bin"),
        *(PutFile(f"{root}/{path}", path, each) for path, each in files),
        Flush((".amdcni", root, f"{root}/bin")),
        Rename(f"{root}/MANIFEST.begun", f"{root}/MANIFEST.json"),
        Flush((root,)),
        Note(noted(NEW)),
        Switch(NEW.name, f"{root}/bin/amd-host-device", NEW.launcher),
        PutLink(".amdcni/amdcni", f"{NEW.name}/bin/amdcni"),
    )


def test_the_files_of_a_tree_are_on_disk_before_it_counts_as_complete() -> None:
    root = f".amdcni/{NEW.name}"
    assert plan_install(NEW, Seen(tree_of(NEW, "begun")), ()).steps[:3] == (
        Flush((".amdcni", root, f"{root}/bin")),
        Rename(f"{root}/MANIFEST.begun", f"{root}/MANIFEST.json"),
        Flush((root,)),
    )


def test_a_file_that_is_missing_is_put_back_and_flushed() -> None:
    assert plan_install(NEW, finished(NEW), ()).steps == ()
    root, seen = f".amdcni/{NEW.name}", finished(NEW)
    missing = f"{root}/bin/amdcni"
    rest = {path: each for path, each in seen.paths.items() if path != missing}
    assert plan_install(NEW, evolve(seen, paths=rest), ()).steps == (
        PutFile(missing, "bin/amdcni", File("b" * 64, 0o700)),
        Flush((".amdcni", root, f"{root}/bin")),
    )


def test_a_file_in_the_place_of_a_folder_of_the_tree_is_replaced() -> None:
    seen, folder = finished(NEW), f".amdcni/{NEW.name}/bin"
    rest = {path: each for path, each in seen.paths.items() if folder not in above(path)}
    plan = plan_install(NEW, evolve(seen, paths={**rest, folder: File("c" * 64, 0o644)}), ())
    assert plan.steps[:2] == (Remove(folder), MakeFolder(folder))


def test_every_tree_that_stays_is_named_and_every_file_of_one_that_goes_and_is_not_ours() -> None:
    trees = [manifest_of(f"0.{digit}", digit) for digit in "123"]
    in_use, changed, unreadable = (each.name for each in trees)
    mine = f".amdcni/{changed}/bin/mine"
    paths = {path: found for each in trees for path, found in tree_of(each, "begun").items()}
    seen = Seen(
        {**paths, mine: FOREIGN},
        {each.name: each for each in trees[:2]},
        {unreadable: "the manifest is not JSON"},
    )
    assert plan_install(NEW, seen, {in_use}).notes == (
        f"{in_use} stays: a process works with it",
        f"{mine} stays: no manifest lists it as it is",
        f"{unreadable} stays: the manifest is not JSON",
    )
    assert plan_install(NEW, seen, None).notes == tuple(
        f"{name} stays: whether a process works with it cannot be seen from here"
        for name in (in_use, changed, unreadable)
    )


def test_what_somebody_else_put_there_is_kept_aside_and_not_noted() -> None:
    kept = ".amdcni/kept/amd-host-device"
    assert tuple(switch_to(NEW, Seen({"amd-host-device": FOREIGN}))) == (
        MakeFolder(".amdcni/kept"),
        KeepAside(kept, FOREIGN),
        Flush((".amdcni/kept", ".amdcni")),
        Note(noted(NEW)),
        Switch(NEW.name, f".amdcni/{NEW.name}/bin/amd-host-device", NEW.launcher),
    )


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (
            {"amd-host-device": Folder()},
            "amd-host-device is a folder, which cannot be kept aside; move it away, and install "
            "again",
        ),
        (
            {"amd-host-device": Special("a socket")},
            "amd-host-device is a socket, which cannot be kept aside; move it away, and install "
            "again",
        ),
        (
            {"amd-host-device": FOREIGN, ".amdcni/kept/amd-host-device": Folder()},
            ".amdcni/kept/amd-host-device is a folder where a file belongs; move it away, and "
            "install again",
        ),
        (
            {".amdcni/kept": FOREIGN, "amd-host-device": FOREIGN},
            ".amdcni/kept is not a folder; move it away, and install again",
        ),
    ],
)
def test_what_is_in_the_way_of_the_executable_is_named_with_the_remedy(
    paths: dict[str, Found], words: str
) -> None:
    with pytest.raises(InstallFailed) as refusal:
        plan_install(NEW, Seen(with_folders(paths) | paths), ())
    assert refusal.value.message == words


# ---- after an installation that failed


def test_a_tree_that_was_installed_before_stays_although_another_one_is_in_place() -> None:
    paths = {**tree_of(OLD), **tree_of(NEW), "amd-host-device": NEW.launcher}
    both = {OLD.name: OLD, NEW.name: NEW}
    assert plan_cleanup(OLD, Seen(paths, both, installed=noted(NEW, OLD))) == ()
    assert plan_cleanup(NEW, Seen(paths, both)) == ()


def test_a_tree_that_is_not_installed_goes_and_the_one_that_is_stays() -> None:
    leftover = ".amdcni/.new-1"
    paths = {**tree_of(OLD), **tree_of(NEW, "begun"), leftover: File("c" * 64, 0o600)}
    paths["amd-host-device"] = OLD.launcher
    seen = Seen(paths, {OLD.name: OLD, NEW.name: NEW}, installed=noted(OLD))
    assert plan_cleanup(NEW, seen) == (Remove(leftover), *removal_of(NEW))


# ---- removals


def test_a_removal_takes_away_what_installations_left_behind_unfinished() -> None:
    paths = with_folders({".amdcni/.new-1": File("c" * 64, 0o600)})
    plan = plan_uninstall(Seen(paths))
    assert plan.rest == (Remove(".amdcni/.new-1"), RemoveFolder(".amdcni"))


def test_a_removal_ends_a_tree_before_it_takes_away_anything_of_it() -> None:
    plan = plan_uninstall(finished(NEW))
    root = f".amdcni/{NEW.name}"
    assert plan.withdrawal == (Remove("amd-host-device"),)
    assert plan.rest == (
        Remove(".amdcni/amdcni"),
        Rename(f"{root}/MANIFEST.json", f"{root}/MANIFEST.begun"),
        *removal_of(NEW),
        Remove(".amdcni/installed.json"),
        RemoveFolder(".amdcni"),
    )
    assert plan.notes == ()


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("lib/module.pyc", File("d" * 64, 0o644)),
        ("lib/__pycache__/notes.txt", File("d" * 64, 0o644)),
        ("lib/__pycache__/module.pyc", SymbolicLink("/etc/passwd")),
        ("lib/__pycache__/module.pyc", Special("a FIFO")),
    ],
)
def test_only_what_python_derives_is_removed_without_being_listed(path: str, found: Found) -> None:
    root = f".amdcni/{NEW.name}"
    derived, other = f"{root}/lib/__pycache__/a.pyc", f"{root}/{path}"
    more = with_folders({derived: File("d" * 64, 0o644), other: found})
    plan = plan_uninstall(Seen({**tree_of(NEW, "begun"), **more}, {NEW.name: NEW}))
    gone = {step.path for step in plan.rest if isinstance(step, Remove | RemoveFolder)}
    assert plan.notes == (f"{other} stays: no manifest lists it as it is",)
    assert gone & more.keys() == {derived, f"{root}/lib/__pycache__"} - above(other)
