"""The alternative names of the netdev.

To have a name twice is refused with EEXIST, and to lose it twice with ENOENT.
"""

import errno

from amdcni.core.aspects.altnames import SetAltname
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Netdev
from amdcni.effects.messages import links
from amdcni.effects.rtnetlink import RequestRefused, Rtnetlink


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetAltname) -> None:
    """Add the name, or take it away."""
    if change.present:
        add(kernel, netdev, change.altname)
    else:
        drop(kernel, netdev, change.altname)


def drop(kernel: Rtnetlink, netdev: Netdev, altname: str) -> None:
    """Take an alternative name away from the netdev, if it has it still."""
    what = f"take the alternative name {altname} from {netdev.ifname}"
    kernel.do(what, links.drop_altname(netdev, altname), in_vain=errno.ENOENT)


def add(kernel: Rtnetlink, netdev: Netdev, altname: str) -> None:
    """Give the netdev an alternative name, if it has not got it; another netdev may have it."""
    try:
        kernel.do(
            f"give {netdev.ifname} the alternative name {altname}",
            links.add_altname(netdev, altname),
        )
    except KernelRefused:
        if altname not in _now(kernel, netdev):
            raise


def _now(kernel: Rtnetlink, netdev: Netdev) -> tuple[str, ...]:
    try:
        told = kernel.get(links.query_by_index(netdev.ifindex))
    except RequestRefused:
        return ()
    return links.netdev_of(told, ()).altnames
