"""The JSON of installations: the manifest of a tree, and the note of what has been installed."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from amdcni.core.codec.converter import structure
from amdcni.core.codec.text import decode_object, shown
from amdcni.core.errors import AmdcniError, InstallFailed, UndecodableInput
from amdcni.core.install.seen import Installed
from amdcni.core.install.tree import (
    BEGUN,
    COMMAND,
    LAUNCHER,
    MANIFEST,
    Content,
    File,
    Manifest,
    SymbolicLink,
    find_tree_name,
    folders_above,
)

MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
"""Far more than a tree of many thousand files needs."""

_FORMAT: Final = 1
_MANIFEST_MODE: Final = 0o644
_WHAT: Final = "the manifest"
_SHA256: Final = re.compile("[0-9a-f]{64}")
_NO_BYTES: Final = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates other than those that stand for a byte that is not UTF-8."""
_MODE: Final = re.compile("0[0-7]{3}")


@attrs.frozen
class _Entry:
    sha256: str | None = None
    mode: str | None = None
    link: str | None = None


@attrs.frozen
class _Head:
    format: int
    name: str
    version: str
    arch: str


def parse_manifest(data: bytes, sha256: str) -> Manifest:
    """The manifest that `data` is, whose own hash is `sha256`.

    Raises: InstallFailed, with what is wrong with it.
    """
    try:
        raw = decode_object(data, _WHAT, max_bytes=MAX_MANIFEST_BYTES)
    except UndecodableInput as fault:
        raise InstallFailed(f"{fault}; take the tree anew") from None
    head = structure(raw, _Head, InstallFailed, _WHAT)
    if head.format != _FORMAT:
        raise InstallFailed(
            f"the manifest has format {head.format}, this version knows {_FORMAT}; "
            "use the amdcni of that tree"
        )
    name = find_tree_name(head.name)
    if name is None:
        raise InstallFailed(f"{head.name!r} is not a version and 12 hexadecimal digits")
    files = _files(raw.get("files"))
    launcher = files.get(LAUNCHER)
    for path in (LAUNCHER, COMMAND):
        if path not in files:
            raise InstallFailed(f"the manifest does not list {path}; take the tree anew")
    if not isinstance(launcher, File) or not launcher.mode & 0o111:
        raise InstallFailed(f"{LAUNCHER} is not an executable file; take the tree anew")
    itself = File(sha256, _MANIFEST_MODE)
    return Manifest(name, head.version, head.arch, files, launcher, itself)


def _files(raw: Any) -> dict[str, Content]:
    if not isinstance(raw, dict):
        raise InstallFailed(f"$.files is {shown(raw)}, not an object; take the tree anew")
    files = {path: _content(path, entry) for path, entry in raw.items()}
    for path in files:
        if any(folder in files for folder in folders_above(path)):
            raise InstallFailed(f"{path!r} is below a file; take the tree anew")
    return files


def _content(path: str, raw: Any) -> Content:
    parts = path.split("/")
    if not _is_inside(parts) or parts[0] in (MANIFEST, BEGUN):
        raise InstallFailed(f"{path!r} is not a path in a tree; take the tree anew")
    entry = structure(raw, _Entry, InstallFailed, _WHAT, f"$.files.{path}")
    match entry:
        case _Entry(sha256=None, mode=None, link=str(target)) if _leads_inside(parts, target):
            return SymbolicLink(target)
        case _Entry(sha256=str(digest), mode=str(mode), link=None) if _SHA256.fullmatch(
            digest
        ) and _MODE.fullmatch(mode):
            return File(digest, int(mode, 8))
        case _:
            raise InstallFailed(
                f"{path!r} has neither a hash with a mode nor a link inside the tree; "
                "take the tree anew"
            )


def _is_inside(parts: Iterable[str]) -> bool:
    return all(part not in ("", ".", "..") and _is_name(part) for part in parts)


def _is_name(text: str) -> bool:
    """Whether a file can have this name: JSON can say what stands for no bytes at all."""
    return "\0" not in text and not _NO_BYTES.search(text)


def _leads_inside(parts: list[str], target: str) -> bool:
    """Whether a link at `parts` that holds `target` stays in the tree, by its words."""
    depth = len(parts) - 1
    for part in target.split("/"):
        depth += {"..": -1, ".": 0}.get(part, 1)
        if depth < 0 or part == "" or not _is_name(part):
            return False
    return True


def parse_installed(data: bytes) -> tuple[Installed, ...]:
    """What has been installed, the latest first, as noted in any version; raises InstallFailed."""
    try:
        raw = decode_object(data, "the note", max_bytes=MAX_MANIFEST_BYTES).get("installs")
        return tuple(_installed(each) for each in raw or ())
    except (AmdcniError, LookupError, TypeError, ValueError) as fault:
        raise InstallFailed(f"the note cannot be read: {fault}; install again") from None


def _installed(raw: Mapping[str, str]) -> Installed:
    name, launcher = find_tree_name(raw["name"]), raw["launcher"]
    if name is None or not _SHA256.fullmatch(launcher):
        raise ValueError("an entry has no name or no hash")
    return Installed(name, launcher)


def installed_to_json(installed: Iterable[Installed]) -> bytes:
    """The note of what has been installed, for `parse_installed` of every version."""
    installs = [{"name": each.name, "launcher": each.launcher} for each in installed]
    return (json.dumps({"format": _FORMAT, "installs": installs}, indent=2) + "\n").encode()
