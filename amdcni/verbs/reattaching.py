"""Putting a NIC back into its pod, which lives and has lost it: after a reset, say."""

from amdcni.core.attachment import Attachment
from amdcni.core.errors import AmdcniError
from amdcni.core.identity import find_home, find_in_pod, lost
from amdcni.core.plans.reattach import plan_reattach
from amdcni.core.plans.release import homecoming
from amdcni.core.plans.snapshot import Snapshot
from amdcni.core.resolve import Candidates
from amdcni.core.steps import Outcome, Plan, Release, SaveRecord
from amdcni.ports import Node
from amdcni.verbs import executor


def reattach(record: Attachment, node: Node) -> None:
    """Attach the NIC of `record`, whose lock is held, to its pod again; no plugin is executed.

    What an interrupted call has begun is undone first, so that nothing depends on where it ended.
    What is refused now is noted as unfinished work, which later calls try ever less often.

    Raises: whatever forbids it.
    """
    if record.captured is not None and _is_begun(record, node):
        executor.release(Release(None, homecoming(record, record.captured), None), node)
    try:
        plan = plan_now(record, node)
    except AmdcniError:
        if not record.is_reattaching:
            node.perform(SaveRecord(record.reattaching(record.captured)), Outcome())
        raise
    executor.run(plan, node)
    node.report("reattached", **record.facts)


def _is_begun(record: Attachment, node: Node) -> bool:
    """Whether an earlier call has already changed anything but the record."""
    if not record.is_reattaching:
        return False
    pod, device = node.find_pod(record.netns), node.find_device(record.key.bus_device)
    if find_in_pod(record, pod) is not None:
        return True
    netdev = find_home(record, node.host().netdevs, device, pod)
    return netdev is not None and record.mark in netdev.altnames


def plan_now(record: Attachment, node: Node) -> Plan:
    """The plan for the NIC, which is on the host; raises whatever forbids it."""
    host, pod = node.host(), node.find_pod(record.netns)
    device = node.find_device(record.key.bus_device)
    netdev = find_home(record, host.netdevs, device, pod)
    if pod is None or netdev is None or record.captured is None:
        raise lost(record)
    snapshot = Snapshot(
        clock=node.clock(),
        host=host,
        pod=pod,
        candidates=Candidates(host.netdevs, device),
        details=node.details(netdev),
        load=node.load(host.netdevs, (netdev,)),
        rdma=node.rdma(),
    )
    return plan_reattach(record, record.captured, netdev, snapshot)
