"""What removing an installation is going to do.

The executable goes first, so that no call begins any more, or what was there before comes back; the
rest follows when that has been looked at again.  Only what a manifest lists is removed, and what
differs from it stays and is named.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from amdcni.core.errors import InstallFailed
from amdcni.core.install.seen import EXECUTABLE, INSIDE, KEPT, LINK, NOTE, Seen, path_of
from amdcni.core.install.steps import Remove, RemoveFolder, Rename, Restore, Step
from amdcni.core.install.tree import BEGUN, MANIFEST, File, Folder, Manifest, TreeName

_CACHED: Final = "/__pycache__/"


@attrs.frozen
class RemovalPlan:
    """The steps of a removal: `withdrawal` is about the executable alone; sentences on the rest."""

    withdrawal: tuple[Step, ...]
    rest: tuple[Step, ...]
    notes: tuple[str, ...] = ()


def plan_uninstall(seen: Seen) -> RemovalPlan:
    """The plan after which the binDir is as it was before the first installation.

    Raises: InstallFailed if a tree cannot be removed because its manifest cannot be read.
    """
    for name, fault in sorted(seen.unreadable.items()):
        raise InstallFailed(
            f"{path_of(name)} cannot be removed: {fault}; install that version again, or remove "
            "the folder by hand"
        )
    withdrawal, given_back = _withdraw(seen)
    rest: list[Step] = [Remove(path) for path in seen.leftovers]
    kept = [each for each in seen.kept if each.path not in given_back]
    if kept and kept[-1].content == seen.executable:
        # A killed installation kept it aside without replacing it.
        rest.append(Remove(kept.pop().path))
    notes = [f"{each.path} stays: another {EXECUTABLE} came after it" for each in kept]
    if seen.has_our_link:
        rest.append(Remove(LINK))
    for name in seen.trees:
        steps, left = remove_tree(name, seen)
        rest += steps
        notes += left
    if isinstance(seen.paths.get(NOTE), File):
        rest.append(Remove(NOTE))
    rest += _remove_empty([KEPT, INSIDE], {*given_back, *_gone(rest)}, seen)
    return RemovalPlan(withdrawal, tuple(rest), tuple(notes))


def _withdraw(seen: Seen) -> tuple[tuple[Step, ...], frozenset[str]]:
    """The steps that take our executable away, and the path of what was kept and comes back."""
    if seen.in_place is None and seen.executable is not None:
        return (), frozenset()
    if seen.kept:
        return (Restore(seen.kept[-1].path),), frozenset({seen.kept[-1].path})
    return ((Remove(EXECUTABLE),) if seen.executable is not None else ()), frozenset()


def plan_cleanup(manifest: Manifest, seen: Seen) -> tuple[Step, ...]:
    """The steps after an installation that failed, which free what it has written.

    A tree stays if it was installed before, or if its launcher is in place already.
    """
    steps: list[Step] = [Remove(path) for path in seen.leftovers]
    name = manifest.name
    if name == seen.in_place or any(each.name == name for each in seen.installed):
        return tuple(steps)
    if seen.kept and seen.kept[-1].content == seen.executable:
        steps.append(Remove(seen.kept[-1].path))
    if name in seen.trees:
        steps += remove_tree(name, seen)[0]
    return (*steps, *_remove_empty([KEPT, INSIDE], _gone(steps), seen))


def _gone(steps: Iterable[Step]) -> set[str]:
    """The paths that steps remove or rename."""
    return {step.path for step in steps if isinstance(step, Remove | RemoveFolder | Rename)}


def remove_tree(name: TreeName, seen: Seen) -> tuple[list[Step], list[str]]:
    """The steps that remove a tree, and sentences on what stays.

    The tree is incomplete from the first step on, and its manifest goes last: a removal that is
    killed can be repeated.
    """
    root = path_of(name)
    manifest = seen.manifests.get(name)
    own = {f"{root}/{BEGUN}", f"{root}/{MANIFEST}"}
    inside = seen.below(root)
    files = [path for path in inside if path not in own and not isinstance(inside[path], Folder)]
    ours = sorted(path for path in files if _is_ours(path, manifest, seen))
    steps: list[Step] = []
    if manifest is not None and seen.is_complete(manifest):
        steps.append(Rename(f"{root}/{MANIFEST}", f"{root}/{BEGUN}"))
    elif f"{root}/{MANIFEST}" in inside:
        steps.append(Remove(f"{root}/{MANIFEST}"))
    steps += [Remove(path) for path in ours]
    if manifest is not None:
        steps.append(Remove(f"{root}/{BEGUN}"))
    folders = [path for path in inside if isinstance(inside[path], Folder)]
    steps += _remove_empty(sorted([*folders, root], reverse=True), {*own, *ours}, seen)
    left = [f"{path} stays: no manifest lists it as it is" for path in sorted({*files} - {*ours})]
    return steps, left


def _is_ours(path: str, manifest: Manifest | None, seen: Seen) -> bool:
    """Whether a file in a tree is as its manifest says, or was derived by Python from one."""
    if manifest is None:
        return False
    inner = path.removeprefix(f"{path_of(manifest.name)}/")
    return manifest.files.get(inner) == seen.paths[path] or (
        _CACHED in inner and inner.endswith(".pyc") and isinstance(seen.paths[path], File)
    )


def _remove_empty(folders: Iterable[str], gone: set[str], seen: Seen) -> Iterator[Step]:
    """The steps that remove those folders that are empty once `gone` is; the innermost first."""
    gone = set(gone)
    for folder in folders:
        present = isinstance(seen.paths.get(folder), Folder)
        if present and all(path in gone for path in seen.below(folder)):
            gone.add(folder)
            yield RemoveFolder(folder)
