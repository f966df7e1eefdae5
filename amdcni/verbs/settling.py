"""A pod as it is once what takes a moment is over: duplicate address detection, and the link."""

from collections.abc import Callable, Collection
from typing import Final

from amdcni.core.attachment import Attachment
from amdcni.core.check import is_settling
from amdcni.core.host import Netns
from amdcni.core.spec import Ip
from amdcni.ports import Node

_POLL_S: Final = 0.05
_MOST_POLLS: Final = 100
"""Five seconds: detection takes two (RFC 4862), a link hardly more; anything longer is a fault."""


def find_settled(
    find: Callable[[], Netns | None], record: Attachment, promised: Collection[Ip], node: Node
) -> Netns | None:
    """The pod as `find` reads it, again and again while what was promised is on its way."""
    pod = find()
    for _ in range(_MOST_POLLS):
        if pod is None or not is_settling(record, promised, pod):
            break
        node.pause(_POLL_S)
        pod = find()
    return pod
