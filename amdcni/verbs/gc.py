"""GC: what is no longer attached to anybody is returned to the host."""

from amdcni.core.errors import Failures
from amdcni.core.policy import allows_ipam
from amdcni.core.request import GcRequest
from amdcni.core.spec import PluginCall, Verb
from amdcni.ports import Node
from amdcni.verbs import healing
from amdcni.verbs.giving_back import bring_home_at_once, give_back_locked
from amdcni.verbs.looking import LOCK_WAIT_S
from amdcni.verbs.status import call_if_known


def gc(request: GcRequest, node: Node) -> None:
    """Release every attachment of the network that is not valid; without a list, none.

    Whatever the list says, what can be healed is healed.
    """
    if request.valid is None:
        healing.heal(node, healing.ROUTINE)
        return
    failures, network = Failures(), request.network.name
    stale = [r for r in node.records() if r.network == network and r.id not in request.valid]
    # No netdev waits for the plugins of another.
    for record in bring_home_at_once(stale, node):
        with failures:
            give_back_locked(record, node, wait_s=LOCK_WAIT_S)
    if request.ipam is not None and allows_ipam(node.policy, request.ipam):
        with failures:
            call_if_known(
                PluginCall(request.ipam, Verb.GC, request.network.raw, None, "", ""), node
            )
    healing.heal(node, healing.ROUTINE, except_for=[record.key for record in stale])
    failures.raise_first()
