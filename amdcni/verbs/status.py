"""STATUS: whether an ADD could work now."""

from amdcni.core import calls
from amdcni.core.errors import NotAvailable, PluginNotFound, PolicyDenies
from amdcni.core.names import PluginName
from amdcni.core.policy import require_ipam, unusable
from amdcni.core.request import StatusRequest
from amdcni.core.spec import PluginCall, Verb
from amdcni.core.versions import GC_AND_STATUS_SINCE
from amdcni.ports import Node
from amdcni.verbs import healing


def status(request: StatusRequest, node: Node) -> None:
    """Raise NotAvailable, or what another plugin answers, if an ADD could not succeed now.

    A runtime calls it from time to time; then what can be healed is healed.
    """
    node.require_ready()
    healing.heal(node, healing.ROUTINE)
    if node.policy.fault is not None:
        raise NotAvailable(unusable(node.policy.fault))
    try:
        require_ipam(node.policy, request.ipam)
    except PolicyDenies as denial:
        raise NotAvailable(denial.message) from None
    for plugin in calls.plugins_for(request.mover, request.ipam):
        _require_plugin(plugin, request, node)


def _require_plugin(plugin: PluginName, request: StatusRequest, node: Node) -> None:
    try:
        node.find_plugin(plugin)
    except PluginNotFound as failure:
        raise NotAvailable(failure.message) from None
    call_if_known(PluginCall(plugin, Verb.STATUS, request.network.raw, None, "", ""), node)


def call_if_known(call: PluginCall, node: Node) -> None:
    """Pass GC or STATUS on to a plugin, unless it is from before CNI 1.1, which introduced them."""
    if GC_AND_STATUS_SINCE in node.versions_of(call.plugin):
        node.call(call)
