"""What is in a binDir, and what follows from that."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from amdcni.core.install.tree import (
    COMMAND,
    MANIFEST,
    Content,
    File,
    Folder,
    Found,
    Manifest,
    SymbolicLink,
    TreeName,
    find_tree_name,
)

EXECUTABLE: Final = "amd-host-device"
INSIDE: Final = ".amdcni"
NOTE: Final = f"{INSIDE}/installed.json"
LINK: Final = f"{INSIDE}/amdcni"
KEPT: Final = f"{INSIDE}/kept"
UNFINISHED: Final = f"{INSIDE}/.new-"
"""How the name of a file begins that has not been renamed to its own yet."""

_KEPT_NAME: Final = re.compile(rf"{re.escape(EXECUTABLE)}(?:\.([1-9][0-9]{{0,8}}))?")


@attrs.frozen
class Installed:
    """One installation: the tree, and the hash of the launcher that came with it."""

    name: TreeName
    launcher: str


@attrs.frozen
class Kept:
    """Something that had the launcher's name before an installation; the highest number is due."""

    number: int
    path: str
    content: Content


@attrs.frozen
class Seen:
    """What is in a binDir: at `paths` everything below `.amdcni`, itself, and the executable.

    `manifests` are those of complete and incomplete trees, `unreadable` says why others have none.
    `installed` is what the note says, the latest first.
    """

    paths: Mapping[str, Found]
    manifests: Mapping[TreeName, Manifest] = attrs.field(factory=dict)
    unreadable: Mapping[TreeName, str] = attrs.field(factory=dict)
    installed: tuple[Installed, ...] = ()

    @property
    def executable(self) -> Found | None:
        """What has the name of the launcher."""
        return self.paths.get(EXECUTABLE)

    @property
    def trees(self) -> tuple[TreeName, ...]:
        """The names of the folders that are trees, or what is left of some."""
        names = (
            find_tree_name(path.removeprefix(f"{INSIDE}/"))
            for path, found in self.paths.items()
            if isinstance(found, Folder)
        )
        return tuple(sorted(name for name in names if name is not None))

    @property
    def kept(self) -> tuple[Kept, ...]:
        """What has been kept aside, in the order in which that was done."""
        return tuple(sorted(self._kept(), key=lambda kept: kept.number))

    def _kept(self) -> Iterator[Kept]:
        for path, found in self.paths.items():
            folder, _, name = path.rpartition("/")
            match = _KEPT_NAME.fullmatch(name)
            if folder == KEPT and match and isinstance(found, File | SymbolicLink):
                yield Kept(int(match[1] or 0), path, found)

    @property
    def launchers(self) -> dict[str, TreeName]:
        """The hashes of all launchers that are ours, each with its tree."""
        noted = {each.launcher: each.name for each in self.installed}
        return noted | {each.launcher.sha256: name for name, each in self.manifests.items()}

    @property
    def in_place(self) -> TreeName | None:
        """The tree whose launcher the executable is; None if that is missing or not ours."""
        match self.executable:
            case File(sha256=sha256):
                return self.launchers.get(sha256)
            case _:
                return None

    def is_complete(self, manifest: Manifest) -> bool:
        """Whether the tree has been installed to its end, whatever has become of it since."""
        return self.paths.get(f"{path_of(manifest.name)}/{MANIFEST}") == manifest.itself

    def below(self, folder: str) -> dict[str, Found]:
        """Everything in a folder, at any depth."""
        return {path: each for path, each in self.paths.items() if path.startswith(f"{folder}/")}

    @property
    def leftovers(self) -> tuple[str, ...]:
        """What installations that did not end left behind; nobody else is at work."""
        return tuple(
            sorted(
                path
                for path, found in self.paths.items()
                if path.startswith(UNFINISHED) and path.count("/") == 1 and found != Folder()
            )
        )

    @property
    def has_our_link(self) -> bool:
        """Whether the link to the command is one that an installation made."""
        match self.paths.get(LINK):
            case SymbolicLink(target):
                name = target.removesuffix(f"/{COMMAND}")
                return target == f"{name}/{COMMAND}" and find_tree_name(name) is not None
            case _:
                return False


def path_of(name: TreeName) -> str:
    """The folder of a tree."""
    return f"{INSIDE}/{name}"
