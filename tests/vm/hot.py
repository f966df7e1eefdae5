"""The files that processes in the machine open again and again.

Each file that is opened on a share asks QEMU several times, which takes longer than all else that a
short program does.  So the machine has copies of these in memory.
"""

import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

_PROGRAMS: Final = (
    *("/usr/bin/cat", "/usr/bin/dd", "/usr/bin/env", "/usr/bin/nsenter", "/usr/bin/sh"),
    *("/sbin/ip", "/sbin/tc", "/bin/rdma", "/usr/lib64/ld-linux-x86-64.so.2"),
)

_MODULES_OF_A_CALL: Final = """
import importlib, pkgutil, sys
import hypothesis, pytest
import amdcni, amdcni_agent, amdcni_shim
for package in (amdcni, amdcni_agent, amdcni_shim):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
for module in list(sys.modules.values()):
    for path in (getattr(module, "__file__", None), getattr(module, "__cached__", None)):
        if path:
            print(path)
"""

_LOCALE: Final = Path("/usr/lib/locale/C.utf8")


def hot_files(checkout: Path) -> Collection[Path]:
    """Return the programs, the libraries and the modules of Python, with the links to them."""
    listed = _output_of([sys.executable, "-c", _MODULES_OF_A_CALL], checkout).splitlines()
    programs = [Path(path) for path in (*_PROGRAMS, sys.executable) if Path(path).exists()]
    modules = [Path(path) for path in listed if Path(path).is_file()]
    texts = [
        *checkout.glob("tests/**/*.py"),
        *checkout.glob("tests/**/*.pyc"),
        *_LOCALE.rglob("LC_*"),
        *_LOCALE.rglob("SYS_*"),
        Path("/usr/share/locale/locale.alias"),
    ]
    binary = [*programs, *(path for path in modules if path.suffix == ".so")]
    paths = (*programs, *modules, *texts, *_libraries_of(binary))
    return {each for path in paths if path.is_file() for each in _links(path)}


def _libraries_of(binary: Iterable[Path]) -> Iterator[Path]:
    for line in _output_of(["ldd", *map(str, binary)], Path("/")).splitlines():
        for word in line.split():
            if word.startswith("/") and not word.endswith(":"):
                yield Path(word)


def _links(path: Path) -> Iterator[Path]:
    """Yield each link on the way to a file, and the file."""
    while True:
        path = path.parent.resolve() / path.name
        yield path
        if not path.is_symlink():
            return
        path = path.parent / path.readlink()


def _output_of(argv: list[str], folder: Path) -> str:
    # A file that is no dynamic executable makes ldd fail after it has listed all others.
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout
