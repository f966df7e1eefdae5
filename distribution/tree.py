"""The self-contained tree: an interpreter, its libraries and the packages, in one folder.

It has these files and folders:

- `bin/amdcni`, the command;
- `bin/amd-host-device`, the static launcher, which is also copied into the folder of plugins;
- `bin/python3`, the interpreter, wherever the tree lies;
- `lib`, the dynamic linker and the libraries;
- `lib/python3`, the interpreter as Debian has built it;
- `lib/start`, links to the dynamic linker, which give processes their names;
- `lib/python3.11`, the standard library, and the packages in `site-packages`;
- `share/amdcni/systemd`, the units, and `share/man`, the man pages;
- `share/licenses`, the licences, and the list `PACKAGES`;
- `MANIFEST.json`, the name of the tree, and the hash of each file.
"""

import os
import shutil
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from distribution import contents, debian, licences, manifest, wheels
from distribution.commands import BuildFailed, CannotBuild, run
from distribution.contents import LIBRARY, LINKER
from distribution.manifest import Manifest
from distribution.wheels import CHECKOUT

LAUNCHER: Final = "bin/amd-host-device"
_BUILD: Final = CHECKOUT / "scripts/build-launcher.sh"
_STARTERS: Final = {"python3": (), "amdcni": ('-DNAME="amdcni"', "-DCOMMAND")}
_PRELOAD: Final = b"/etc/ld.so.preload"
_NO_PRELOAD: Final = b"/proc/self/preload"
_TIME: Final = 315532800
"""The start of 1980, before which archives of some kinds have no times."""


def build(target: Path, archives: Path) -> Manifest:
    """Build the tree, and put it in the place of the folder `target`.

    `archives` is the folder for what is downloaded from Debian.

    Raises: BuildFailed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tree-", dir=target.parent) as folder:
        built = _build_in(Path(folder), archives)
        if target.exists():
            shutil.rmtree(target)
        (Path(folder) / "tree").rename(target)
    return built


def _build_in(work: Path, archives: Path) -> Manifest:
    tree = work / "tree"
    unpacked = debian.unpack([*contents.DEBIAN, *contents.FOR_LICENCES], archives, work / "debian")
    _copy_python(tree, unpacked)
    packages = tree / LIBRARY / "site-packages"
    wheels.install(packages, work)
    wheels.prune(packages)
    # People look for units and man pages, and find no path through the packages.
    (packages / "share").rename(tree / "share")
    _build_starters(tree)
    licences.collect(tree / licences.FOLDER, unpacked, wheels.installed(packages))
    _compile(tree)
    _settle(tree)
    written = _finish(tree)
    _settle(tree)
    return written


def _copy_python(tree: Path, unpacked: debian.Unpacked) -> None:
    """Copy the interpreter, its libraries and its standard library without what is never loaded."""
    (tree / "lib/start").mkdir(parents=True)
    shutil.copyfile(unpacked.find(f"usr/bin/python{contents.PYTHON}"), tree / "lib/python3")
    for name in contents.LIBRARIES:
        shutil.copyfile(unpacked.library(name), tree / "lib" / name)
    _forget_preload(tree / "lib" / LINKER)
    for name in ("lib/python3", f"lib/{LINKER}"):
        (tree / name).chmod(0o755)
    for name in _STARTERS:
        (tree / "lib/start" / name).symlink_to(f"../{LINKER}")
    source = unpacked.find(f"usr/{LIBRARY}")

    def is_unused(path: Path) -> bool:
        return any(fnmatch(str(path), pattern) for pattern in contents.UNUSED_IN_LIBRARY)

    def ignore(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if is_unused(Path(folder, name).relative_to(source))]

    shutil.copytree(source, tree / LIBRARY, ignore=ignore)


def _forget_preload(linker: Path) -> None:
    """Have the dynamic linker look for the list of what to preload where there never is one.

    The node's list is for the node's C library.  If one of its entries needs another version than
    the tree's, no program of the tree would start.
    """
    data = linker.read_bytes()
    if data.count(_PRELOAD) != 1:
        raise BuildFailed(f"{linker.name} is not as expected: where is its {_PRELOAD.decode()}?")
    linker.write_bytes(data.replace(_PRELOAD, _NO_PRELOAD))


def _build_starters(tree: Path) -> None:
    (tree / "bin").mkdir()
    for name, options in _STARTERS.items():
        _compile_c(tree / "bin" / name, *options, source="launchers/tree-python.c")


def _compile_c(output: Path, *options: str, source: str) -> None:
    """Build a static executable; all of them have the same C library, whichever is installed."""
    compiler = shutil.which("musl-gcc")
    if compiler is None:
        raise CannotBuild("musl-gcc is missing: install musl-tools")
    run([_BUILD, output, *options], environ={**os.environ, "CC": compiler, "SOURCE": source})
    output.chmod(0o755)


def _compile(tree: Path) -> None:
    """Compile all modules for where the tree is not writable and files have no times to trust.

    The compiled files name no folder of this machine: Python puts in where it has found them.
    """
    library = tree / LIBRARY
    compiler = (tree / "bin/python3", "-S", "-m", "compileall", "-q", "-f")
    options = ("--invalidation-mode=unchecked-hash", "-s", library, "-p", "/")
    # No other variable; without this one, the order of a set would differ from build to build.
    run([*compiler, *options, library], environ={"PYTHONHASHSEED": "0"})


def _finish(tree: Path) -> Manifest:
    """Give the tree its name, build the launcher that knows it, and write the manifest."""
    version = wheels.project()["version"]
    # A launcher that does not know the name yet stands for the one that does.
    _build_launcher(tree, manifest.nameless(version))
    name = manifest.name_of(version, manifest.entries_of(tree))
    _build_launcher(tree, name)
    written = Manifest(version, name, debian.ARCH, manifest.entries_of(tree))
    manifest.write(tree, written)
    return written


def _build_launcher(tree: Path, name: str) -> None:
    _compile_c(tree / LAUNCHER, f'-DTREE="{name}"', source="launchers/amd-host-device.c")


def _settle(tree: Path) -> None:
    """Give all files the permissions and times that do not depend on who builds where and when."""
    for parent, folders, files in os.walk(tree, topdown=False):
        for name in (*folders, *files):
            path = Path(parent, name)
            if not path.is_symlink():
                executable = path.is_dir() or path.stat().st_mode & 0o100
                path.chmod(0o755 if executable else 0o644)
            os.utime(path, (_TIME, _TIME), follow_symlinks=False)
    os.utime(tree, (_TIME, _TIME))
    tree.chmod(0o755)
