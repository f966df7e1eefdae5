"""Every stable name of the library has an example, which conftest.py runs as a test.

The examples of a module are on its page of the reference, or in docstrings.  An example counts if
it shows what comes out: an output below a prompt, or an `assert`.
"""

import ast
import doctest
import enum
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import amdcni

ROOT = Path(amdcni.__file__).parents[1]
PAGES = ROOT / "docs/reference/python"

BLOCK = re.compile(r"^(?P<skip><!-- skip: next -->\n)?```python\n(?P<code>.*?)^```$", re.M | re.S)


def stable_modules() -> list[str]:
    """The modules on which, as the reference says, other software can rely."""
    text = (PAGES / "index.md").read_text()
    (stable,) = [line for line in text.splitlines() if "can rely on" in line]
    return sorted({"amdcni", *re.findall(r"`(amdcni[\w.]*)`", stable)})


def public_names_of(module: ModuleType) -> list[str]:
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if not name.startswith("_")]
    assert module.__file__
    names: list[str] = []
    for node in ast.parse(Path(module.__file__).read_text()).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.append(name)
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                names.append(name)
    return [name for name in names if not name.startswith("_") and name != "T"]


def members_of(cls: type) -> Iterator[str]:
    """The methods and properties that a class itself makes public, as `Class.method`."""
    for name, member in vars(cls).items():
        own = inspect.isfunction(member) or isinstance(member, classmethod | property)
        if own and not name.startswith("_"):
            yield f"{cls.__name__}.{name}"


def wanted(module: str) -> Iterator[str]:
    """What has to have an example: the names of a module, and the methods of its classes."""
    found = importlib.import_module(module)
    for name in public_names_of(found):
        yield name
        value = getattr(found, name)
        if inspect.isclass(value) and not issubclass(value, enum.Enum):
            yield from members_of(value)


def examples_on(page: str) -> Iterator[str]:
    """The code of each block of a page that is run and shows what comes out."""
    for block in BLOCK.finditer(page):
        if block["skip"]:
            continue
        code = block["code"]
        if ">>>" not in code:
            if any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code))):
                yield code
            continue
        examples = doctest.DocTestParser().get_examples(code)
        if any(each.want for each in examples):
            yield "".join(each.source for each in examples)


def examples_in_docstrings(module: str) -> Iterator[str]:
    found = importlib.import_module(module)
    for name in public_names_of(found):
        value = getattr(found, name)
        documented = [value, *vars(value).values()] if inspect.isclass(value) else [value]
        for each in documented:
            text = each.__doc__ if isinstance(getattr(each, "__doc__", None), str) else ""
            parsed = doctest.DocTestParser().get_examples(text or "")
            if any(example.want for example in parsed):
                yield "".join(example.source for example in parsed)


def used_in(code: str) -> Iterator[str]:
    """The names that code uses, not those that it only imports or defines; methods as `.method`."""
    tree = ast.parse(code)
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if is_module(node.module if isinstance(node, ast.ImportFrom) else None, alias.name)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in modules:
                yield name
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                yield f"{owner}.{name}"
                yield f".{name}"
            case ast.Attribute(attr=name):
                yield f".{name}"
            case ast.Name(id=name, ctx=ast.Load()):
                yield name


def is_module(parent: str | None, name: str) -> bool:
    if parent is None:
        return True
    return inspect.ismodule(getattr(importlib.import_module(parent), name, None))


def page_of(module: str) -> str:
    """The page of the reference that documents a module; that of the package is the index."""
    if module == "amdcni":
        return "".join(path.read_text() for path in sorted(PAGES.glob("*.md")))
    (page,) = [
        path.read_text()
        for path in PAGES.glob("*.md")
        if re.search(rf"automodule:: {re.escape(module)}$", path.read_text(), re.M)
    ]
    return page


def lacking(module: str) -> list[str]:
    code = [*examples_on(page_of(module)), *examples_in_docstrings(module)]
    used = set(used_in("\n".join(code)))
    return [name for name in wanted(module) if not is_used(name, used)]


def is_used(name: str, used: set[str]) -> bool:
    _, dot, method = name.rpartition(".")
    return name in used or (bool(dot) and not method.startswith("parse") and f".{method}" in used)


# Of these only functions have an example of their own: a strategy is used as any other.
STRATEGIES = "amdcni.testing.strategies"


@pytest.mark.parametrize("module", [each for each in stable_modules() if each != STRATEGIES])
def test_every_stable_name_has_an_example_on_its_page(module: str) -> None:
    assert lacking(module) == []


def test_every_function_that_gives_strategies_has_an_example() -> None:
    found = importlib.import_module(STRATEGIES)
    functions = [name for name in found.__all__ if inspect.isfunction(getattr(found, name))]
    used = set(used_in("\n".join(examples_on(page_of(STRATEGIES)))))
    assert functions
    assert [name for name in functions if name not in used] == []


# ---- what the tests above rely on


@pytest.mark.parametrize(
    "code",
    [
        "```python\n>>> from amdcni import parse_mac\n>>> parse_mac\n```",
        "```python\nfrom amdcni import parse_mac\n\nparse_mac('02:00:00:00:00:01')\n```",
        "<!-- skip: next -->\n```python\n>>> parse_mac('02:00:00:00:00:01')\n'02:00...'\n```",
    ],
)
def test_what_shows_nothing_or_does_not_run_is_no_example(code: str) -> None:
    assert list(examples_on(code)) == []


def test_an_import_is_no_use_and_a_function_of_a_module_is_no_method() -> None:
    used = set(used_in("from amdcni.core import libcni\nfrom amdcni import Cache\nlibcni.add(1)\n"))
    assert used == {"libcni", "add"}
    assert set(used_in("runtime.add(1)")) == {"runtime", "runtime.add", ".add"}
