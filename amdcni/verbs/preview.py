"""What an ADD would do now, without doing it."""

from collections.abc import Collection

import attrs

from amdcni.core import calls, forecast
from amdcni.core import check as checks
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Details
from amdcni.core.host import Netns, NetnsId
from amdcni.core.plans.attach import plan_add
from amdcni.core.plans.recording import in_transit
from amdcni.core.plans.snapshot import Snapshot
from amdcni.core.request import AddRequest, DeviceSelector
from amdcni.core.resolve import resolve
from amdcni.core.steps import Plan
from amdcni.ports import Node
from amdcni.verbs import taking_over
from amdcni.verbs.giving_back import is_destroyed
from amdcni.verbs.looking import (
    find_condition,
    is_meant_again,
    keeps_changing,
    key_of_request,
    look,
    records_about,
    require_allowed,
)


@attrs.frozen
class Preview:
    """What an ADD would do now: return to the host what is `stale`, and carry out `plan`.

    `plan` is None if this very ADD has been done and everything is as promised: the answer is its
    result.  `unsaved` is, in words, what of the netdev no record can hold.
    """

    stale: tuple[Attachment, ...]
    plan: Plan | None
    unsaved: tuple[str, ...] = ()


def preview(request: AddRequest, node: Node) -> Preview:
    """What `add` would do now; nothing is changed or waited for, and no pod is needed yet.

    A missing netns counts as an empty one.

    Raises: what `add` raises before it changes anything, or once what is stale has been returned.
    """
    require_allowed(request, node)
    for plugin in calls.plugins_for(request.device.mover, request.device.ipam):
        node.find_plugin(plugin)
    key = key_of_request(request, node)
    stale: list[Attachment] = []
    live: list[Attachment] = []
    for record in records_about(key, node):
        condition = find_condition(record, node)
        in_use = condition.about.in_use
        if is_meant_again(record, condition, request):
            there = node.find_pod(record.netns)
            if record.result is not None and checks.is_as_promised(record, there):
                return Preview((), None)
            in_use = False
        (live if in_use else stale).append(record)
    lent = None if live else taking_over.foresee(request, key.bus_device, node)
    stale += [] if lent is None else [lent]
    pod = node.find_netns(request.netns) or Netns(request.netns, NetnsId(0, 0))
    snapshot = look(request, key, pod, tuple(live), node)
    if snapshot is None:
        raise keeps_changing(request)
    snapshot = _healed(request.device.selector, snapshot, stale, node)
    plan = plan_add(request, snapshot)
    return Preview(tuple(stale), plan, snapshot.details.unsaved)


def _healed(
    selector: DeviceSelector, snapshot: Snapshot, stale: Collection[Attachment], node: Node
) -> Snapshot:
    """The snapshot as it will be once what is `stale` has been returned."""
    details: dict[int, Details] = {}
    for record in stale:
        outdated = record.boot_id != snapshot.clock.boot_id
        if outdated or record.captured is None or is_destroyed(record, node):
            continue
        pod, device = node.find_pod(record.netns), node.find_device(record.key.bus_device)
        found = forecast.find_netdev(record, snapshot.host, pod, device)
        others, elapsed_s = snapshot.host.netdevs, record.elapsed_s(snapshot.clock.now_s)
        seen = node.details(found.netdev) if found.on_host else Details()
        netdev = forecast.netdev_at_home(record.captured, found, others, elapsed_s)
        details[netdev.ifindex] = forecast.details_at_home(
            record.captured, netdev, seen, others, elapsed_s
        )
        snapshot = forecast.after(snapshot, record, found, netdev)
    if not details:
        return snapshot
    chosen = resolve(selector, snapshot.candidates)
    if chosen is None:
        return snapshot
    known = details.get(chosen.ifindex) or node.details(chosen)
    multipath = tuple(each for each in node.multipath_records() if each not in stale)
    return attrs.evolve(
        snapshot,
        details=known,
        multipath=multipath,
        in_transit=in_transit(multipath, multipath),
    )
