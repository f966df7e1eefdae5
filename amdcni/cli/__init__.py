"""The command `amdcni`: shows, explains and mends what pods have of this node's NICs.

Every subcommand has a module of its own here, whose `serve` gives the exit status; it is imported
when it is asked for.  `arguments` has all of the command line.
"""

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import IO

from amdcni.cli.arguments import parser
from amdcni.core.errors import AmdcniError


def main(arguments: Sequence[str], stdout: IO[str], stderr: IO[str]) -> int:
    """Serve one command line; the exit status: 0, 1 for a failure, 2 for a wrong command line."""
    options = parser().parse_args(arguments)
    try:
        command = import_module(f"amdcni.cli.{options.command.replace('-', '_')}")
        status: int = command.serve(options, stdout, stderr)
        return status
    except AmdcniError as failure:
        stderr.write(f"amdcni: {failure}\n")
        return 1


def run() -> None:
    """Serve the command line of this process, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name of a netdev or of a file may be any bytes, whatever the locale is.
            stream.reconfigure(errors="backslashreplace")
    try:
        status = main(sys.argv[1:], sys.stdout, sys.stderr)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who has read enough wants no complaint, also not of the flush at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
