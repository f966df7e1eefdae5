"""What an import costs, what it touches, and that imports point down."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from amdcni.core import errors
from amdcni_shim.edge import CODES, code_of

ROOT = Path(errors.__file__).parents[2]

LAYERS = (
    "amdcni.core.errors",
    "amdcni.core.versions",
    "amdcni.core.retry",
    "amdcni.core.names",
    "amdcni.core.host",
    "amdcni.core.kernel_made",
    "amdcni.core.aspects",
    "amdcni.core.unsaved",
    "amdcni.core.mapping",
    "amdcni.core.capture",
    "amdcni.core.spec",
    "amdcni.core.request",
    "amdcni.core.attachment",
    "amdcni.core.codec.text",
    "amdcni.core.codec.converter",
    "amdcni.core.codec.results",
    "amdcni.core.codec.pods",
    "amdcni.core.codec.configurations",
    "amdcni.core.codec.records",
    "amdcni.core.codec.mappings",
    "amdcni.core.codec",
    "amdcni.core.ipam",
    "amdcni.core.resolve",
    "amdcni.core.identity",
    "amdcni.core.condition",
    "amdcni.core.protection",
    "amdcni.core.nics",
    "amdcni.core.steps",
    "amdcni.core.words",
    "amdcni.core.libcni",
    "amdcni.core.cache",
    "amdcni.core.kubernetes.golang",
    "amdcni.core.kubernetes.selections",
    "amdcni.core.kubernetes.objects",
    "amdcni.core.kubernetes.allocation",
    "amdcni.core.kubernetes.multus",
    "amdcni.core.kubernetes.status",
    "amdcni.core.kubernetes",
    "amdcni.core.check",
    "amdcni.core.calls",
    "amdcni.core.kubernetes.installation",
    "amdcni.core.kubernetes.review",
    "amdcni.core.diagnosis",
    "amdcni.core.pod",
    "amdcni.core.plans",
    "amdcni.core.forecast",
    "amdcni.core.takeover",
    "amdcni.ports",
    "amdcni.effects",
    "amdcni.verbs.executor",
    "amdcni.verbs.looking",
    "amdcni.verbs.settling",
    "amdcni.verbs.taking_over",
    "amdcni.verbs.giving_back",
    "amdcni.verbs.healing",
    "amdcni.verbs.add",
    "amdcni.verbs.preview",
    "amdcni.verbs.delete",
    "amdcni.verbs.check",
    "amdcni.verbs.status",
    "amdcni.verbs.gc",
    "amdcni.verbs",
    "amdcni.runtime",
    "amdcni.log",
    "amdcni.testing",
    "amdcni.testing.strategies.values",
    "amdcni.testing.strategies.names",
    "amdcni.testing.strategies.addressing",
    "amdcni.testing.strategies.routing",
    "amdcni.testing.strategies.managed",
    "amdcni.testing.strategies.node",
    "amdcni.testing.strategies.result",
    "amdcni.testing.strategies.environment",
    "amdcni.testing.strategies.configuration",
    "amdcni.testing.strategies.request",
    "amdcni.testing.strategies.record",
    "amdcni.testing.strategies.crowd",
    "amdcni.testing.strategies.handover",
    "amdcni.testing.strategies.lending",
    "amdcni.testing.strategies.kubernetes",
    "amdcni.testing.strategies.administration",
    "amdcni.testing.strategies.hostile",
    "amdcni.testing.strategies.calls",
    "amdcni.testing.strategies",
    "amdcni.pytest_plugin",
    "amdcni.cli",
    "amdcni_shim",
)
"""From the bottom to the top: a module imports only from its own layer and those before it."""

IN_THE_CORE = [name for name in LAYERS if name.startswith("amdcni.core")]

FORBIDDEN_IN_THE_CORE = ("socket", "subprocess", "asyncio", "logging", "pyroute2", "structlog")


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("amdcni", "amdcni_shim"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def layer_of(module: str) -> int | None:
    fitting = [name for name in LAYERS if module == name or module.startswith(f"{name}.")]
    return None if not fitting else LAYERS.index(max(fitting, key=len))


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_has_a_layer() -> None:
    found = {name for name, _ in modules()} - {"amdcni", "amdcni.core"}
    assert {name for name in found if layer_of(name) is None} == set()


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_imports_point_down(module: str, path: Path) -> None:
    own = layer_of(module)
    up = [
        name
        for name in imports_of(path)
        if own is not None and (other := layer_of(name)) is not None and other > own
    ]
    # A package gathers what its modules have.
    assert [name for name in up if not name.startswith(f"{module}.")] == []


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


@pytest.mark.parametrize("module", IN_THE_CORE)
def test_the_core_loads_nothing_that_touches_the_world(module: str) -> None:
    packages = packages_of(loaded_by(f"import {module}"))
    assert packages.isdisjoint(FORBIDDEN_IN_THE_CORE)


def test_the_core_itself_costs_nothing() -> None:
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
def test_the_core_reads_no_clock_no_environment_and_no_file(path: Path) -> None:
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
def test_no_function_of_the_core_changes_what_outlives_it(path: Path) -> None:
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
def test_the_core_imports_values_and_no_world(path: Path) -> None:
    """Of third parties only those for types, and of Python only what computes."""
    allowed = {"amdcni", "attrs", "cattrs", "collections", "enum", "ipaddress", "json", "re"}
    allowed |= {"base64", "typing", "functools", "itertools", "operator"}
    assert {name.partition(".")[0] for name in imports_of(path)} <= allowed


def error_classes() -> Iterator[type[errors.AmdcniError]]:
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.AmdcniError):
            yield value


@pytest.mark.parametrize("cls", list(error_classes()))
def test_every_error_has_a_code_of_its_own_or_of_its_kind(cls: type[errors.AmdcniError]) -> None:
    if cls is errors.PluginFailed:
        assert code_of(errors.PluginFailed("bridge", 123, "no")) == 123
        return
    nearest = next(each for each in cls.__mro__ if each in CODES)
    assert cls is errors.AmdcniError or nearest is not errors.AmdcniError
    assert code_of(cls("x")) == CODES[nearest]
