"""What a tree of the program consists of, and what can lie at a path."""

import re
from collections.abc import Mapping
from typing import Final, NewType

import attrs

TreeName = NewType("TreeName", str)
"""The version and twelve digits of a hash; no name stands for two contents."""

_TREE_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!_-]{0,99}-[0-9a-f]{12}")

LAUNCHER: Final = "bin/amd-host-device"
COMMAND: Final = "bin/amdcni"
MANIFEST: Final = "MANIFEST.json"
BEGUN: Final = "MANIFEST.begun"
"""The manifest's name while its tree is not complete: the first file made, the last one removed."""


@attrs.frozen
class File:
    """A regular file: the SHA-256 of its content in hexadecimal, and its permissions."""

    sha256: str
    mode: int


@attrs.frozen
class SymbolicLink:
    """A symbolic link with the text that it holds."""

    target: str


@attrs.frozen
class Folder:
    """A folder."""


@attrs.frozen
class Special:
    """Anything else, in words: a FIFO, a socket, a device."""

    kind: str


Content = File | SymbolicLink
Found = Content | Folder | Special


@attrs.frozen
class Manifest:
    """What a tree consists of; `itself` is the file of the manifest, which it does not list."""

    name: TreeName
    version: str
    arch: str
    files: Mapping[str, Content]
    launcher: File
    itself: File

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the tree, each after the one that it is in."""
        return tuple(sorted({folder for path in self.files for folder in folders_above(path)}))


def find_tree_name(text: str) -> TreeName | None:
    """`text` as the name of a tree; None if it cannot be one."""
    return TreeName(text) if _TREE_NAME.fullmatch(text) else None


def folders_above(path: str) -> tuple[str, ...]:
    """The folders that a relative path leads through, from the top."""
    parts = path.split("/")[:-1]
    return tuple("/".join(parts[: n + 1]) for n in range(len(parts)))


def is_older(version: str, other: str) -> bool:
    """Whether the numbers in a version are smaller than those in another one."""
    return _numbers(version) < _numbers(other)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall("[0-9]+", version)]
