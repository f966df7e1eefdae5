"""A state folder to which not even root can write."""

from amdcni.testing import Node
from tests.netns.runtime import STATE, state_folder


def read_only(node: Node) -> None:
    """Make the state folder read-only, as when the kernel remounts a damaged file system."""
    state_folder(node).mkdir(parents=True, exist_ok=True)
    node.output_of(["mount", "--bind", STATE, STATE])
    node.output_of(["mount", "-o", "remount,bind,ro", STATE])


def writable(node: Node) -> None:
    """Undo `read_only`."""
    node.output_of(["umount", STATE])
