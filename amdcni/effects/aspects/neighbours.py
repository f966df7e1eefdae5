"""The neighbours of the netdev that somebody has set."""

import errno

from amdcni.core.aspects.neighbours import Neighbours, SetNeighbour
from amdcni.core.capture import Captured
from amdcni.core.host import Netdev
from amdcni.effects.messages import neighbours
from amdcni.effects.rtnetlink import Rtnetlink


def read(kernel: Rtnetlink, netdev: Netdev, kept: Captured | None) -> Neighbours:
    """All of them."""
    replies = kernel.dump(neighbours.query(netdev.ifindex))
    found = (neighbours.neighbour_of(reply, netdev) for reply in replies)
    return Neighbours(neighbours=tuple(filter(None, found)))


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetNeighbour) -> None:
    """Set it."""
    neighbour = change.neighbour
    what = f"set the neighbour {neighbour.address} of {netdev.ifname}"
    kernel.do(what, neighbours.put(netdev, neighbour), done_if=errno.EEXIST)
