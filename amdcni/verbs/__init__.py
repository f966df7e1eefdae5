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


def serve(request: Request, node: Node) -> Result | None:
    """Carry out `request`; the result of an ADD, None for the verbs that answer nothing.

    What only another verb needs is not loaded.
    """
    match request:
        case AddRequest(prev_result=previous):
            from amdcni.verbs.add import add

            result = add(request, node)
            return result if previous is None else result.after(previous)
        case DelRequest():
            from amdcni.verbs.delete import delete

            delete(request, node)
        case CheckRequest():
            from amdcni.verbs.check import check

            check(request, node)
        case GcRequest():
            from amdcni.verbs.gc import gc

            gc(request, node)
        case StatusRequest():
            from amdcni.verbs.status import status

            status(request, node)
        case _:
            assert_never(request)
    return None
