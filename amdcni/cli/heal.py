"""`amdcni heal`: gives back what no call will give back any more, and tells what it found."""

import argparse
import os
from typing import IO, Any, Final

from amdcni import healing
from amdcni.cli.printing import print_json
from amdcni.core.condition import HEALABLE, Condition
from amdcni.core.request import LogLevel, LogSettings, plugin_dirs_of
from amdcni.effects.node import LinuxNode
from amdcni.healing import Finding
from amdcni.log import make_log

_FOUND: Final = {
    Condition.HELD: "the pod has it",
    Condition.UNFINISHED: "a call was interrupted",
    Condition.RETURNED: "it is on the host, bare: its pod is gone",
    Condition.ABANDONED: "its pod is gone",
    Condition.OUTDATED: "the node was booted since",
    Condition.MISSING: "its pod is gone, and it is not on the host",
    Condition.UNPLUGGED: "it is not in the machine",
}


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Heal, and tell what was found; 1 if something could not be healed."""
    findings = heal(options.data_dir, stderr, dry_run=options.dry_run)
    if options.json:
        print_json([as_json(finding) for finding in findings], stdout)
    else:
        print_table(findings, stdout, dry_run=options.dry_run)
    return 1 if any(finding.failure is not None for finding in findings) else 0


def heal(data_dir: str, stderr: IO[str], *, dry_run: bool) -> tuple[Finding, ...]:
    """Look at every record in `data_dir` and heal what needs it; log lines go to `stderr`.

    Raises: StateFailure, KernelRefused.
    """
    log = make_log(LogSettings(), stderr, command="heal")

    def report(event: str, **facts: object) -> None:
        log(LogLevel.WARNING, event, **facts)

    with LinuxNode(data_dir, plugin_dirs_of(os.environ), os.environ, report) as node:
        return healing.heal(node, dry_run=dry_run)


def as_json(finding: Finding) -> dict[str, Any]:
    """A finding for programs."""
    record = finding.record
    return {
        "device": str(record.key),
        "container_id": record.id.container_id,
        "ifname": record.id.ifname,
        "network": record.network,
        "host_ifname": record.host_ifname,
        "found": finding.condition.value,
        "healed": finding.healed,
        "busy": finding.busy,
        "failure": finding.failure,
    }


def print_table(findings: tuple[Finding, ...], stdout: IO[str], *, dry_run: bool) -> None:
    """Print what was found and done, or one sentence if there is nothing."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stdout)
    if not findings:
        console.print("No NIC is lent to a pod: nothing to heal.", highlight=False)
        return
    table = Table(title="What was found, and done", title_justify="left")
    table.add_column("device", no_wrap=True)
    for heading in ("on the host", "lent to", "found", "done"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        record = finding.record
        table.add_row(
            str(record.key),
            record.host_ifname or "(no netdev)",
            str(record.id),
            _FOUND[finding.condition],
            _done(finding, dry_run=dry_run),
        )
    console.print(table)


def _done(finding: Finding, *, dry_run: bool) -> str:
    if finding.failure is not None:
        return f"not healed: {finding.failure}"
    if finding.busy:
        return "left to the call that is at work on it"
    if finding.healed:
        return "forgotten" if finding.condition is Condition.OUTDATED else "given back"
    if finding.condition in HEALABLE and dry_run:
        return "would be healed"
    return "nothing" if finding.condition is Condition.HELD else "stays recorded"
