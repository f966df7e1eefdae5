"""A generic netlink socket, and the numbers of the families that it can ask."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from amdcni.effects.messages.generic import family_of, family_query
from amdcni.effects.rtnetlink import NETLINK_GENERIC, Rtnetlink

_families: Final[dict[str, int]] = {}
"""Those that are known: they are part of the kernel, and keep their numbers until it ends."""


@contextmanager
def family(name: str) -> Iterator[tuple[Rtnetlink, int]]:
    """A socket in the network namespace that this thread is in, and the number of a family.

    Raises: RequestRefused if the kernel does not have the family.
    """
    kernel = Rtnetlink(NETLINK_GENERIC)
    try:
        if name not in _families:
            _families[name] = family_of(kernel.get(family_query(name)))
        yield kernel, _families[name]
    finally:
        kernel.close()
