"""The network namespace of a pod, entered to change what is in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from amdcni.core.attachment import Attachment
from amdcni.core.errors import NetdevLost
from amdcni.core.host import Netdev
from amdcni.ports import Machine, Namespace


@contextmanager
def entered(node: Machine, record: Attachment) -> Iterator[Namespace]:
    """The pod's netns; raises NetdevLost unless it is still that of the record."""
    with node.enter(record.netns.path) as target:
        if target is None or not target.id.is_same(record.netns.id):
            raise NetdevLost(f"the network namespace {record.netns.path!r} has gone")
        yield target


def require_in_pod(target: Namespace, record: Attachment) -> Netdev:
    """The netdev under the attachment's ifname; raises NetdevLost."""
    netdev = target.find_netdev(record.id.ifname)
    if netdev is None:
        raise NetdevLost(f"{record.id.ifname!r} is not in {record.netns.path!r} any more")
    return netdev
