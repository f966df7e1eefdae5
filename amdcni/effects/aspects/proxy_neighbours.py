"""The proxy neighbours of the netdev."""

import errno

from amdcni.core.aspects.proxy_neighbours import ProxyNeighbours, SetProxyNeighbour
from amdcni.core.capture import Captured
from amdcni.core.host import Netdev
from amdcni.effects.messages import neighbours
from amdcni.effects.rtnetlink import Rtnetlink


def read(kernel: Rtnetlink, netdev: Netdev, kept: Captured | None) -> ProxyNeighbours:
    """All of them; for IPv4 the kernel shows those of other netdevs, too."""
    replies = kernel.dump(neighbours.query(netdev.ifindex, proxies=True))
    found = (neighbours.proxy_of(reply, netdev.ifindex) for reply in replies)
    return ProxyNeighbours(proxy_neighbours=tuple(filter(None, found)))


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetProxyNeighbour) -> None:
    """Set it."""
    what = f"set the proxy neighbour {change.neighbour.address} of {netdev.ifname}"
    kernel.do(what, neighbours.put_proxy(netdev, change.neighbour), done_if=errno.EEXIST)
