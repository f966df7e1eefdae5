"""ADD: the device goes to an attachment, or the host is exactly as it was."""

from functools import partial
from typing import Final

from amdcni.core import calls
from amdcni.core import check as checks
from amdcni.core.attachment import Attachment
from amdcni.core.errors import InvalidEnvironment, PluginBroken, PluginFailed
from amdcni.core.formats.misspelt import misspelt_keys
from amdcni.core.names import DeviceKey
from amdcni.core.plans.attach import plan_add
from amdcni.core.request import AddRequest
from amdcni.core.spec import Result
from amdcni.ports import Node
from amdcni.verbs import executor, taking_over
from amdcni.verbs.giving_back import give_back, report_healed
from amdcni.verbs.healing import heal_unfinished
from amdcni.verbs.looking import (
    LOCK_WAIT_S,
    find_condition,
    is_meant_again,
    keeps_changing,
    key_of_request,
    look,
    records_about,
    require_allowed,
)
from amdcni.verbs.settling import find_settled


def add(request: AddRequest, node: Node) -> Result:
    """Hand the device to the attachment; on any failure the host is exactly as it was."""
    if not node.is_netns(request.netns):
        raise InvalidEnvironment(f"CNI_NETNS {request.netns!r} is not a network namespace")
    require_allowed(request, node)
    for plugin in calls.plugins_for(request.device.mover, request.device.ipam):
        node.find_plugin(plugin)
    heal_unfinished(node)
    for _ in range(_MOST_ATTEMPTS):
        key = key_of_request(request, node)
        with node.lock(key.lock_name, wait_s=LOCK_WAIT_S):
            result = _add_locked(request, key, node)
        if result is not None:
            return result
    raise keeps_changing(request)


_MOST_ATTEMPTS: Final = 5
"""How often an ADD starts over because its device has changed before it was locked."""


def _add_locked(request: AddRequest, key: DeviceKey, node: Node) -> Result | None:
    """Do the work of an ADD whose device is locked; None if the selector names another one now."""
    done = _settle_earlier(request, key, node)
    if done is not None:
        return done
    pod = node.find_netns(request.netns)
    if pod is None:
        raise InvalidEnvironment(f"CNI_NETNS {request.netns!r} has gone")
    snapshot = look(request, key, pod, records_about(key, node), node)
    if snapshot is None:
        return None
    plan = plan_add(request, snapshot)
    for misspelt in misspelt_keys(request.network.raw):
        node.report("unknown-key", key=misspelt.key, meant=misspelt.meant)
    for what in snapshot.details.unsaved:
        node.report("not-saved", device=str(key), what=what)
    return executor.run(plan, node).result or Result()


def _settle_earlier(request: AddRequest, key: DeviceKey, node: Node) -> Result | None:
    """Heal what earlier calls left of the device; the result if this very ADD is already done.

    A runtime does not repeat an ADD without a DEL, unless the first was killed before it could
    answer; then the same answer is right if everything is as promised; otherwise the work is done
    again.
    """
    for record in records_about(key, node):
        condition = find_condition(record, node)
        if condition.about.in_use:
            if not is_meant_again(record, condition, request):
                continue
            netns, promised = record.netns, checks.promised_by(record)
            pod = find_settled(partial(node.find_pod, netns), record, promised, node)
            as_promised = checks.is_as_promised(record, pod)
            if record.result is not None and as_promised and _is_leased(record, node):
                return record.result
        give_back(record, node, ipam_required=False)
        report_healed(record, condition, node)
    if not records_about(key, node):
        lent = taking_over.begin(request, key.bus_device, node)
        if lent is not None:
            give_back(lent, node, ipam_required=False)
    return None


def _is_leased(record: Attachment, node: Node) -> bool:
    """Whether the addresses are still leased, as far as the IPAM plugin can say, if there is one.

    A DEL that was killed on a full disk has released them, and could not note that it had begun.
    """
    call = calls.lease_call(record)
    try:
        if call is not None:
            node.call(call)
    except PluginFailed:
        return False
    except PluginBroken:
        pass
    return True
