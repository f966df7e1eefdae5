"""Which trees of a binDir the processes of this machine work with, as far as that can be seen."""

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from amdcni.core.install.seen import EXECUTABLE, INSIDE
from amdcni.core.install.tree import TreeName

_INITIAL_PID_NAMESPACE: Final = 0xEFFFFFFC  # include/linux/proc_ns.h, PROC_PID_INIT_INO
_DELETED: Final = " (deleted)"
_OUR_NAMES: Final = ("python", "ld-", "amd", "?")
"""How the name of a process that executes a file of a tree begins; the last one is not known."""


@attrs.frozen
class User:
    """A process that works with a tree."""

    pid: int
    name: str
    tree: TreeName


def sees_the_host(proc: Path = Path("/proc")) -> bool:
    """Whether all processes of the machine can be seen: PID 1 is that of the machine, not ours.

    In a container with hostPID, PID 1 is in another mount namespace than this process.  So it is in
    a pod whose containers share their processes; but there it is of the pod, all of which shares an
    IPC namespace.
    """
    try:
        if os.stat(proc / "self/ns/pid").st_ino == _INITIAL_PID_NAMESPACE:
            return True
        return not any(is_in_its_namespace(kind, proc) for kind in ("mnt", "ipc"))
    except OSError:
        return False


def is_on_the_host(proc: Path = Path("/proc")) -> bool:
    """Whether paths mean here what they mean to the machine's first process, for certain."""
    try:
        initial = os.stat(proc / "self/ns/pid").st_ino == _INITIAL_PID_NAMESPACE
        return initial and is_in_its_namespace("mnt", proc)
    except OSError:
        return False


def is_in_its_namespace(kind: str, proc: Path = Path("/proc")) -> bool:
    """Whether this process is in the namespace of PID 1 that has this kind; raises OSError."""
    own, its = os.stat(proc / "self/ns" / kind), os.stat(proc / "1/ns" / kind)
    return (own.st_dev, own.st_ino) == (its.st_dev, its.st_ino)


def users_of(
    names: Collection[TreeName],
    launchers: Mapping[str, TreeName],
    proc: Path = Path("/proc"),
) -> tuple[User, ...] | None:
    """The processes that work with one of these trees, perhaps this one among them.

    None if that cannot be known, because processes of the machine cannot be seen or looked at.
    They execute or map a file of it, are in one of its folders, or are a launcher, by its hash,
    that may still execute its Python.  A tree of the same name in another binDir counts, because
    the path that a process in another mount namespace has for it is not known.
    """
    if not sees_the_host(proc):
        return None
    found = []
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):
        process = proc / str(pid)
        if _is_hidden(process):
            return None
        named = {name for text in _texts(process) for name in names if _is_in(name, text)}
        named |= set(_launcher_of(process, launchers))
        found += [User(pid, _name_of(process), name) for name in sorted(named)]
    return tuple(found)


def _is_hidden(process: Path) -> bool:
    """Whether a process may be one of ours, and the kernel does not show what it executes.

    A container without CAP_SYS_PTRACE, or under AppArmor, sees the host's processes and their
    names, but not this.
    """
    try:
        os.readlink(process / "exe")
    except PermissionError:
        return _name_of(process).startswith(_OUR_NAMES)
    except OSError:
        # It has ended, or is a thread of the kernel.
        return False
    return False


def _is_in(name: TreeName, text: str) -> bool:
    return f"/{INSIDE}/{name}/" in text


def _texts(process: Path) -> Iterator[str]:
    """Where the paths of a process are, as far as it still lives and may be looked at."""
    for link in ("exe", "cwd"):
        with suppress(OSError):
            yield f"{os.readlink(process / link).removesuffix(_DELETED)}/"
    with suppress(OSError):
        yield (process / "maps").read_text(errors="surrogateescape")


def _launcher_of(process: Path, launchers: Mapping[str, TreeName]) -> Iterator[TreeName]:
    """The tree of a process that is a launcher, even one that has been replaced since."""
    with suppress(OSError):
        executable = os.readlink(process / "exe").removesuffix(_DELETED)
        if executable.endswith(f"/{EXECUTABLE}"):
            with open(process / "exe", "rb") as file:
                name = launchers.get(hashlib.file_digest(file, "sha256").hexdigest())
            if name is not None:
                yield name


def _name_of(process: Path) -> str:
    with suppress(OSError):
        return (process / "comm").read_text(errors="replace").strip()
    return "?"
