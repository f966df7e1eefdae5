"""Looks after the routes of a netdev that has just left the host."""

from collections.abc import Collection, Iterable
from typing import assert_never

import attrs

from amdcni.core import in_pod
from amdcni.core.aspects.routes import (
    SeenRoutes,
    SetRoute,
    changes_for,
    ifindexes_of,
    on_netdevs,
    without_netdevs,
)
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured, is_required
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Route
from amdcni.core.spec import Result
from amdcni.core.steps.after_move import AfterMoveStep, CopyRoutes, KeepOtherHops
from amdcni.core.steps.execution import Outcome
from amdcni.effects.pod_netns import entered, require_in_pod
from amdcni.effects.shared_routes import alone_with_shared_routes, awaited
from amdcni.ports import Machine


def perform(step: AfterMoveStep, so_far: Outcome, node: Machine) -> Outcome:
    """Make what `step` says true; `so_far` with what that found out."""
    match step:
        case KeepOtherHops(record, captured):
            _keep_other_hops(node, record, captured)
            return so_far
        case CopyRoutes(record, captured):
            return _copy_routes(node, record, captured, so_far)
        case _:
            assert_never(step)


def _keep_other_hops(node: Machine, record: Attachment, captured: Captured) -> None:
    """Set the multipath routes that are left, through the netdevs that stay.

    The kernel itself keeps routes alive whose nexthop group still has members.
    """
    own = [route for route in captured.routes if route.nexthop is None]
    left = [without_netdevs(route, [captured.ifname]) for route in own]
    kept = [route for route in left if route is not None]
    if kept:
        with alone_with_shared_routes(node, captured):
            _keep(node, record, captured, kept)


def _keep(node: Machine, record: Attachment, captured: Captured, kept: Collection[Route]) -> None:
    """Set what is missing; a netdev that is leaving at this moment takes its hop along.

    So after a refusal everything is read again, until something is refused twice.
    """
    before: set[str] = set()
    while changes := _due(node, record, captured, kept):
        refused = []
        for change in changes:
            try:
                node.own.put_route(change)
            except KernelRefused as failure:
                if is_required(change):
                    refused.append(failure.message)
        if not refused:
            return
        if before.intersection(refused):
            raise KernelRefused("; ".join(refused))
        before.update(refused)


def _due(
    node: Machine, record: Attachment, captured: Captured, kept: Iterable[Route]
) -> list[SetRoute]:
    netdevs = node.host().netdevs
    there = ifindexes_of(netdevs)
    on_host = [route for route in (on_netdevs(route, there) for route in kept) if route.hops]
    return changes_for(on_host, _seen(node, on_host), awaited(node, record, captured, netdevs))


def _seen(node: Machine, routes: Iterable[Route]) -> SeenRoutes:
    return SeenRoutes(node.own.routes_to({route.destination for route in routes}))


def _copy_routes(node: Machine, record: Attachment, captured: Captured, so_far: Outcome) -> Outcome:
    """Give the netdev in the pod the routes that it had on the host; the result lists them."""
    with entered(node, record) as target:
        netdev = require_in_pod(target, record)
        copied = in_pod.copied_routes(captured, netdev)
        there = SeenRoutes(target.routes_to({route.destination for route in copied}))
        for change in changes_for(copied, there):
            target.put_route(change)
    return attrs.evolve(so_far, result=in_pod.with_routes(so_far.result or Result(), copied))
