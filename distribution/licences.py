"""The licences of everything in a tree, and the list of what it was made from."""

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from distribution.contents import FOR_LICENCES
from distribution.debian import Package, Unpacked
from distribution.wheels import CHECKOUT, Installed

FOLDER: Final = "share/licenses"
LIST: Final = "PACKAGES"
_CHANGED: Final = {"libc6": ", changed: the dynamic linker does not read /etc/ld.so.preload"}
_COMMON: Final = "/usr/share/common-licenses/"
_TEXT: Final = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|AUTHORS)", re.IGNORECASE)


def collect(folder: Path, debian: Unpacked, wheels: Sequence[Installed]) -> None:
    """Fill the folder of licences: one folder for each package, and the list of all."""
    folder.mkdir(parents=True)
    texts = [_copy_of_debian(folder, debian, package) for package in _contained(debian)]
    for name in sorted(_referred(texts)):
        _copy(debian.find(f"{_COMMON}{name}".lstrip("/")), folder / "common-licenses" / name)
    for wheel in wheels:
        _copy_of_wheel(folder / wheel.name.lower(), wheel)
    shutil.copyfile(CHECKOUT / "LICENSE", folder / "LICENSE")
    lines = [*map(_line_of_debian, _contained(debian)), *map(_line_of_wheel, wheels)]
    (folder / LIST).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _contained(debian: Unpacked) -> list[Package]:
    """The packages of which something is in the tree."""
    return [each for each in debian.packages if each.name not in FOR_LICENCES]


def _line_of_debian(package: Package) -> str:
    """What was taken from Debian, the source package that it was built from, what was changed."""
    changed = _CHANGED.get(package.name, "")
    return f"debian {package.name} {package.version} from {package.source}{changed}"


def _line_of_wheel(wheel: Installed) -> str:
    return f"python {wheel.name} {wheel.version} under {wheel.licence}"


def _copy_of_debian(folder: Path, debian: Unpacked, package: Package) -> str:
    source = debian.find(f"usr/share/doc/{package.name}/copyright")
    _copy(source, folder / package.name / "copyright")
    return source.read_text("utf-8", errors="replace")


def _referred(texts: Iterable[str]) -> set[str]:
    """The names of the common licences that these texts refer to."""
    found = (re.findall(rf"{_COMMON}([\w.-]*\w)", text) for text in texts)
    return {name for names in found for name in names}


def _copy_of_wheel(folder: Path, wheel: Installed) -> None:
    files = [path for path in wheel.metadata.rglob("*") if path.is_file()]
    for path in files:
        if _TEXT.match(path.name):
            _copy(path, folder / path.name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, target)
