"""What is in a binDir and in a tree, and whether a binDir can be used at all."""

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from amdcni.core.errors import DeviceBusy, InstallFailed
from amdcni.core.formats.trees import parse_installed, parse_manifest
from amdcni.core.install.seen import EXECUTABLE, INSIDE, NOTE, Installed, Seen, path_of
from amdcni.core.install.tree import (
    BEGUN,
    MANIFEST,
    File,
    Folder,
    Found,
    Manifest,
    Special,
    SymbolicLink,
    TreeName,
)
from amdcni.core.names import FilePath
from amdcni.core.places import Place
from amdcni.effects import locks
from amdcni.effects.trust import fault_of_folder

_LOCK_WAIT_S: Final = 300.0
_NO_FOLLOW: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def find_tree_of_this_process() -> Path | None:
    """The tree whose Python this process is; None if it is not that of a tree."""
    tree = Path(sys.executable).parent.parent
    return tree if (tree / MANIFEST).is_file() else None


def find_bin_dir_of_this_process() -> Path | None:
    """The binDir into which the tree of this process was installed; None if it is in none."""
    tree = find_tree_of_this_process()
    return tree.parent.parent if tree is not None and tree.parent.name == INSIDE else None


def tree_of_this_process() -> Path:
    """The tree whose Python this process is; raises InstallFailed if it is not that of a tree."""
    tree = find_tree_of_this_process()
    if tree is None:
        above = Path(sys.executable).parent.parent
        raise InstallFailed(
            f"this amdcni does not run from a tree: there is no {MANIFEST} in {str(above)!r}; run "
            "that of a tree, or say --from TREE"
        )
    return tree


def read_tree(tree: Path) -> Manifest:
    """The manifest of a complete tree; raises InstallFailed."""
    try:
        return _read_manifest(tree / MANIFEST)
    except OSError as error:
        raise InstallFailed(
            f"{str(tree)!r} is not a tree: {MANIFEST} cannot be read: {error.strerror}; say --from "
            "with a folder that has one"
        ) from None
    except InstallFailed as fault:
        raise InstallFailed(f"{str(tree / MANIFEST)!r}: {fault}") from None


def _read_manifest(path: Path) -> Manifest:
    with os.fdopen(os.open(path, _NO_FOLLOW), "rb") as file:
        data = file.read()
    return parse_manifest(data, hashlib.sha256(data).hexdigest())


def require_executable(bin_dir: Path, machine: str, manifest: Manifest) -> None:
    """Raise InstallFailed if this machine cannot execute the tree in a binDir."""
    if os.statvfs(bin_dir).f_flag & os.ST_NOEXEC:
        raise InstallFailed(
            f"nothing in {str(bin_dir)!r} can be executed, because it is mounted noexec; give "
            "another folder with --bin-dir, and to Multus as its binDir"
        )
    if manifest.arch != machine:
        raise InstallFailed(
            f"{manifest.name} is for {manifest.arch}, and this machine is {machine}; take the tree "
            "for that"
        )


def require_writable(bin_dir: Path) -> str | None:
    """Why somebody other than root could exchange what is in a binDir; None if nobody can.

    Raises: InstallFailed if nothing can be changed there.
    """
    if not bin_dir.is_dir():
        raise InstallFailed(
            f"{str(bin_dir)!r} is not a folder; give the folder in which Multus looks for plugins "
            "with --bin-dir, and make it if it is missing"
        )
    if os.statvfs(bin_dir).f_flag & os.ST_RDONLY:
        raise InstallFailed(f"{str(bin_dir)!r} is read-only; mount it writable")
    inside = bin_dir / INSIDE
    if inside.is_dir() and inside.stat().st_dev != bin_dir.stat().st_dev:
        raise InstallFailed(
            f"{str(inside)!r} is on another file system than the folder that it is in, so nothing "
            "can be renamed from one to the other; unmount it"
        )
    return fault_of_folder(Place("/", FilePath(os.path.realpath(bin_dir))))


@contextmanager
def locked(bin_dir: Path) -> Iterator[None]:
    """Exclude other installations and removals; raises InstallFailed after five minutes.

    The lock is one of the folder itself, so it leaves nothing behind, is the same wherever the
    folder is mounted, and ends with the process.
    """
    fd = os.open(bin_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        locks.acquire(fd, str(bin_dir), _LOCK_WAIT_S)
        yield
    except DeviceBusy:
        raise InstallFailed(
            f"another installation has been working in {str(bin_dir)!r} for {_LOCK_WAIT_S:g} s; "
            "wait until it ends, or end it, and try again"
        ) from None
    finally:
        os.close(fd)


def look(bin_dir: Path) -> Seen:
    """Everything in a binDir that is about installations; raises InstallFailed."""
    try:
        paths = dict(_walk(bin_dir))
    except OSError as error:
        raise InstallFailed(
            f"cannot look into {str(bin_dir)!r}: {error.filename}: {error.strerror}; run as root"
        ) from None
    manifests: dict[TreeName, Manifest] = {}
    unreadable: dict[TreeName, str] = {}
    for name in Seen(paths).trees:
        try:
            manifest = _manifest_in(bin_dir / path_of(name))
        except (InstallFailed, OSError) as fault:
            unreadable[name] = str(fault)
        else:
            manifests |= {} if manifest is None else {name: manifest}
            if manifest is not None and manifest.name != name:
                del manifests[name]
                unreadable[name] = f"its manifest is that of {manifest.name}"
    return Seen(paths, manifests, unreadable, _installed_in(bin_dir))


def _manifest_in(tree: Path) -> Manifest | None:
    """The manifest of a tree, complete or not; None if there is none.

    Raises: InstallFailed, OSError.
    """
    fault: InstallFailed | None = None
    for name in (MANIFEST, BEGUN):
        try:
            return _read_manifest(tree / name)
        except FileNotFoundError:
            pass
        except InstallFailed as failure:
            fault = fault or failure
    if fault is not None:
        raise fault
    return None


def _installed_in(bin_dir: Path) -> tuple[Installed, ...]:
    """What the note says; nothing if it cannot be read, since manifests tell what is ours, too."""
    try:
        with os.fdopen(os.open(bin_dir / NOTE, _NO_FOLLOW), "rb") as file:
            return parse_installed(file.read())
    except (OSError, InstallFailed):
        return ()


def _walk(bin_dir: Path) -> Iterator[tuple[str, Found]]:
    for top in (EXECUTABLE, INSIDE):
        if os.path.lexists(bin_dir / top):
            yield from _found_at(bin_dir, top)


def _found_at(bin_dir: Path, path: str) -> Iterator[tuple[str, Found]]:
    found = found_at(bin_dir / path)
    yield path, found
    if isinstance(found, Folder) and path != EXECUTABLE:
        for name in sorted(os.listdir(bin_dir / path)):
            yield from _found_at(bin_dir, f"{path}/{name}")


def found_at(path: Path) -> Found:
    """What is at a path, links not followed; raises OSError if nothing is."""
    seen = os.lstat(path)
    if stat.S_ISLNK(seen.st_mode):
        return SymbolicLink(os.readlink(path))
    if stat.S_ISDIR(seen.st_mode):
        return Folder()
    if stat.S_ISREG(seen.st_mode):
        with os.fdopen(os.open(path, _NO_FOLLOW), "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return File(digest, stat.S_IMODE(seen.st_mode))
    if stat.S_ISFIFO(seen.st_mode):
        return Special("a FIFO")
    return Special("a socket" if stat.S_ISSOCK(seen.st_mode) else "a device")
