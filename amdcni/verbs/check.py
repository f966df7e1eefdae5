"""CHECK: whether an attachment is healthy."""

from functools import partial

from amdcni.core import calls
from amdcni.core import check as checks
from amdcni.core.errors import CheckFailed, UnknownAttachment
from amdcni.core.request import CheckRequest
from amdcni.ports import Node
from amdcni.verbs.looking import records_held_by
from amdcni.verbs.settling import find_settled


def check(request: CheckRequest, node: Node) -> None:
    """Raise CheckFailed, listing every difference, unless the attachment is healthy."""
    held = records_held_by(request.attachment, request.device.selector.bus_device, node)
    record = next(iter(held), None)
    if record is None:
        raise UnknownAttachment(f"no device is attached as {request.attachment.in_short}")
    promised = checks.promised_to(request, record)
    pod = find_settled(partial(node.find_netns, request.netns), record, promised, node)
    problems = checks.problems(request, record, pod)
    routes = checks.routes_promised_to(request, record)
    if routes and not problems:
        there = node.routes_in(request.netns, routes)
        problems = checks.lacking_routes(routes, there, record)
    if record.rdma and pod is not None:
        problems += checks.lacking_rdma(node.rdma_in(request.netns), record)
    if problems or pod is None:
        raise CheckFailed("; ".join(problems))
    call = calls.check_call(request, record, pod)
    if call is not None:
        node.call(call)
