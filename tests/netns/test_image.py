"""The OCI image: what other software makes of it, and that it runs with nothing but itself."""

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any, Final

import pytest

from amdcni.testing import Node
from distribution import debian, image
from distribution.commands import BuildFailed
from distribution.wheels import CHECKOUT, project
from tests.trees import ARCHIVES, built_tree

pytestmark = pytest.mark.thorough

LABELS: Final = {"title": "amdcni", "description": "a plugin"}
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_tree(tmp_path_factory)


@pytest.fixture(scope="module")
def archive(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("image") / "amdcni.oci.tar"
    image.build(tree, target, LABELS)
    return target


@pytest.fixture(scope="module")
def layout(archive: Path) -> Path:
    """The archive, unpacked."""
    folder = archive.parent / "layout"
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def bundle(layout: Path) -> Path:
    """What umoci makes of the image: a root folder and a configuration for runc."""
    try:
        tools = debian.unpack(["umoci"], ARCHIVES, layout.parent / "tools")
    except BuildFailed as reason:
        pytest.skip(f"there is no umoci: {reason}")
    folder = layout.parent / "bundle"
    program = tools.find("usr/bin/umoci")
    image_of = f"{layout}:{project()['version']}"
    # Whoever is not root cannot give files to root.
    command = [str(program), "unpack", "--rootless", "--image", image_of, str(folder)]
    subprocess.run(command, check=True)
    return folder


def blob_of(layout: Path, descriptor: dict[str, Any]) -> bytes:
    """Return a part of the image, which has to be what its descriptor says."""
    kind, _, digest = str(descriptor["digest"]).partition(":")
    data = Path(layout, "blobs", kind, digest).read_bytes()
    assert (kind, len(data)) == ("sha256", descriptor["size"])
    assert hashlib.sha256(data).hexdigest() == digest
    return data


def test_every_part_of_the_image_is_what_the_others_say_of_it(layout: Path) -> None:
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((layout / "index.json").read_bytes())
    (entry,) = index["manifests"]
    assert (index["schemaVersion"], entry["mediaType"]) == (2, MANIFEST)
    described = json.loads(blob_of(layout, entry))
    config = json.loads(blob_of(layout, described["config"]))
    (layer,) = described["layers"]
    unpacked = subprocess.run(
        ["gzip", "--decompress"], input=blob_of(layout, layer), capture_output=True, check=True
    ).stdout
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(unpacked).hexdigest()}"]
    parts = (entry, described["config"], layer)
    digests = {each["digest"].partition(":")[2] for each in parts}
    assert {path.name for path in (layout / "blobs/sha256").iterdir()} == digests


def test_two_images_of_one_tree_are_the_same(tree: Path, archive: Path, tmp_path: Path) -> None:
    # In another order on disk, and with other times.
    copied = shutil.copytree(tree, tmp_path / "tree", symlinks=True, copy_function=shutil.copy)
    again = tmp_path / "again.oci.tar"
    image.build(copied, again, dict(reversed(LABELS.items())))
    assert again.read_bytes() == archive.read_bytes()


def test_an_unpacked_image_is_the_tree(bundle: Path, tree: Path) -> None:
    unpacked = bundle / "rootfs/amdcni"
    command = ["diff", "--recursive", "--no-dereference", str(tree), str(unpacked)]
    assert subprocess.run(command, capture_output=True, check=False).stdout == b""
    for path in tree.rglob("*"):
        there = unpacked / path.relative_to(tree)
        assert path.lstat().st_mode == there.lstat().st_mode, path


def test_the_image_runs_with_nothing_but_itself(bundle: Path, node: Node) -> None:
    config = json.loads((bundle / "config.json").read_bytes())
    process = config["process"]
    root = str(bundle / "rootfs")
    assert (process["user"]["uid"], process["cwd"]) == (0, "/")
    environ = dict(each.split("=", 1) for each in process["env"])
    # A runtime makes the folders on which it mounts.
    script = f"cd {shlex.quote(root)} && mkdir -p proc && mount --rbind /proc proc"
    for arguments, said in (
        (process["args"], "usage: amdcni"),
        (["amdcni", "--version"], "amdcni"),
    ):
        entered = f'{script} && exec /usr/sbin/chroot . "$@"'
        done = node.run(["/bin/sh", "-c", entered, "sh", *arguments], env={**environ, **PATHS})
        assert (done.returncode, done.stderr) == (0, b""), done
        assert said in done.stdout.decode()
    done = node.run(["/usr/sbin/chroot", root, "/bin/sh"])
    assert done.returncode == 127


PATHS: Final = {"PATH": "/bin:/usr/bin"}
"""For the shell that enters the image; in there, both are the same folder or none."""


def test_the_dockerfile_gives_the_same_content() -> None:
    """No engine runs here, so this compares what it says."""
    said = (CHECKOUT / "Dockerfile").read_text()
    final = said.partition("FROM scratch\n")[2]
    about = project()
    assert f"RUN make tree TREE=/image/{image.FOLDER} " in said
    assert f"ln -s {image.LINK_TARGET} /image/{image.LINK}\n" in said
    assert f"FROM debian:{debian.RELEASE}-slim AS build" in said
    assert f"ENTRYPOINT {json.dumps(list(image.ENTRYPOINT))}\n" in final
    assert f"CMD {json.dumps(list(image.COMMAND))}\n" in final
    assert f"ENV PATH={image.PATH}\n" in final
    labels = dict(re.findall(r'^LABEL org\.opencontainers\.image\.(\w+)="(.*)"$', final, re.M))
    assert labels == {
        "title": about["name"],
        "description": about["description"],
        "version": about["version"],
    }
    assert re.findall(r"^COPY .*$", final, re.M) == ["COPY --from=build /image/ /"]
    ignored = (CHECKOUT / ".dockerignore").read_text().split()
    assert {".git", "**/__pycache__", ".venv/", "dist/", ".archives/"} <= set(ignored)
