"""Images of this checkout in two versions, as `make image` writes them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

from distribution import image, manifest, tree
from distribution.manifest import Manifest
from distribution.wheels import CHECKOUT


@frozen
class Image:
    """An archive with an image, and the names of the image and of the tree in it."""

    archive: Path
    reference: str
    tree: str


def write_image(built: Path, folder: Path) -> Image:
    """Write the image of a tree into a folder."""
    name = manifest.read_name(built)
    version = name.rpartition("-")[0]
    archive = folder / f"{name}.oci.tar"
    image.build(built, archive, {})
    return Image(archive, f"localhost/amdcni:{version}", name)


def write_successor(built: Path, target: Path, version: str) -> None:
    """Write a tree that differs from another one in its version, and works as well."""
    shutil.copytree(built, target, symlinks=True)
    (metadata,) = target.glob("lib/python*/site-packages/amdcni-*.dist-info/METADATA")
    text = metadata.read_text()
    metadata.write_text(re.sub("^Version: .*$", f"Version: {version}", text, flags=re.MULTILINE))
    _build_launcher(target, manifest.nameless(version))
    name = manifest.name_of(version, manifest.entries_of(target))
    _build_launcher(target, name)
    arch = os.uname().machine
    manifest.write(target, Manifest(version, name, arch, manifest.entries_of(target)))


def _build_launcher(folder: Path, name: str) -> None:
    output = folder / tree.LAUNCHER
    environment = {**os.environ, "CC": "musl-gcc", "SOURCE": "launchers/amd-host-device.c"}
    build = CHECKOUT / "scripts/build-launcher.sh"
    subprocess.run([build, output, f'-DTREE="{name}"'], env=environment, check=True)
    output.chmod(0o755)
