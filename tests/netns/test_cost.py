"""What a call reads does not depend on what else there is on the node."""

import json
import sys
from pathlib import Path

import pytest

from amdcni.core.names import PciAddress
from amdcni.testing import Node, Pod
from amdcni.testing.cni import environment_of
from tests.netns.runtime import BDF, Runtime, expect_silence, record_of, state_folder

WATCHED_CALL = Path(__file__).with_name("watched_call.py")
OTHERS = 1000


def read_by(runtime: Runtime, command: str, pod: Pod) -> list[str]:
    """Let a call be made; what it read of the state folder, in its order."""
    notes = runtime.node.root / "run" / "watched"
    done = runtime.node.run(
        [sys.executable, WATCHED_CALL, "/run/watched"],
        stdin=json.dumps(runtime.config).encode(),
        env=environment_of(command, {"netns": pod}),
    )
    assert done.returncode == 0, done
    return [path for path in json.loads(notes.read_text()) if "/amd-host-device" in path]


@pytest.fixture
def others(node: Node, runtime: Runtime, pod: Pod) -> None:
    """Records of as many other devices, each held by a pod that lives."""
    runtime.add(pod)
    text = record_of(node).read_text()
    expect_silence(runtime.delete(pod))
    for number in range(OTHERS):
        device = str(PciAddress(1, number >> 5, number & 31, 0))
        (state_folder(node) / f"{device}.json").write_text(text.replace(BDF, device))


def test_a_thousand_other_records_cost_neither_add_nor_del_a_file_or_a_listing(
    node: Node, runtime: Runtime, pod: Pod, request: pytest.FixtureRequest
) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31"])
    read_by(runtime, "ADD", pod), read_by(runtime, "DEL", pod)  # They make the folders.
    alone = [read_by(runtime, "ADD", pod), read_by(runtime, "DEL", pod)]
    request.getfixturevalue("others")
    assert len(list(state_folder(node).glob("0001:*.json"))) == OTHERS
    crowded = [read_by(runtime, "ADD", pod), read_by(runtime, "DEL", pod)]
    assert crowded == alone
    for paths in crowded:
        assert any(path.endswith(f"{BDF}.json") for path in paths)
