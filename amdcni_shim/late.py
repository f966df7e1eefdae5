"""attrs for a process that ends after one call: what is not used is not made.

A call imports over a hundred classes, and makes a few values of about half of them.  Three things
are put off, and attrs does each of them, as ever, once it is needed:

- A class is made when its first value is, or when its attributes are asked for.
- Its `__init__` is compiled only after a few values.
- All other functions that attrs writes, even those of its own classes, are compiled when one of
  them is called.
"""

import builtins
import sys
from collections.abc import Callable
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any, Final

_FEW: Final = 20
"""How many values of a class are made without its `__init__` being compiled."""

_ATTRIBUTES: Final = "__attrs_attrs__"
_HOOKS: Final = ("__attrs_pre_init__", "__attrs_post_init__")
_compile: Final = builtins.compile


def import_attrs() -> None:
    """Import attrs, whose `frozen` is from now on `late`."""
    vars(builtins)["compile"] = _compile_later
    try:
        import attrs
    finally:
        vars(builtins)["compile"] = _compile
    maker = sys.modules.get("attr._make")
    if maker is not None:
        vars(maker)["compile"] = _compile_later
    # It takes from attrs what it replaces.
    import_module("amdcni_shim.frozen")
    vars(attrs)["frozen"] = late


# ---- classes


def late(cls: Any = None, **options: bool) -> Any:
    """The class itself, of which attrs makes what `attrs.frozen` returns when it is first used.

    Only slots are missing, for which attrs would have to make another class.
    """
    if cls is None:
        return lambda cls: late(cls, **options)
    make_now = import_module("amdcni_shim.frozen").frozen
    if "__init__" in vars(cls) or any("__slots__" in vars(base) for base in cls.__mro__):
        return make_now(cls, **options)

    def make() -> None:
        unmade = dict(vars(cls))
        try:
            del cls.__init__
            delattr(cls, _ATTRIBUTES)
            make_now(cls, **{**options, "slots": False})
            cls.__init__ = _init_of(cls)
        except BaseException:
            # A signal ends the call at any moment, and what is undone then needs the class.
            _unmake(cls, unmade)
            raise

    def init(self: Any, *values: Any, **named: Any) -> None:
        make()
        cls.__init__(self, *values, **named)

    cls.__init__ = init
    setattr(cls, _ATTRIBUTES, _Attributes(make))
    return cls


def _unmake(cls: Any, unmade: dict[str, Any]) -> None:
    """Give the class the attributes again that it had."""
    for name in vars(cls).keys() - unmade.keys():
        delattr(cls, name)
    for name, value in unmade.items():
        if vars(cls).get(name, unmade) is not value:
            setattr(cls, name, value)


class _Attributes:
    """Stands for the attributes of a class until they are asked for."""

    def __init__(self, make: Callable[[], None]) -> None:
        self._make = make

    def __get__(self, _: object, cls: Any) -> Any:
        self._make()
        return getattr(cls, _ATTRIBUTES)


def _init_of(cls: Any) -> Callable[..., None]:
    """An `__init__` that gives way to that of attrs after some values, or for unusual arguments."""
    import attrs

    compiled: Callable[..., None] = cls.__init__
    fields = attrs.fields(cls)
    plain = all(f.init and f.validator is None and f.converter is None for f in fields)
    if not plain or any(hasattr(cls, hook) for hook in _HOOKS):
        return compiled
    positional = [f.name for f in fields if not f.kw_only]
    parts = [(f.name, f.alias, f.default) for f in fields]
    factory: Any = attrs.Factory
    made = 0

    def fill(own: dict[str, Any], values: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Set all attributes; False if not all of these arguments fit."""
        own.update(zip(positional, values, strict=False))
        used = 0
        for name, alias, default in parts:
            if name in own:
                continue
            if alias in named:
                own[name] = named[alias]
                used += 1
            elif default is attrs.NOTHING or getattr(default, "takes_self", False):
                return False
            else:
                own[name] = default.factory() if isinstance(default, factory) else default
        return used == len(named) and len(values) <= len(positional)

    def init(self: Any, *values: Any, **named: Any) -> None:
        nonlocal made
        made += 1
        if made > _FEW or not fill(vars(self), values, named):
            cls.__init__ = compiled
            compiled(self, *values, **named)

    return init


# ---- functions

_put_off: Final[list[tuple[str, str, list[str]]]] = []
_DEFINE: Final = _compile(
    "__import__('amdcni_shim.late').late.define(globals(), locals())", __file__, "exec"
)


def _compile_later(source: Any, filename: Any, *others: Any, **options: Any) -> CodeType:
    """What `compile` returns, or for functions that attrs has written, what defines stand-ins."""
    if str(filename).startswith("<attrs generated"):
        starts = [line for line in source.splitlines() if line and not line.startswith(" ")]
        if starts and all(line.startswith("def __") for line in starts):
            names = [line[len("def ") : line.index("(")] for line in starts]
            _put_off.append((source, filename, names))
            return _DEFINE
    code: CodeType = _compile(source, filename, *others, **options)
    return code


def define(globs: dict[str, Any], locs: dict[str, Any]) -> None:
    """Define stand-ins for the functions whose compilation was put off last."""
    source, filename, names = _put_off.pop()

    def become(name: str) -> FunctionType:
        found: dict[str, Any] = {}
        exec(_compile(source, filename, "exec"), globs, found)
        for each, function in stand_ins.items():
            real = found[each]
            function.__code__ = real.__code__
            function.__defaults__, function.__kwdefaults__ = real.__defaults__, real.__kwdefaults__
        return stand_ins[name]

    stand_ins = {name: FunctionType(_stand_in.__code__, globs, name) for name in names}
    for name, function in stand_ins.items():
        function.__kwdefaults__ = {"_become": become, "_name": name}
    locs.update(stand_ins)


def _stand_in(*values: Any, _become: Any, _name: str, **named: Any) -> Any:
    return _become(_name)(*values, **named)
