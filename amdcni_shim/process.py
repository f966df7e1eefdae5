"""Set-up of the process as a whole, which exists for one call."""

import gc
import signal
import sys
from importlib.util import find_spec, module_from_spec
from types import FrameType

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
    """Spare the call what only long-running programs need: garbage collection, unused modules.

    Importing any part of pyroute2 executes its package first, which loads all of the others, from
    nftables to an SQL database.  A package that is there but was not executed still finds its
    modules.  Only a process of our own may do this: other code wants the whole package.
    """
    gc.disable()
    spec = find_spec("pyroute2")
    if spec is not None:
        sys.modules["pyroute2"] = module_from_spec(spec)
