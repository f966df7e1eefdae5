"""Test kit for CNI plugins: throwaway nodes with NICs and pods, and dumps that compare.

The fixtures of `amdcni.pytest_plugin` are there in every test without an import.
"""

from amdcni.testing.cni import Call, CallOptions, Outcome, executor
from amdcni.testing.dumps import Dump, Section, Subject, differences
from amdcni.testing.isolation import NotAllowedHere, skip_reason
from amdcni.testing.namespaces import (
    PLAIN_ENVIRONMENT,
    CommandFailed,
    Namespace,
    ThrowawayError,
)
from amdcni.testing.nics import Nic
from amdcni.testing.node import Node, throwaway_node
from amdcni.testing.pods import Pod
from amdcni.testing.readings import Unsettled, dump, settle, unchanged

__all__ = [
    "PLAIN_ENVIRONMENT",
    "Call",
    "CallOptions",
    "CommandFailed",
    "Dump",
    "Namespace",
    "Nic",
    "Node",
    "NotAllowedHere",
    "Outcome",
    "Pod",
    "Section",
    "Subject",
    "ThrowawayError",
    "Unsettled",
    "differences",
    "dump",
    "executor",
    "settle",
    "skip_reason",
    "throwaway_node",
    "unchanged",
]
