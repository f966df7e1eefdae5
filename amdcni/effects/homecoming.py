"""A netdev comes home: out of the pod, under its name, with everything that was captured."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import attrs

from amdcni.core import capture, plans
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused, NetdevLost, RestoreIncomplete
from amdcni.core.host import (
    AddressFlag,
    Details,
    IpAddress,
    LinkFlag,
    Netdev,
    Netns,
    Route,
    names_of,
)
from amdcni.core.identity import find_home, find_in_pod
from amdcni.core.routes import due_on_host, is_lacking, missing, on_netdevs, without_netdevs
from amdcni.effects.marks import mark_in_pod, unmark
from amdcni.node import Machine, Namespace

_SETTLE_POLL_S: Final = 0.01
_SETTLE_ATTEMPTS: Final = 300


def bring_home(node: Machine, record: Attachment, captured: Captured) -> None:
    """Make the netdev be on the host, under its own name or, if a stranger has that, a free one.

    Raises: NetdevLost, KernelRefused.
    """
    host = node.host()
    netdev = _at_home(node, record, host)
    if netdev is None:
        _fetch(node, record, captured, host)
        host = node.host()
        netdev = _at_home(node, record, host)
    if netdev is None:
        raise NetdevLost(
            f"the netdev of {record.key} is neither on the host nor in {record.netns.path!r}; "
            "it is held elsewhere, or gone; its record is kept"
        )
    others = [other for other in host.netdevs if other.ifindex != netdev.ifindex]
    wanted = plans.free_name(captured.ifname, names_of(others))
    if netdev.ifname != wanted:
        if wanted in netdev.altnames:
            node.own.drop_altname(netdev, wanted)
        node.own.change(netdev, up=False)
        node.own.rename(netdev, wanted)
    if wanted != captured.ifname:
        node.report("name-taken", device=str(record.key), was=captured.ifname, now=wanted)


def _fetch(node: Machine, record: Attachment, captured: Captured, host: Netns) -> None:
    """Move the netdev out of its pod, if it is there, past all names that are in its way."""
    pod = node.find_pod(record.netns)
    netdev = find_in_pod(record, pod)
    if pod is None or netdev is None:
        return
    taken = names_of(host.netdevs)
    wanted = plans.free_name(captured.ifname, taken)
    with node.enter(pod.path) as source:
        if source is None or not source.id.is_same(pod.id):
            return
        mark_in_pod(source, netdev, record)
        for altname in (taken | {wanted}).intersection(netdev.altnames):
            source.drop_altname(netdev, altname)
        source.change(netdev, up=False)
        source.move(netdev, node.own, wanted)


def keep_other_hops(node: Machine, record: Attachment, captured: Captured) -> None:
    """Set the multipath routes that are left, through the netdevs that stay."""
    left = [without_netdevs(route, [captured.ifname]) for route in captured.routes]
    due = [route for route in left if route is not None]
    if due:
        netdevs, awaited = node.host().netdevs, _awaited(node, record, captured)
        for route in due:
            there = on_netdevs(route, netdevs)
            if there.hops:
                _set_route(node.own, there, awaited)


def _awaited(node: Machine, record: Attachment, captured: Captured) -> frozenset[str]:
    """The netdevs that share a route with ours and are recorded as lent, or not yet whole again."""
    if not any(len(route.hops) > 1 for route in captured.routes):
        return frozenset()
    others = [other for other in node.multipath_records() if other.key != record.key]
    names = [other.host_ifname for other in others if other.boot_id == record.boot_id]
    return frozenset(name for name in names if name is not None)


def _set_route(host: Namespace, route: Route, awaited: frozenset[str]) -> None:
    """Set the route, or as much of it as does not need netdevs that are `awaited`.

    One of these may be on the host and not able to take its hop yet, and another call may set the
    same route at the same time; so a refusal counts only if there is still something lacking.
    """
    least, refusals = without_netdevs(route, awaited), []
    for due in (route,) if least == route else (route, least):
        change = None if due is None else missing(due, host.routes())
        if change is None:
            return
        try:
            host.put_route(change)
        except KernelRefused as failure:
            refusals.append(failure)
        else:
            return
    if is_lacking(route, host.routes(), awaited):
        raise refusals[0]


def restore(node: Machine, record: Attachment, captured: Captured) -> None:
    """Put everything back in the order in which the kernel takes it; a refusal stops no other.

    What is there already is left alone.  No duplicate is looked for of addresses that this NIC just
    held, if the sysctl can be set: the kernel takes no route from an address that it examines.
    """
    host, refused = node.own, Refusals()
    netdev, others = _require_home(node, record)
    captured = _still_due(node, captured, record)
    if captured.token is not None:
        netdev = _put_token(host, netdev, captured.token)
    add, drop = capture.altname_changes(captured, netdev, others)
    for altname in drop:
        refused.unless(host.drop_altname, netdev, altname)
    for altname in add:
        refused.unless(host.add_altname, netdev, altname)
    for name, value in capture.link_changes(captured, netdev).items():
        refused.unless(host.change, netdev, **{name: value})
    with suppress(KernelRefused):
        if capture.ACCEPT_DAD in captured.sysctls:
            host.put_sysctl(netdev, capture.ACCEPT_DAD, "0")
    details = node.details(netdev)
    _put_sysctls(host, netdev, details, capture.sysctls_in_order(captured, late=False), refused)
    if netdev.up != captured.up:
        refused.unless(host.change, netdev, up=captured.up)
    there = {address.identity: address for address in netdev.addresses}
    for address in capture.in_setting_order(captured.addresses):
        present = there.get(address.identity)
        if present is None or capture.deviations(address, present):
            refused.unless(host.put_address, netdev, address)
    _restore_what_needs_addresses(node, record, captured, refused)
    if refused.messages:
        raise RestoreIncomplete(f"{record.key} on the host: " + "; ".join(refused.messages))


def _restore_what_needs_addresses(
    node: Machine, record: Attachment, captured: Captured, refused: "Refusals"
) -> None:
    host = node.own
    netdev, others = _settled(node, record, captured)
    details = node.details(netdev)
    if captured.token is not None and netdev.token != captured.token:
        refused.unless(host.change, netdev, token=captured.token)
    for neighbour in captured.neighbours:
        if neighbour not in details.neighbours:
            refused.unless(host.put_neighbour, netdev, neighbour)
    seen, awaited = host.routes() if captured.routes else (), _awaited(node, record, captured)
    for route in due_on_host(captured.routes, captured.ifname, netdev, others):
        if missing(route, seen) is not None:
            refused.unless(_set_route, host, route, awaited)
    if captured.qdisc is not None and details.qdisc != captured.qdisc:
        refused.unless(host.put_qdisc, netdev, captured.qdisc)
    _put_sysctls(host, netdev, details, capture.sysctls_in_order(captured, late=True), refused)


def _put_token(host: Namespace, netdev: Netdev, token: IpAddress) -> Netdev:
    """Give the netdev the token before it gets sysctls and flags that may forbid that."""
    with suppress(KernelRefused):
        if netdev.flags & LinkFlag.NOARP:
            host.change(netdev, flags=netdev.flags & ~LinkFlag.NOARP)
            netdev = attrs.evolve(netdev, flags=netdev.flags & ~LinkFlag.NOARP)
        host.change(netdev, token=token)
    return netdev


def _put_sysctls(
    host: Namespace,
    netdev: Netdev,
    seen: Details,
    due: list[tuple[str, int | str]],
    refused: "Refusals",
) -> None:
    for name, value in due:
        if seen.sysctls.get(name) != value:
            refused.unless(host.put_sysctl, netdev, name, value)


def _settled(
    node: Machine, record: Attachment, captured: Captured
) -> tuple[Netdev, tuple[Netdev, ...]]:
    """The netdev on the host, once no address is tentative from which a route is to lead."""
    sources = {route.source for route in captured.routes if route.family == 6}
    for _ in range(_SETTLE_ATTEMPTS):
        netdev, others = _require_home(node, record)
        tentative = {
            address.interface.ip
            for address in netdev.addresses
            if address.flags & AddressFlag.TENTATIVE
        }
        if not tentative & sources:
            break
        time.sleep(_SETTLE_POLL_S)
    return netdev, others


@attrs.define
class Refusals:
    """What the kernel did not do, while everything is tried."""

    messages: list[str] = attrs.field(factory=list)

    def unless(self, act: Callable[..., None], *arguments: object, **named: object) -> None:
        """Do it; note if the kernel refuses."""
        try:
            act(*arguments, **named)
        except KernelRefused as failure:
            self.messages.append(failure.message)


def verify(node: Machine, record: Attachment, captured: Captured) -> None:
    """Raise RestoreIncomplete, listing all that is not as it was, unless the host is whole.

    The mark that the netdev has carried goes when nothing else is left to do.
    """
    netdev, others = _require_home(node, record)
    due = _still_due(node, captured, record)
    awaited = _awaited(node, record, captured)
    lacking = capture.differences(due, netdev, node.details(netdev), others, awaited)
    if lacking:
        raise RestoreIncomplete(
            f"{record.key} is not yet what it was on the host: " + "; ".join(lacking)
        )
    unmark(node.own, netdev)


def _still_due(node: Machine, captured: Captured, record: Attachment) -> Captured:
    """What was captured, as it has to be now: lifetimes have gone on."""
    elapsed_s = record.elapsed_s(node.clock().now_s)
    return attrs.evolve(
        captured,
        addresses=capture.aged(captured.addresses, elapsed_s),
        routes=capture.aged_routes(captured.routes, elapsed_s),
    )


def _require_home(node: Machine, record: Attachment) -> tuple[Netdev, tuple[Netdev, ...]]:
    """The netdev on the host, and the others there."""
    host = node.host()
    netdev = _at_home(node, record, host)
    if netdev is None:
        raise NetdevLost(f"the netdev of {record.key} is not on the host")
    return netdev, tuple(other for other in host.netdevs if other.ifindex != netdev.ifindex)


def _at_home(node: Machine, record: Attachment, host: Netns) -> Netdev | None:
    bus_device = record.key.bus_device
    device = None if bus_device is None else node.find_device(bus_device)
    return find_home(record, host.netdevs, device, node.find_pod(record.netns))
