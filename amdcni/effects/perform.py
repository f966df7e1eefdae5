"""Performs the steps of plans: each makes its sentence in `core.steps` true.

It works on any `Machine`: the real one is `amdcni.effects.node`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, assert_never

import attrs

from amdcni.core import calls, capture, codec, plans, pod
from amdcni.core.attachment import Attachment, Phase
from amdcni.core.capture import Captured
from amdcni.core.errors import (
    KernelRefused,
    NetdevLost,
    PluginBroken,
    PluginFailed,
    PluginNotFound,
    RestoreIncomplete,
)
from amdcni.core.host import Address, Netdev, Netns, names_of, netdev_named
from amdcni.core.resolve import find_home, find_in_pod
from amdcni.core.spec import Verb
from amdcni.core.steps import (
    BringHome,
    ConfigureInPod,
    ConfirmRecord,
    DelegateAdd,
    ForgetRecord,
    InspectPod,
    IpamAdd,
    MoveIntoPod,
    Outcome,
    PluginCall,
    ReleaseIpam,
    ReleasePlugins,
    RestoreConfiguration,
    SaveRecord,
    Step,
    VerifyHome,
)
from amdcni.node import Machine, Namespace

_PLUGIN_FAILURES: Final = (PluginFailed, PluginBroken, PluginNotFound)


def perform(step: Step, so_far: Outcome, node: Machine) -> Outcome:
    """Make true what `step` says; `so_far` with what has been found out by it."""
    match step:
        case SaveRecord(record):
            node.save(record)
        case ConfirmRecord(record):
            confirmed = plans.confirmed(record, so_far)
            node.save(confirmed)
            return attrs.evolve(so_far, result=confirmed.result)
        case ForgetRecord(key):
            node.forget(key)
        case DelegateAdd(call):
            return attrs.evolve(so_far, result=codec.result_from_json(node.call(call)))
        case InspectPod(record):
            return _inspect_pod(node, record, so_far)
        case MoveIntoPod():
            _move_into_pod(node, step)
        case IpamAdd(record, call):
            given = codec.result_from_json(node.call(call))
            return attrs.evolve(so_far, result=pod.ipams_promise(record, given))
        case ConfigureInPod(record):
            return _configure_in_pod(node, record, so_far)
        case ReleasePlugins(record, required):
            _release(node, record, calls.release_call(record, _pod_of(node, record)), required)
        case ReleaseIpam(record):
            _release(node, record, calls.ipam_call(record, Verb.DEL, netns_alive=False), False)
        case BringHome(record, captured):
            _bring_home(node, record, captured)
        case RestoreConfiguration(record, captured):
            _restore(node, record, captured)
        case VerifyHome(record, captured):
            _verify(node, record, captured)
        case _:
            assert_never(step)
    return so_far


def _inspect_pod(node: Machine, record: Attachment, so_far: Outcome) -> Outcome:
    there = node.find_netns(record.netns.path)
    netdev = None if there is None else netdev_named(there.netdevs, record.id.ifname)
    if netdev is None:
        raise PluginBroken(
            f"{calls.DELEGATE} reported success, and {record.id.ifname!r} "
            f"is not in {record.netns.path!r}"
        )
    return attrs.evolve(so_far, pod_ifindex=netdev.ifindex, pod_mtu=netdev.mtu)


def _move_into_pod(node: Machine, step: MoveIntoPod) -> None:
    """The alias tells the name on the host, as `host-device` leaves it: a salvage goes by it."""
    record, netdev = step.record, step.netdev
    with _entered(node, record) as target:
        for altname in step.in_the_way:
            node.own.drop_altname(netdev, altname)
        node.own.move(netdev, target, record.id.ifname)
        moved = _require_in_pod(target, record)
        target.set_alias(moved, netdev.ifname)
        # Many drivers take a hardware address only while the netdev is down.
        if record.pod_mac is not None:
            target.set_mac(moved, record.pod_mac)
        if step.mtu is not None:
            target.set_mtu(moved, step.mtu)
        target.set_up(moved, True)


def _configure_in_pod(node: Machine, record: Attachment, so_far: Outcome) -> Outcome:
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
            target.await_addresses(netdev)
        for route in pod.routes_for(promise):
            target.add_route(netdev, route)
    result = pod.described(record, promise, netdev)
    return attrs.evolve(so_far, result=result, pod_ifindex=netdev.ifindex, pod_mtu=netdev.mtu)


@contextmanager
def _entered(node: Machine, record: Attachment) -> Iterator[Namespace]:
    """The pod's netns, which has to be that of the record still."""
    with node.enter(record.netns.path) as target:
        if target is None or target.id != record.netns.id:
            raise NetdevLost(f"the network namespace {record.netns.path!r} has gone")
        yield target


def _require_in_pod(target: Namespace, record: Attachment) -> Netdev:
    netdev = target.find_netdev(record.id.ifname)
    if netdev is None:
        raise NetdevLost(f"{record.id.ifname!r} is not in {record.netns.path!r} any more")
    return netdev


def _pod_of(node: Machine, record: Attachment) -> Netns | None:
    return node.find_netns(record.netns.path)


def _release(node: Machine, record: Attachment, call: PluginCall | None, required: bool) -> None:
    """Tell the delegate; where it fails, the IPAM plugin: the netdev is fetched in any case."""
    if call is None:
        return
    try:
        node.call(call)
    except _PLUGIN_FAILURES as failure:
        if call.plugin == calls.DELEGATE and record.captured is not None:
            node.report("delegate-failed", device=str(record.key), reason=failure.message)
            ipam = calls.ipam_call(record, Verb.DEL, netns_alive=True)
            _release(node, record, ipam, required)
        elif isinstance(failure, PluginNotFound) and record.phase is Phase.ATTACHING:
            # An ADD that never ended was given nothing by a plugin that is not there.
            return
        elif required:
            raise
        else:
            node.report("ipam-not-released", device=str(record.key), reason=failure.message)


def _bring_home(node: Machine, record: Attachment, captured: Captured) -> None:
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
    others = tuple(other for other in host.netdevs if other.ifindex != netdev.ifindex)
    wanted = plans.free_name(captured.ifname, names_of(others))
    if netdev.ifname != wanted:
        if wanted in netdev.altnames:
            node.own.drop_altname(netdev, wanted)
        node.own.set_up(netdev, False)
        node.own.rename(netdev, wanted)
    if wanted != captured.ifname:
        node.report("name-taken", device=str(record.key), was=captured.ifname, now=wanted)


def _fetch(node: Machine, record: Attachment, captured: Captured, host: Netns) -> None:
    """Move the netdev out of its pod, if it is there, past all names that are in its way."""
    taken = names_of(host.netdevs)
    wanted = plans.free_name(captured.ifname, taken)
    with node.enter(record.netns.path) as source:
        if source is None or source.id != record.netns.id:
            return
        netdev = find_in_pod(record, source.netdevs())
        if netdev is None:
            return
        for altname in (taken | {wanted}).intersection(netdev.altnames):
            source.drop_altname(netdev, altname)
        source.set_up(netdev, False)
        source.move(netdev, node.own, wanted)


def _restore(node: Machine, record: Attachment, captured: Captured) -> None:
    captured, netdev = _still_due(node, record, captured), _require_home(node, record)
    if (netdev.alias or None) != captured.alias:
        node.own.set_alias(netdev, captured.alias)
    if captured.mac is not None and netdev.mac != captured.mac:
        node.own.set_up(netdev, False)
        node.own.set_mac(netdev, captured.mac)
        netdev = _require_home(node, record)
    if captured.mtu is not None and netdev.mtu != captured.mtu:
        node.own.set_mtu(netdev, captured.mtu)
    if netdev.up != captured.up:
        node.own.set_up(netdev, captured.up)
    refused = _put_addresses(node.own, netdev, captured.addresses)
    if refused:
        raise RestoreIncomplete(f"{record.key} on the host: " + "; ".join(refused))


def _put_addresses(namespace: Namespace, netdev: Netdev, wanted: tuple[Address, ...]) -> list[str]:
    """Set the addresses that the netdev lacks or has differently; what the kernel refused."""
    there = {address.identity: address for address in netdev.addresses}
    refused = []
    for address in capture.in_setting_order(wanted):
        present = there.get(address.identity)
        if present is not None and not capture.deviations(address, present):
            continue
        try:
            namespace.put_address(netdev, address)
        except KernelRefused as failure:
            refused.append(failure.message)
    return refused


def _verify(node: Machine, record: Attachment, captured: Captured) -> None:
    lacking = capture.differences(_still_due(node, record, captured), _require_home(node, record))
    if lacking:
        raise RestoreIncomplete(
            f"{record.key} is not yet what it was on the host: " + "; ".join(lacking)
        )


def _still_due(node: Machine, record: Attachment, captured: Captured) -> Captured:
    """What was captured, as it has to be now: lifetimes have gone on."""
    elapsed_s = record.elapsed_s(node.clock().now_s)
    return attrs.evolve(captured, addresses=capture.aged(captured.addresses, elapsed_s))


def _require_home(node: Machine, record: Attachment) -> Netdev:
    netdev = _at_home(node, record, node.host())
    if netdev is None:
        raise NetdevLost(f"the netdev of {record.key} is not on the host")
    return netdev


def _at_home(node: Machine, record: Attachment, host: Netns) -> Netdev | None:
    bus_device = record.key.bus_device
    device = None if bus_device is None else node.find_device(bus_device)
    return find_home(record, host.netdevs, device)
