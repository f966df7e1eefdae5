"""The Python packages: the locked ones of others, and this project's own."""

import shutil
import sys
import tomllib
from collections.abc import Sequence
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from distribution.commands import run
from distribution.contents import PYTHON, UNUSED_METADATA, UNUSED_PACKAGES

CHECKOUT: Final = Path(__file__).parents[1]
LOCK: Final = CHECKOUT / "requirements/tree.txt"

_PIP: Final = (sys.executable, "-I", "-m", "pip", "-qq", "--disable-pip-version-check")
_TARGET: Final = (
    *("--no-deps", "--no-compile", "--only-binary=:all:", "--implementation=cp"),
    *(f"--python-version={PYTHON}", "--platform=manylinux2014_x86_64"),
    *("--platform=manylinux_2_28_x86_64", "--platform=linux_x86_64"),
)
"""Whatever interpreter runs pip, the wheels are those for the tree's."""


@frozen
class Installed:
    """A package in the folder of packages."""

    name: str
    version: str
    licence: str
    metadata: Path
    """Its folder `.dist-info`."""


def project() -> dict[str, Any]:
    """What `pyproject.toml` says of this project."""
    found: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return found


def install(packages: Path, work: Path) -> None:
    """Fill the folder `packages`; `work` is a folder for intermediate files."""
    _install(packages, ["--require-hashes", "--requirement", LOCK])
    wheels = work / "wheels"
    run([*_PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, CHECKOUT])
    _install(packages, list(wheels.iterdir()))


def _install(packages: Path, what: Sequence[str | Path]) -> None:
    run([*_PIP, "install", *_TARGET, "--target", packages, *what])


def prune(packages: Path) -> None:
    """Remove what the tree leaves out."""
    for pattern in UNUSED_PACKAGES:
        for path in packages.glob(pattern):
            remove(path)
    for name in UNUSED_METADATA:
        for path in packages.glob(f"*.dist-info/{name}"):
            remove(path)


def installed(packages: Path) -> list[Installed]:
    """All packages in the folder, by name."""
    found = [_described(metadata) for metadata in packages.glob("*.dist-info")]
    return sorted(found, key=lambda each: each.name.lower())


def remove(path: Path) -> None:
    """Remove a file, or a folder with everything in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _described(metadata: Path) -> Installed:
    fields: Message = HeaderParser().parsestr((metadata / "METADATA").read_text("utf-8"))
    licence = fields["License-Expression"] or fields["License"] or "see its licence"
    return Installed(fields["Name"], fields["Version"], licence.splitlines()[0], metadata)
