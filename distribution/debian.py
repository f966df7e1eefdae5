"""Debian's packages, downloaded and unpacked into a folder, not installed."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import frozen

from distribution.commands import BuildFailed, CannotBuild, run

ARCH: Final = "x86_64"
"""The only architecture that a tree is built for."""

RELEASE: Final = "12"
"""The release of Debian whose packages a tree consists of."""

LIBRARIES: Final = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
"""The folders of a package with its libraries: packages move from / to /usr one by one."""


@frozen
class Package:
    """A package that is unpacked."""

    name: str
    version: str
    source: str
    """The source package and its version, which say where its sources are to be had."""


@frozen
class Unpacked:
    """Packages, unpacked into one folder."""

    root: Path
    packages: tuple[Package, ...]

    def find(self, *candidates: str) -> Path:
        """The first of these files that is there.

        Raises: BuildFailed.
        """
        for each in candidates:
            if (path := self.root / each).exists():
                return path
        raise BuildFailed(f"none of Debian's packages contains {candidates[0]}")

    def library(self, name: str) -> Path:
        """The file of a shared library.

        Raises: BuildFailed.
        """
        return self.find(*(f"{folder}/{name}" for folder in LIBRARIES)).resolve()


def unpack(names: Sequence[str], archives: Path, root: Path) -> Unpacked:
    """Unpack the packages into the folder `root`, and keep their archives in `archives`.

    Raises: BuildFailed, if they cannot be had here.
    """
    _require_debian()
    archives.mkdir(parents=True, exist_ok=True)
    files = _archives(names, archives)
    root.mkdir(parents=True)
    for file in files:
        run(["dpkg-deb", "--extract", file, root])
    _make_links_relative(root)
    return Unpacked(root, tuple(_package_of(file) for file in files))


def _require_debian() -> None:
    if platform.machine() != ARCH:
        raise CannotBuild(f"the tree is for {ARCH}, and this is {platform.machine()}")
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise CannotBuild(f"{tool} is missing: the tree consists of packages of Debian 12")
    release = platform.freedesktop_os_release()
    if (release["ID"], release.get("VERSION_ID")) != ("debian", RELEASE):
        raise CannotBuild(f"the tree consists of packages of Debian {RELEASE}, and this is another")


def _archives(names: Sequence[str], archives: Path) -> list[Path]:
    """The archives of the versions that apt would install, downloaded unless they are there."""
    try:
        wanted = _candidates(names)
        return _download(wanted, archives)
    except BuildFailed:
        if os.geteuid() != 0:
            raise
        # apt has no lists yet, or they are out of date.  A source that cannot be reached matters
        # only if a package is then not found.
        with suppress(BuildFailed):
            run(["apt-get", "-qq", "update"])
        return _download(_candidates(names), archives)


def _candidates(names: Sequence[str]) -> list[str]:
    """Each package with its newest version, as `name=version`."""
    found = {}
    paragraphs = run(["apt-cache", "show", "--no-all-versions", *names]).split("\n\n")
    for fields in map(_fields, filter(None, map(str.strip, paragraphs))):
        found[fields["Package"]] = fields["Version"]
    if missing := [name for name in names if name not in found]:
        raise BuildFailed(f"apt has no package {', '.join(missing)}")
    return [f"{name}={found[name]}" for name in names]


def _download(wanted: Iterable[str], archives: Path) -> list[Path]:
    return [_downloaded(each, archives) for each in wanted]


def _downloaded(wanted: str, archives: Path) -> Path:
    name, _, version = wanted.partition("=")
    pattern = f"{name}_{version.replace(':', '%3a')}_*.deb"
    if not any(archives.glob(pattern)):
        with tempfile.TemporaryDirectory(dir=archives) as folder:
            # Not as apt's own user, who could not write here.
            options = ("-qq", "-o", "APT::Sandbox::User=root")
            run(["apt-get", *options, "download", wanted], cwd=Path(folder))
            for file in Path(folder).iterdir():
                file.rename(archives / file.name)
    (found,) = archives.glob(pattern)
    return found


def _package_of(archive: Path) -> Package:
    fields = _fields(run(["dpkg-deb", "--field", archive]))
    name, version = fields["Package"], fields["Version"]
    source, _, source_version = fields.get("Source", name).partition(" ")
    return Package(name, version, f"{source} {source_version.strip('()') or version}")


def _fields(paragraph: str) -> dict[str, str]:
    lines = (line.partition(": ") for line in paragraph.splitlines() if line[:1].strip())
    return {name: value for name, _, value in lines}


def _make_links_relative(root: Path) -> None:
    """Let links that begin at / lead to the unpacked files."""
    for path in root.rglob("*"):
        if path.is_symlink() and (target := path.readlink()).is_absolute():
            path.unlink()
            path.symlink_to(os.path.relpath(root / target.relative_to("/"), path.parent))
