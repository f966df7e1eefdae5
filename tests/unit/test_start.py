"""How the interpreter finds its packages: without `site` where pip has put them, else with it."""

import importlib.util
import subprocess
import sys
import venv
from collections.abc import Collection
from pathlib import Path

import pytest

from amdcni_shim.start import PACKAGES
from tests.unit.clients import alone, python_program
from tests.unit.test_imports import loaded_by, modules, packages_of

OURS = {"amdcni", "amdcni_shim"}
CALL = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "abc", "CNI_IFNAME": "net1"}
CALL |= {"CNI_NETNS": "/no/such/netns", "CNI_PATH": "/no/such/folder"}
CONFIG = b'{"cniVersion": "1.0.0", "name": "fabric", "deviceID": 5}'
USED_IF_THERE = {"rich", "pygments"}
"""What structlog also loads, but does not need."""
NOT_THE_PLUGIN = (
    *("amdcni.cli", "amdcni.deployment", "amdcni.testing"),
    *("amdcni.manifests", "amdcni.runtime", "amdcni.pytest_plugin"),
    "amdcni_agent",
)


def test_the_list_has_the_packages_of_the_plugin() -> None:
    plugin = [name for name, _ in modules() if not name.startswith(NOT_THE_PLUGIN)]
    imports = [f"import {name}" for name in plugin if "__main__" not in name]
    program = "\n".join([*imports, "import amdcni_shim.__main__, structlog"])
    # What an installation for development loads at each start.
    before = packages_of(loaded_by(""))
    loaded = packages_of(loaded_by(program)) - before - OURS - USED_IF_THERE
    assert loaded - sys.stdlib_module_names - {"__mp_main__"} <= PACKAGES


def place_of(package: str) -> Path:
    """The folder of a package, or the file of a module."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    origin = Path(spec.origin)
    return origin.parent if origin.name == "__init__.py" else origin


def environment(home: Path, inside: Collection[str], elsewhere: Collection[str]) -> Path:
    """An environment with links to packages in its own folder, and to others by a .pth file."""
    venv.create(home, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    other = home / "elsewhere"
    other.mkdir()
    (packages / "others.pth").write_text(f"{other}\n")
    for folder, names in ((packages, inside), (other, elsewhere)):
        for name in names:
            place = place_of(name)
            (folder / place.name).symlink_to(place)
    return home / "bin/python3"


ALL = {*PACKAGES, *OURS}


@pytest.mark.parametrize(
    ("elsewhere", "with_site"),
    [(set(), False), ({"structlog"}, True), (set(PACKAGES), True), (ALL, True)],
    ids=["nothing", "structlog", "dependencies", "everything"],
)
def test_site_is_loaded_only_if_packages_are_elsewhere(
    tmp_path: Path, elsewhere: set[str], with_site: bool
) -> None:
    python = environment(tmp_path / "home", ALL - elsewhere, elsewhere)
    done = subprocess.run(
        [python, "-I", "-S", "-X", "importtime", "-c", python_program(), "--alone"],
        env=CALL,
        input=CONFIG,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == alone(CALL, CONFIG)
    lines = [line for line in done.stderr.decode().splitlines() if "import time:" in line]
    assert ("site" in {line.rpartition("|")[2].strip() for line in lines}) == with_site


def test_packages_are_found_only_beside_an_absolute_interpreter() -> None:
    """Where the interpreter does not know its own path, the current folder must not do instead."""
    program = f"import sys; sys.executable = 'bin/python3'\n{python_program()}"
    start = program.partition("try:")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{start}\nprint(sys.path[-1])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("/")
