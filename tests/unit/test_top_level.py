"""`import amdcni` gives the stable names, and costs nothing until one is used."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import amdcni
from amdcni.core import errors

STABLE = Path(__file__).parents[2] / "docs/reference/python/index.md"
HIDDEN = {"__version__"}


@pytest.mark.parametrize("name", sorted(set(amdcni.__all__) - HIDDEN))
def test_a_name_is_that_of_the_module_that_type_checkers_see(name: str) -> None:
    tree = ast.parse(Path(amdcni.__file__).read_text())
    (module,) = [
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and name in [each.name for each in node.names]
    ]
    assert getattr(amdcni, name) is getattr(importlib.import_module(str(module)), name)
    assert name in dir(amdcni)


def test_every_module_with_such_names_is_documented_as_stable() -> None:
    text = STABLE.read_text()
    (stable,) = [line for line in text.splitlines() if "can rely on" in line]
    (alone,) = [line for line in text.splitlines() if "these names alone" in line]
    others = [module for module in amdcni._MODULES if f"`{module}`" not in stable]
    named = {
        name
        for module in map(importlib.import_module, others)
        for name, value in vars(module).items()
        if name in amdcni.__all__ and getattr(value, "__module__", None) == module.__name__
    }
    assert named | set(others) == set(re.findall("`(.*?)`", alone))


def test_every_class_of_errors_is_there() -> None:
    classes = {name for name, each in vars(errors).items() if isinstance(each, type)}
    assert classes - set(amdcni.__all__) == set()


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'amdcni' has no attribute 'nothing'"):
        amdcni.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    program = (
        "import sys, amdcni\n"
        "assert [n for n in sys.modules if n.startswith('amdcni.')] == []\n"
        "from amdcni import Result, parse_ifname\n"
        "assert parse_ifname('eth0') == 'eth0' and Result().ips == ()\n"
        "assert 'amdcni.runtime' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
