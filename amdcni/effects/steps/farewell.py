"""Tells other plugins that the attachment ends."""

from typing import Final, assert_never

from amdcni.core import calls
from amdcni.core.attachment import Attachment, Phase
from amdcni.core.errors import PluginBroken, PluginFailed, PluginNotFound
from amdcni.core.identity import find_in_pod
from amdcni.core.spec import PluginCall
from amdcni.core.steps.execution import Outcome
from amdcni.core.steps.farewell import FarewellStep, ReleaseIpam, ReleasePlugins
from amdcni.effects.marks import mark_in_pod
from amdcni.ports import Machine

_PLUGIN_FAILURES: Final = (PluginFailed, PluginBroken, PluginNotFound)


def perform(step: FarewellStep, so_far: Outcome, node: Machine) -> Outcome:
    """Make what `step` says true; that finds nothing out."""
    match step:
        case ReleasePlugins(record):
            _release_plugins(node, step)
        case ReleaseIpam(record, limit_s):
            call = calls.ipam_release_call(record, netns_alive=False)
            _release(node, record, call, limit_s is not None, limit_s)
        case _:
            assert_never(step)
    return so_far


def _release_plugins(node: Machine, step: ReleasePlugins) -> None:
    """Tell the plugins; by then, a netdev that the delegate takes out of the pod has its mark."""
    record = step.record
    if not calls.has_plugins(record):
        return
    pod = node.find_pod(record.netns)
    call, netdev = calls.release_call(record, pod), find_in_pod(record, pod)
    if pod is not None and netdev is not None:
        with node.enter(pod.path) as source:
            if source is not None and source.id.is_same(pod.id):
                mark_in_pod(source, netdev, record)
    _release(node, record, call, step.required, step.limit_s)


def _release(
    node: Machine,
    record: Attachment,
    call: PluginCall | None,
    required: bool,
    limit_s: float | None,
) -> None:
    """Tell the delegate or, if it fails, the IPAM plugin: the netdev is fetched in any case."""
    if call is None:
        return
    try:
        node.call(call, limit_s=limit_s)
    except _PLUGIN_FAILURES as failure:
        ipam = calls.ipam_release_call(record, netns_alive=True)
        if call.plugin == calls.DELEGATE and record.captured is not None and call != ipam:
            node.report("delegate-failed", **record.facts, reason=failure.message)
            _release(node, record, ipam, required, limit_s)
        elif isinstance(failure, PluginNotFound) and record.phase is Phase.ATTACHING:
            # A plugin that is not there has given nothing to an ADD that never ended.
            return
        elif required:
            raise
        else:
            node.report("ipam-not-released", **record.facts, reason=failure.message)
