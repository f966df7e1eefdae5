"""Reads what no record can hold of a netdev, so that it can be named."""

import errno
from collections.abc import Iterator
from typing import Final, Protocol

from amdcni.core.capture import Details
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Netdev
from amdcni.core.unsaved import Unsaved, in_words
from amdcni.effects.generic_netlink import family
from amdcni.effects.messages import mptcp
from amdcni.effects.messages.unsaved import Question, groups_of, questions, static_groups
from amdcni.effects.rtnetlink import (
    Reply,
    Request,
    RequestRefused,
)

_UNKNOWN: Final = frozenset(
    {
        *(errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT, errno.ENODEV),
        *(errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT),
    }
)
"""How a kernel says that it has nothing of the kind, or does not know the question."""

_GROUPS: Final = "/proc/thread-self/net/dev_mcast"


class Kernel(Protocol):
    """What answers requests."""

    def dump(self, request: Request) -> list[Reply]:
        """All messages of the answer."""


def read_unsaved(
    kernel: Kernel, netdev: Netdev, details: Details, *, renumbered: bool
) -> tuple[str, ...]:
    """In words, what of the netdev is on the host that no record can hold.

    This thread is in the netdev's network namespace.  What cannot be read might be there, so it is
    named as well.
    """
    found: list[Unsaved] = []
    doubtful: list[str] = []

    def ask(question: Question) -> None:
        try:
            for reply in kernel.dump(question.request):
                found.extend(question.unsaved_in(reply))
        except RequestRefused as failure:
            if failure.code not in _UNKNOWN:
                doubtful.append(_doubt(question.what, failure.said))
        except KernelRefused as failure:
            doubtful.append(_doubt(question.what, failure.message))

    has_mpls = any(name.startswith("mpls/") for name in details.sysctls)
    for question in questions(netdev, has_mpls=has_mpls, renumbered=renumbered):
        ask(question)
    groups = groups_of(found)
    if groups is not None:
        ask(groups)
    found.extend(_multicast(netdev))
    if renumbered:
        found.extend(_endpoints(netdev))
    return (*in_words(found), *doubtful)


def _doubt(what: str, said: str) -> str:
    return f"{what}, if there are any: they cannot be read ({said})"


def _multicast(netdev: Netdev) -> Iterator[Unsaved]:
    try:
        with open(_GROUPS) as listed:
            yield from static_groups(listed.read(), netdev.ifindex)
    except OSError:  # a kernel without multicast
        return


def _endpoints(netdev: Netdev) -> Iterator[Unsaved]:
    """The MPTCP endpoints of the netdev; none where the kernel has no MPTCP."""
    try:
        with family("mptcp_pm") as (kernel, number):
            for reply in kernel.dump(mptcp.query(number)):
                yield from mptcp.endpoints_in(reply, netdev.ifindex)
    except KernelRefused:
        return
