"""Gives a netdev that is home the ifindex that it had there, by a short trip out and back."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Netdev, names_of
from amdcni.core.identity import is_software
from amdcni.core.names import free_name
from amdcni.core.steps.execution import Home
from amdcni.effects.marks import mark_on_host
from amdcni.ports import Machine, Namespace


def give_ifindex(
    node: Machine, record: Attachment, captured: Captured, home: Home, ifindex: int
) -> None:
    """Let the netdev leave the host and come back under its name and `ifindex`, if that can be.

    If this is killed amid the trip, the netdev is in the pod, or hardware comes home as it does
    when a pod dies; either way the next call finds it.

    Raises: KernelRefused if it cannot come back.
    """
    netdev = home.netdev
    with _station(node, record, netdev) as station:
        if station is None:
            return
        mark_on_host(node.own, netdev, record)
        names = names_of(station.netdevs())
        with suppress(KernelRefused):
            for altname in names.intersection(netdev.altnames):
                node.own.drop_altname(netdev, altname)
            node.own.move(netdev, station, free_name(netdev.ifname, names))
        away = station.find_netdev(record.mark)
        if away is not None:
            wanted = free_name(captured.ifname, names_of(home.others))
            station.move(away, node.own, wanted, ifindex)


@contextmanager
def _station(node: Machine, record: Attachment, netdev: Netdev) -> Iterator[Namespace | None]:
    """Where the netdev can be for a moment: in its pod, or hardware in a netns made for that.

    A netns that is made for it ends with this process, and with it every netdev of a kind that
    software makes.
    """
    pod = node.find_pod(record.netns)
    if pod is not None and pod.id.is_same(record.netns.id):
        with node.enter(pod.path) as station:
            yield station
    elif is_software(netdev.kind, None):
        yield None
    else:
        with node.enter_new() as station:
            yield station
