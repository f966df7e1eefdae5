"""The commands in the guide to the agent do what it says, typed as they are."""

import os
import re
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs/how-to"
GUIDE = DOCS / "run-the-agent.md"
MADE_UP = DOCS / "try-by-hand.md"

PRIVATE_RUN = """
mount -t tmpfs -o mode=0755 tmpfs /run
"""
"""The machine's own agent, if it has one, must neither serve these calls nor be disturbed."""

TERMINALS = """
mkdir /run/log
ip() {
    # What the kernel does with a real NIC, and not with a veth.
    if [ "$*" = "netns delete pod1" ]; then
        command ip -n pod1 link set net1 down
        command ip -n pod1 link set net1 netns $$
    fi
    command ip "$@"
}
"""

OTHER_TERMINAL = """
{ amdcni agent 2>/run/log/agent; echo "it ended with $?" >/run/log/end; } &
until grep -q event=metrics-served /run/log/agent && amdcni status >/run/log/status
do
    sleep 0.1
done
"""

PAUSE = "sleep 2\n"
UNTIL_HEALED = """
until amdcni status >/run/log/status
do
    sleep 0.1
done
"""
"""In place of the pause, which may be too short for a busy machine."""

AFTERWARDS = """
wait
cat /run/log/end
amdcni status || echo "status is $?"
cat /run/log/agent
"""


def blocks_of(page: Path, language: str = "sh") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def test_the_guide_works_when_typed_as_it_is(plugin: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the guide is for root")
    begin, folders, cable, *_ = blocks_of(MADE_UP)
    start, *typed = blocks_of(GUIDE)
    assert start == "amdcni agent\n"
    assert any(PAUSE in block for block in typed)
    typed = [block.replace(PAUSE, UNTIL_HEALED) for block in typed]
    script = [PRIVATE_RUN, folders, cable.replace("ip netns add pod1\n", ""), TERMINALS]
    script += [OTHER_TERMINAL, *typed, AFTERWARDS]
    done = subprocess.run(
        [*begin.split(), "-e"],
        input="".join(script).replace("/opt/cni/bin/amd-host-device", str(plugin)),
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{plugin.parent}:{os.environ['PATH']}", "COLUMNS": "200"},
    )
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    whole, lent, healed = done.stdout.split("The agent serves (process ")[1:]
    assert "\nok\n" in whole
    assert "inet 10.0.0.0/31" in whole
    assert "1 lent, attached: the pod has it" in lent
    assert "inet 10.0.0.0/31" in lent
    assert "No NIC is lent" in healed
    for line in blocks_of(GUIDE, "text")[1].splitlines():
        assert f"\n{line}\n" in healed
    assert "it ended with 0" in healed
    assert "status is 3" in healed
    for event in ("serving", "healed", "ending", "ended"):
        assert f"event={event} " in healed
