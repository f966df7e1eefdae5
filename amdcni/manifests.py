"""Reading Kubernetes manifests from files, as `kubectl` accepts and prints them."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import yaml

from amdcni.core.errors import InvalidManifest

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""Enough for the manifests of a cluster; what is larger is another kind of file."""


class _Loader(yaml.SafeLoader):
    """Reads YAML as Kubernetes does: a date is a string."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the attribute is PyYAML's
        first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_manifests(paths: Sequence[str]) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The objects of YAML or JSON files, each with its path; `-` is standard input.

    A file may have several documents, and an object of kind List stands for its items.

    Raises: InvalidManifest, with path and line.
    """
    return tuple((path, manifest) for path in paths for manifest in _read(path))


def read_file(path: str) -> bytes:
    """What a file holds; `-` is standard input.

    Raises: InvalidManifest.
    """
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidManifest(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise InvalidManifest(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    return data


def _read(path: str) -> Iterator[dict[str, Any]]:
    for document in _documents(path):
        for manifest in _flat(document):
            if not isinstance(manifest, dict):
                raise InvalidManifest(f"{path}: a document is not a Kubernetes object")
            yield manifest


def _flat(document: Any) -> list[Any]:
    """A document as objects: none if it is empty, the items of a List, or else itself."""
    if document is None:
        return []
    if isinstance(document, dict) and str(document.get("kind")).endswith("List"):
        return list(document.get("items") or ())
    return [document]


def _documents(path: str) -> list[Any]:
    text = read_file(path)
    try:
        documents = list(yaml.load_all(text.decode("utf-8"), _Loader))
        # As in Kubernetes, an object holds only what JSON can express.
        plain: list[Any] = json.loads(json.dumps(documents, allow_nan=False))
        return plain
    except yaml.MarkedYAMLError as fault:
        line = "" if fault.problem_mark is None else f", line {fault.problem_mark.line + 1}"
        said = " ".join(filter(None, (fault.context, fault.problem)))
        raise InvalidManifest(f"{path}{line}: is not YAML: {said}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as fault:
        said = str(fault).partition("\n")[0]
        raise InvalidManifest(f"{path}: is not YAML: {said}") from None
    except (TypeError, ValueError) as fault:
        raise InvalidManifest(f"{path}: cannot be a Kubernetes object: {fault}") from None
