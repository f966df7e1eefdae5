"""The alternative names of the netdev.

The kernel refuses to add a name twice with EEXIST, and to remove it twice with ENOENT.
"""

import errno

from amdcni.core.aspects.altnames import SetAltname
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Netdev
from amdcni.effects.messages import links
from amdcni.effects.rtnetlink import RequestRefused, Rtnetlink


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetAltname) -> None:
    """Add the name, or remove it."""
    if change.present:
        add(kernel, netdev, change.altname)
    else:
        drop(kernel, netdev, change.altname)


def drop(kernel: Rtnetlink, netdev: Netdev, altname: str) -> None:
    """Remove an alternative name from the netdev, if it still has it."""
    what = f"remove the alternative name {altname} from {netdev.ifname}"
    kernel.do(what, links.drop_altname(netdev, altname), done_if=errno.ENOENT)


def add(kernel: Rtnetlink, netdev: Netdev, altname: str) -> None:
    """Give the netdev an alternative name, unless it has it; refused if another netdev does."""
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
        link = kernel.get(links.query_by_index(netdev.ifindex))
    except RequestRefused:
        return ()
    return links.netdev_of(link, ()).altnames
