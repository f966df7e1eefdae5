"""The command `amdcni`: shows and explains which pods have this node's NICs, and heals.

Each subcommand is a module here, imported only when it is asked for; its `serve` returns the exit
status.  `arguments` defines the whole command line.
"""

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import IO

from amdcni.cli.arguments import parser
from amdcni.core.errors import AmdcniError


def main(arguments: Sequence[str], stdout: IO[str], stderr: IO[str]) -> int:
    """Serve one command line; the exit status: 0, 1 for a failure, 2 for a wrong command line."""
    options = parser().parse_args(arguments)
    try:
        # Alone, it says what there is.
        name = options.command or "help"
        command = import_module(f"amdcni.cli.{name.replace('-', '_')}")
        status: int = command.serve(options, stdout, stderr)
        return status
    except AmdcniError as failure:
        stderr.write(f"amdcni: {failure}\n")
        return 1


def run() -> None:
    """Serve the command line of this process, and exit."""
    _fill_standard_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # The name of a netdev or of a file may be any bytes, whatever the locale.
            stream.reconfigure(errors="backslashreplace")
    try:
        status = main(sys.argv[1:], sys.stdout, sys.stderr)
        sys.stdout.flush()
    except BrokenPipeError:
        # A reader that has seen enough wants no complaint, nor one from the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


def _fill_standard_descriptors() -> None:
    """Open what is closed of stdin, stdout and stderr, so that no other file gets their numbers."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # Those below are open, so this is the number that the file gets, if there is one.
            with suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
