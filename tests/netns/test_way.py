"""The way of an ADD through the modules is the one that the page on the architecture shows."""

import json
import re
from pathlib import Path
from typing import Final

from amdcni.testing import Node, Pod
from amdcni.testing.cni import environment_of
from tests.netns.runtime import BDF, Runtime, natively
from tests.netns.warm import start_warm

TRACED_CALL: Final = Path(__file__).with_name("traced_call.py")
PAGE: Final = Path(__file__).parents[2] / "docs/explanation/architecture.md"
MOST_MODULES: Final = 12


def way_on_the_page() -> list[str]:
    """The modules of the table below the heading, from the first to the last."""
    section = PAGE.read_text().partition("## The way of an ADD\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([a-z_.]+)` \|", section, re.MULTILINE)


@natively
def test_an_add_passes_the_modules_that_the_page_lists_in_their_order(
    node: Node, runtime: Runtime, pod: Pod
) -> None:
    node.add_nic(BDF, "eth1", ["10.0.0.0/31"])
    notes = node.root / "run" / "passed"
    stdin, env = json.dumps(runtime.config).encode(), environment_of("ADD", {"netns": pod})
    call = start_warm(node, [TRACED_CALL, "/run/passed"], stdin=stdin, env=env)
    assert call.wait().succeeded
    passed, way = json.loads(notes.read_text()), way_on_the_page()
    assert [module for module in passed if module in way] == way


def test_the_page_leads_through_an_add_in_at_most_twelve_modules() -> None:
    assert 8 <= len(way_on_the_page()) <= MOST_MODULES
