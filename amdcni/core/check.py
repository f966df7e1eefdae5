"""Whether an attachment is still what its ADD promised (CNI SPEC 1.1 §2, CHECK).

Plugins that are chained behind may change the MTU, the MAC address, routes and sysctls of the
netdev; none of that is a fault.  That the netdev is there, is ours, is up and has the promised
addresses, is not theirs to change.
"""

from typing import Any

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.codec import result_to_json
from amdcni.core.host import Netdev, Netns, netdev_named
from amdcni.core.identity import find_in_pod
from amdcni.core.request import CheckRequest
from amdcni.core.spec import Interface, Ip, Result


def problems(request: CheckRequest, record: Attachment, pod: Netns | None) -> list[str]:
    """Every difference between the promise and the pod, one readable line each; empty if none.

    `pod` is what is found at CNI_NETNS now.
    """
    if pod is None or not record.netns.is_alive_in(pod):
        return [f"{request.netns!r} is not the network namespace that {record.key} was moved into"]
    found = []
    if record.phase is not Phase.ATTACHED:
        found.append(f"{record.key} is still {record.phase}: a call was interrupted")
    return found + differences(record, _promised(request, record), pod)


def _promised(request: CheckRequest, record: Attachment) -> tuple[Ip, ...]:
    """The addresses of our netdev in the prevResult of a whole list of plugins.

    One that names no netdev can be of any plugin; it is ours if our own ADD has told it.
    """
    told = () if record.result is None else [ip.address for ip in record.result.ips]
    ips = request.prev_result.ips_of(request.attachment.ifname, request.netns)
    return tuple(ip for ip in ips if ip.interface is not None or ip.address in told)


def is_as_promised(record: Attachment, pod: Netns | None) -> bool:
    """Whether the pod has the device as the record's own result promises."""
    if record.result is None or pod is None or not record.netns.is_alive_in(pod):
        return False
    return not problems_of(record, record.result, pod)


def problems_of(record: Attachment, result: Result, pod: Netns) -> list[str]:
    """What the pod lacks of `result`, that of the record's own ADD."""
    return differences(record, result.ips_of(record.id.ifname, record.netns.path), pod)


def differences(record: Attachment, promised: tuple[Ip, ...], pod: Netns) -> list[str]:
    """What the device in the pod lacks of its name, its being up, and the promised addresses."""
    if record.captured is None:
        return []
    ours = find_in_pod(record, pod)
    if ours is None:
        return [f"{record.key} is not in {record.netns.path!r} any more"]
    found = []
    if netdev_named([ours], record.id.ifname) is None:
        found.append(f"{record.key} is called {ours.ifname!r}, not {record.id.ifname!r}")
    if not ours.up:
        found.append(f"{ours.ifname} is down")
    return found + [f"{ours.ifname} lacks {ip.address}" for ip in lacking(promised, ours)]


def lacking(promised: tuple[Ip, ...], netdev: Netdev) -> list[Ip]:
    """The promised addresses that `netdev` does not have."""
    there = {address.interface for address in netdev.addresses}
    return [ip for ip in promised if ip.address not in there]


def config_for_delegate(request: CheckRequest, record: Attachment, pod: Netns) -> dict[str, Any]:
    """The configuration for the delegate's own CHECK, with a prevResult that it can agree with.

    It knows nothing of chained plugins: it would insist on the first MAC address, on every route,
    and on a connected route for each address in the main table, from where `sbr` takes them and
    where a /32 has none.  So it is asked about the netdev as it is now; the addresses are compared
    here.
    """
    ours = netdev_named(pod.netdevs, request.attachment.ifname)
    mac = None if ours is None else ours.mac
    netdev = Interface(request.attachment.ifname, mac=mac, sandbox=request.netns)
    version = request.network.version
    previous = result_to_json(Result(interfaces=(netdev,)), version)
    return {**record.config, "cniVersion": version, "prevResult": previous}
