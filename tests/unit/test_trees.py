"""The JSON of trees and of installations: what it may say, and what is refused."""

import hashlib
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.errors import InstallFailed
from amdcni.core.formats.trees import installed_to_json, parse_installed, parse_manifest
from amdcni.core.install.seen import Installed
from amdcni.core.install.tree import File, Manifest, SymbolicLink, TreeName, folders_above, is_older

# ---- manifests

NAME = TreeName("1.1-0123456789ab")
A_FILE = {"sha256": "0" * 64, "mode": "0644"}

A_PROGRAM = {**A_FILE, "mode": "0755"}
WHOLE: dict[str, Any] = {
    "format": 1,
    "name": NAME,
    "version": "1.1",
    "arch": "x86_64",
    "files": {"bin/amd-host-device": A_PROGRAM, "bin/amdcni": A_PROGRAM},
}


def parse(**change: object) -> Manifest:
    """The manifest that is whole but for a change."""
    return parse_manifest(json.dumps({**WHOLE, **change}).encode(), "1" * 64)


def test_a_manifest_says_what_the_tree_consists_of() -> None:
    program = File("0" * 64, 0o755)
    files = {"bin/amd-host-device": program, "bin/amdcni": program}
    itself = File("1" * 64, 0o644)
    whole = Manifest(NAME, "1.1", "x86_64", files, program, itself)
    assert parse() == parse(later="x" * 2**20) == whole


@pytest.mark.parametrize(
    ("path", "target"),
    [
        *(("x", "y"), ("lib/x", "../y"), ("lib/x", "y/../../z"), ("a/b/x", "../../y")),
        *(("lib/x", "./.././y"), ("lib/x", "...")),
    ],
)
def test_a_link_may_lead_anywhere_in_its_tree(path: str, target: str) -> None:
    files = {**WHOLE["files"], path: {"link": target}}
    assert parse(files=files).files[path] == SymbolicLink(target)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "has format 2, this version knows 1; use the amdcni of that tree$"),
        ({"format": "1"}, "whole number"),
        ({"name": "1.1"}, "'1.1' is not a version and 12"),
        ({"name": "../x-0123456789ab"}, "is not a version and 12"),
        ({"files": []}, r"\$\.files is a list .*, not an object"),
        ({"files": {"bin/amdcni": A_FILE}}, "does not list bin/amd-host-device"),
        *(
            (
                {"files": {"bin/amd-host-device": launcher, "bin/amdcni": A_PROGRAM}},
                "^bin/amd-host-device is not an executable file; take the tree anew$",
            )
            for launcher in (A_FILE, {**A_FILE, "mode": "0666"}, {"link": "amdcni"})
        ),
        *(
            ({"files": {path: A_FILE}}, "is not a path in a tree")
            for path in (
                "/etc/passwd",
                "../x",
                "a/../b",
                "a//b",
                "",
                "./a",
                "lib/\ud800",
                "lib/\udd00/x",
                "MANIFEST.json/x",
                "MANIFEST.begun/x",
                "MANIFEST.json",
                "a\0b",
            )
        ),
        ({"files": {"lib": A_FILE, "lib/x": A_FILE}}, "is below a file"),
        *(
            (
                {"files": {"lib/x": entry}},
                "neither a hash with a mode nor a link inside the tree; take the tree anew$",
            )
            for entry in (
                *({}, {"sha256": "0" * 64}, {"mode": "0644"}, {"sha256": "0", "mode": "0644"}),
                *({"sha256": "0" * 64, "mode": "4755"}, {"sha256": "0" * 64, "mode": "644"}),
                *({**A_FILE, "link": "y"}, {"link": "/etc"}, {"link": "../../x"}, {"link": ""}),
                *({"link": "a/../../../b"}, {"link": "./../../b"}, {"link": "../y/"}),
            )
        ),
    ],
)
def test_a_manifest_that_could_lead_anywhere_else_is_refused(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(InstallFailed, match=words):
        parse(**change)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "the manifest is not JSON: "),
        (b'{"format": 1}', "the manifest is wrong: $.arch is missing; "),
        (
            b'{"format": 1, "name": "1-0123456789ab", "version": "1", "arch": "x", '
            b'"files": {"lib/x": {"sha256": 7}}}',
            "the manifest is wrong: $.files.lib/x.sha256 is a number (7), not a string",
        ),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said_with_its_place(data: bytes, words: str) -> None:
    with pytest.raises(InstallFailed) as refusal:
        parse_manifest(data, "0" * 64)
    assert refusal.value.message.startswith(words)


@given(st.binary())
def test_any_bytes_are_a_manifest_and_a_note_or_are_refused(data: bytes) -> None:
    for read in (lambda data: parse_manifest(data, "0" * 64), parse_installed):
        with suppress(InstallFailed):
            read(data)


@pytest.mark.parametrize(
    ("path", "folders"), [("x", ()), ("a/x", ("a",)), ("a/b/c/x", ("a", "a/b", "a/b/c"))]
)
def test_the_folders_above_a_path_come_from_the_top(path: str, folders: tuple[str, ...]) -> None:
    assert folders_above(path) == folders


# ---- notes

NAMES = st.builds(
    "{}-{}".format,
    st.from_regex("[0-9][0-9a-z.]{0,8}", fullmatch=True),
    st.from_regex("[0-9a-f]{12}", fullmatch=True),
).map(TreeName)
HASHES = st.binary(max_size=3).map(lambda data: hashlib.sha256(data).hexdigest())


@given(st.lists(st.builds(Installed, NAMES, HASHES)).map(tuple))
def test_a_note_survives_being_written_and_read(installed: tuple[Installed, ...]) -> None:
    assert parse_installed(installed_to_json(installed)) == installed


def test_a_note_is_written_for_people_too() -> None:
    assert installed_to_json([Installed(NAME, "0" * 64)]).decode() == (
        f"""{{
  "format": 1,
  "installs": [
    {{
      "name": "{NAME}",
      "launcher": "{"0" * 64}"
    }}
  ]
}}
"""
    )


def test_a_note_of_a_newer_version_is_read_for_what_is_known() -> None:
    one = {"name": NAME, "launcher": "0" * 64, "more": "x" * 2**20}
    data = json.dumps({"format": 9, "installs": [one], "more": {}}).encode()
    assert parse_installed(data) == (Installed(NAME, "0" * 64),)


@pytest.mark.parametrize(
    ("note", "fault"),
    [
        ("7", "the note is a number (7), not a JSON object"),
        ("[]", "the note is a list ([]), not a JSON object"),
        ({"installs": [{"name": "x", "launcher": "0" * 64}]}, "an entry has no name or no hash"),
        ({"installs": [{"name": NAME, "launcher": ""}]}, "an entry has no name or no hash"),
    ],
)
def test_a_note_that_says_anything_else_is_refused_with_the_remedy(
    note: object, fault: str
) -> None:
    data = note if isinstance(note, str) else json.dumps(note)
    with pytest.raises(InstallFailed) as refusal:
        parse_installed(data.encode())
    assert refusal.value.message == f"the note cannot be read: {fault}; install again"


@pytest.mark.parametrize("entry", [7, None, "x", {}, {"name": NAME}, {"launcher": "0" * 64}])
def test_a_note_with_an_incomplete_entry_is_refused(entry: object) -> None:
    with pytest.raises(InstallFailed, match=r"^the note cannot be read: .+; install again$"):
        parse_installed(json.dumps({"installs": [entry]}).encode())


# ---- versions


@pytest.mark.parametrize(
    ("version", "other", "older"),
    [("0.9", "0.10", True), ("1.0", "1.0", False), ("1.0", "1.0.1", True), ("2", "1.9", False)],
)
def test_versions_are_compared_by_their_numbers(version: str, other: str, older: bool) -> None:
    assert is_older(version, other) is older
