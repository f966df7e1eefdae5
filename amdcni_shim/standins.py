"""Stand-ins for modules that other packages import but a call does not use.

A module is executed when something in it is asked for, except for the little that those packages
take from it while they are imported: a stand-in knows that itself.
"""

import sys
import typing
from collections.abc import Callable, Mapping
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any, Final


def put() -> None:
    """Let stand-ins take the places of the modules that are not imported yet."""
    for name, known in _SELDOM_USED.items():
        if name not in sys.modules:
            sys.modules[name] = _Later(name, known)


class _Later(ModuleType):
    """Stands for a module until something unknown in it is asked for: then that is executed."""

    def __init__(self, name: str, known: Mapping[str, Any]) -> None:
        super().__init__(name)
        vars(self).update(known)

    def __getattr__(self, name: str) -> Any:
        if name == "__path__" and self.__name__ not in _PACKAGES:
            # `from module import name` looks whether the module is a package.
            raise AttributeError(name)
        return getattr(_executed(self.__name__), name)


def _executed(name: str) -> Any:
    """The module itself."""
    if isinstance(sys.modules.get(name), _Later):
        del sys.modules[name]
    return import_module(name)


class _Made:
    """Stands for a value of a module that is not executed before something in the value is used."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def __getattr__(self, name: str) -> Any:
        return getattr(self.make(), name)

    def __str__(self) -> str:
        return str(self.make())


class _Signature(_Made):
    parameters: dict[str, _Made]


def _logger(*names: Any) -> Any:
    return _Made(lambda: _executed("logging").getLogger(*names))


def _signature(called: Any, **options: Any) -> Any:
    """The signature of a plain function or method; the names of its parameters are in its code."""
    function = getattr(called, "__func__", called)
    plain = type(function) is FunctionType and not vars(function) and not options
    if not plain or function.__code__.co_flags & _TAKES_ANY:
        return _executed("inspect").signature(called, **options)
    whole = _Signature(lambda: _executed("inspect").signature(called))
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    bound = called is not function
    whole.parameters = {name: _parameter(whole, name) for name in names[bound:]}
    return whole


_PACKAGES: Final = frozenset({"logging"})
_TAKES_ANY: Final = 0x04 | 0x08  # CO_VARARGS and CO_VARKEYWORDS


def _parameter(signature: _Signature, name: str) -> _Made:
    return _Made(lambda: signature.make().parameters[name])


def _annotations(*of: Any, **options: Any) -> Any:
    return _executed("inspect").get_annotations(*of, **options)


_OF_TYPING: Final = (
    *("Annotated", "Any", "Literal", "NotRequired", "Required", "Self", "TypeAlias"),
    *("TypedDict", "_TypedDictMeta", "get_args", "is_typeddict"),
)
"""What cattrs takes from `typing_extensions`, and what Python itself has of the same kind."""

_SELDOM_USED: Final[Mapping[str, Mapping[str, Any]]] = {
    "inspect": {
        "signature": _signature,
        "Signature": _Made(lambda: _executed("inspect").Signature),
        "get_annotations": _annotations,
    },
    "logging": {"getLogger": _logger},
    "platform": (
        {"python_implementation": lambda: "CPython"} if sys.implementation.name == "cpython" else {}
    ),
    "selectors": {},
    "tokenize": {},
    "typing_extensions": {
        **{name: getattr(typing, name) for name in _OF_TYPING if hasattr(typing, name)},
        "NoDefault": object(),
    },
    "traceback": {},
    "attr.validators": {},
    "attrs.validators": {},
}
"""What attrs, cattrs and pyroute2 import and only some of their features use, with what is known.

None of these features is one that a call needs.
"""
