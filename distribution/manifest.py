"""The manifest of a tree, by which it is installed, verified and removed."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

NAME: Final = "MANIFEST.json"
FORMAT: Final = 1
_DIGITS: Final = 12


@frozen
class File:
    """A regular file: the hash of its content, and its permissions."""

    sha256: str
    mode: int

    def as_json(self) -> dict[str, str]:
        return {"sha256": self.sha256, "mode": f"{self.mode:04o}"}


@frozen
class Link:
    """A symbolic link."""

    target: str

    def as_json(self) -> dict[str, str]:
        return {"link": self.target}


Entry = File | Link


@frozen
class Manifest:
    """A whole tree: its name, and all its files by their paths."""

    version: str
    name: str
    arch: str
    entries: Mapping[str, Entry]

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "arch": self.arch,
            "files": {path: self.entries[path].as_json() for path in sorted(self.entries)},
        }


def entries_of(tree: Path) -> dict[str, Entry]:
    """Every file and link of a tree, by its path from the tree's folder, but the manifest."""
    paths = (path for path in _files(tree) if path != tree / NAME)
    return {str(path.relative_to(tree)): _entry_of(path) for path in paths}


def name_of(version: str, entries: Mapping[str, Entry]) -> str:
    """The name of a tree with these entries: no two different trees have the same."""
    described = json.dumps({path: entries[path].as_json() for path in sorted(entries)})
    return f"{version}-{hashlib.sha256(described.encode()).hexdigest()[:_DIGITS]}"


def nameless(version: str) -> str:
    """A name that stands for the one that is not known yet, and is as long."""
    return f"{version}-{'0' * _DIGITS}"


def write(tree: Path, manifest: Manifest) -> None:
    """Write the manifest into its tree."""
    text = json.dumps(manifest.as_json(), indent=1) + "\n"
    (tree / NAME).write_text(text, encoding="ascii")


def read_name(tree: Path) -> str:
    """The name of a finished tree."""
    name: str = json.loads((tree / NAME).read_bytes())["name"]
    return name


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() or not path.is_dir():
                yield path


def _entry_of(path: Path) -> Entry:
    if path.is_symlink():
        return Link(str(path.readlink()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return File(digest, path.stat().st_mode & 0o7777)
