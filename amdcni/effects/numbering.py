"""Gives a netdev that is home the ifindex that it had there, by a short trip out and back."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.errors import DeviceProtected, KernelRefused
from amdcni.core.host import Netdev, names_of
from amdcni.core.identity import find_anywhere, is_software
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
    with _station(node, record, home.netdev) as station:
        netdev = _marked(node, record, home.netdev)
        if station is None or netdev is None:
            return
        for other in station.netdevs():
            if record.mark in other.altnames:
                # A pod may give the mark to a netdev of its own.
                station.drop_altname(other, record.mark)
        there = station.netdevs()
        names = names_of(there)
        with suppress(KernelRefused):
            for altname in names.intersection(netdev.altnames):
                node.own.drop_altname(netdev, altname)
            node.own.move(netdev, station, free_name(netdev.ifname, names))
        numbers = {each.ifindex for each in there}
        arrived = [each for each in station.netdevs() if each.ifindex not in numbers]
        away = find_anywhere(record, arrived)
        if away is not None:
            wanted = free_name(captured.ifname, names_of(home.others))
            station.move(away, node.own, wanted, ifindex)


def _marked(node: Machine, record: Attachment, netdev: Netdev) -> Netdev | None:
    """The netdev with the mark of its record; None if it could not be found again elsewhere."""
    with suppress(DeviceProtected):
        mark_on_host(node.own, netdev, record)
    now = node.own.find_by_index(netdev.ifindex)
    return None if now is None else find_anywhere(record, [now])


@contextmanager
def _station(node: Machine, record: Attachment, netdev: Netdev) -> Iterator[Namespace | None]:
    """Where the netdev can be for a moment: in its pod, or hardware in a netns made for that.

    A netns that is made for it ends with this process, and with it every netdev of a kind that
    software makes.
    """
    pod = node.find_pod(record.netns)
    if pod is not None and pod.id.is_same(record.netns.id):
        with node.enter(pod.path) as station:
            # Another netns may be at the path by now.
            yield station if station is not None and station.id.is_same(pod.id) else None
    elif is_software(netdev.kind, None):
        yield None
    else:
        with node.enter_new() as station:
            yield station
