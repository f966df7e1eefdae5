"""Through an agent, the plugin conforms to CNI SPEC 1.1 exactly as it does alone."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.netns.command import AMDCNI
from tests.netns.runtime import OURS, STATIC

CONFIG = {
    "cniVersion": "1.1.0",
    "name": "fabric",
    "type": "amd-host-device",
    "deviceID": "0000:c1:00.0",
    "ipam": {"type": "host-local", "subnet": "10.9.0.0/29"},
}
STATUSES = (0, 1)

pytestmark = [pytest.mark.usefixtures("allowed"), pytest.mark.thorough]


def verdicts(plugin: Path, folder: Path, **keys: str) -> dict[str, Any]:
    """Return the verdict on each clause."""
    config = folder / "config.json"
    config.write_text(json.dumps({**CONFIG, **keys}))
    words = [str(AMDCNI), "conformance", "--json", "--plugin", str(plugin)]
    done = subprocess.run([*words, "--config", str(config)], capture_output=True, check=False)
    assert done.returncode in STATUSES, done
    return {each["clause"]: each["verdict"] for each in json.loads(done.stdout)}


def through_an_agent(folder: Path) -> Path:
    """Make a plugin that forwards its calls to an agent, which it starts on each node."""
    script = folder / "amd-host-device"
    script.write_text(
        "#!/bin/sh\n"
        "exec 9> /run/starting; flock 9\n"
        "if ! [ -S /run/amdcni/agent.sock ]; then\n"
        f"    {AMDCNI} agent --metrics off </dev/null >/dev/null 2>&1 9>&- &\n"
        "    until [ -S /run/amdcni/agent.sock ]; do sleep 0.05; done\n"
        "fi\n"
        f'exec 9>&- {STATIC} "$@"\n'
    )
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("mover", ["delegate", "native"])
def test_the_verdict_on_each_clause_is_the_same(tmp_path: Path, mover: str) -> None:
    alone = verdicts(OURS, tmp_path, mover=mover)
    assert alone == verdicts(through_an_agent(tmp_path), tmp_path, mover=mover)
    assert "passed" in alone.values()
