"""Whether an attachment is still what its ADD promised (CNI SPEC 1.1 §2, CHECK).

Plugins that are chained after ours may change the MTU, the MAC address and sysctls of the netdev,
and move its routes to other tables; none of these is a fault.  What they must not change: the
netdev is there, is ours, is up with a link, and has the promised addresses in a usable state, the
promised routes in some table, and the RDMA devices that follow it.
"""

from collections.abc import Collection, Iterable
from typing import Any

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.codec import result_to_json
from amdcni.core.host import (
    Address,
    AddressFlag,
    IpNetwork,
    Netdev,
    Netns,
    Route,
    netdev_named,
)
from amdcni.core.identity import find_in_pod
from amdcni.core.rdma import RdmaDevice, find_rdma
from amdcni.core.request import CheckRequest
from amdcni.core.spec import Interface, Ip, Result


def problems(request: CheckRequest, record: Attachment, pod: Netns | None) -> list[str]:
    """Every difference between the promise and the pod, one readable line each; empty if none.

    `pod` is what CNI_NETNS leads to now.
    """
    if pod is None or not record.netns.is_alive_in(pod):
        return [f"{request.netns!r} is not the network namespace that {record.key} was moved into"]
    found = []
    if record.phase is not Phase.ATTACHED:
        found.append(f"{record.key} is still {record.phase}: a call was interrupted")
    return found + differences(record, promised_to(request, record), pod)


def promised_to(request: CheckRequest, record: Attachment) -> tuple[Ip, ...]:
    """The addresses of our netdev in the prevResult of a whole list of plugins.

    An address that names no netdev can be any plugin's; it is ours if our own ADD has reported it.
    """
    reported = () if record.result is None else [ip.address for ip in record.result.ips]
    ips = request.prev_result.ips_of(request.attachment.ifname, request.netns)
    return tuple(ip for ip in ips if ip.interface is not None or ip.address in reported)


def routes_promised_to(request: CheckRequest, record: Attachment) -> frozenset[IpNetwork]:
    """Where the routes of `routes_of` lead that a later plugin has not taken out of prevResult."""
    return routes_of(record) & {route.dst.network for route in request.prev_result.routes}


def routes_of(record: Attachment) -> frozenset[IpNetwork]:
    """Where the routes lead that the record's own ADD has reported."""
    if record.captured is None or record.result is None:
        return frozenset()
    return frozenset(route.dst.network for route in record.result.routes)


def lacking_routes(
    promised: Collection[IpNetwork], there: Iterable[Route], record: Attachment
) -> list[str]:
    """The promised routes that lead through our netdev in no table, one readable line each."""
    ifname = record.id.ifname
    found = {
        route.destination for route in there if any(hop.ifname == ifname for hop in route.hops)
    }
    return [
        f"{ifname} lacks the route to {each}" for each in sorted(set(promised) - found, key=str)
    ]


def lacking_rdma(there: Collection[RdmaDevice], record: Attachment) -> list[str]:
    """The RDMA devices that follow the netdev and are not in the pod, one readable line each."""
    ifname = record.id.ifname
    missing = [each for each in record.rdma if find_rdma(each, there) is None]
    return [f"{ifname} lacks its RDMA device {each.name}" for each in missing]


def is_as_promised(record: Attachment, pod: Netns | None) -> bool:
    """Whether the pod has the device as the record's own result promises.

    A lost link does not count: an ADD could not bring it back.
    """
    if record.result is None or pod is None or not record.netns.is_alive_in(pod):
        return False
    return not differences(record, promised_by(record), pod, with_link=False)


def promised_by(record: Attachment) -> tuple[Ip, ...]:
    """The addresses of our netdev in the result of the record's own ADD; none without one."""
    result = record.result or Result()
    return result.ips_of(record.id.ifname, record.netns.path)


def problems_of(record: Attachment, pod: Netns) -> list[str]:
    """What the pod lacks of the result of the record's own ADD."""
    return differences(record, promised_by(record), pod)


def differences(
    record: Attachment, promised: tuple[Ip, ...], pod: Netns, *, with_link: bool = True
) -> list[str]:
    """What is wrong with the device in the pod: its name, its state, or the promised addresses.

    An address that nobody can use counts as missing.  Unless `with_link` is False, so does the link
    of a netdev that had one on the host.
    """
    captured = record.captured
    if captured is None:
        return []
    ours = find_in_pod(record, pod)
    if ours is None:
        return [f"{record.key} is not in {record.netns.path!r} any more"]
    found = []
    if netdev_named([ours], record.id.ifname) is None:
        found.append(f"{record.key} is called {ours.ifname!r}, not {record.id.ifname!r}")
    if not ours.up:
        found.append(f"{ours.ifname} is down")
    elif with_link and _has_lost_its_link(record, ours):
        found.append(f"{ours.ifname} has no link (no carrier), but had one on the host")
    found += [f"{ours.ifname} lacks {ip.address}" for ip in lacking(promised, ours)]
    hosts_own = captured.addresses if record.ipam is None else ()
    for ip in promised:
        there = [address for address in ours.addresses if address.interface == ip.address]
        useless = [_useless(address, hosts_own) for address in there]
        if all(useless):
            found += [f"{ours.ifname}: {ip.address} {why}" for why in useless]
    return found


def is_settling(record: Attachment, promised: Collection[Ip], pod: Netns) -> bool:
    """Whether the netdev still waits for its link, or a promised address for the end of DAD."""
    ours = find_in_pod(record, pod)
    if ours is None or not ours.up:
        return False
    awaited = {ip.address for ip in promised}
    return _has_lost_its_link(record, ours) or any(
        address.interface in awaited
        and address.flags & AddressFlag.TENTATIVE
        and not address.flags & AddressFlag.DADFAILED
        for address in ours.addresses
    )


def _has_lost_its_link(record: Attachment, ours: Netdev) -> bool:
    had = record.captured is not None and record.captured.carrier
    return had and not ours.carrier


def _useless(address: Address, hosts_own: Iterable[Address]) -> str | None:
    """Why the address cannot be used, or not for new connections; None if it is fine.

    It may be deprecated if that was to be expected: on the host it had a lifetime.  `hosts_own` are
    the addresses that the pod has got from the host.
    """
    if address.family == 6 and address.flags & AddressFlag.DADFAILED:
        return "is somebody else's: duplicate address detection failed"
    if address.family == 6 and address.flags & AddressFlag.TENTATIVE:
        return "cannot be used: duplicate address detection does not end"
    limited = any(
        own.interface == address.interface and own.preferred_s is not None for own in hosts_own
    )
    if address.preferred_s == 0 and not limited:
        return "is deprecated: its preferred lifetime is 0"
    return None


def lacking(promised: tuple[Ip, ...], netdev: Netdev) -> list[Ip]:
    """The promised addresses that `netdev` does not have."""
    there = {address.interface for address in netdev.addresses}
    return [ip for ip in promised if ip.address not in there]


def config_for_delegate(request: CheckRequest, record: Attachment, pod: Netns) -> dict[str, Any]:
    """The configuration for the delegate's own CHECK, with a prevResult that it can agree with.

    It knows nothing of chained plugins: it would insist on the first MAC address, on every route,
    and on a connected route in the main table for each address, although `sbr` moves those
    elsewhere and a /32 has none.  So it is asked about the netdev as it is now; the addresses are
    compared here.
    """
    ours = netdev_named(pod.netdevs, request.attachment.ifname)
    mac = None if ours is None else ours.mac
    netdev = Interface(request.attachment.ifname, mac=mac, sandbox=request.netns)
    version = request.network.version
    previous = result_to_json(Result(interfaces=(netdev,)), version)
    return {**record.config, "cniVersion": version, "prevResult": previous}
