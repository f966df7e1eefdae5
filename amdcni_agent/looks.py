"""A look at all attachments, in a worker: what needs it is healed, and all is counted."""

import os
import sys
from collections import Counter
from typing import Any, Final

from amdcni.core.condition import Condition
from amdcni.core.errors import AmdcniError
from amdcni.core.request import DEFAULT_DATA_DIR, LogLevel, plugin_dirs_of
from amdcni.effects.node import LinuxNode
from amdcni.log import make_log
from amdcni.ports import OpenNode
from amdcni.verbs import healing
from amdcni.verbs.healing import Effort, Finding
from amdcni_agent.events import Heard
from amdcni_agent.lines import Lines

MOST_NEEDS: Final = 100
"""No more attachments are reported: a report has to be small."""

WATCHING: Final = Effort(total_s=30, plugin_limit_s=5.0, spares=True)
"""Nobody waits for it, but others need the worker; what has failed is tried ever more rarely."""


def look() -> dict[str, Any]:
    """Heal what needs it on this node; return what `look_around` does, and events."""
    log = make_log(LogLevel.WARNING, None, Lines(sys.stderr.fileno()), by="agent")
    heard = Heard()

    def report(event: str, **facts: object) -> None:
        heard(event, facts)
        log(LogLevel.WARNING, event, **facts)

    dirs = plugin_dirs_of(os.environ)
    try:
        with LinuxNode(DEFAULT_DATA_DIR, dirs, os.environ, report) as node:
            found = look_around(node)
    except AmdcniError as failure:
        log(LogLevel.ERROR, "look-failed", error=type(failure).__name__, reason=str(failure))
        found = {"look": None, "busy": False, "again_s": None, "needs": []}
    return {**found, **heard.report}


def look_around(node: OpenNode) -> dict[str, Any]:
    """Heal what needs it; return the number of attachments in each condition, and needs.

    With it comes how many records were found damaged, now or before, and in how many seconds what
    has failed is due again (`again_s`).
    """
    findings = healing.heal(node, WATCHING)
    now = healing.look_again(findings, node)
    seen = Counter(each.condition for each in now)
    return {
        "look": {condition.value: seen[condition] for condition in Condition},
        "damaged": len(node.store.set_aside()),
        "busy": any(each.busy for each in (*findings, *now)),
        "again_s": healing.due_again_s(node, findings),
        "needs": [_need(each) for each in now if each.needs_somebody][:MOST_NEEDS],
    }


def _need(finding: Finding) -> dict[str, str]:
    """What a log line says of an attachment that needs attention."""
    place = finding.seen.place
    where = {} if place is None else {"in_netns": place.netns, "in_netns_as": place.ifname}
    return {**finding.record.facts, "found": finding.condition.value, **where}
