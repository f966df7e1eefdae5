"""The command `amdcni` on a node, in processes that have everything loaded; see `warm.py`."""

import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from amdcni.testing import Node
from amdcni.testing.namespaces import PLAIN_ENVIRONMENT
from tests.netns.warm import WarmCall, start_warm

AMDCNI = Path(sysconfig.get_path("scripts"), "amdcni")


def start_amdcni(node: Node, *words: str, env: Mapping[str, str] = PLAIN_ENVIRONMENT) -> WarmCall:
    """Start the command with these words."""
    return start_warm(node, [AMDCNI, *words], env=env)


def run_amdcni(
    node: Node,
    *words: str,
    env: Mapping[str, str] = PLAIN_ENVIRONMENT,
    privileged: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command with these words to its end."""
    if not privileged:
        return node.run([AMDCNI, *words], env=env, privileged=False)
    outcome = start_amdcni(node, *words, env=env).wait()
    stderr = outcome.stderr.encode()
    return subprocess.CompletedProcess(words, outcome.exit_status, outcome.stdout, stderr)


def output_of_amdcni(node: Node, *words: str) -> str:
    """Return what the command prints, which must succeed."""
    done = run_amdcni(node, *words)
    assert done.returncode == 0, done
    return done.stdout.decode()
