"""Performs the steps of plans: each makes its sentence in `core.steps` true.

It works on any `Machine`: the real one is `amdcni.effects.node`.
"""

from typing import Final, assert_never

import attrs

from amdcni.core import calls, codec, plans, pod
from amdcni.core.attachment import Attachment, Phase
from amdcni.core.errors import (
    PluginBroken,
    PluginFailed,
    PluginNotFound,
)
from amdcni.core.host import netdev_named
from amdcni.core.identity import find_in_pod
from amdcni.core.names import PciAddress
from amdcni.core.steps import (
    BringHome,
    ConfigureInPod,
    ConfirmRecord,
    CopyRoutes,
    DelegateAdd,
    ForgetRecord,
    InspectPod,
    IpamAdd,
    KeepOtherHops,
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
from amdcni.effects import homecoming, in_pod
from amdcni.effects.marks import mark_in_pod, mark_on_host, unmark
from amdcni.ports import Machine

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
        case ForgetRecord(key, taken_over, folder):
            if taken_over and isinstance(key.bus_device, PciAddress):
                node.forget_mapping(key.bus_device)
            node.remove(key, folder)
            # Whoever is killed here is followed by a call that finds unfinished work of no record.
            unmark(node.own, key)
            node.forget(key, folder)
        case DelegateAdd(call, record, netdev):
            if netdev is not None:
                mark_on_host(node.own, netdev, record)
            return attrs.evolve(so_far, result=codec.result_from_json(node.call(call)))
        case InspectPod(record):
            return _inspect_pod(node, record, so_far)
        case KeepOtherHops(record, captured):
            homecoming.keep_other_hops(node, record, captured)
        case MoveIntoPod():
            in_pod.move_into_pod(node, step)
        case IpamAdd(record, call):
            given = codec.result_from_json(node.call(call))
            return attrs.evolve(so_far, result=pod.ipams_promise(record, given))
        case ConfigureInPod(record):
            return in_pod.configure_in_pod(node, record, so_far)
        case CopyRoutes(record, captured):
            return in_pod.copy_routes(node, record, captured, so_far)
        case ReleasePlugins(record, required, limit_s):
            _release_plugins(node, record, required, limit_s)
        case ReleaseIpam(record, limit_s):
            due = calls.ipam_release_call(record, netns_alive=False)
            _release(node, record, due, limit_s is not None, limit_s)
        case BringHome(record, captured):
            home = homecoming.bring_home(node, record, captured)
            return attrs.evolve(so_far, home=home)
        case RestoreConfiguration(record, captured):
            homecoming.restore(node, record, captured, so_far.home)
        case VerifyHome(record, captured):
            homecoming.verify(node, record, captured, so_far.home)
        case _:
            assert_never(step)
    return so_far


def _inspect_pod(node: Machine, record: Attachment, so_far: Outcome) -> Outcome:
    there = node.find_pod(record.netns)
    netdev = None if there is None else netdev_named(there.netdevs, record.id.ifname)
    if netdev is None or find_in_pod(record, there) not in (netdev, None):
        raise PluginBroken(
            f"{calls.DELEGATE} reported success, and {record.id.ifname!r} "
            f"is not in {record.netns.path!r}, or is another netdev"
        )
    return attrs.evolve(so_far, pod_ifindex=netdev.ifindex, pod_mtu=netdev.mtu)


def _release_plugins(
    node: Machine, record: Attachment, required: bool, limit_s: float | None
) -> None:
    """Tell the plugins; a netdev that the delegate takes out of the pod carries its mark then."""
    if not calls.has_plugins(record):
        return
    pod = node.find_pod(record.netns)
    call, netdev = calls.release_call(record, pod), find_in_pod(record, pod)
    if pod is not None and netdev is not None:
        with node.enter(pod.path) as source:
            if source is not None and source.id.is_same(pod.id):
                mark_in_pod(source, netdev, record)
    _release(node, record, call, required, limit_s)


def _release(
    node: Machine,
    record: Attachment,
    call: PluginCall | None,
    required: bool,
    limit_s: float | None,
) -> None:
    """Tell the delegate; where it fails, the IPAM plugin: the netdev is fetched in any case."""
    if call is None:
        return
    try:
        node.call(call, limit_s=limit_s)
    except _PLUGIN_FAILURES as failure:
        ipam = calls.ipam_release_call(record, netns_alive=True)
        if call.plugin == calls.DELEGATE and record.captured is not None and call != ipam:
            node.report("delegate-failed", device=str(record.key), reason=failure.message)
            _release(node, record, ipam, required, limit_s)
        elif isinstance(failure, PluginNotFound) and record.phase is Phase.ATTACHING:
            # An ADD that never ended was given nothing by a plugin that is not there.
            return
        elif required:
            raise
        else:
            node.report("ipam-not-released", device=str(record.key), reason=failure.message)
