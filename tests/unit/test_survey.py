"""What is found of a node's folders and plugins, on folders that the tests make."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from amdcni.core.kubernetes.installation import ConfDir, ConfFile
from amdcni.core.names import PluginName
from amdcni.effects import survey

STATIC = PluginName("static")
VERSIONS = '{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}'


NOBODY = 65534


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that this process may not read; if it is root, it becomes nobody meanwhile."""
    with tempfile.TemporaryDirectory() as open_to_all:
        os.chmod(open_to_all, 0o755)
        folder, users = Path(open_to_all, "closed"), os.getresuid()
        folder.mkdir(mode=0)
        try:
            if users == (0, 0, 0):
                os.setresuid(NOBODY, NOBODY, 0)
            yield folder
        finally:
            os.setresuid(*users)
            folder.chmod(0o700)


def test_only_configurations_are_listed_in_the_order_of_their_names(
    tmp_path: Path,
) -> None:
    texts = {"10-b.conf": '{"type": "b"}', "00-a.conflist": '{"plugins": []}', "99-c.json": "[]"}
    for name, text in {**texts, "note.txt": "", "00-a.conf.bak": "{}"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "20-folder.conf").mkdir()
    assert survey.read_conf_dir(str(tmp_path)) == ConfDir(
        str(tmp_path),
        (
            ConfFile("00-a.conflist", {"plugins": []}),
            ConfFile("10-b.conf", {"type": "b"}),
            ConfFile("20-folder.conf", fault="Is a directory"),
            ConfFile("99-c.json", fault="it is a list ([]), not a JSON object"),
        ),
    )


def test_a_missing_folder_is_a_fault_but_not_denied(tmp_path: Path) -> None:
    found = survey.read_conf_dir(str(tmp_path / "none"))
    assert (found.files, found.denied) == ((), False)
    assert "No such file" in str(found.fault)


def test_a_folder_without_permission_is_denied(closed: Path) -> None:
    found = survey.read_conf_dir(str(closed))
    assert (found.files, found.denied) == ((), True)
    assert survey.ask_plugin(STATIC, (str(closed),), {}).hidden == (str(closed),)


def test_for_a_folder_that_does_not_exist_yet_the_nearest_one_is_read(tmp_path: Path) -> None:
    here = survey.read_folder(str(tmp_path))
    assert (here.path, here.nearest) == (str(tmp_path), str(tmp_path))
    assert (here.is_folder, here.writable) == (True, True)
    assert here.free_bytes
    below = survey.read_folder(f"{tmp_path}/cni/state")
    assert (below.path, below.nearest) == (f"{tmp_path}/cni/state", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_a_folder_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "cni").touch()
    assert not survey.read_folder(f"{tmp_path}/cni/state").is_folder


@pytest.mark.parametrize(
    ("script", "versions", "fault"),
    [
        (f"echo '{VERSIONS}'", ("0.4.0", "1.0.0"), None),
        ("echo hello", (), "no usable answer"),
        ("exit 3", (), "exit status 3"),
    ],
)
def test_a_plugin_is_listed_with_its_versions_or_its_fault(
    tmp_path: Path, script: str, versions: tuple[str, ...], fault: str | None
) -> None:
    executable = tmp_path / "static"
    executable.write_text(f"#!/bin/sh\n{script}\n")
    executable.chmod(0o755)
    found = survey.ask_plugin(STATIC, ("/no/such", str(tmp_path)), dict(os.environ))
    assert (found.path, found.versions) == (str(executable), versions)
    assert (fault or "None") in str(found.fault)


def test_a_missing_plugin_has_no_path(tmp_path: Path) -> None:
    found = survey.ask_plugin(STATIC, (str(tmp_path), "/no/such"), {})
    assert (found.path, found.hidden) == (None, ())
