"""Runs the Python examples of README.md, docs/ and the docstrings as tests."""

import gc
from contextlib import suppress
from doctest import ELLIPSIS
from pathlib import Path

import pytest
from sybil import Document, Sybil
from sybil.document import PythonDocStringDocument
from sybil.integration.pytest import SybilItem
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser
from sybil.parsers.rest import SkipParser as DocStringSkipParser

PACKAGES = ("amdcni", "amdcni_agent", "amdcni_shim")

# `**` in a pattern is one folder, never none and never two.
pages = Sybil(
    name="pages",
    parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS), SkipParser()],
    patterns=["README.md", "docs/*/*.md", "docs/reference/python/*.md"],
    excludes=["docs/_build/**"],
)
docstrings = Sybil(
    name="docstrings",
    parsers=[DocTestParser(optionflags=ELLIPSIS), DocStringSkipParser()],
    patterns=[f"{package}{depth}/*.py" for package in PACKAGES for depth in ("", "/*", "/*/*")],
    document_types={".py": PythonDocStringDocument},
)
pytest_collect_file = (pages + docstrings).pytest()

reached: dict[Document, int] = {}
"""How far each document has been evaluated by this process."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Evaluate the examples on which this one builds, if another process ran them as tests.

    What is wrong with them is reported there.
    """
    if isinstance(item, SybilItem):
        document, here = item.example.document, item.example.region.start
        for earlier in document.examples():
            if reached.get(document, -1) < earlier.region.start < here:
                with suppress(Exception):
                    earlier.evaluate()
        reached[document] = here


BUILT = Path(__file__).parent / "docs/_build"
CONFORMANCE = Path(__file__).parent / "amdcni/testing/conformance"


def pytest_collection_finish() -> None:
    """Keep the collector from what is imported and collected, which stays until the end."""
    gc.freeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out built pages, and the conformance suite unless a plugin to judge is named."""
    # pytest takes the text of a built page whose name begins with "test" for doctests.
    if collection_path == BUILT:
        return True
    return (collection_path == CONFORMANCE and config.getoption("cni_plugin") is None) or None
