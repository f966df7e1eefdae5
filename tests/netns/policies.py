"""The policy of a throwaway node, which never is that of the machine."""

import json
import os
from pathlib import Path

from amdcni.testing import Node

POLICY = "/etc/amdcni/policy.json"


def write_policy(node: Node, policy: object) -> Path:
    """Give the node a policy, as an object or as the text of the file; the path that a test sees.

    Where the machine has no folder for one, the node loses all of /etc.
    """
    folder = os.path.dirname(POLICY)
    file = node.root / POLICY.lstrip("/")
    if not file.exists():
        node.cover(folder if os.path.isdir(folder) else os.path.dirname(folder))
        file.parent.mkdir(exist_ok=True)
    file.write_text(policy if isinstance(policy, str) else json.dumps(policy))
    return file
