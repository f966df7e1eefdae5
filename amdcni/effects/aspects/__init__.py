"""The aspects of `amdcni.core.aspects`, read from the kernel and set: modules of the same names.

`read` asks for what a link message does not contain, and `apply` makes a change.  Both are executed
in the network namespace of the socket.
"""

from typing import Any, Final, assert_never

import attrs

from amdcni.core.aspects.addresses import SetAddress
from amdcni.core.aspects.altnames import SetAltname
from amdcni.core.aspects.ethtool import SetEthtool
from amdcni.core.aspects.link import SetLink
from amdcni.core.aspects.multicast import SetMulticastAddress
from amdcni.core.aspects.neighbours import SetNeighbour
from amdcni.core.aspects.nexthops import SetNexthop, SetNexthopGroup
from amdcni.core.aspects.proxy_neighbours import SetProxyNeighbour
from amdcni.core.aspects.queues import SetQueues
from amdcni.core.aspects.routes import SetRoute
from amdcni.core.aspects.sysctls import SetSysctl
from amdcni.core.aspects.token import SetToken
from amdcni.core.aspects.traffic_control import DropPlaceholder, SetRedirection, SetTraffic
from amdcni.core.capture import Captured, Change, Details
from amdcni.core.host import Netdev
from amdcni.effects.aspects import (
    addresses,
    altnames,
    ethtool,
    link,
    multicast,
    neighbours,
    nexthops,
    proxy_neighbours,
    queues,
    routes,
    sysctls,
    token,
    traffic_control,
)
from amdcni.effects.rtnetlink import Rtnetlink

_EARLY: Final = (ethtool, sysctls)
READ: Final = (
    *(*_EARLY, neighbours, proxy_neighbours, multicast, nexthops, routes),
    *(traffic_control, queues),
)


def read_details(
    kernel: Rtnetlink, netdev: Netdev, kept: Captured | None = None, *, early: bool = False
) -> Details:
    """What is not read for every netdev, to be captured or, given `kept`, to be compared.

    `early` reads only what shows what is due before the last stage.
    """
    details: dict[str, Any] = {}
    unsaved: list[str] = []
    for aspect in _EARLY if early else READ:
        details |= attrs.asdict(aspect.read(kernel, netdev, kept), recurse=False)
        unsaved += details.pop("unsaved", ())
    return Details(**details, unsaved=tuple(unsaved))


def apply(kernel: Rtnetlink, netdev: Netdev, change: Change) -> None:
    """Make the change; raises KernelRefused."""
    match change:
        case SetToken():
            token.apply(kernel, netdev, change)
        case SetAltname():
            altnames.apply(kernel, netdev, change)
        case SetLink():
            link.apply(kernel, netdev, change)
        case SetAddress():
            addresses.apply(kernel, netdev, change)
        case SetNeighbour():
            neighbours.apply(kernel, netdev, change)
        case SetProxyNeighbour():
            proxy_neighbours.apply(kernel, netdev, change)
        case SetMulticastAddress():
            multicast.apply(kernel, netdev, change)
        case SetNexthop() | SetNexthopGroup():
            nexthops.apply(kernel, netdev, change)
        case SetRoute():
            routes.apply(kernel, netdev, change)
        case SetTraffic() | DropPlaceholder() | SetRedirection():
            traffic_control.apply(kernel, netdev, change)
        case SetEthtool():
            ethtool.apply(kernel, netdev, change)
        case SetQueues():
            queues.apply(kernel, netdev, change)
        case SetSysctl():
            sysctls.apply(kernel, netdev, change)
        case _:
            assert_never(change)
