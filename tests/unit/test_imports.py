"""What an import loads, what it uses, and that imports point down."""

import ast
import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from amdcni.core import errors
from amdcni_shim.edge import CODES, code_of

ROOT = Path(errors.__file__).parents[2]

PACKAGES = (
    "amdcni.core",
    "amdcni.ports",
    "amdcni.effects",
    "amdcni.verbs",
    "amdcni.runtime",
    "amdcni.log",
    "amdcni.manifests",
    "amdcni.testing",
    "amdcni.pytest_plugin",
    "amdcni_shim",
    "amdcni_agent",
    "amdcni.deployment",
    "amdcni.cli",
    "amdcni.__main__",
)
"""From the bottom to the top: a package imports only from those before it.

Inside a package the only rule is that there is no circle of imports.
"""

FOR_OTHER_SOFTWARE = (
    "amdcni.core.codec",
    "amdcni.core.libcni",
    "amdcni.core.cache",
    "amdcni.core.kubernetes",
)
"""Parts of the core that other tooling uses without the plugin."""

COMMON = {"errors", "versions", "names", "host", "spec", "codec", "libcni", "cache", "kubernetes"}
"""The modules of the core that these may load: none of them is about this plugin."""

FORBIDDEN_IN_THE_CORE = ("socket", "subprocess", "asyncio", "logging", "pyroute2", "structlog")


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("amdcni", "amdcni_shim", "amdcni_agent"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def package_of(module: str) -> int | None:
    fitting = [name for name in PACKAGES if module == name or module.startswith(f"{name}.")]
    return PACKAGES.index(fitting[0]) if fitting else None


@functools.cache
def imports_of(path: Path) -> list[str]:
    return list(_imports_of(path))


def _imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph() -> dict[str, set[str]]:
    """Which of our modules each module imports: modules, not the names in them."""
    known = dict(modules())
    found: dict[str, set[str]] = {}
    for module, path in known.items():
        named = {name if name in known else name.rpartition(".")[0] for name in imports_of(path)}
        found[module] = (named & set(known)) - {module}
    return found


def test_every_module_is_in_a_listed_package() -> None:
    found = {name for name, _ in modules()} - {"amdcni"}
    assert {name for name in found if package_of(name) is None} == set()


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_imports_point_down(module: str, path: Path) -> None:
    own = package_of(module)
    up = [
        name
        for name in imports_of(path)
        if own is not None and (other := package_of(name)) is not None and other > own
    ]
    assert up == []


def test_there_is_no_circle_of_imports() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as circle:
        pytest.fail(f"a circle of imports: {' <- '.join(circle.args[1])}")


@pytest.mark.parametrize("module", FOR_OTHER_SOFTWARE)
def test_what_other_software_uses_loads_nothing_specific_to_the_plugin(module: str) -> None:
    prefix = "amdcni.core."
    loaded = {name for name in loaded_by(f"import {module}") if name.startswith(prefix)}
    assert {name.removeprefix(prefix).partition(".")[0] for name in loaded} <= COMMON


def loaded_by(program: str, **environ: str) -> set[str]:
    """The modules that a fresh, isolated interpreter has loaded after `program`."""
    report = "import json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"{program}\n{report}"],
        env=environ,
        input=b"",
        capture_output=True,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def packages_of(loaded: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in loaded}


def test_the_core_loads_nothing_that_does_io() -> None:
    core = [name for name, _ in modules() if name.startswith("amdcni.core")]
    loaded = loaded_by("\n".join(f"import {name}" for name in core))
    assert set(core) <= loaded
    assert packages_of(loaded).isdisjoint(FORBIDDEN_IN_THE_CORE)


def test_importing_the_core_package_loads_nothing_else() -> None:
    assert {m for m in loaded_by("import amdcni.core") if m.startswith("amdcni")} == {
        "amdcni",
        "amdcni.core",
    }


SERVE = (
    "import os, sys; from amdcni_shim.__main__ import main\n"
    "main(os.environ, sys.stdin.buffer, sys.stdout, sys.stderr)"
)


@pytest.mark.parametrize(
    "environ",
    [
        {"CNI_COMMAND": "VERSION"},
        {},
        {"CNI_COMMAND": "JUMP"},
        {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "a", "CNI_IFNAME": "net1"},
        {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "-", "CNI_IFNAME": "net1"},
    ],
)
def test_version_and_wrong_environments_load_nothing_heavy(environ: dict[str, str]) -> None:
    packages = packages_of(loaded_by(SERVE, **environ))
    assert packages.isdisjoint({"pyroute2", "structlog", "cattrs", "rich", "asyncio"})


@pytest.mark.parametrize("path", sorted((ROOT / "amdcni/core").rglob("*.py")), ids=str)
def test_the_core_names_no_clock_environment_or_file(path: Path) -> None:
    names = {"open", "print", "input", "time", "random", "os", "datetime", "getenv"}
    used = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert used & names == set()


CHANGING_METHODS = {
    *("append", "add", "update", "clear", "pop", "popitem", "remove", "discard", "insert"),
    *("extend", "setdefault", "sort", "reverse"),
    *("register_structure_hook", "register_unstructure_hook"),
}
"""Methods that change the value on which they are called."""

FILLED_AT_IMPORT = {("converter", "_SPELLINGS"), ("converter", "_CONVERTER")}
"""What `spell` fills while the modules of the codec are imported."""


def globals_of(tree: ast.Module) -> set[str]:
    targets = [
        target
        for node in tree.body
        for target in (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
    ]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def changed_in(function: ast.AST) -> Iterator[str]:
    """The names whose values a function changes: by assigning to a part, or by a method."""
    for node in ast.walk(function):
        if isinstance(node, ast.Global):
            yield from node.names
        changed: ast.expr | None = None
        if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
            changed = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            changed = node.func.value if node.func.attr in CHANGING_METHODS else None
        if isinstance(changed, ast.Name):
            yield changed.id


@pytest.mark.parametrize("path", sorted((ROOT / "amdcni/core").rglob("*.py")), ids=str)
def test_no_function_in_the_core_changes_a_global(path: Path) -> None:
    tree = ast.parse(path.read_text())
    changed = {
        name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.Lambda)
        for name in changed_in(function)
    }
    filled = {name for module, name in FILLED_AT_IMPORT if module == path.stem}
    assert changed & globals_of(tree) == filled


@pytest.mark.parametrize("path", sorted((ROOT / "amdcni/core").rglob("*.py")), ids=str)
def test_the_core_imports_only_what_computes(path: Path) -> None:
    """Third-party packages only for types, and from Python only what computes."""
    allowed = {"amdcni", "attrs", "cattrs", "collections", "enum", "ipaddress", "json", "re"}
    allowed |= {"base64", "difflib", "fnmatch", "functools", "itertools", "operator", "typing"}
    assert {name.partition(".")[0] for name in imports_of(path)} <= allowed


def error_classes() -> Iterator[type[errors.AmdcniError]]:
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.AmdcniError):
            yield value


@pytest.mark.parametrize("cls", list(error_classes()))
def test_every_error_has_its_own_code_or_that_of_a_parent_class(
    cls: type[errors.AmdcniError],
) -> None:
    if cls is errors.PluginFailed:
        assert code_of(errors.PluginFailed("bridge", 123, "no")) == 123
        return
    nearest = next(each for each in cls.__mro__ if each in CODES)
    assert cls is errors.AmdcniError or nearest is not errors.AmdcniError
    assert code_of(cls("x")) == CODES[nearest]
