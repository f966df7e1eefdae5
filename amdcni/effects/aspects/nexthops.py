"""The nexthop objects through the netdev, and the groups that contain one.

Most netdevs have none, so what reads and makes them is loaded only for one that has.
"""

import errno
from typing import Final

import attrs

from amdcni.core.aspects.change import Unsaved
from amdcni.core.aspects.nexthops import Nexthops, SetNexthop, SetNexthopGroup
from amdcni.core.capture import Captured
from amdcni.core.host import Netdev
from amdcni.effects.messages.common import u32
from amdcni.effects.rtnetlink import Reply, Request, RequestRefused, Rtnetlink, attribute

_RTM_GETNEXTHOP: Final = 106
_NHMSG_BYTES: Final = 8
_NHA_OIF: Final = 5
_UNKNOWN: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL})
"""How a kernel before Linux 5.3 answers a question about nexthop objects."""


@attrs.frozen(slots=False, kw_only=True)
class ReadNexthops(Nexthops, Unsaved):
    """The nexthop objects and groups, and what of them no record can hold, in words."""


def read(kernel: Rtnetlink, netdev: Netdev, kept: Captured | None) -> ReadNexthops:
    """Those through the netdev with their groups, or what now has the IDs that are kept."""
    own = _through(kernel, netdev) if kept is None else []
    if not own and (kept is None or not kept.nexthops):
        return ReadNexthops()
    from amdcni.effects.nexthop_objects import read_those_of

    found, unsaved = read_those_of(kernel, netdev, own, kept)
    return ReadNexthops(**attrs.asdict(found, recurse=False), unsaved=unsaved)


def _through(kernel: Rtnetlink, netdev: Netdev) -> list[Reply]:
    """The objects through the netdev; none on a kernel that has no such objects."""
    asked = bytes(_NHMSG_BYTES) + attribute(_NHA_OIF, u32(netdev.ifindex))
    try:
        return kernel.dump(Request(_RTM_GETNEXTHOP, 0, asked))
    except RequestRefused as failure:
        if failure.code not in _UNKNOWN:
            raise
        return []


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetNexthop | SetNexthopGroup) -> None:
    """Make it."""
    from amdcni.effects.nexthop_objects import make

    make(kernel, netdev, change)
