"""The command line of `amdcni`: all of its subcommands and their options."""

import argparse
from importlib import metadata
from typing import TYPE_CHECKING

from amdcni.core.kubernetes.installation import BIN_DIR, CONF_DIR
from amdcni.core.request import DEFAULT_DATA_DIR

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; it leaves the subcommand in `command`."""
    parser = argparse.ArgumentParser(
        prog="amdcni",
        description="The NICs of this node, those that amd-host-device has lent to pods, and the "
        "conformance of any CNI plugin.",
    )
    version = f"amdcni {metadata.version('amdcni')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    _add_devices(commands)
    _add_attachments(commands)
    _add_heal(commands)
    _add_doctor(commands)
    _add_conformance(commands)
    return parser


def _add_devices(commands: "Subcommands") -> None:
    devices = commands.add_parser(
        "devices",
        help="which NICs the node has, where each one is, and what will come back",
        description="One row for each NIC on the node's PCI and auxiliary bus: what it is, its "
        "driver and netdevs with link, speed and addresses, its RDMA devices, whether the node is "
        "reached through it, and which pod has it.  Of a NIC that a pod has, the name and "
        "addresses that will come back.  It changes nothing and needs no privilege, but only root "
        "may read which pod has which NIC.  The status is 1 if a record could not be read.",
    )
    _add_json(devices)
    _add_data_dir(devices)


def _add_attachments(commands: "Subcommands") -> None:
    attachments = commands.add_parser(
        "attachments",
        help="which NIC is where, since when, and what will be given back",
        description="One row for each NIC that a pod holds: who holds it, whether the pod's "
        "network namespace still exists, and the host configuration that is restored on DEL.",
    )
    _add_json(attachments)
    _add_data_dir(attachments)


def _add_heal(commands: "Subcommands") -> None:
    heal = commands.add_parser(
        "heal",
        help="gives back what no call will give back any more",
        description="Looks at every record: work that was interrupted, NICs that came back from a "
        "pod without a DEL, records of an earlier boot.  Restores the host's configuration from "
        "the record, and tells what it found and did.  The status is 1 if something could not be "
        "healed now.  It may be run at any time, also from a timer.",
    )
    heal.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    _add_json(heal)
    _add_data_dir(heal)


def _add_doctor(commands: "Subcommands") -> None:
    doctor = commands.add_parser(
        "doctor",
        help="whether this node has all that lending a NIC needs, and what to do if not",
        description="Looks at everything that an ADD needs of this node: privileges, sysfs, the "
        "plugins and the CNI versions that they answer, the state folder and its records, Multus, "
        "and definitions of networks.  Each line has passed, has failed, or is not known, and then "
        "says what to do.  It changes nothing, but asks plugins for their versions.  Whoever is "
        "not root is told what only root can see.  The status is 1 if something has failed.",
    )
    doctor.add_argument(
        "files",
        nargs="*",
        metavar="NAD.yaml",
        help="manifests of NetworkAttachmentDefinitions, as YAML or JSON; - is standard input",
    )
    doctor.add_argument(
        "--bin-dir",
        metavar="DIRS",
        help="where Multus looks for plugins, separated by colons (default: what its "
        f"configuration says, or {BIN_DIR})",
    )
    doctor.add_argument(
        "--cni-conf-dir",
        default=CONF_DIR,
        metavar="DIR",
        help="where the runtime looks for CNI configurations (default: %(default)s)",
    )
    _add_json(doctor)
    _add_data_dir(doctor)


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_data_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-dir",
        default=DEFAULT_DATA_DIR,
        metavar="FOLDER",
        help="the state folder, as in the configuration key dataDir (default: %(default)s)",
    )


def _add_conformance(commands: "Subcommands") -> None:
    judged = commands.add_parser(
        "conformance",
        help="whether a CNI plugin does what CNI SPEC 1.1 asks of it",
        description="Runs the plugin in throwaway network namespaces, and tells for each clause of "
        "the specification whether it holds.  Nothing of this machine's own network is touched.  "
        "The plugin finds NICs eth1 to eth4, with the PCI addresses 0000:c1:00.0 to 0000:c4:00.0; "
        "what the configuration says of the first is said of the others to other containers.  It "
        "has a /run, a /sys and a /var/lib/cni of its own; other files that it writes are real.  "
        "The status is 1 if a clause fails, 2 if nothing could be judged, and 130 after an "
        "interrupt.",
    )
    judged.add_argument("--plugin", required=True, metavar="PATH", help="the plugin's executable")
    judged.add_argument(
        "--config",
        metavar="FILE",
        help="its network configuration, as JSON, or a list in which it is one of the plugins "
        "(default: only name and type)",
    )
    judged.add_argument(
        "--path",
        metavar="DIRS",
        help="CNI_PATH, where the plugins are that it calls or that come before it in the list "
        "(default: /opt/cni/bin:/usr/lib/cni)",
    )
    judged.add_argument(
        "--ifname", metavar="NAME", help="CNI_IFNAME (default: net1; lo for a plugin like loopback)"
    )
    judged.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        help="how long a call may take before it is killed (default: 60)",
    )
    for name, which in (("--only", "only clauses"), ("--skip", "no clauses")):
        judged.add_argument(
            name,
            metavar="WORDS",
            action="append",
            default=[],
            help=f"{which} with these words in their sentences; may be repeated",
        )
    _add_json(judged)
    judged.add_argument("--junit", metavar="FILE", help="write a JUnit file, too")
