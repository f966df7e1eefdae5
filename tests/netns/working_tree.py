"""A tree that works: the Python of this machine, and the packages of this checkout."""

import sys
import sysconfig
from pathlib import Path

from tests.netns.runtime import OURS
from tests.unit.binaries import BuiltTree, write_tree

ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.executable).resolve()


def build_working_tree(folder: Path, version: str = "1.0") -> BuiltTree:
    """Write a tree whose command and executable are those under test."""
    packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    paths = (str(ROOT), sysconfig.get_path("purelib"))
    files = {
        "bin/amd-host-device": f'#!/bin/sh\n# {version}\nexec {OURS} "$@"\n'.encode(),
        "bin/amdcni": (ROOT / "launchers/amdcni").read_bytes(),
        "bin/python3": PYTHON.read_bytes(),
        "pyvenv.cfg": f"home = {PYTHON.parent}\n".encode(),
        f"{packages}/checkout.pth": "".join(f"{path}\n" for path in paths).encode(),
    }
    return write_tree(folder, version, files, {})
