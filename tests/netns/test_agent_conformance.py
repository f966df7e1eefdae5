"""The plugin conforms to CNI SPEC 1.1 through an agent, by each mover, as it does alone."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.netns.command import AMDCNI
from tests.netns.documented_verdicts import configuration_of, verdicts_on
from tests.netns.runtime import OURS, STATIC

pytestmark = [pytest.mark.usefixtures("allowed"), pytest.mark.thorough]


def verdicts(plugin: Path, folder: Path, mover: str) -> dict[str, str]:
    """Return the verdict on each clause."""
    config = folder / "config.json"
    config.write_text(json.dumps({**configuration_of(OURS.name), "mover": mover}))
    words = [str(AMDCNI), "conformance", "--json", "--plugin", str(plugin)]
    done = subprocess.run([*words, "--config", str(config)], capture_output=True, check=False)
    assert done.returncode == 0, done
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
def test_the_verdict_on_each_clause_is_the_same_through_an_agent(
    tmp_path: Path, mover: str
) -> None:
    assert verdicts(through_an_agent(tmp_path), tmp_path, mover) == verdicts_on(OURS.name)
