"""What `make tree` and `make image` are made from: the lock, the manifest of a tree, its name."""

import json
import re
from importlib import metadata
from pathlib import Path

import pytest

from distribution import manifest
from distribution.manifest import File, Link, Manifest
from tests.unit.clients import ROOT

VERSION = "1.2.3"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with a file, an executable and a link."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib/empty").mkdir(parents=True)
    (tmp_path / "bin/python3").write_bytes(b"program")
    (tmp_path / "bin/python3").chmod(0o755)
    (tmp_path / "lib/library").write_bytes(b"library")
    (tmp_path / "lib/library").chmod(0o644)
    (tmp_path / "lib/link").symlink_to("library")
    (tmp_path / "lib/folder").symlink_to("../bin")
    return tmp_path


def name_of(tree: Path) -> str:
    return manifest.name_of(VERSION, manifest.entries_of(tree))


def pins(lock: str) -> dict[str, str]:
    """Each package of a lock with its version."""
    text = (ROOT / "requirements" / lock).read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def test_the_tree_has_the_versions_that_are_tested() -> None:
    assert pins("tree.txt").items() <= pins("run.txt").items()


def test_the_tree_has_all_that_the_package_requires() -> None:
    required = metadata.requires("amdcni") or []
    names = {re.split(r"[^\w.-]", each)[0] for each in required if "extra ==" not in each}
    assert names <= pins("tree.txt").keys()


def test_a_manifest_lists_files_and_links_but_itself(tree: Path) -> None:
    entries = manifest.entries_of(tree)
    written = Manifest(VERSION, manifest.name_of(VERSION, entries), "x86_64", entries)
    manifest.write(tree, written)
    assert manifest.entries_of(tree) == entries
    read = json.loads((tree / "MANIFEST.json").read_text())
    files = read.pop("files")
    assert list(files) == ["bin/python3", "lib/folder", "lib/library", "lib/link"]
    assert files["lib/link"] == {"link": "library"}
    assert files["lib/folder"] == {"link": "../bin"}
    # sha256sum says so.
    digest = "1310ca2c8932dbd118668bd97442558a3e1f546b5e15c69699dfbd6024f548d8"
    assert files["bin/python3"] == {"sha256": digest, "mode": "0755"}
    assert read == {"format": 1, "name": written.name, "version": VERSION, "arch": "x86_64"}
    assert manifest.read_name(tree) == written.name


def test_a_name_is_the_version_with_twelve_digits(tree: Path) -> None:
    assert re.fullmatch(rf"{re.escape(VERSION)}-[0-9a-f]{{12}}", name_of(tree))
    assert len(manifest.nameless(VERSION)) == len(name_of(tree))


def test_every_change_of_a_tree_changes_its_name(tree: Path) -> None:
    names = [name_of(tree)]
    (tree / "lib/library").write_bytes(b"another library")
    names.append(name_of(tree))
    (tree / "lib/library").chmod(0o755)
    names.append(name_of(tree))
    (tree / "lib/library").rename(tree / "lib/renamed")
    names.append(name_of(tree))
    (tree / "lib/folder").unlink()
    (tree / "lib/folder").symlink_to("../lib")
    names.append(name_of(tree))
    (tree / "lib/folder").unlink()
    names.append(name_of(tree))
    assert len(set(names)) == len(names)


def test_the_order_in_which_files_were_made_does_not_change_a_name() -> None:
    file, link = File("0", 0o644), Link("a")
    assert manifest.name_of(VERSION, {"a": file, "b": link}) == manifest.name_of(
        VERSION, {"b": link, "a": file}
    )
