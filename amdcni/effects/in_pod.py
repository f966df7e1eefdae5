"""What is done to a netdev in a pod, by netlink alone: most of it for the mover `native`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs

from amdcni.core import pod
from amdcni.core.aspects.routes import RouteChange, SeenRoutes, SetRoute, changes_for
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused, NetdevLost
from amdcni.core.host import AddressFlag, Netdev
from amdcni.core.spec import Result
from amdcni.core.steps import MoveIntoPod, Outcome
from amdcni.effects.marks import mark_on_host
from amdcni.ports import Machine, Namespace

_DAD_LIMIT_S: Final = 10.0
_DAD_POLL_S: Final = 0.05


def move_into_pod(node: Machine, step: MoveIntoPod) -> None:
    """Move the netdev under its new name, past all alternative names that are in the way.

    The alias tells the name on the host, as `host-device` leaves it: a salvage goes by it.
    """
    record, netdev = step.record, step.netdev
    mark_on_host(node.own, netdev, record)
    asked: dict[str, Any] = {"mac": record.pod_mac, "mtu": step.mtu}
    with _entered(node, record) as target:
        for altname in step.in_the_way:
            node.own.drop_altname(netdev, altname)
        given = {name: value for name, value in asked.items() if value is not None}
        alias = netdev.ifname
        node.own.move(netdev, target, record.id.ifname, alias=alias, **given, up=True)


def configure_in_pod(node: Machine, record: Attachment, so_far: Outcome) -> Outcome:
    """Give the netdev the addresses and routes that `so_far` promises, or those of the host."""
    promise = so_far.result or pod.hosts_promise(record)
    wanted = pod.addresses_for(record, promise, node.clock().now_s)
    with _entered(node, record) as target:
        netdev = _require_in_pod(target, record)
        if any(address.family == 6 for address in wanted):
            for ifname in ("lo", netdev.ifname):
                target.allow_ipv6(ifname)
        for address in wanted:
            target.put_address(netdev, address)
        if record.ipam is not None:
            _await_addresses(target, record)
        for route in pod.routes_for(promise, netdev):
            target.put_route(SetRoute(RouteChange(route)))
    result = pod.described(record, promise, netdev)
    return attrs.evolve(so_far, result=result, pod_ifindex=netdev.ifindex, pod_mtu=netdev.mtu)


def copy_routes(node: Machine, record: Attachment, captured: Captured, so_far: Outcome) -> Outcome:
    """Give the netdev in the pod the routes that it had on the host; the result tells of them."""
    with _entered(node, record) as target:
        netdev = _require_in_pod(target, record)
        copied = pod.copied_routes(captured, netdev)
        there = SeenRoutes(target.routes_to({route.destination for route in copied}))
        for change in changes_for(copied, there):
            target.put_route(change)
    return attrs.evolve(so_far, result=pod.with_routes(so_far.result or Result(), copied))


def _await_addresses(target: Namespace, record: Attachment) -> None:
    """Wait until duplicate address detection is over; a duplicate is a KernelRefused.

    Without a carrier that may be never, so the time to wait is limited.
    """
    deadline = time.monotonic() + _DAD_LIMIT_S
    while time.monotonic() < deadline:
        addresses = [a for a in _require_in_pod(target, record).addresses if a.family == 6]
        for address in addresses:
            if address.flags & AddressFlag.DADFAILED:
                raise KernelRefused(f"{address.interface.ip} is somebody else's already (DAD)")
        if not any(
            address.flags & AddressFlag.TENTATIVE
            for address in addresses
            if not address.interface.ip.is_link_local
        ):
            return
        time.sleep(_DAD_POLL_S)


@contextmanager
def _entered(node: Machine, record: Attachment) -> Iterator[Namespace]:
    """The pod's netns, which has to be that of the record still."""
    with node.enter(record.netns.path) as target:
        if target is None or not target.id.is_same(record.netns.id):
            raise NetdevLost(f"the network namespace {record.netns.path!r} has gone")
        yield target


def _require_in_pod(target: Namespace, record: Attachment) -> Netdev:
    netdev = target.find_netdev(record.id.ifname)
    if netdev is None:
        raise NetdevLost(f"{record.id.ifname!r} is not in {record.netns.path!r} any more")
    return netdev
