"""Set-up of the process as a whole, which exists for one call."""

import gc
import signal
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import FrameType, ModuleType
from typing import Any, Final

from amdcni.core.errors import TryAgainLater


def fail_when_asked_to_end() -> None:
    """Raise TryAgainLater at the first SIGTERM or SIGINT; further ones do not disturb the undo."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _fail)


def _fail(number: int, _: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    raise TryAgainLater(f"ended by {signal.Signals(number).name} before the work was done")


def start_lightly() -> None:
    """Spare the call what only long-running programs need.

    That is garbage collection, methods that are compiled for each class, and modules that are
    imported but not used.  Importing any part of pyroute2 executes its package first, which loads
    all of the others, from nftables to an SQL database.  A package that is there but was not
    executed still finds its modules.

    Only a process of our own may do this, before anything else is imported: other code wants the
    whole of both packages.
    """
    gc.disable()
    for name in _SELDOM_USED:
        sys.modules.setdefault(name, _Later(name))
    import attrs

    from amdcni_shim.frozen import frozen

    vars(attrs)["frozen"] = frozen
    spec = find_spec("pyroute2")
    if spec is not None:
        sys.modules["pyroute2"] = module_from_spec(spec)


_SELDOM_USED: Final = (
    "inspect",
    "selectors",
    "tokenize",
    "traceback",
    "attr.validators",
    "attrs.validators",
)
"""What attrs imports and only some of its features use, none of which a call needs."""


class _Later(ModuleType):
    """Stands for a module until something in it is asked for: only then is it executed."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)
