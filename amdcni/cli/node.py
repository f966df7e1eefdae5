"""This node, for the subcommands that read its records or change it."""

import os
from typing import IO

from amdcni.core.request import LogLevel, LogSettings, plugin_dirs_of
from amdcni.effects.node import LinuxNode
from amdcni.log import make_log


def on_this_node(data_dir: str, command: str, stderr: IO[str]) -> LinuxNode:
    """This node with its state in `data_dir`, as a context; what is of note goes to `stderr`."""
    log = make_log(LogSettings(), stderr, command=command)

    def report(event: str, **facts: object) -> None:
        log(LogLevel.WARNING, event, **facts)

    return LinuxNode(data_dir, plugin_dirs_of(os.environ), os.environ, report)
