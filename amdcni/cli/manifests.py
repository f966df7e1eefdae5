"""`amdcni manifests`: the Kubernetes objects that install amdcni on the nodes of a cluster."""

import argparse
import shlex
from collections.abc import Iterator
from importlib import resources
from typing import IO

import yaml

from amdcni import deployment
from amdcni.core.errors import InvalidSettings
from amdcni.deployment import Files, Platform, Settings


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Print the objects; 0."""
    settings = deployment.parse_settings(options.settings, Platform(options.platform))
    header = shlex.join(_command_line(options))
    stdout.write(deployment.render(_objects(options, settings), header))
    return 0


def _objects(options: argparse.Namespace, settings: Settings) -> deployment.Objects:
    if options.example:
        if options.uninstall:
            raise InvalidSettings("--uninstall does not go with --example: delete it by kubectl")
        return deployment.sample(settings)
    image = deployment.parse_image(options.image)
    if options.uninstall:
        return deployment.uninstallation(settings, image)
    return deployment.installation(settings, image, _read_files())


def _read_files() -> Files:
    folder = resources.files(deployment) / "files"
    rules = yaml.safe_load((folder / "alerts.yaml").read_text())
    return Files(rules, (folder / "dashboard.json").read_text())


def _command_line(options: argparse.Namespace) -> Iterator[str]:
    """The command line that prints the same, with all that was left to a default left out."""
    yield from ("amdcni", "manifests")
    yield from ("--example",) if options.example else ("--image", options.image)
    if options.platform != Platform.PLAIN:
        yield from ("--platform", options.platform)
    for setting in options.settings:
        yield from ("--set", setting)
    if options.uninstall:
        yield "--uninstall"
