"""Lets the `host-device` plugin move the netdev, and checks what it did."""

from typing import assert_never

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.calls import DELEGATE
from amdcni.core.codec import result_from_json
from amdcni.core.errors import PluginBroken
from amdcni.core.host import netdev_named
from amdcni.core.identity import find_in_pod
from amdcni.core.steps.delegate import DelegateAdd, DelegateStep, InspectPod
from amdcni.core.steps.execution import Outcome
from amdcni.effects.marks import mark_on_host
from amdcni.ports import Machine


def perform(step: DelegateStep, so_far: Outcome, node: Machine) -> Outcome:
    """Make what `step` says true; `so_far` with what that found out."""
    match step:
        case DelegateAdd(call, record, netdev):
            if netdev is not None:
                mark_on_host(node.own, netdev, record)
            return attrs.evolve(so_far, result=result_from_json(node.call(call)))
        case InspectPod(record):
            return _inspect(node, record, so_far)
        case _:
            assert_never(step)


def _inspect(node: Machine, record: Attachment, so_far: Outcome) -> Outcome:
    there = node.find_pod(record.netns)
    netdev = None if there is None else netdev_named(there.netdevs, record.id.ifname)
    if netdev is None or find_in_pod(record, there) not in (netdev, None):
        raise PluginBroken(
            f"{DELEGATE} reported success, but {record.id.ifname!r} "
            f"is not in {record.netns.path!r}, or is another netdev"
        )
    return attrs.evolve(so_far, pod_ifindex=netdev.ifindex, pod_mtu=netdev.mtu)
