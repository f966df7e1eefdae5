"""`amdcni heal`: returns what no call will return any more, and reports what it found."""

import argparse
from typing import IO, Any

from amdcni.cli.node import nothing_lent, on_this_node, read_store, set_aside_in
from amdcni.cli.printing import make_table, print_json, print_line, print_rows
from amdcni.core.condition import Condition
from amdcni.core.names import DeviceKey
from amdcni.verbs import healing
from amdcni.verbs.healing import Finding


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Heal, and report what was found; 1 if something could not be healed, or needs a person."""
    dry_run = options.dry_run
    with on_this_node(options.data_dir, "heal", stderr, looks_only=dry_run) as node:
        findings = healing.heal(node, dry_run=dry_run)
        faults = (*read_store(node.store).faults.items(), *set_aside_in(node.store))
    if options.json:
        print_json([*map(as_json, findings), *map(_fault_as_json, faults)], stdout)
    else:
        if findings:
            print_table(findings, stdout, dry_run=dry_run)
            for finding in findings:
                if finding.failure is not None:
                    print_line(_sentence_on(finding, dry_run=dry_run), stdout)
        elif not faults:
            print_line(f"{nothing_lent(options.data_dir)} Nothing to heal.", stdout)
        for _, fault in faults:
            print_line(fault, stdout)
    return 1 if faults or any(finding.failure is not None for finding in findings) else 0


def _fault_as_json(fault: tuple[DeviceKey, str]) -> dict[str, Any]:
    """The row of a damaged record, of which only the device is known."""
    keys = ("container_id", "ifname", "network", "host_ifname", "found")
    device, failure = fault
    nothing = {"healed": False, "busy": False}
    return {"device": str(device), **dict.fromkeys(keys), **nothing, "failure": failure}


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
    """Print what was found and done."""
    headings = ("device", "on the host as", "lent to", "found", "done")
    rows = [
        (
            str(finding.record.key),
            finding.record.host_ifname or "(no netdev)",
            str(finding.record.id),
            finding.condition.about.words,
            _done(finding, dry_run=dry_run),
        )
        for finding in findings
    ]
    print_rows(make_table("What was found and done", *headings), rows, stdout)


def _sentence_on(finding: Finding, *, dry_run: bool) -> str:
    """Why it was not healed, or would not be."""
    not_done = "would not be" if dry_run else "was not"
    return f"{finding.record.key} {not_done} healed: {finding.failure}"


def _done(finding: Finding, *, dry_run: bool) -> str:
    about = finding.condition.about
    if finding.failure is not None:
        return "not healed"
    if finding.busy:
        return "left to the call that is at work on it"
    if finding.healed:
        return about.healed
    if about.healable and dry_run:
        return f"would be {about.healed}"
    return "nothing" if finding.condition is Condition.HELD else "stays recorded; see amdcni doctor"
