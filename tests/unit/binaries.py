"""Made-up trees of the program, and folders of plugins into which they are installed."""

import hashlib
import io
import json
import os
import signal
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import attrs

from amdcni.cli import main
from amdcni.core.install.plans import plan_install
from amdcni.core.install.removal import plan_uninstall
from amdcni.core.install.tree import TreeName
from amdcni.effects.installing import perform as performing
from amdcni.effects.installing.look import look, read_tree
from amdcni.effects.installing.perform import perform

Picture = dict[str, tuple[object, ...]]
"""What is at each path: its kind, and all about it."""

FOREIGN = b"\x7fELF a plugin of somebody else"

CHANGES = {"mkdir", "open", "write", "fchmod", "chmod", "fsync", "rename", "link", "symlink"} | {
    *("unlink", "rmdir", "chown", "posix_fadvise")
}
"""C functions that change a folder, or that come between two of those."""


@attrs.frozen
class BuiltTree:
    """A tree in a folder, as the build makes it; `files` are the contents of its regular files."""

    path: Path
    name: TreeName
    files: Mapping[str, bytes]

    @property
    def launcher(self) -> bytes:
        return self.files["bin/amd-host-device"]


def build_tree(folder: Path, version: str, arch: str | None = None) -> BuiltTree:
    """Write a small tree; two versions differ in all files but one."""
    files = {
        "bin/amd-host-device": f"\x7fELF the launcher of {version}".encode(),
        "bin/amdcni": b"#!/bin/sh\n",
        "lib/deep/er/module.py": f"version = {version!r}\n".encode(),
        "lib/empty": b"",
        "share/licence": b"as you like\n",
    }
    return write_tree(folder, version, files, {"bin/python3": "python3.11"}, arch)


def write_tree(
    folder: Path,
    version: str,
    files: Mapping[str, bytes],
    links: Mapping[str, str],
    arch: str | None = None,
) -> BuiltTree:
    listed: dict[str, Any] = {path: {"link": target} for path, target in links.items()}
    for path, content in files.items():
        mode = 0o755 if path.startswith("bin/") else 0o644
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        (folder / path).chmod(mode)
        listed[path] = {"sha256": hashlib.sha256(content).hexdigest(), "mode": f"{mode:04o}"}
    for path, target in links.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(target)
    digest = hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
    name = f"{version}-{digest[:12]}"
    manifest = {"format": 1, "name": name, "version": version}
    manifest |= {"arch": arch or os.uname().machine, "files": dict(sorted(listed.items()))}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    return BuiltTree(folder, TreeName(name), files)


def picture(folder: Path) -> Picture:
    """Everything in a folder."""
    return {str(p.relative_to(folder)): _about(p) for p in sorted(folder.rglob("*"))}


def _about(path: Path) -> tuple[object, ...]:
    seen = path.lstat()
    mode = stat.S_IMODE(seen.st_mode)
    if path.is_symlink():
        return "link", os.readlink(path)
    if path.is_dir():
        return "folder", mode
    return "file", path.read_bytes(), mode, seen.st_mtime_ns


def install(bin_dir: Path, tree: BuiltTree, in_use: frozenset[TreeName] | None = None) -> None:
    manifest = read_tree(tree.path)
    perform(plan_install(manifest, look(bin_dir), in_use).steps, bin_dir, tree.path)


def uninstall(bin_dir: Path) -> tuple[str, ...]:
    """Remove everything of ours; what is to be said about it."""
    plan = plan_uninstall(look(bin_dir))
    perform((*plan.withdrawal, *plan.rest), bin_dir)
    return plan.notes


def is_installed(bin_dir: Path, tree: BuiltTree) -> bool:
    """Whether every file of a tree is in place, judged by what was built."""
    there, built = picture(bin_dir / ".amdcni" / tree.name), picture(tree.path)
    same = {path: about[:3] for path, about in there.items()} == {
        path: about[:3] for path, about in built.items()
    }
    command = bin_dir / ".amdcni/amdcni"
    executable = bin_dir / "amd-host-device"
    return (
        same
        and os.readlink(command) == f"{tree.name}/bin/amdcni"
        and executable.read_bytes() == tree.launcher
        and stat.S_IMODE(executable.lstat().st_mode) == 0o755
    )


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Act in a process that is killed before its change with this number; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            before_change(number, lambda: os.kill(os.getpid(), signal.SIGKILL))
            act()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the process failed"
    return os.WIFSIGNALED(status)


def before_change(number: int, do: Callable[[], object]) -> None:
    """Do something before the change with this number that performing a step makes."""
    changes = 0

    def watch(frame: FrameType, event: str, function: Any) -> None:
        nonlocal changes
        if event == "c_call" and frame.f_code.co_filename == performing.__file__:
            changes += function.__name__ in CHANGES
            if function.__name__ in CHANGES and changes == number:
                do()

    sys.setprofile(watch)


# ---- the commands


@attrs.frozen
class Said:
    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def amdcni(*words: object) -> Said:
    stdout, stderr = io.StringIO(), io.StringIO()
    status = main([str(word) for word in words], stdout, stderr)
    return Said(status, stdout.getvalue(), stderr.getvalue())


def amdcni_install(bin_dir: Path, tree: BuiltTree, *words: str) -> Said:
    return amdcni("install", "--bin-dir", bin_dir, "--from", tree.path, *words)


def amdcni_uninstall(bin_dir: Path, *words: str) -> Said:
    state = bin_dir.parent / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    return amdcni("uninstall", "--bin-dir", bin_dir, "--data-dir", state, *words)
