"""The command `amdcni`: shows what the node's records say, heals, and judges CNI plugins."""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import IO

from amdcni.core.errors import AmdcniError
from amdcni.core.request import DEFAULT_DATA_DIR


def main(arguments: Sequence[str], stdout: IO[str], stderr: IO[str]) -> int:
    """Serve one command line; the exit status: 0, 1 for a failure, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.serve(options, stdout, stderr)
        return status
    except AmdcniError as failure:
        stderr.write(f"amdcni: {failure}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="amdcni",
        description="NICs that amd-host-device has lent to pods on this node, and the conformance "
        "of any CNI plugin.",
    )
    version = f"amdcni {metadata.version('amdcni')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    attachments = commands.add_parser(
        "attachments",
        help="which NIC is where, since when, and what will be given back",
        description="One row for each NIC that a pod holds: who holds it, whether the pod's "
        "network namespace still exists, and the host configuration that is restored on DEL.",
    )
    attachments.set_defaults(serve=_attachments)
    heal = commands.add_parser(
        "heal",
        help="gives back what no call will give back any more",
        description="Looks at every record: work that was interrupted, NICs that came back from a "
        "pod without a DEL, records of an earlier boot.  Restores the host's configuration from "
        "the record, and tells what it found and did.  The status is 1 if something could not be "
        "healed now.  It may be run at any time, also from a timer.",
    )
    heal.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    heal.set_defaults(serve=_heal)
    _add_conformance(commands)
    for command in (attachments, heal):
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
        command.add_argument(
            "--data-dir",
            default=DEFAULT_DATA_DIR,
            metavar="FOLDER",
            help="the state folder, as in the configuration key dataDir (default: %(default)s)",
        )
    return parser


def _add_conformance(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    judged = commands.add_parser(
        "conformance",
        help="whether a CNI plugin does what CNI SPEC 1.1 asks of it",
        description="Runs the plugin in throwaway network namespaces, and tells for each clause of "
        "the specification whether it holds.  Nothing of this machine's own network is touched.  "
        "The plugin finds NICs eth1 to eth4, with the PCI addresses 0000:c1:00.0 to 0000:c4:00.0; "
        "what the configuration says of the first is said of the others to other containers.  It "
        "has a /run, a /sys and a /var/lib/cni of its own; other files that it writes are real.  "
        "The status is 1 if a clause fails, 2 if nothing could be judged, and 130 after an "
        "interrupt.",
    )
    judged.add_argument("--plugin", required=True, metavar="PATH", help="the plugin's executable")
    judged.add_argument(
        "--config",
        metavar="FILE",
        help="its network configuration, as JSON, or a list in which it is one of the plugins "
        "(default: only name and type)",
    )
    judged.add_argument(
        "--path",
        metavar="DIRS",
        help="CNI_PATH, where the plugins are that it calls or that come before it in the list "
        "(default: /opt/cni/bin:/usr/lib/cni)",
    )
    judged.add_argument(
        "--ifname", metavar="NAME", help="CNI_IFNAME (default: net1; lo for a plugin like loopback)"
    )
    judged.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        help="how long a call may take before it is killed (default: 60)",
    )
    for name, which in (("--only", "only clauses"), ("--skip", "no clauses")):
        judged.add_argument(
            name,
            metavar="WORDS",
            action="append",
            default=[],
            help=f"{which} with these words in their sentences; may be repeated",
        )
    judged.add_argument("--json", action="store_true", help="print JSON instead of a table")
    judged.add_argument("--junit", metavar="FILE", help="write a JUnit file, too")
    judged.set_defaults(serve=_conformance)


def _attachments(options: argparse.Namespace, stdout: IO[str], _: IO[str]) -> int:
    from amdcni.cli import attachments

    rows = attachments.read_rows(options.data_dir)
    if options.json:
        stdout.write(json.dumps([row.as_json() for row in rows], indent=2) + "\n")
    else:
        attachments.print_table(rows, options.data_dir, stdout)
    return 1 if any(row.fault for row in rows) else 0


def _heal(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    from amdcni.cli import heal

    findings = heal.heal(options.data_dir, stderr, dry_run=options.dry_run)
    if options.json:
        stdout.write(json.dumps([heal.as_json(f) for f in findings], indent=2) + "\n")
    else:
        heal.print_table(findings, stdout, dry_run=options.dry_run)
    return 1 if any(finding.failure is not None for finding in findings) else 0


def _conformance(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    try:
        from amdcni.testing.conformance import findings, running, subject
    except ModuleNotFoundError as missing:
        stderr.write(f"amdcni: {missing.name} is missing; pip install 'amdcni[testing]'\n")
        return 2
    wanted = running.Wanted(
        plugin=options.plugin,
        config=options.config,
        path=options.path,
        ifname=options.ifname,
        timeout_s=options.timeout,
        junit=options.junit,
        only=tuple(options.only),
        skip=tuple(options.skip),
    )
    found: list[findings.Finding] = []
    interrupted = False
    try:
        with findings.shown_while_found(found, stderr) as tell:
            running.judge(wanted, tell)
    except KeyboardInterrupt:
        interrupted = True
    except subject.CannotJudge as fault:
        stderr.write(f"amdcni: {fault}\n")
        return 2
    if options.json:
        stdout.write(json.dumps(findings.as_json(found), indent=2) + "\n")
    else:
        findings.print_table(found, options.plugin, stdout)
    if interrupted:
        stderr.write("amdcni: interrupted; the other clauses were not tried\n")
        return 130
    return 1 if any(each.verdict is findings.Verdict.FAILED for each in found) else 0


def run() -> None:
    """Serve the command line of this process, and exit."""
    sys.exit(main(sys.argv[1:], sys.stdout, sys.stderr))
