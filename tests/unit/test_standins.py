"""A module that is not executed is like one that is, for whoever uses it."""

import subprocess
import sys

import pytest

PUT = "import sys\nfrom amdcni_shim import standins\nstandins.put()\n"
EXECUTED = "def executed(name): return type(sys.modules[name]).__name__ == 'module'\n"


def run(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"{PUT}{EXECUTED}{program}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "program",
    [
        "from inspect import Signature, get_annotations, signature; executed_name = 'inspect'",
        "import inspect, typing; executed_name = 'inspect'\n"
        "assert 'module' in inspect.signature(typing._type_check).parameters",
        "import logging; log = logging.getLogger('amdcni'); executed_name = 'logging'",
        "import platform; executed_name = 'platform'\n"
        "assert platform.python_implementation() == 'CPython'",
        "import cattrs.preconf.json; executed_name = 'typing_extensions'",
    ],
    ids=["inspect", "signature", "logging", "platform", "typing_extensions"],
)
def test_what_importing_packages_take_from_a_module_does_not_execute_it(program: str) -> None:
    run(f"{program}\nassert not executed(executed_name)")


@pytest.mark.parametrize(
    ("use", "name"),
    [
        ("from inspect import getsource", "inspect"),
        ("import inspect\nassert inspect.signature(run).return_annotation is int", "inspect"),
        ("import logging.handlers\nassert logging.handlers.QueueHandler", "logging"),
        ("import logging\nassert logging.getLogger('a').level == logging.NOTSET", "logging"),
        ("import platform\nassert platform.python_version()", "platform"),
        (
            "from typing_extensions import deprecated\nassert callable(deprecated)",
            "typing_extensions",
        ),
        ("import traceback\nassert traceback.format_exc()", "traceback"),
        ("from inspect import get_annotations\nassert get_annotations(run)", "inspect"),
    ],
)
def test_a_module_is_executed_when_more_is_asked_of_it(use: str, name: str) -> None:
    run(f"def run(a: int, b: str = 'b') -> int: ...\n{use}\nassert executed({name!r})")


SIGNATURES = """
import importlib, inspect
from functools import partial
light = inspect.signature
class Shown:
    def method(self, a, b=1): ...
    @classmethod
    def of(cls, a): ...
def plain(a, b=2, *, c, d=4): ...
def many(a, *values, b=3, **named): ...
def wrapped(a): ...
wrapped.__wrapped__ = plain
of = [plain, many, wrapped, Shown.method, Shown().method, Shown.of, Shown, partial(plain, 1), len]
seen = [light(each) for each in of]
names = [list(each.parameters) for each in seen]
defaults = [[p.default for p in each.parameters.values()] for each in seen]
kinds = [[p.kind for p in each.parameters.values()] for each in seen]
words = [str(each) for each in seen]
real = [sys.modules["inspect"].signature(each) for each in of]
assert names == [list(each.parameters) for each in real], names
assert defaults == [[p.default for p in each.parameters.values()] for each in real], defaults
assert kinds == [[p.kind for p in each.parameters.values()] for each in real], kinds
assert words == [str(each) for each in real], words
"""


def test_a_signature_is_that_of_inspect() -> None:
    run(SIGNATURES)
