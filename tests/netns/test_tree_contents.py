"""What is in the self-contained tree: all that it needs, with the licences of it, and no more."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

from distribution import contents, manifest
from distribution.contents import LIBRARY, LINKER
from distribution.tree import build
from distribution.wheels import CHECKOUT
from tests.trees import ARCHIVES, built_tree

pytestmark = pytest.mark.thorough

MAX_BYTES: Final = 60_000_000
_BLOCK: Final = 4096

IMPORTS: Final = '''
import ast, json, os, sys
from importlib.util import find_spec

library = sys.argv[1]
sys.path.append(library + "/site-packages")

def always(body):
    """The statements that are executed whenever a module is imported, up to what may fail."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from always(node.body)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node

def names(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if node.level == 0 else []

def is_there(name):
    try:
        return find_spec(name) is not None
    except ImportError:
        return False

missing = {}
for parent, _, files in os.walk(library):
    for file in files:
        path = os.path.join(parent, file)
        if not file.endswith(".py"):
            continue
        with open(path, "rb") as source:
            tree = ast.parse(source.read())
        ours = "/site-packages/amdcni" in path
        found = (n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom)))
        for node in found if ours else always(tree.body):
            for name in names(node):
                if not is_there(name):
                    missing.setdefault(os.path.relpath(path, library), []).append(name)
json.dump(missing, sys.stdout)
'''
"""Prints which modules of the tree import what is not there: ours in any line, others at once."""

FOR_OTHERS: Final = (
    # Other systems.
    *("asyncio/windows_", "multiprocessing/popen_spawn_win32.py", "ctypes/wintypes.py"),
    # Frameworks that the packages can be used with.
    *("site-packages/cattrs/preconf/", "site-packages/prometheus_client/aiohttp/"),
    *("site-packages/prometheus_client/django/", "site-packages/prometheus_client/twisted/"),
    *("site-packages/pyroute2/fixtures/", "site-packages/structlog/twisted.py"),
    *("site-packages/structlog/_greenlets.py", "site-packages/shtab/click.py"),
    # What only shows programs and texts in Markdown.
    *("site-packages/rich/markdown.py", "site-packages/rich/syntax.py"),
    "site-packages/rich/traceback.py",
    # PyYAML does without.
    "site-packages/yaml/cyaml.py",
)
"""Modules that nothing here imports, by the start of their paths."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_tree(tmp_path_factory)


def files_of(tree: Path) -> list[Path]:
    return [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]


def test_two_builds_are_the_same_whoever_makes_them_where(tree: Path, tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        other = build(tmp_path / "in another folder" / "other", ARCHIVES)
    finally:
        os.umask(mask)
    again = tmp_path / "in another folder" / "other"
    assert (again / "MANIFEST.json").read_bytes() == (tree / "MANIFEST.json").read_bytes()
    assert other.name == manifest.read_name(tree)
    for path in (tree, *tree.rglob("*")):
        there = again / path.relative_to(tree)
        looked, same = path.lstat(), there.lstat()
        assert (looked.st_mode, looked.st_mtime) == (same.st_mode, same.st_mtime), path


def test_the_manifest_tells_the_truth(tree: Path) -> None:
    written = json.loads((tree / "MANIFEST.json").read_text())
    files = written["files"]
    assert list(files) == sorted(files)
    paths = (path for path in tree.rglob("*") if path.is_symlink() or not path.is_dir())
    assert {"MANIFEST.json", *files} == {str(path.relative_to(tree)) for path in paths}
    for name, entry in files.items():
        path = tree / name
        if "link" in entry:
            assert os.readlink(path) == entry["link"]
            assert path.resolve().is_relative_to(tree.resolve())
        else:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
            assert path.stat().st_mode & 0o7777 == int(entry["mode"], 8)
    assert written["name"].startswith(f"{written['version']}-")
    assert written["name"].encode() in (tree / "bin/amd-host-device").read_bytes()


def test_the_tree_takes_at_most_60_mb(tree: Path) -> None:
    blocks = sum(-(-path.stat().st_size // _BLOCK) for path in files_of(tree))
    assert blocks * _BLOCK <= MAX_BYTES


def test_no_file_names_the_folder_in_which_it_was_built(tree: Path) -> None:
    checkout = os.fsencode(Path(__file__).parents[2])
    for path in files_of(tree):
        data = path.read_bytes()
        assert os.fsencode(tree.parent) not in data, path
        # The checkout may be in a folder with a short name, such as /root.
        assert checkout + b"/" not in data, path


def test_every_library_and_extension_module_finds_its_libraries_in_the_tree(tree: Path) -> None:
    programs = [path for path in files_of(tree) if path.read_bytes()[:4] == b"\x7fELF"]
    dynamic = [path for path in programs if path.parent.name != "bin" and path.name != LINKER]
    assert len(dynamic) > len(contents.LIBRARIES)
    for path in dynamic:
        linker = (tree / "lib" / LINKER, "--inhibit-cache", "--library-path", tree / "lib")
        done = subprocess.run([*linker, "--list", path], capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            if line.split()[0] not in ("linux-vdso.so.1", "statically"):
                assert line.split("=>")[-1].strip().startswith(str(tree)), (path.name, line)


def test_nothing_that_is_imported_was_left_out(tree: Path) -> None:
    done = subprocess.run(
        [tree / "bin/python3", "-I", "-S", "-c", IMPORTS, tree / LIBRARY],
        capture_output=True,
        check=True,
    )
    missing = json.loads(done.stdout)
    (conformance,) = (name for name in missing if "/amdcni" in name)
    assert conformance.endswith("amdcni/cli/conformance.py")
    others = missing.keys() - {conformance}
    assert {name: missing[name] for name in others if not name.startswith(FOR_OTHERS)} == {}


def test_every_module_is_compiled_for_a_tree_that_nobody_can_write(tree: Path) -> None:
    for path in (tree / LIBRARY).rglob("*.py"):
        compiled = path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc"
        flags = compiled.read_bytes()[4:8]
        # PEP 552: the hash of the source instead of its time, and not to be checked.
        assert flags == b"\1\0\0\0", path


def test_everything_in_the_tree_has_its_licence(tree: Path) -> None:
    folder = tree / "share/licenses"
    listed = [line.split() for line in (folder / "PACKAGES").read_text().splitlines()]
    for kind, name, *_ in listed:
        texts = [path for path in (folder / name.lower()).iterdir() if path.stat().st_size]
        assert texts, (kind, name)
    packages = {name.lower() for kind, name, *_ in listed if kind == "python"}
    metadata = (tree / LIBRARY / "site-packages").glob("*.dist-info")
    assert packages == {path.name.partition("-")[0].lower() for path in metadata}
    debian = {name for kind, name, *_ in listed if kind == "debian"}
    assert debian == set(contents.DEBIAN)
    assert "GNU LESSER GENERAL PUBLIC" in (folder / "common-licenses/LGPL-2.1").read_text()


def test_the_units_and_the_man_pages_have_short_paths(tree: Path) -> None:
    for source, target in (("deploy/systemd", "share/amdcni/systemd"), ("man", "share/man")):
        files = [path for path in (CHECKOUT / source).rglob("*") if path.is_file()]
        assert files
        for path in files:
            copied = tree / target / path.relative_to(CHECKOUT / source)
            assert copied.read_bytes() == path.read_bytes()
    assert not (tree / LIBRARY / "site-packages/share").exists()


def test_tls_works_with_the_trees_own_library(tree: Path) -> None:
    program = "import ssl, http.client; ssl.create_default_context(); print(ssl.OPENSSL_VERSION)"
    done = subprocess.run(
        [tree / "bin/python3", "-I", "-S", "-c", program], capture_output=True, check=True
    )
    assert done.stdout.startswith(b"OpenSSL 3")
