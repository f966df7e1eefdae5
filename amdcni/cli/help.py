"""`amdcni help`: the help of the command line, or of one of its commands."""

import argparse
from typing import IO

from amdcni.cli.arguments import parser


def serve(options: argparse.Namespace, stdout: IO[str], _: IO[str]) -> int:
    """Print the help of the command that is named; with an unknown one, the process ends with 2."""
    whole = parser()
    if options.topic:
        # The command prints its help by itself and exits, or the parser says what may be meant.
        whole.parse_args([*options.topic, "--help"])
    stdout.write(whole.format_help())
    return 0
