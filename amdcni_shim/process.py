"""Set-up of the process as a whole, which exists for one call."""

import _signal  # type: ignore[import-not-found]
import gc
import sys
from importlib.util import find_spec, module_from_spec
from types import FrameType

from amdcni.core.errors import TryAgainLater
from amdcni_shim import standins

_SIGNALS = {_signal.SIGTERM: "SIGTERM", _signal.SIGINT: "SIGINT"}


def fail_when_asked_to_end() -> None:
    """Raise TryAgainLater at the first SIGTERM or SIGINT; further ones do not disturb the undo."""
    for number in _SIGNALS:
        _signal.signal(number, _fail)


def _fail(number: int, _: FrameType | None) -> None:
    for each in _SIGNALS:
        _signal.signal(each, _signal.SIG_IGN)
    raise TryAgainLater(f"ended by {_SIGNALS[number]} before the work was done")


def start_lightly() -> None:
    """Spare the process what only other programs need.

    That is garbage collection, methods that are compiled for each class, and modules that are
    imported but not used.  Importing any part of pyroute2 executes its package first, which loads
    all of the others, from nftables to an SQL database.  A package that is there but was not
    executed still finds its modules.

    Only a process of our own may do this, before anything else is imported: other code wants the
    whole of both packages.
    """
    _start()
    import attrs

    from amdcni_shim.frozen import frozen

    vars(attrs)["frozen"] = frozen


def start_for_one_call() -> None:
    """Do what `start_lightly` does, and put off what is worth its time only in a longer life."""
    _start()
    _do_not_execute("cattrs")
    from amdcni_shim import late

    late.import_attrs()


def _start() -> None:
    gc.disable()
    standins.put()
    _do_not_execute("pyroute2")


def _do_not_execute(package: str) -> None:
    """Have modules of a package found without executing the package, if there is one."""
    spec = find_spec(package)
    if spec is not None:
        sys.modules[package] = module_from_spec(spec)
