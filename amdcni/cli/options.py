"""Options that several commands of `amdcni` have."""

import argparse
import os
from enum import StrEnum
from typing import Final

from amdcni.core.kubernetes.installation import BIN_DIR, CONF_DIR
from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni_shim.client import SOCKET_PATH


class Words(StrEnum):
    """A kind of words that a shell completes and only the node knows."""

    ATTACHMENTS = "attachments"
    DEVICES = "devices"
    NAMESPACES = "namespaces"


ID: Final = (
    "the device, its name on the host, the pod's name, with or without its namespace as in "
    "NAMESPACE/POD, or the start of a container ID; if it is none of these, its name in the pod"
)
"""How the help describes what a person may call an attachment."""

_FOR_PROGRAMS: Final = ("json", "yaml")

_OF_A_TABLE: Final = (
    "wide shows all columns, and everything in full; name prints only the devices; json and yaml "
    "are for programs"
)


def add_output(
    command: argparse.ArgumentParser,
    *forms: str,
    inherits: bool = False,
) -> None:
    """Add the options for the form of the output: JSON, YAML, and the `forms` for people.

    If the command `inherits`, leaving them out keeps the value given before.
    """
    command.add_argument(
        "-o",
        "--output",
        choices=(*forms, *_FOR_PROGRAMS),
        default=argparse.SUPPRESS if inherits else None,
        help=_OF_A_TABLE if forms else "print JSON or YAML instead of text",
    )
    command.add_argument(
        "--json",
        dest="output",
        action="store_const",
        const="json",
        default=argparse.SUPPRESS,
        help="the same as --output json",
    )


def add_listing(command: argparse.ArgumentParser) -> None:
    """Add the options of a command that prints a table."""
    add_output(command, "wide", "name")
    command.add_argument(
        "--no-headers", action="store_true", help="print only the rows of the table"
    )


def add_watch(command: argparse.ArgumentParser) -> None:
    """Add the option to print each change."""
    command.add_argument(
        "-w",
        "--watch",
        action="store_true",
        help="then print each change, until Ctrl-C; the exit status is then 0",
    )


def add_namespace(command: argparse.ArgumentParser) -> None:
    """Add the option to look at the pods of one namespace."""
    command.add_argument(
        "-n",
        "--namespace",
        metavar="NAMESPACE",
        help="only what pods of this namespace have",
    )


def add_data_dir(command: argparse.ArgumentParser, *, inherits: bool = False) -> None:
    """Add the option to look into one state folder; `inherits` as for `add_output`."""
    command.add_argument(
        "--data-dir",
        default=argparse.SUPPRESS if inherits else None,
        metavar="FOLDER",
        help="look only into this state folder, as in the configuration key dataDir (default: "
        f"{DEFAULT_DATA_DIR}, and every other that holds records)",
    )


def add_shown(command: argparse.ArgumentParser) -> None:
    """Add what says which attachment is shown, and how much of it."""
    command.add_argument("id", metavar="ID", help=ID)
    command.add_argument(
        "--all",
        action="store_true",
        help="also list what comes back as it is usual, and the whole container ID",
    )


def add_bin_dir(command: argparse.ArgumentParser) -> None:
    """Add the option that says where the plugin is installed."""
    command.add_argument(
        "--bin-dir",
        default=BIN_DIR,
        metavar="DIR",
        help="the folder in which Multus looks for plugins (default: %(default)s)",
    )


def add_setup(command: argparse.ArgumentParser) -> None:
    """Add the options that say how Multus and the runtime are set up."""
    command.add_argument(
        "--bin-dir",
        metavar="DIRS",
        help="where Multus looks for plugins, separated by colons (default: what its "
        f"configuration says, where this tree is installed, or {BIN_DIR})",
    )
    command.add_argument(
        "--cni-conf-dir",
        default=CONF_DIR,
        metavar="DIR",
        help="where the runtime looks for CNI configurations (default: %(default)s)",
    )


def add_socket(command: argparse.ArgumentParser, what: str) -> None:
    """Add the option for the agent's socket; `what` says what it is there for."""
    command.add_argument(
        "--socket",
        default=os.fsdecode(SOCKET_PATH),
        metavar="PATH",
        help=f"{what} (default: %(default)s, where the executable looks)",
    )
