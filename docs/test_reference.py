"""The tables of the reference list exactly what the code has."""

import re
from pathlib import Path

import attrs
import pytest

from amdcni.core import errors
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.codec import configurations, pods
from amdcni.core.codec.converter import keys_of
from amdcni.core.host import Address
from amdcni.testing import strategies
from amdcni_shim import edge

DOCS = Path(__file__).parent
SOURCES = [
    path for package in ("amdcni", "amdcni_shim") for path in (DOCS.parent / package).rglob("*.py")
]


def rows(page: str) -> list[list[str]]:
    """The cells of all tables of a page, without backquotes."""
    lines = (DOCS / page).read_text().splitlines()
    cells = [re.split(r" \| ?", line.strip("| ")) for line in lines if line.startswith("| ")]
    return [[cell.strip("` ") for cell in row] for row in cells]


def first_cells(page: str) -> set[str]:
    return {name for row in rows(page) for name in re.split("`?, `?", row[0])}


def test_the_error_codes_are_those_of_the_code() -> None:
    listed = {(int(row[0]), row[1]) for row in rows("reference/errors.md") if row[0].isdigit()}
    known = {(code, cls.__name__) for cls, code in edge.CODES.items()}
    assert listed == known | {(edge.INTERNAL, "any other")}


def test_the_classes_without_a_code_of_their_own_have_that_of_their_kind() -> None:
    listed = {(row[0], row[1]) for row in rows("reference/errors.md") if row[0][:1].isupper()}
    known = {
        (cls.__name__, cls.__base__.__name__)
        for cls in vars(errors).values()
        if isinstance(cls, type)
        and issubclass(cls, errors.AmdcniError)
        and cls.__base__
        and cls not in edge.CODES
    }
    assert listed == known - {("PluginFailed", "AmdcniError")}


@pytest.mark.parametrize("cls", [Attachment, Captured, Address])
def test_every_key_of_a_record_is_described(cls: type) -> None:
    assert set(keys_of(cls)) <= first_cells("reference/state.md")


def test_every_key_that_is_read_of_a_configuration_is_described() -> None:
    own = {
        cls
        for module in (configurations, pods)
        for cls in vars(module).values()
        if attrs.has(cls) and cls.__module__ == module.__name__
    }
    read = {key for cls in own for key in keys_of(cls)} | {"mover", "prevResult"}
    described = first_cells("reference/configuration.md")
    assert read <= described | {part for key in described for part in key.split(".")}


def test_the_events_are_those_of_the_code() -> None:
    reported = {
        event
        for path in SOURCES
        for event in re.findall(r'(?:report\(|log\(LogLevel\.\w+,)\s*"([a-z-]+)"', path.read_text())
    }
    listed = {row[0] for row in rows("how-to/read-the-log.md")} - {"event", "---"}
    assert listed == reported


def test_every_strategy_is_documented() -> None:
    page = (DOCS / "reference/python/strategies.md").read_text()
    named = set(re.findall(r"^\.\. auto\w+:: amdcni\.testing\.strategies\.\w+\.(\w+)$", page, re.M))
    assert named == set(strategies.__all__)
