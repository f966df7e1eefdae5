"""`amdcni completion`: the script by which a shell completes the command line."""

import argparse
from typing import IO

from amdcni.cli.arguments import parser


def serve(options: argparse.Namespace, stdout: IO[str], _: IO[str]) -> int:
    """Print the script for a shell."""
    import shtab

    stdout.write(shtab.complete(parser(), shell=options.shell))
    return 0
