"""What an installation is going to do.

Whatever is there stays as it is until the tree is complete; then the executable is replaced at one
moment, and only after that are trees removed that nobody needs.
"""

from collections.abc import Collection, Iterator
from typing import assert_never

import attrs

from amdcni.core.errors import InstallFailed
from amdcni.core.install.removal import remove_tree
from amdcni.core.install.seen import (
    EXECUTABLE,
    INSIDE,
    KEPT,
    LINK,
    NOTE,
    Installed,
    Seen,
    path_of,
)
from amdcni.core.install.steps import (
    Flush,
    KeepAside,
    MakeFolder,
    Note,
    PutFile,
    PutLink,
    Remove,
    Rename,
    Step,
    Switch,
)
from amdcni.core.install.tree import (
    BEGUN,
    COMMAND,
    LAUNCHER,
    MANIFEST,
    File,
    Folder,
    Manifest,
    Special,
    SymbolicLink,
    TreeName,
)


@attrs.frozen
class InstallPlan:
    """The steps of an installation, and what is to be said about it, as sentences."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()


def plan_install(
    manifest: Manifest, seen: Seen, in_use: Collection[TreeName] | None
) -> InstallPlan:
    """The plan after which the tree of `manifest` is installed.

    `in_use` are the trees that processes work with; None if that cannot be known, and then no tree
    is removed.

    Raises: InstallFailed if something is in the way.
    """
    notes: list[str] = []
    steps = [
        *_folders(seen, INSIDE),
        *(Remove(path) for path in seen.leftovers),
        *_put_tree(manifest, seen),
        *switch_to(manifest, seen),
        *_put_link(LINK, f"{manifest.name}/{COMMAND}", seen),
    ]
    for name in _not_needed(manifest, seen):
        if in_use is None:
            notes.append(f"{name} stays: whether a process works with it cannot be seen from here")
        elif name in in_use:
            notes.append(f"{name} stays: a process works with it")
        elif name in seen.unreadable:
            notes.append(f"{name} stays: {seen.unreadable[name]}")
        else:
            removed, left = remove_tree(name, seen)
            steps += removed
            notes += left
    return InstallPlan(tuple(steps), tuple(notes))


def _not_needed(manifest: Manifest, seen: Seen) -> Iterator[TreeName]:
    """The trees other than the installed one and the one before it.

    Calls that began before the switch load modules from theirs, and so does a downgrade.
    """
    needed = {each.name for each in _after(manifest, seen)[:2]}
    return (name for name in seen.trees if name not in needed)


# ---- the tree


def _put_tree(manifest: Manifest, seen: Seen) -> Iterator[Step]:
    root = path_of(manifest.name)
    begun, done = f"{root}/{BEGUN}", f"{root}/{MANIFEST}"
    complete = seen.is_complete(manifest)
    yield from _folders(seen, root)
    if not complete:
        yield from _put_file(begun, MANIFEST, manifest.itself, seen)
    folders = tuple(f"{root}/{folder}" for folder in manifest.folders)
    yield from _folders(seen, *folders)
    files = [step for path in manifest.files for step in _put(path, manifest, seen)]
    yield from files
    if files or not complete:
        yield Flush((INSIDE, root, *folders))
    if not complete:
        _refuse_folder(done, seen)
        yield Rename(begun, done)
        yield Flush((root,))
    elif begun in seen.paths:
        yield Remove(begun)


def _put(path: str, manifest: Manifest, seen: Seen) -> Iterator[Step]:
    wanted, at = manifest.files[path], f"{path_of(manifest.name)}/{path}"
    match wanted:
        case File():
            yield from _put_file(at, path, wanted, seen)
        case SymbolicLink(target):
            yield from _put_link(at, target, seen)
        case _:
            assert_never(wanted)


def _put_file(path: str, source: str, wanted: File, seen: Seen) -> Iterator[Step]:
    if seen.paths.get(path) != wanted:
        _refuse_folder(path, seen)
        yield PutFile(path, source, wanted)


def _put_link(path: str, target: str, seen: Seen) -> Iterator[Step]:
    if seen.paths.get(path) != SymbolicLink(target):
        _refuse_folder(path, seen)
        yield PutLink(path, target)


def _folders(seen: Seen, *paths: str) -> Iterator[Step]:
    for path in paths:
        match seen.paths.get(path):
            case Folder():
                pass
            case None:
                yield MakeFolder(path)
            case _ if path in (INSIDE, KEPT):
                raise InstallFailed(f"{path} is not a folder; move it away, and install again")
            case _:
                yield Remove(path)
                yield MakeFolder(path)


def _refuse_folder(path: str, seen: Seen) -> None:
    if isinstance(seen.paths.get(path), Folder):
        raise InstallFailed(
            f"{path} is a folder where a file belongs; move it away, and install again"
        )


# ---- the executable


def switch_to(manifest: Manifest, seen: Seen) -> Iterator[Step]:
    """The steps after which the executable is the launcher of a tree that is complete.

    Raises: InstallFailed if what is there cannot be kept aside.
    """
    ours = {*seen.launchers, manifest.launcher.sha256}
    match seen.executable:
        case None:
            pass
        case File(sha256=sha256) if sha256 in ours:
            pass
        case File() | SymbolicLink() as foreign:
            kept = seen.kept
            if not kept or kept[-1].content != foreign:
                yield from _folders(seen, KEPT)
                number = kept[-1].number + 1 if kept else 0
                name = f"{EXECUTABLE}.{number}" if number else EXECUTABLE
                _refuse_folder(f"{KEPT}/{name}", seen)
                yield KeepAside(f"{KEPT}/{name}", foreign)
                yield Flush((KEPT, INSIDE))
        case Folder() | Special() as found:
            kind = "a folder" if isinstance(found, Folder) else found.kind
            raise InstallFailed(
                f"{EXECUTABLE} is {kind}, which cannot be kept aside; move it away, and install "
                "again"
            )
        case found:
            assert_never(found)
    after = _after(manifest, seen)
    if seen.installed != after:
        _refuse_folder(NOTE, seen)
        yield Note(after)
    if seen.executable != manifest.launcher:
        yield Switch(manifest.name, f"{path_of(manifest.name)}/{LAUNCHER}", manifest.launcher)


def _after(manifest: Manifest, seen: Seen) -> tuple[Installed, ...]:
    """What the note will say: this installation, what is in place now, and all before."""
    now = Installed(manifest.name, manifest.launcher.sha256)
    before = list(seen.installed)
    in_place = seen.in_place
    if in_place is not None and isinstance(seen.executable, File):
        before.insert(0, Installed(in_place, seen.executable.sha256))
    return tuple(dict.fromkeys([now, *before]))
