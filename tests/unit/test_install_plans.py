"""What the plans of installations and removals make of a folder of plugins, as values."""

from collections.abc import Mapping

import pytest

from amdcni.core.install.removal import plan_cleanup, plan_uninstall
from amdcni.core.install.seen import Installed, Seen
from amdcni.core.install.steps import Remove, RemoveFolder, Rename, Step
from amdcni.core.install.tree import (
    File,
    Folder,
    Found,
    Manifest,
    Special,
    SymbolicLink,
    TreeName,
    folders_above,
)


def manifest_of(version: str, digit: str) -> Manifest:
    """That of a tree all of whose hashes consist of one digit."""
    launcher = File(digit * 64, 0o755)
    files = {"bin/amd-host-device": launcher, "bin/amdcni": File(digit * 64, 0o700)}
    name = TreeName(f"{version}-{digit * 12}")
    return Manifest(name, version, "x86_64", files, launcher, File(digit * 64, 0o644))


OLD, NEW = manifest_of("1.0", "a"), manifest_of("1.1", "b")


def noted(*manifests: Manifest) -> tuple[Installed, ...]:
    return tuple(Installed(each.name, each.launcher.sha256) for each in manifests)


def tree_of(manifest: Manifest, ending: str = "json") -> dict[str, Found]:
    """What a tree looks like: complete, or, with `begun`, not yet."""
    root = f".amdcni/{manifest.name}"
    files = {f"{root}/{path}": each for path, each in manifest.files.items()}
    return with_folders({**files, f"{root}/MANIFEST.{ending}": manifest.itself})


def with_folders(paths: Mapping[str, Found]) -> dict[str, Found]:
    folders = {folder: Folder() for path in paths for folder in folders_above(path)}
    return {**folders, **paths}


def removal_of(manifest: Manifest) -> tuple[Step, ...]:
    """The steps that remove a tree that is not complete."""
    root = f".amdcni/{manifest.name}"
    paths = ("bin/amd-host-device", "bin/amdcni", "MANIFEST.begun")
    folders = RemoveFolder(f"{root}/bin"), RemoveFolder(root)
    return (*(Remove(f"{root}/{path}") for path in paths), *folders)


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
    link = {".amdcni/amdcni": SymbolicLink(f"{NEW.name}/bin/amdcni")}
    note = {".amdcni/installed.json": File("d" * 64, 0o644)}
    paths = {**tree_of(NEW), **link, **note, "amd-host-device": NEW.launcher}
    plan = plan_uninstall(Seen(paths, {NEW.name: NEW}, installed=noted(NEW)))
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
    assert gone & more.keys() == {derived, f"{root}/lib/__pycache__"} - {*folders_above(other)}
