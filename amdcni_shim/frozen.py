"""`attrs.frozen` for a process that exists for one call: the same classes, made in less time.

attrs writes and compiles `__eq__`, `__hash__` and `__repr__` for each class.  That pays off if they
are called often.  A call makes over a hundred classes and compares few of their values, so here all
classes have the same functions for that, which look the attributes up.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

import attrs

_COMPILED: Final[Any] = attrs.frozen
_DEFINE: Final[Any] = attrs.define
_OURS_TO_MAKE: Final = {"slots", "kw_only"}
"""Options that leave comparison, hash and repr as they are."""


def frozen(cls: Any = None, **options: bool) -> Any:
    """A class that no caller can tell from that of `attrs.frozen`; used like it."""
    if cls is None:
        return lambda cls: frozen(cls, **options)
    if not options.keys() <= _OURS_TO_MAKE:
        return _COMPILED(cls, **options)
    own = vars(cls).keys()
    made = _DEFINE(cls, frozen=True, eq=False, repr=False, **options)
    fields = attrs.fields(made)
    if "__eq__" not in own:
        made.__eq__, made.__hash__ = _comparison_by([f.name for f in fields if f.eq])
    if "__repr__" not in own:
        made.__repr__ = _words_of([f.name for f in fields if f.repr])
    return made


def _comparison_by(names: list[str]) -> tuple[Callable[[Any, Any], Any], Callable[[Any], int]]:
    values: Callable[[Any], Any] = attrgetter(*names) if names else lambda _: ()

    def equal(self: Any, other: Any) -> Any:
        return values(self) == values(other) if type(self) is type(other) else NotImplemented

    return equal, lambda self: hash(values(self))


def _words_of(names: list[str]) -> Callable[[Any], str]:
    def words(self: Any) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__.rpartition('>.')[2]}({shown})"

    return words
