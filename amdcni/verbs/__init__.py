"""The verbs: each looks at what is there, plans, has the plan executed, and answers.

Each takes a request and a node, and gives what the runtime gets or raises an `AmdcniError`.
"""

from typing import assert_never

from amdcni.core.request import (
    AddRequest,
    CheckRequest,
    DelRequest,
    GcRequest,
    Request,
    StatusRequest,
)
from amdcni.core.spec import Result
from amdcni.ports import Node
from amdcni.verbs.add import add
from amdcni.verbs.check import check
from amdcni.verbs.delete import delete
from amdcni.verbs.gc import gc
from amdcni.verbs.status import status


def serve(request: Request, node: Node) -> Result | None:
    """Carry out `request`; the result of an ADD, None for the verbs that answer nothing."""
    match request:
        case AddRequest(prev_result=previous):
            result = add(request, node)
            return result if previous is None else result.after(previous)
        case DelRequest():
            delete(request, node)
        case CheckRequest():
            check(request, node)
        case GcRequest():
            gc(request, node)
        case StatusRequest():
            status(request, node)
        case _:
            assert_never(request)
    return None
