"""The names of netdevs that something leads through."""

import errno
from collections.abc import Iterable, Mapping

from amdcni.core.names import IfName
from amdcni.effects.messages import links
from amdcni.effects.rtnetlink import RequestRefused, Rtnetlink


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
