"""The steps of which installations consist; each one may be performed again.

All paths are relative to the binDir.  No step leaves half a file under its name, and what
replaces something does so at one moment.
"""

import attrs

from amdcni.core.install.seen import EXECUTABLE, NOTE, Installed
from amdcni.core.install.tree import Content, File, TreeName


@attrs.frozen
class MakeFolder:
    """There is a folder."""

    path: str

    def describe(self) -> str:
        """The step in words."""
        return f"make the folder {self.path}"


@attrs.frozen
class PutFile:
    """The file of the tree to be installed is in place, with the content that its hash says.

    `source` is its path in that tree.
    """

    path: str
    source: str
    file: File

    def describe(self) -> str:
        """The step in words."""
        return f"put {self.path}"


@attrs.frozen
class PutLink:
    """A symbolic link is in place."""

    path: str
    target: str

    def describe(self) -> str:
        """The step in words."""
        return f"link {self.path} to {self.target}"


@attrs.frozen
class Flush:
    """The names in these folders are on disk."""

    folders: tuple[str, ...]

    def describe(self) -> str:
        """The step in words."""
        return f"flush {len(self.folders)} folders to disk"


@attrs.frozen
class Rename:
    """A file has its other name, in place of what had that."""

    path: str
    to: str

    def describe(self) -> str:
        """The step in words."""
        return f"rename {self.path} to {self.to}"


@attrs.frozen
class KeepAside:
    """What has the launcher's name, and is not ours, has another name too, and so is not lost."""

    to: str
    content: Content

    def describe(self) -> str:
        """The step in words."""
        return f"keep the {EXECUTABLE} that is not ours as {self.to}"


@attrs.frozen
class Note:
    """The note says what has been installed, the latest first."""

    installed: tuple[Installed, ...]

    def describe(self) -> str:
        """The step in words."""
        return f"note in {NOTE} that {self.installed[0].name} is installed"


@attrs.frozen
class Switch:
    """The executable is the launcher of a tree, which is at `source`: from now on, calls use it."""

    name: TreeName
    source: str
    file: File

    def describe(self) -> str:
        """The step in words."""
        return f"replace {EXECUTABLE} by the launcher of {self.name}"


@attrs.frozen
class Restore:
    """The executable is what was kept aside."""

    kept: str

    def describe(self) -> str:
        """The step in words."""
        return f"put {self.kept} back as {EXECUTABLE}"


@attrs.frozen
class Remove:
    """A file or symbolic link is gone."""

    path: str

    def describe(self) -> str:
        """The step in words."""
        return f"remove {self.path}"


@attrs.frozen
class RemoveFolder:
    """An empty folder is gone; one in which something has appeared stays."""

    path: str

    def describe(self) -> str:
        """The step in words."""
        return f"remove the folder {self.path}"


Step = (
    MakeFolder
    | PutFile
    | PutLink
    | Flush
    | Rename
    | KeepAside
    | Note
    | Switch
    | Restore
    | Remove
    | RemoveFolder
)
