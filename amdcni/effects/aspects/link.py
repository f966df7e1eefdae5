"""The attributes of the netdev itself, and whether it is up."""

import errno
from collections.abc import Iterable, Mapping

from amdcni.core.aspects.link import SetLink
from amdcni.core.host import Netdev
from amdcni.core.names import IfName
from amdcni.effects.messages import links
from amdcni.effects.rtnetlink import RequestRefused, Rtnetlink


def apply(kernel: Rtnetlink, netdev: Netdev, change: SetLink) -> None:
    """Set it."""
    change_link(kernel, netdev, {change.name: change.value})


def change_link(kernel: Rtnetlink, netdev: Netdev, attributes: dict[str, object]) -> None:
    """Set these attributes of the netdev, named as those of `Netdev`, in one request."""
    what = ", ".join(f"{name} {value!r}" for name, value in attributes.items())
    kernel.do(f"set {what} on {netdev.ifname}", links.change(netdev, attributes))


def ifnames_of(
    kernel: Rtnetlink, ifindexes: Iterable[int], known: Mapping[int, IfName]
) -> dict[int, IfName]:
    """The names of those netdevs that are there, and the `known` ones."""
    ifnames = dict(known)
    for ifindex in set(ifindexes) - known.keys():
        try:
            link = kernel.get(links.query_by_index(ifindex))
        except RequestRefused as failure:
            if failure.code != errno.ENODEV:
                raise
        else:
            ifnames[ifindex] = links.ifname_of(link)
    return ifnames
