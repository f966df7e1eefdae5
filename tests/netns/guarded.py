"""A node whose /etc and /var are the test's own, and what root has written there."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from amdcni.testing import Node

POLICY = "etc/amdcni/policy.json"
CHECKPOINT = "var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"

_TREES = ("etc", "run", "var")
_KEPT = ("run/amdcni-node", "run/netns")
"""Where the throwaway node keeps what it is made of."""

Files = dict[str, tuple[int, int, bytes]]
"""By path: what kind of file it is, how many names it has, and what is in it."""


def guard(node: Node) -> None:
    """Put empty folders in place of the machine's /etc, /var/lib and /var/log."""
    for folder in ("/etc", "/var/lib", "/var/log"):
        node.cover(folder)
    for folder in (POLICY, CHECKPOINT, "var/lib/cni/x"):
        (node.root / folder).parent.mkdir(parents=True)


def set_policy(node: Node, **policy: Any) -> Path:
    """Give the node a policy, and return its file."""
    file = node.root / POLICY
    file.write_text(json.dumps(policy))
    return file


def allocate(node: Node, **devices: str) -> None:
    """Let the kubelet's checkpoint say that each pod, by UID, has one device."""
    entries = [
        {
            "PodUID": uid,
            "ContainerName": "c",
            "ResourceName": "amd.com/nic",
            "DeviceIDs": {"0": [d]},
        }
        for uid, d in devices.items()
    ]
    data = {"Data": {"PodDeviceEntries": entries, "RegisteredDevices": {}}, "Checksum": 1}
    (node.root / CHECKPOINT).write_text(json.dumps(data))


def files(node: Node) -> Files:
    """Return all files where root may write in a throwaway node."""
    found: Files = {}
    for tree in _TREES:
        top = node.root / tree
        pending = [tree] if tree != "var" else ["var/lib", "var/log"]
        while pending:
            folder = pending.pop()
            for entry in os.scandir(node.root / folder):
                path = f"{folder}/{entry.name}"
                if path in _KEPT:
                    continue
                seen = entry.stat(follow_symlinks=False)
                found[path] = (stat.S_IFMT(seen.st_mode), seen.st_nlink, _content(entry, seen))
                if stat.S_ISDIR(seen.st_mode):
                    found[path] = (stat.S_IFDIR, 0, b"")
                    pending.append(path)
        assert top.is_dir()
    return found


def _content(entry: "os.DirEntry[str]", seen: os.stat_result) -> bytes:
    if stat.S_ISLNK(seen.st_mode):
        return os.fsencode(os.readlink(entry.path))
    small = stat.S_ISREG(seen.st_mode) and seen.st_size < 1 << 20
    return Path(entry.path).read_bytes() if small else str(seen.st_size).encode()
