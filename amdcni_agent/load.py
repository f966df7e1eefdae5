"""Everything that a call may need, imported once for all workers."""

import gc
import pkgutil
import sys
from importlib import import_module
from typing import Final

from amdcni_shim import process

_PACKAGES: Final = ("amdcni.effects", "amdcni.verbs")
_MODULES: Final = (
    *("amdcni.core.codec", "amdcni.core.formats", "amdcni.log"),
    *("amdcni_shim.__main__", "amdcni_shim.edge", "subprocess"),
)
_UNUSED: Final = "rich"
"""What structlog imports if it is there, to draw what we never draw: several MiB."""


def load() -> None:
    """Import what calls need, and exempt it from garbage collection, which would copy its memory.

    Only a process of our own may do this.
    """
    process.start_lightly()
    for name in _PACKAGES:
        package = import_module(name)
        for each in pkgutil.walk_packages(package.__path__, f"{name}."):
            import_module(each.name)
    for name in _MODULES:
        import_module(name)
    if _UNUSED not in sys.modules:
        sys.modules[_UNUSED] = None  # type: ignore[assignment]
        import_module("structlog")
        del sys.modules[_UNUSED]
    gc.collect()
    gc.freeze()
