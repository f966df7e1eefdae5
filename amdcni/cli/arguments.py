"""The command line of `amdcni`: all of its subcommands and their options."""

import argparse
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from amdcni import __version__
from amdcni.cli.options import (
    ID,
    Words,
    add_bin_dir,
    add_data_dir,
    add_listing,
    add_namespace,
    add_output,
    add_setup,
    add_shown,
    add_socket,
    add_watch,
)
from amdcni.cli.parsing import Parser, add_examples
from amdcni.core.kubernetes import CHECKPOINT
from amdcni.core.kubernetes.installation import BIN_DIR, NETWORKS_DIR
from amdcni.deployment.platforms import Platform
from amdcni.deployment.settings import KEYS
from amdcni_agent.address import DEFAULT_ADDRESS, OFF
from amdcni_agent.cluster import SERVICE_ACCOUNT, Posting

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]


class Shell(StrEnum):
    """A shell that can complete the command line."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    TCSH = "tcsh"


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; it leaves the subcommand in `command`."""
    parser: argparse.ArgumentParser = Parser(
        prog="amdcni",
        description="The NICs of this node, those that amd-host-device has lent to pods, and the "
        "conformance of any CNI plugin.",
    )
    parser.add_argument("--version", action="version", version=f"amdcni {__version__}")
    parser.set_defaults(topic=())
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    _add_explain(commands)
    _add_devices(commands)
    _add_attachments(commands)
    _add_show(commands)
    _add_check(commands)
    _add_heal(commands)
    _add_release(commands)
    _add_doctor(commands)
    _add_agent(commands)
    _add_status(commands)
    _add_install(commands)
    _add_uninstall(commands)
    _add_manifests(commands)
    _add_conformance(commands)
    _add_completion(commands)
    _add_help(commands)
    _add_version(commands)
    for name, examples in EXAMPLES.items():
        add_examples(commands.choices[name], examples)
    return parser


EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "explain": (
        "kubectl get pod NAME -o yaml | amdcni explain - network.yaml --checkpoint",
        "amdcni explain pod.yaml network.yaml --device 0000:01:00.0 --plan",
    ),
    "devices": ("amdcni devices", "amdcni devices -o wide"),
    "attachments": (
        "amdcni attachments",
        "amdcni attachments -n ml -w",
        "amdcni attachments -o json | jq -r '.[] | select(.orphan) | .device'",
    ),
    "show": ("amdcni show eth1", "amdcni show ml/trainer-0", "amdcni show 0000:01:00.0 --all"),
    "check": ("amdcni check", "amdcni check -n ml -o yaml"),
    "heal": ("amdcni heal --dry-run", "amdcni heal", "amdcni heal 0000:01:00.0"),
    "release": ("amdcni release eth1", "amdcni release ml/trainer-0 --yes"),
    "doctor": ("amdcni doctor", "amdcni doctor network.yaml"),
    "agent": ("amdcni agent", "amdcni agent --metrics off"),
    "status": ("amdcni status", "amdcni status -w"),
    "install": ("amdcni install --dry-run", "amdcni install --bin-dir /usr/libexec/cni"),
    "uninstall": ("amdcni uninstall --dry-run", "amdcni uninstall"),
    "manifests": (
        f"amdcni manifests --image registry.example/amdcni:{__version__} | kubectl apply -f -",
        "amdcni manifests --example",
    ),
    "conformance": (
        "amdcni conformance --plugin /opt/cni/bin/bridge --config bridge.json",
        "amdcni conformance --plugin ./my-plugin --only GC",
    ),
    "completion": (
        "amdcni completion bash > /etc/bash_completion.d/amdcni",
        "amdcni completion zsh > /usr/local/share/zsh/site-functions/_amdcni",
        "amdcni completion fish > /etc/fish/completions/amdcni.fish",
    ),
    "help": ("amdcni help heal",),
}
"""What people type, by command."""


def _add_help(commands: "Subcommands") -> None:
    command = commands.add_parser(
        "help",
        help="the help of a command, or which commands there are",
        description="Prints what --help of the command prints; without a command, which commands "
        "there are.",
    )
    command.add_argument(
        "topic", nargs="*", metavar="WORD", help="the command, such as heal or attachments show"
    )


def _add_version(commands: "Subcommands") -> None:
    commands.add_parser(
        "version",
        help="the version of amdcni",
        description="Prints the version of amdcni, as --version does.",
    )


def _add_explain(commands: "Subcommands") -> None:
    explain = commands.add_parser(
        "explain",
        help="what happens to a pod's networks, up to each plugin call",
        description="Follows a pod through the Kubernetes integration flow: which devices it has, "
        "which networks its annotation selects, what Multus makes of both, and the exact "
        "environment and standard input of each plugin call.  Devices come from --device, a "
        "checkpoint or PodResources, or else from the variables PCIDEVICE_*.  Changes nothing.  "
        "The exit status is 1 if a file cannot be read or is wrong, if pod, networks and devices "
        "do not fit together, or if a call would be refused: because of its configuration or what "
        "this node's policy says of that, because an earlier call of the pod takes the same "
        "device, or with --plan also because of what is on this node.",
    )
    explain.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="manifests of one pod and of the definitions that it selects, as YAML or JSON, in any "
        "order; - is standard input",
    )
    devices = explain.add_mutually_exclusive_group()
    devices.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="[RESOURCE=]ID",
        help="a device allocated to the pod; may be repeated",
    )
    devices.add_argument(
        "--checkpoint",
        nargs="?",
        const=CHECKPOINT,
        metavar="FILE",
        help="the kubelet's checkpoint (without FILE, %(const)s)",
    )
    devices.add_argument(
        "--pod-resources", metavar="FILE", help="a response of the PodResources List call, as JSON"
    )
    explain.add_argument(
        "--container-id",
        default="CONTAINER_ID",
        metavar="CONTAINER_ID",
        help="the ID of the pod's sandbox (default: %(default)s)",
    )
    explain.add_argument(
        "--netns",
        default="/run/netns/POD",
        metavar="PATH",
        help="the path of its network namespace (default: %(default)s)",
    )
    explain.add_argument(
        "--cni-path",
        default=f"{BIN_DIR}:{BIN_DIR}",
        metavar="DIRS",
        help="CNI_PATH: Multus' binDir and that of the runtime (default: %(default)s)",
    )
    explain.add_argument(
        "--networks-dir",
        default=NETWORKS_DIR,
        metavar="DIR",
        help="where Multus finds the configuration of a definition without one "
        "(default: %(default)s)",
    )
    explain.add_argument(
        "--plan",
        action="store_true",
        help="also show what amd-host-device would do on this node, step by step, with each step's "
        "undo",
    )
    add_output(explain)


def _add_devices(commands: "Subcommands") -> None:
    devices = commands.add_parser(
        "devices",
        help="which NICs the node has, where each one is, and what will come back",
        description="Prints one row for each NIC on the node's PCI and auxiliary buses: what it "
        "is, its driver and netdevs with link, speed and addresses, its RDMA devices, whether the "
        "node is reached through it, whether the node's policy denies it, and which pod has it.  "
        "For a NIC that a pod has, it shows the name and addresses that will come back.  Changes "
        "nothing and needs no privilege, but only root can see which pod has which NIC.  The exit "
        "status is 1 if a record could not be read.",
    )
    add_listing(devices)
    add_watch(devices)
    add_data_dir(devices)


def _add_attachments(commands: "Subcommands") -> None:
    attachments = commands.add_parser(
        "attachments",
        help="which pod has which NIC, since when, and what will be returned",
        description="Prints one row for each NIC that is lent: which pod has it, under which name, "
        "its state, and for how long.  An orphan is one that no pod has any more.  "
        "Below the table is what needs somebody, with the command for it.  "
        "Changes nothing.  The exit status is 1 if a record could not be read.",
    )
    attachments.set_defaults(id=None)
    shown = attachments.add_subparsers(metavar="[COMMAND]")
    show = shown.add_parser(
        "show",
        help="everything known about one NIC",
        description="Prints everything known about one NIC, or about all NICs of one pod, as "
        "amdcni show does.",
    )
    add_listing(attachments)
    add_watch(attachments)
    add_namespace(attachments)
    add_data_dir(attachments)
    add_shown(show)
    add_output(show, inherits=True)
    add_data_dir(show, inherits=True)


def _add_show(commands: "Subcommands") -> None:
    show = commands.add_parser(
        "show",
        help="where one NIC is, whose it is, and what the host gets back",
        description="Prints where one NIC is, whose it is, what comes back and what comes next; "
        "then everything known about it, and what of it is different now.  With the name of a pod "
        "it prints that of all of the pod's NICs.  Changes nothing.  The exit status is 1 if its "
        "record could not be read, or if nothing or more than one thing is known by that name.",
    )
    add_shown(show)
    add_output(show)
    add_data_dir(show)


def _add_check(commands: "Subcommands") -> None:
    check = commands.add_parser(
        "check",
        help="whether every lent NIC is in its pod and healthy",
        description="Checks every NIC that is lent, as CHECK does, and reports what is wrong: a "
        "pod that is gone, another name, a netdev that is down or has lost its link, addresses "
        "that are missing or cannot be used.  "
        "Changes nothing.  The exit status is 1 if something is wrong.",
    )
    add_listing(check)
    add_watch(check)
    add_namespace(check)
    add_data_dir(check)


def _add_release(commands: "Subcommands") -> None:
    release = commands.add_parser(
        "release",
        help="returns a NIC to the host without waiting for a DEL",
        description="Does what the DEL of the attachment would do: takes the NIC out of the pod, "
        "if it is there, and restores the host's configuration.  It asks first.  A later DEL "
        "finds nothing to do.  The exit status is 1 if it fails or you say no, and 2 if there is "
        "no terminal to ask on.",
    )
    release.add_argument(
        "id",
        metavar="ID",
        help="the device, its name on the host, the pod's name, with or without its namespace as "
        "in NAMESPACE/POD, or the start of a container ID; it has to name one device",
    )
    release.add_argument("--yes", action="store_true", help="do not ask")
    add_output(release)
    add_data_dir(release)


def _add_completion(commands: "Subcommands") -> None:
    completion = commands.add_parser(
        "completion",
        help="prints a script by which a shell completes this command line",
        description="Prints a script that lets a shell complete commands, options and their "
        "values, and names what the node has lent: devices, their names on the host, pods, "
        "namespaces and container IDs.  For these the script asks amdcni at each completion, and "
        "gets none unless the user may read the records, as root may; in tcsh there are none.",
    )
    completion.add_argument("shell", choices=tuple(each.value for each in Shell))
    completion.add_argument(
        "--words",
        choices=tuple(each.value for each in Words),
        help="print what can be typed now instead of the script, which asks this itself; never "
        "fails",
    )


def _add_agent(commands: "Subcommands") -> None:
    agent = commands.add_parser(
        "agent",
        help="serves calls from a resident process, heals and reports",
        description="Runs until SIGTERM or SIGINT, and ends once its calls have ended.  While it "
        "runs, amd-host-device forwards its calls to it, which makes them several times faster; "
        "without it, calls do their work themselves.  It heals a NIC whose pod has died as soon as "
        "the kernel has returned it.  A second agent waits until the first one has ended.",
    )
    add_socket(agent, "where to listen")
    agent.add_argument(
        "--metrics",
        default=str(DEFAULT_ADDRESS),
        metavar="ADDRESS",
        help=f"the IP address and port that serve metrics and health, or {OFF} "
        "(default: %(default)s)",
    )
    agent.add_argument(
        "--on-host",
        metavar="DIR",
        help="in a container with hostPID: enter the host's namespaces, and become the agent that "
        "amdcni install has installed in this binDir of the host",
    )
    agent.add_argument(
        "--events",
        choices=[each.value for each in Posting],
        default=Posting.AUTO.value,
        help="whether to post Kubernetes events on pods and on the node; auto posts them in a "
        "cluster, and on does not start without one (default: %(default)s)",
    )
    agent.add_argument(
        "--service-account",
        default=SERVICE_ACCOUNT,
        metavar="FOLDER",
        help="the folder with the token and ca.crt with which to post (default: %(default)s)",
    )


def _add_install(commands: "Subcommands") -> None:
    install = commands.add_parser(
        "install",
        help="installs this version into the folder of the node's plugins",
        description="Copies a tree, which has its own Python and libraries, into the binDir, each "
        "file verified by its hash, and then replaces amd-host-device at one moment.  Another "
        "amd-host-device is kept aside, and what older versions need stays as long as calls may "
        "use it.  It can be repeated, interrupted, and run twice at once.",
    )
    add_bin_dir(install)
    install.add_argument(
        "--from",
        dest="tree",
        metavar="TREE",
        help="the tree to install: a folder with MANIFEST.json (default: the one from which this "
        "command runs)",
    )
    install.add_argument("--dry-run", action="store_true", help="only show what would be done")
    add_output(install)


def _add_uninstall(commands: "Subcommands") -> None:
    uninstall = commands.add_parser(
        "uninstall",
        help="removes what install has installed, unless a NIC is lent",
        description="Removes what the manifests of the installed trees list, and puts back the "
        "amd-host-device that was there before.  Records and policy stay.  The exit status is 1, "
        "and nothing has changed, if a NIC is lent, or if a process works from an installed tree.",
    )
    add_bin_dir(uninstall)
    uninstall.add_argument("--dry-run", action="store_true", help="only show what would be done")
    add_output(uninstall)
    add_data_dir(uninstall)


def _add_status(commands: "Subcommands") -> None:
    status = commands.add_parser(
        "status",
        help="whether the agent serves, what is lent, what needs attention",
        description="Shows on one screen whether the agent of this node serves, how many NICs are "
        "lent in which condition, and what needs attention: NICs, and whatever of the policy, the "
        "executable or a state folder keeps every ADD from working, as doctor says it.  Changes "
        "nothing, but asks amd-host-device for its versions.  The exit status is 0 if all is well, "
        "1 if something needs attention, and 3 if only the agent does not serve.",
    )
    add_socket(status, "where the agent listens")
    add_setup(status)
    add_output(status)
    add_watch(status)
    status.set_defaults(no_headers=False)
    add_data_dir(status)


def _add_manifests(commands: "Subcommands") -> None:
    manifests = commands.add_parser(
        "manifests",
        help="prints the Kubernetes objects that install amdcni on the nodes of a cluster",
        description="Prints what kubectl apply -f - takes: a DaemonSet that installs amdcni on "
        "each node and runs its agent, with everything around it; or an example, or the Jobs that "
        "uninstall.  Needs no node, no cluster and no privilege.  The exit status is 1 if "
        "something is set wrong.",
        epilog=f"The keys of --set are {', '.join(KEYS)}.",
    )
    what = manifests.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--image",
        metavar="NAME",
        help="the image, by the name that it has in your registry or in the store of the nodes",
    )
    what.add_argument(
        "--example",
        action="store_true",
        help="print only a network definition and a pod that is lent a NIC",
    )
    manifests.add_argument(
        "--platform",
        choices=tuple(platform.value for platform in Platform),
        default=Platform.PLAIN.value,
        help="the distribution of Kubernetes (default: %(default)s)",
    )
    manifests.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="change something; may be repeated",
    )
    manifests.add_argument(
        "--uninstall",
        action="store_true",
        help="print Jobs that remove amdcni from the nodes that --set nodes=NAME,NAME lists",
    )


def _add_heal(commands: "Subcommands") -> None:
    heal = commands.add_parser(
        "heal",
        help="returns what no call will return any more",
        description="Looks at every record for interrupted work, NICs that came back from a pod "
        "without a DEL, and records of an earlier boot.  Restores the host's configuration from "
        "the record, and reports what it found and did.  The exit status is 1 if something could "
        "not be healed now.  It can be run at any time, even from a timer.",
    )
    heal.add_argument(
        "id", nargs="?", metavar="ID", help=f"heal only this: {ID} (default: everything)"
    )
    heal.add_argument("--dry-run", action="store_true", help="only show what would be done")
    add_listing(heal)
    heal.set_defaults(watch=False)
    add_data_dir(heal)


def _add_doctor(commands: "Subcommands") -> None:
    doctor = commands.add_parser(
        "doctor",
        help="whether this node has everything that lending a NIC needs, and what to do if not",
        description="Checks everything that an ADD needs on this node: privileges, sysfs, the "
        "node's policy, the plugins and the CNI versions that they speak, the agent, the state "
        "folder and its records, Multus, and network definitions.  Each line says passed, failed "
        "or not known, and unless it passed, what to do.  Changes nothing, but asks plugins for "
        "their versions.  "
        "What only root can see is shown to others as not known.  The exit status is 1 if "
        "something has failed.",
    )
    doctor.add_argument(
        "files",
        nargs="*",
        metavar="NAD.yaml",
        help="manifests of NetworkAttachmentDefinitions, as YAML or JSON; - is standard input",
    )
    add_setup(doctor)
    add_output(doctor)
    add_data_dir(doctor)


def _add_conformance(commands: "Subcommands") -> None:
    judged = commands.add_parser(
        "conformance",
        help="whether a CNI plugin does what CNI SPEC 1.1 requires",
        description="Runs the plugin in throwaway network namespaces, and reports for each clause "
        "of the specification whether it holds.  This machine's own network is not touched.  "
        "The plugin finds NICs eth1 to eth4, with the PCI addresses 0000:c1:00.0 to 0000:c4:00.0; "
        "where the configuration names the first one, other containers get one of the others.  "
        "The plugin has its own /run, /sys and /var/lib/cni; other files that it writes are real.  "
        "The exit status is 1 if it does not do what it must, 2 if nothing could be judged or no "
        "ADD has worked, and 130 after an interrupt; what it should do and does not is reported.",
    )
    judged.add_argument("--plugin", required=True, metavar="PATH", help="the plugin's executable")
    judged.add_argument(
        "--config",
        metavar="FILE",
        help="its network configuration, as JSON, or a list that contains it, or a "
        "NetworkAttachmentDefinition with one of these (default: one for the plugins of the CNI "
        "project, and only name and type for others)",
    )
    judged.add_argument(
        "--path",
        metavar="DIRS",
        help="CNI_PATH, where to find the plugins that it calls or that precede it in the list "
        "(default: /opt/cni/bin:/usr/lib/cni)",
    )
    judged.add_argument(
        "--ifname", metavar="NAME", help="CNI_IFNAME (default: net1; use lo for loopback)"
    )
    judged.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        help="how long a call may take before it is killed (default: 60)",
    )
    for name, what in (("--only", "run only"), ("--skip", "skip")):
        judged.add_argument(
            name,
            metavar="WORDS",
            action="append",
            default=[],
            help=f"{what} clauses with these words in their sentences; may be repeated",
        )
    judged.add_argument("--failed", action="store_true", help="print only what fails")
    add_output(judged)
    for name, what in (("junit", "a JUnit"), ("markdown", "a Markdown"), ("html", "an HTML")):
        judged.add_argument(f"--{name}", metavar="FILE", help=f"also write {what} file")
