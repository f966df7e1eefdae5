"""ADDs of every kind, changed as a test needs them, and the contents of their plans."""

from collections.abc import Callable
from typing import Any

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.host import Netdev
from amdcni.core.plans.attach import plan_add
from amdcni.core.spec import PluginCall
from amdcni.core.steps import DelegateAdd, Plan, SaveRecord
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Handover

any_handovers = some.handovers | some.userspace_handovers
native_handovers = some.native_handovers | some.native_userspace_handovers
every_handovers = any_handovers | native_handovers


def plan_of(handover: Handover) -> Plan:
    return plan_add(handover.request, handover.snapshot)


def record_in(plan: Plan) -> Attachment:
    first = plan.steps[0].step
    assert isinstance(first, SaveRecord)
    return first.record


def call_in(plan: Plan) -> PluginCall:
    (call,) = [planned.step.call for planned in plan.steps if isinstance(planned.step, DelegateAdd)]
    return call


def on_host(
    handover: Handover, change: Callable[[Netdev], Netdev], *more: Netdev, **facts: Any
) -> Handover:
    """The same ADD on a host whose chosen netdev is changed, with more netdevs and facts."""
    chosen = handover.netdev
    assert chosen is not None
    changed = change(chosen)
    netdevs = (
        *(changed if n.ifindex == chosen.ifindex else n for n in handover.snapshot.host.netdevs),
        *more,
    )
    snapshot = attrs.evolve(
        handover.snapshot,
        host=attrs.evolve(handover.snapshot.host, netdevs=netdevs),
        candidates=attrs.evolve(handover.snapshot.candidates, netdevs=netdevs),
        **facts,
    )
    return attrs.evolve(handover, snapshot=snapshot, netdev=changed)


def in_pod(handover: Handover, **changes: Any) -> Handover:
    pod = attrs.evolve(handover.snapshot.pod, **changes)
    return attrs.evolve(handover, snapshot=attrs.evolve(handover.snapshot, pod=pod))
