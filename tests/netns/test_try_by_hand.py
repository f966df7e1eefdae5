"""The commands in the guide do what it says."""

import os
import re
import subprocess
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs/how-to/try-by-hand.md"


def test_the_guide_works_when_typed_as_it_is(plugin: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the guide is for root")
    begin, *blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert "PLUGIN=/opt/cni/bin/amd-host-device\n" in "".join(blocks)
    typed = "".join(blocks).replace("/opt/cni/bin/amd-host-device", str(plugin))
    surroundings = {"PATH": f"{plugin.parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    done = subprocess.run(
        [*begin.split(), "-e"],
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        env=surroundings,
    )
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    before, after = done.stdout.split("WOULD BE")
    for words in (
        "it is on the host: its pod is gone",
        "orphan",
        "route 192.0.2.0/24",
        "its DEL returns",
    ):
        assert words in before
    for words in ("returned", "mtu 1400", "inet 10.0.0.0/31", "192.0.2.0/24", "No NIC is lent"):
        assert words in after
