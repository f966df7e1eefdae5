"""The OCI image: the tree, a link to its command, and how that is started.

It is written as an archive of an OCI image layout (OCI Image Format 1.0), which runtimes import,
without a container engine and without a base image.
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from distribution import manifest

FOLDER: Final = "amdcni"
"""Where the tree lies: Python does not look for its library in the root folder."""

LINK: Final = "bin/amdcni"
LINK_TARGET: Final = f"../{FOLDER}/bin/amdcni"
ENTRYPOINT: Final = (f"/{LINK}",)
COMMAND: Final = ("--help",)
PATH: Final = "/bin"

_TIME: Final = 315532800
_LABEL: Final = "org.opencontainers.image"
_TYPE: Final = "application/vnd.oci.image"
ARCHITECTURES: Final = {"x86_64": "amd64"}
"""What the Go language, and so an image and a node of Kubernetes, calls an architecture."""


@frozen
class Blob:
    """A part of an image, addressed by its hash."""

    media_type: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def descriptor(self) -> dict[str, Any]:
        """How other parts of the image refer to this one."""
        digest = f"sha256:{self.sha256}"
        return {"mediaType": self.media_type, "digest": digest, "size": len(self.data)}


def build(tree: Path, target: Path, labels: Mapping[str, str]) -> str:
    """Write the image of a tree as the archive `target`, in one step; the image's digest.

    `labels` are those of OCI by the last part of their names, such as `title`.
    """
    written = json.loads((tree / manifest.NAME).read_bytes())
    plain = _layer_of(tree)
    # The level and the time are given, so that the same tree always gives the same bytes.
    layer = Blob(f"{_TYPE}.layer.v1.tar+gzip", gzip.compress(plain, 9, mtime=0))
    labels = {"version": written["version"], **labels}
    config = _config(ARCHITECTURES[written["arch"]], plain, labels)
    described = _json(
        f"{_TYPE}.manifest.v1+json",
        {
            "schemaVersion": 2,
            "mediaType": f"{_TYPE}.manifest.v1+json",
            "config": config.descriptor,
            "layers": [layer.descriptor],
        },
    )
    index = _index(described, written["version"])
    part = target.with_name(f".{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in _layout(index, (layer, config, described)):
            archive.addfile(_settled(tarfile.TarInfo(name), len(data)), io.BytesIO(data))
    part.replace(target)
    return f"sha256:{described.sha256}"


def _layer_of(tree: Path) -> bytes:
    """The root folder as an archive, with owner, permissions and times that never differ."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in (tree, *sorted(tree.rglob("*"))):
            entry = tarfile.TarInfo(str(FOLDER / path.relative_to(tree)))
            if path.is_symlink():
                entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
                archive.addfile(_settled(entry, 0, 0o777))
            elif path.is_dir():
                entry.type = tarfile.DIRTYPE
                archive.addfile(_settled(entry, 0, 0o755))
            else:
                data, mode = path.read_bytes(), path.stat().st_mode & 0o777
                archive.addfile(_settled(entry, len(data), mode), io.BytesIO(data))
        folder, link = tarfile.TarInfo("bin"), tarfile.TarInfo(LINK)
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, LINK_TARGET
        archive.addfile(_settled(folder, 0, 0o755))
        archive.addfile(_settled(link, 0, 0o777))
    return output.getvalue()


def _settled(entry: tarfile.TarInfo, size: int, mode: int = 0o644) -> tarfile.TarInfo:
    entry.size, entry.mode, entry.mtime = size, mode, _TIME
    return entry


def _config(architecture: str, layer: bytes, labels: Mapping[str, str]) -> Blob:
    return _json(
        f"{_TYPE}.config.v1+json",
        {
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Entrypoint": list(ENTRYPOINT),
                "Cmd": list(COMMAND),
                "Env": [f"PATH={PATH}"],
                "Labels": {f"{_LABEL}.{name}": labels[name] for name in sorted(labels)},
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
            },
        },
    )


def _index(described: Blob, version: str) -> Blob:
    # Podman and skopeo take the first name, containerd the second.
    names = {
        f"{_LABEL}.ref.name": version,
        "io.containerd.image.name": f"localhost/amdcni:{version}",
    }
    return _json(
        f"{_TYPE}.index.v1+json",
        {
            "schemaVersion": 2,
            "mediaType": f"{_TYPE}.index.v1+json",
            "manifests": [{**described.descriptor, "annotations": names}],
        },
    )


def _layout(index: Blob, blobs: tuple[Blob, ...]) -> Iterator[tuple[str, bytes]]:
    """The files of an image layout."""
    yield "oci-layout", b'{"imageLayoutVersion":"1.0.0"}'
    yield "index.json", index.data
    for blob in sorted(blobs, key=lambda each: each.sha256):
        yield f"blobs/sha256/{blob.sha256}", blob.data


def _json(media_type: str, value: Mapping[str, Any]) -> Blob:
    return Blob(media_type, json.dumps(value, separators=(",", ":")).encode())
