"""How the subcommands print: JSON for programs, tables for people."""

import json
from typing import IO, Any


def print_json(value: Any, stdout: IO[str]) -> None:
    """Print a value for programs."""
    stdout.write(json.dumps(value, indent=2) + "\n")
