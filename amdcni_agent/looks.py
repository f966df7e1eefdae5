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
from amdcni.verbs import healing
from amdcni.verbs.healing import Effort, Finding
from amdcni_agent.events import Heard
from amdcni_agent.lines import Lines

MOST_NEEDS: Final = 100
"""No more attachments are reported: a report has to be small."""

WATCHING: Final = Effort(total_s=30, plugin_limit_s=5.0, spares=True)
"""Nobody waits for it, but others need the worker; what has failed is tried ever more rarely."""


def look() -> dict[str, Any]:
    """Heal what needs it; return how many attachments are in each condition now, and events.

    With it comes how many records were found damaged, now or before, and in how many seconds what
    has failed is due again (`again_s`).
    """
    log = make_log(LogLevel.WARNING, None, Lines(sys.stderr.fileno()), by="agent")
    heard = Heard()

    def report(event: str, **facts: object) -> None:
        heard(event, facts)
        log(LogLevel.WARNING, event, **facts)

    dirs = plugin_dirs_of(os.environ)
    try:
        with LinuxNode(DEFAULT_DATA_DIR, dirs, os.environ, report) as node:
            findings = healing.heal(node, WATCHING)
            damaged = len(node.store.set_aside())
            again_s = healing.due_again_s(node)
    except AmdcniError as failure:
        log(LogLevel.ERROR, "look-failed", error=type(failure).__name__, reason=str(failure))
        return {"look": None, "busy": False, "again_s": None, "needs": [], **heard.report}
    seen = Counter(filter(None, map(_condition_now, findings)))
    return {
        "look": {condition.value: seen[condition] for condition in Condition},
        "damaged": damaged,
        "busy": any(finding.busy for finding in findings),
        "again_s": again_s,
        "needs": [_need(finding) for finding in findings if _needs_attention(finding)][:MOST_NEEDS],
        **heard.report,
    }


def _condition_now(finding: Finding) -> Condition | None:
    """The condition of an attachment after the look; None if it has ended."""
    if not finding.healed:
        return finding.condition
    return Condition.HELD if finding.condition is Condition.RESET else None


def _needs_attention(finding: Finding) -> bool:
    """Whether the look could not heal an attachment, and no call is at work on it."""
    is_well = finding.healed or finding.busy or finding.condition.about.remedy is None
    return not is_well


def _need(finding: Finding) -> dict[str, str]:
    """What a log line says of an attachment that needs attention."""
    return {**finding.record.facts, "found": finding.condition.value}
