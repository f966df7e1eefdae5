"""`python -m distribution tree [FOLDER]`."""

import argparse
import sys
from pathlib import Path

from distribution import tree
from distribution.commands import BuildFailed
from distribution.wheels import CHECKOUT


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m distribution")
    commands = parser.add_subparsers(required=True, dest="command")
    built = commands.add_parser("tree", help="the self-contained tree")
    built.add_argument("folder", type=Path)
    options = parser.parse_args()
    try:
        made = tree.build(options.folder, CHECKOUT / ".archives")
    except BuildFailed as failure:
        sys.stderr.write(f"{options.command}: {failure}\n")
        return 1
    print(f"{options.folder}: {made.name}, {len(made.entries)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
