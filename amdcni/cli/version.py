"""`amdcni version`: the version of amdcni."""

import argparse
from typing import IO

from amdcni import __version__


def serve(_: argparse.Namespace, stdout: IO[str], __: IO[str]) -> int:
    """Print the version; 0."""
    stdout.write(f"amdcni {__version__}\n")
    return 0
