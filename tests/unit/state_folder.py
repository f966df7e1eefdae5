"""A state folder on a real file system: records, reports, and disks that refuse writes."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured
from amdcni.core.host import NetnsId
from amdcni.core.names import ContainerId, DeviceKey, IfName, NetworkName, PciAddress
from amdcni.core.spec import AttachmentId

A = DeviceKey(PciAddress.parse("0000:01:00.0"))
B = DeviceKey(PciAddress.parse("0000:02:00.0"))


def record_of(key: DeviceKey, phase: Phase = Phase.ATTACHING, args: str = "") -> Attachment:
    return Attachment(
        network=NetworkName("fabric"),
        id=AttachmentId(ContainerId("pod1"), IfName("net1")),
        netns=NetnsRef("/run/netns/pod1", NetnsId(4, 7)),
        key=key,
        phase=phase,
        boot_id="boot-1",
        read_at_s=0,
        since="now",
        config={"name": "fabric"},
        args=args,
        captured=Captured(IfName("ens1"), 2, up=True),
    )


class Reports(list[tuple[str, dict[str, Any]]]):
    def __call__(self, event: str, **facts: Any) -> None:
        self.append((event, facts))

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self]


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def in_mounts(folder: Path, mount: str, script: str) -> dict[str, Any]:
    """Run Python with `store` on a folder behind its own mount; returns the JSON that it prints."""
    folder.mkdir(exist_ok=True)
    program = f"""
import json, os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from amdcni.effects.store import Store
from tests.unit.state_folder import A, B, Reports, record_of
store, reports = Store({str(folder)!r}, Reports()), Reports()
def attempt(act):
    try:
        act()
    except Exception as failure:
        return f"{{type(failure).__name__}}: {{failure}}"
{script}
"""
    command = f"{mount} && exec {shlex.join([sys.executable, '-c', program])}".replace(
        "FOLDER", str(folder)
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command], capture_output=True, text=True, check=False
    )
    if done.returncode != 0 and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


READ_ONLY = "mount --bind FOLDER FOLDER && mount -o remount,bind,ro FOLDER"
TINY = "mount -t tmpfs -o size=16k tmpfs FOLDER"
