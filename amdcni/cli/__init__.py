"""The operator's command `amdcni`: shows what the node's records say, and heals."""

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
        prog="amdcni", description="NICs that amd-host-device has lent to pods on this node."
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
    for command in (attachments, heal):
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
        command.add_argument(
            "--data-dir",
            default=DEFAULT_DATA_DIR,
            metavar="FOLDER",
            help="the state folder, as in the configuration key dataDir (default: %(default)s)",
        )
    return parser


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


def run() -> None:
    """Serve the command line of this process, and exit."""
    sys.exit(main(sys.argv[1:], sys.stdout, sys.stderr))
