"""What an ADD will find once what earlier calls left of its device has been returned.

`amdcni explain --plan` changes nothing, so the state after the return is derived from the records.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from amdcni.core.aspects import addresses, nexthops, routes, traffic_control
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured, Details
from amdcni.core.host import Netdev, Netns, SysfsDevice, names_of
from amdcni.core.identity import find_home, find_in_pod, lost
from amdcni.core.names import IfName, free_name
from amdcni.core.numbering import free_ifindex
from amdcni.core.plans.snapshot import Snapshot


@attrs.frozen
class Found:
    """The netdev of a record as it is now, and whether it is on the host already."""

    netdev: Netdev
    on_host: bool


def find_netdev(
    record: Attachment, host: Netns, pod: Netns | None, device: SysfsDevice | None
) -> Found:
    """The netdev of a record that has one.

    `pod` is the pod's netns as it is now, `device` is what sysfs says of the device.

    Raises: NetdevLost, as the return to the host does.
    """
    inside = find_in_pod(record, pod)
    at_home = find_home(record, host.netdevs, device, pod)
    if at_home is not None:
        return Found(at_home, on_host=True)
    if inside is None:
        raise lost(record)
    return Found(inside, on_host=False)


def netdev_at_home(
    captured: Captured, found: Found, host: Iterable[Netdev], elapsed_s: int
) -> Netdev:
    """The netdev once it has been returned; what is not known stays as it is found."""
    host = tuple(host)
    others = [n for n in host if not (found.on_host and n.ifindex == found.netdev.ifindex)]
    ifindex = found.netdev.ifindex
    if not found.on_host:
        ifindex = free_ifindex(captured, others) or 1 + max(other.ifindex for other in others)
    known = {name: getattr(captured, name) for name in _KEPT}
    return attrs.evolve(
        found.netdev,
        ifindex=ifindex,
        ifname=free_name(captured.ifname, names_of(others)),
        up=captured.up,
        carrier=captured.carrier,
        alias=captured.alias,
        addresses=addresses.aged(captured.addresses, elapsed_s),
        **{name: value for name, value in known.items() if value is not None},
    )


_DIFFERENT: Final = frozenset({"ifindex", "ifname", "up", "carrier", "alias", "addresses"})
_KEPT: Final = tuple(
    field.name
    for field in attrs.fields(Captured)
    if field.name in attrs.fields_dict(Netdev) and field.name not in _DIFFERENT
)
"""What the netdev has again as it was captured, if it was."""


def details_at_home(
    captured: Captured, netdev: Netdev, details: Details, host: Iterable[Netdev], elapsed_s: int
) -> Details:
    """The details of `netdev` once it has been returned; `details` are the present ones."""
    others = [other for other in host if other.ifindex != netdev.ifindex]
    kept = {field.name: getattr(captured, field.name, None) for field in attrs.fields(Details)}
    aged = routes.aged(captured.routes, elapsed_s)
    kept["routes"] = routes.due_on_host(aged, captured.ifname, netdev, others)
    kept["nexthops"] = tuple(nexthops.renamed(each, netdev) for each in captured.nexthops)
    kept["filters"] = traffic_control.filters_of_renamed(
        captured.filters, captured.ifname, netdev.ifname
    )
    kept["sysctls"] = {**details.sysctls, **captured.sysctls}
    kept["ethtool"] = {**details.ethtool, **captured.ethtool}
    others_rules = [rule for rule in details.rules if rule not in captured.rules]
    together = (*others_rules, *captured.rules)
    kept["rules"] = tuple(sorted(together, key=lambda rule: (rule.family, rule.priority)))
    return attrs.evolve(
        details, **{name: value for name, value in kept.items() if value is not None}
    )


def after(snapshot: Snapshot, record: Attachment, found: Found, netdev: Netdev) -> Snapshot:
    """The snapshot once the netdev that was `found` is on the host as `netdev`."""
    was = found.netdev
    staying = [n for n in snapshot.host.netdevs if not (found.on_host and n.ifindex == was.ifindex)]
    candidates, pod = snapshot.candidates, snapshot.pod
    device, below = candidates.device, candidates.at_kernelpath
    if device is not None and device.bus_device == record.key.bus_device:
        device = attrs.evolve(device, ifnames=_renamed(device.ifnames, was, netdev))
    if below is not None and was.ifname in below:
        below = _renamed(below, was, netdev)
    if not found.on_host and record.netns.is_alive_in(pod):
        pod = attrs.evolve(pod, netdevs=tuple(n for n in pod.netdevs if n.ifindex != was.ifindex))
    netdevs = (*staying, netdev)
    return attrs.evolve(
        snapshot,
        host=attrs.evolve(snapshot.host, netdevs=netdevs),
        pod=pod,
        candidates=attrs.evolve(candidates, netdevs=netdevs, device=device, at_kernelpath=below),
    )


def _renamed(ifnames: Iterable[IfName], was: Netdev, now: Netdev) -> tuple[IfName, ...]:
    others = [name for name in ifnames if name not in (was.ifname, now.ifname)]
    return (*others, now.ifname)
