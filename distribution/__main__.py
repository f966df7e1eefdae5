"""`make tree` and `make image`: `python -m distribution tree FOLDER`, `... image TREE [FILE]`."""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from distribution import image, manifest, tree
from distribution.commands import BuildFailed
from distribution.wheels import CHECKOUT, project

ARCHIVES: Final = CHECKOUT / ".archives"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m distribution")
    commands = parser.add_subparsers(required=True, dest="command")
    of_tree = commands.add_parser("tree", help="build the self-contained tree")
    of_tree.add_argument("folder", type=Path)
    of_image = commands.add_parser("image", help="write the image of a tree")
    of_image.add_argument("tree", type=Path)
    of_image.add_argument("file", type=Path, nargs="?")
    options = parser.parse_args()
    try:
        match options.command:
            case "tree":
                made = tree.build(options.folder, ARCHIVES)
                print(f"{options.folder}: {made.name}, {len(made.entries)} files")
            case _:
                _write_image(options.tree, options.file)
    except BuildFailed as failure:
        sys.stderr.write(f"{options.command}: {failure}\n")
        return 1
    return 0


def _write_image(built: Path, file: Path | None) -> None:
    about: dict[str, Any] = project()
    file = file or CHECKOUT / f"dist/amdcni-{about['version']}.oci.tar"
    labels = {"title": about["name"], "description": about["description"]}
    digest = image.build(built, file, labels)
    print(f"{file}: {manifest.read_name(built)}, {digest}")


if __name__ == "__main__":
    sys.exit(main())
