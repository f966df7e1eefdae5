"""Moves a netdev into a pod and configures it there, by netlink."""

import time
from typing import Any, Final, assert_never

import attrs

from amdcni.core import in_pod
from amdcni.core.aspects.routes import RouteChange, SetRoute
from amdcni.core.attachment import Attachment
from amdcni.core.codec import result_from_json
from amdcni.core.errors import KernelRefused
from amdcni.core.host import AddressFlag
from amdcni.core.pod_sysctls import due_in_pod
from amdcni.core.steps.execution import Outcome
from amdcni.core.steps.native import (
    ConfigureInPod,
    IpamAdd,
    MoveIntoPod,
    NativeStep,
    RestoreLink,
)
from amdcni.effects.marks import mark_on_host
from amdcni.effects.pod_netns import entered, require_in_pod
from amdcni.ports import Machine, Namespace

_DAD_LIMIT_S: Final = 10.0
_DAD_POLL_S: Final = 0.05


def perform(step: NativeStep, so_far: Outcome, node: Machine) -> Outcome:
    """Make what `step` says true; `so_far` with what that found out."""
    match step:
        case RestoreLink(netdev, changes):
            refused = node.own.apply(netdev, changes)
            if refused:
                raise KernelRefused("; ".join(refused))
            return so_far
        case MoveIntoPod():
            _move(node, step)
            return so_far
        case IpamAdd(record, call):
            given = result_from_json(node.call(call))
            return attrs.evolve(so_far, result=in_pod.ipams_promise(record, given))
        case ConfigureInPod(record):
            return _configure(node, record, so_far)
        case _:
            assert_never(step)


def _move(node: Machine, step: MoveIntoPod) -> None:
    """Move the netdev under its new name, past all alternative names that are in the way.

    The alias is the name on the host, as with `host-device`: a salvage relies on it.  What sysctls
    decide when it goes up has to be set before that; one that is refused is reported.
    """
    record, netdev = step.record, step.netdev
    mark_on_host(node.own, netdev, record)
    asked: dict[str, Any] = {"mac": record.pod_mac, "mtu": step.mtu}
    with entered(node, record) as target:
        for altname in step.in_the_way:
            node.own.drop_altname(netdev, altname)
        given = {name: value for name, value in asked.items() if value is not None}
        alias, wanted = record.host_ifname, record.pod_sysctls
        changes = due_in_pod(wanted, target.sysctl_defaults(wanted)) if wanted else []
        if not changes:
            given["up"] = True
        node.own.move(netdev, target, record.id.ifname, alias=alias, **given)
        if changes:
            moved = require_in_pod(target, record)
            for reason in target.apply(moved, changes):
                node.report("not-set-in-pod", **record.facts, reason=reason)
            target.change(moved, up=True)


def _configure(node: Machine, record: Attachment, so_far: Outcome) -> Outcome:
    """Give the netdev the addresses and routes that `so_far` promises, or those of the host."""
    again = in_pod.promised_again(record)
    promise = again or so_far.result or in_pod.hosts_promise(record)
    wanted = in_pod.addresses_for(record, promise, node.clock().now_s)
    with entered(node, record) as target:
        netdev = require_in_pod(target, record)
        if any(address.family == 6 for address in wanted):
            for ifname in ("lo", netdev.ifname):
                target.allow_ipv6(ifname)
        for address in wanted:
            target.put_address(netdev, address)
        if record.ipam is not None:
            _await_addresses(target, record)
        for route in in_pod.routes_for(promise, netdev):
            target.put_route(SetRoute(RouteChange(route)))
    result = in_pod.described(record, promise, netdev)
    return attrs.evolve(so_far, result=result, pod_ifindex=netdev.ifindex, pod_mtu=netdev.mtu)


def _await_addresses(target: Namespace, record: Attachment) -> None:
    """Wait until duplicate address detection is over; a duplicate is a KernelRefused.

    Without a carrier that may never happen, so the wait is limited.
    """
    deadline = time.monotonic() + _DAD_LIMIT_S
    while time.monotonic() < deadline:
        addresses = [a for a in require_in_pod(target, record).addresses if a.family == 6]
        for address in addresses:
            if address.flags & AddressFlag.DADFAILED:
                raise KernelRefused(f"{address.interface.ip} is already somebody else's (DAD)")
        if not any(
            address.flags & AddressFlag.TENTATIVE
            for address in addresses
            if not address.interface.ip.is_link_local
        ):
            return
        time.sleep(_DAD_POLL_S)
