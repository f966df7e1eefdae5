"""A netdev comes home: out of the pod, under its name, with everything that was captured."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import attrs

from amdcni.core import capture, plans
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.errors import KernelRefused, NetdevLost, RestoreIncomplete
from amdcni.core.host import (
    AddressFlag,
    IpAddress,
    LinkFlag,
    Netdev,
    Netns,
    Route,
    SysfsDevice,
    Values,
    names_of,
)
from amdcni.core.identity import find_home, find_in_pod, needs_mark
from amdcni.core.names import IfName
from amdcni.core.routes import (
    SeenRoutes,
    due_on_host,
    ifindexes_of,
    is_lacking,
    missing,
    on_netdevs,
    without_netdevs,
)
from amdcni.effects.marks import mark_in_pod
from amdcni.node import Machine, Namespace

_SETTLE_POLL_S: Final = 0.01
_SETTLE_ATTEMPTS: Final = 300
_NAMING_ATTEMPTS: Final = 5
_ROUNDS: Final = 2


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
    name = _give_name(node, record, captured, netdev, host)
    if name != captured.ifname:
        node.report("name-taken", device=str(record.key), was=captured.ifname, now=name)


def _give_name(
    node: Machine, record: Attachment, captured: Captured, netdev: Netdev, host: Netns
) -> IfName:
    """Give the netdev its own name or, if a stranger has that, a free one; the name.

    Somebody may take a name that was free, so that a refusal leads to another look.
    """
    for attempts_left in reversed(range(_NAMING_ATTEMPTS)):
        others = [other for other in host.netdevs if other.ifindex != netdev.ifindex]
        wanted = plans.free_name(captured.ifname, names_of(others))
        if netdev.ifname == wanted:
            break
        try:
            if wanted in netdev.altnames:
                node.own.drop_altname(netdev, wanted)
            node.own.change(netdev, up=False)
            node.own.rename(netdev, wanted)
            break
        except KernelRefused:
            if not attempts_left:
                raise
        host = node.host()
        netdev = _require(node.own.find_by_index(netdev.ifindex), record)
    return wanted


def _fetch(node: Machine, record: Attachment, captured: Captured, host: Netns) -> None:
    """Move the netdev out of its pod, if it is there, past all names that are in its way."""
    pod = node.find_pod(record.netns)
    netdev = find_in_pod(record, pod)
    if pod is None or netdev is None:
        return
    for other in host.netdevs:
        if record.mark in other.altnames:
            # It cannot be ours, and would keep ours from being known.
            node.own.drop_altname(other, record.mark)
    taken = names_of(host.netdevs) - {record.mark}
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
    kept = [route for route in left if route is not None]
    if not kept:
        return
    there = ifindexes_of(node.host().netdevs)
    due = [route for route in (on_netdevs(route, there) for route in kept) if route.hops]
    awaited, refused = _awaited(node, record, captured), Refusals()
    _set_routes(node.own, due, _seen_of(node.own, due), awaited, refused)
    if refused.messages:
        seen = _seen_of(node.own, due)
        if any(is_lacking(route, seen, awaited) for route in due):
            raise KernelRefused("; ".join(refused.messages))


def _awaited(node: Machine, record: Attachment, captured: Captured) -> frozenset[str]:
    """The netdevs that share a route with ours and are recorded as lent, or not yet whole again."""
    if not any(len(route.hops) > 1 for route in captured.routes):
        return frozenset()
    others = [other for other in node.multipath_records() if other.key != record.key]
    names = [other.host_ifname for other in others if other.boot_id == record.boot_id]
    return frozenset(name for name in names if name is not None)


def _set_routes(
    host: Namespace,
    due: Iterable[Route],
    seen: SeenRoutes,
    awaited: frozenset[str],
    refused: "Refusals",
) -> None:
    """Set each route that is not `seen`, or as much of it as does not need `awaited` netdevs.

    One of these may be on the host and not able to take its hop yet.
    """
    for route in due:
        least, failures = without_netdevs(route, awaited), Refusals()
        for part in (route,) if least == route else (route, least):
            change = None if part is None else missing(part, seen)
            if change is None:
                break
            if failures.unless(host.put_route, change):
                seen.add(change.route)
                break
        else:
            refused.messages.append(failures.messages[0])


def _seen_of(host: Namespace, due: Iterable[Route], known: Iterable[Route] = ()) -> SeenRoutes:
    """What is to be seen of the routes `due`; `known` are all through one netdev, if it is its own.

    A route with several hops has to keep what others have set of it; of one with one hop it is
    enough to know whether it is there.
    """
    asked = {route.destination for route in due if not known or len(route.hops) > 1}
    besides = [route for route in known if route.destination not in asked]
    return SeenRoutes((*besides, *host.routes_to(asked)))


def restore(node: Machine, record: Attachment, captured: Captured) -> None:
    """Put everything back in the order in which the kernel takes it; a refusal stops no other.

    What is there already is left alone.  Others may be at work on the same netdev, so that a
    refusal leads to another look, and counts only if something is lacking after that.
    """
    for _ in range(_ROUNDS):
        refused = _put_back(node, record, captured)
        if not refused.messages:
            return
    lacking = _lacking(node, record, captured)
    if lacking:
        raise RestoreIncomplete(f"{record.key} on the host: " + "; ".join(refused.messages))


def _put_back(node: Machine, record: Attachment, captured: Captured) -> "Refusals":
    """Set all that is lacking now; what the kernel refused.

    No duplicate is looked for of addresses that this NIC just held, if the sysctl can be set: the
    kernel takes no route from an address that it examines.
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
    early = capture.sysctls_in_order(captured, late=False)
    _put_sysctls(host, netdev, host.sysctls(netdev), early, refused)
    if netdev.up != captured.up:
        refused.unless(host.change, netdev, up=captured.up)
    there = {address.identity: address for address in netdev.addresses}
    for address in capture.in_setting_order(captured.addresses):
        present = there.get(address.identity)
        if present is None or capture.deviations(address, present):
            refused.unless(host.put_address, netdev, address)
    netdev = _settled(host, record, captured, netdev.ifindex)
    _put_what_needs_addresses(node, record, captured, (netdev, *others), refused)
    return refused


def _put_what_needs_addresses(
    node: Machine,
    record: Attachment,
    captured: Captured,
    netdevs: tuple[Netdev, ...],
    refused: "Refusals",
) -> None:
    """`netdevs` are those of the host, ours the first."""
    host, (netdev, *others) = node.own, netdevs
    details = host.own_details(netdev)
    if captured.token is not None and netdev.token != captured.token:
        refused.unless(host.change, netdev, token=captured.token)
    known = set(details.neighbours)
    for neighbour in captured.neighbours:
        if neighbour not in known:
            refused.unless(host.put_neighbour, netdev, neighbour)
    due = due_on_host(captured.routes, captured.ifname, netdev, others)
    seen = _seen_of(host, due, details.routes)
    _set_routes(host, due, seen, _awaited(node, record, captured), refused)
    if captured.qdisc is not None and details.qdisc != captured.qdisc:
        refused.unless(host.put_qdisc, netdev, captured.qdisc)
    late = capture.sysctls_in_order(captured, late=True)
    _put_sysctls(host, netdev, details.sysctls, late, refused)


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
    seen: Values,
    due: list[tuple[str, int | str]],
    refused: "Refusals",
) -> None:
    for name, value in due:
        if seen.get(name) != value:
            refused.unless(host.put_sysctl, netdev, name, value)


def _settled(host: Namespace, record: Attachment, captured: Captured, ifindex: int) -> Netdev:
    """The netdev on the host, once no address is tentative from which a route is to lead."""
    sources = {route.source for route in captured.routes if route.family == 6}
    for _ in range(_SETTLE_ATTEMPTS):
        netdev = _require(host.find_by_index(ifindex), record)
        tentative = {
            address.interface.ip
            for address in netdev.addresses
            if address.flags & AddressFlag.TENTATIVE
        }
        if not tentative & sources:
            break
        time.sleep(_SETTLE_POLL_S)
    return netdev


@attrs.define
class Refusals:
    """What the kernel did not do, while everything is tried."""

    messages: list[str] = attrs.field(factory=list)

    def unless(self, act: Callable[..., None], *arguments: object, **named: object) -> bool:
        """Do it; note if the kernel refuses; whether it is done."""
        try:
            act(*arguments, **named)
        except KernelRefused as failure:
            self.messages.append(failure.message)
            return False
        return True


def verify(node: Machine, record: Attachment, captured: Captured) -> None:
    """Raise RestoreIncomplete, listing all that is not as it was, unless the host is whole."""
    lacking = _lacking(node, record, captured)
    if lacking:
        raise RestoreIncomplete(
            f"{record.key} is not yet what it was on the host: " + "; ".join(lacking)
        )
    _drop_mark(node, record)


def _drop_mark(node: Machine, record: Attachment) -> None:
    """Take the mark away, unless the record on disk would not know the netdev without it.

    The record may stay for a while, because a plugin refuses or the disk does.
    """
    netdev, others = _require_home(node, record)
    stored = node.find_record(record.key) or record
    device, pod = _device_of(node, record), node.find_pod(record.netns)
    if not needs_mark(stored, netdev, others, device, pod):
        node.own.drop_altname(netdev, record.mark)


def _lacking(node: Machine, record: Attachment, captured: Captured) -> list[str]:
    """What the host lacks of all that was captured, one readable line each."""
    netdev, others = _require_home(node, record)
    due = _still_due(node, captured, record)
    awaited = _awaited(node, record, captured)
    details = node.own.own_details(netdev)
    return capture.differences(due, netdev, details, others, awaited)


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
    netdev = _require(_at_home(node, record, host), record)
    return netdev, tuple(other for other in host.netdevs if other.ifindex != netdev.ifindex)


def _require(netdev: Netdev | None, record: Attachment) -> Netdev:
    if netdev is None:
        raise NetdevLost(f"the netdev of {record.key} is not on the host")
    return netdev


def _at_home(node: Machine, record: Attachment, host: Netns) -> Netdev | None:
    device = _device_of(node, record)
    return find_home(record, host.netdevs, device, node.find_pod(record.netns))


def _device_of(node: Machine, record: Attachment) -> SysfsDevice | None:
    bus_device = record.key.bus_device
    return None if bus_device is None else node.find_device(bus_device)
