"""What an ADD needs of a node: from facts to findings, each with what to do about it."""

from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from typing import Final, assert_never

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.condition import Seen
from amdcni.core.kubernetes.allocation import CHECKPOINT
from amdcni.core.kubernetes.installation import BIN_DIR, ConfDir
from amdcni.core.kubernetes.review import LENDER, Review
from amdcni.core.mapping import GoMapping, sentence_on
from amdcni.core.names import PluginName
from amdcni.core.nics import Nic, Records
from amdcni.core.policy import POLICY_PATH, Policy, unusable
from amdcni.core.rdma import RdmaMode
from amdcni.core.versions import SUPPORTED


class Subject(StrEnum):
    """What a finding is about."""

    PRIVILEGES = "privileges"
    SYSFS = "sysfs"
    NICS = "NICs"
    RDMA = "RDMA"
    POLICY = "policy"
    PLUGINS = "plugins"
    AGENT = "agent"
    STATE = "state folder"
    MULTUS = "Multus"
    NETWORKS = "networks"
    RECORDS = "records"


class Verdict(StrEnum):
    """How things stand; what only root can see is UNKNOWN to other users."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "not known"


@attrs.frozen
class Finding:
    """One thing that an ADD needs: what was found, and what to do unless it has passed."""

    subject: Subject
    verdict: Verdict
    says: str
    remedy: str | None = None


def passed(subject: Subject, says: str) -> Finding:
    """A finding of something that is as it should be."""
    return Finding(subject, Verdict.PASSED, says)


def failed(subject: Subject, says: str, remedy: str) -> Finding:
    """A finding of something that keeps an ADD from working, or waits for a person."""
    return Finding(subject, Verdict.FAILED, says, remedy)


def not_known(subject: Subject, says: str, remedy: str) -> Finding:
    """A finding of something that could not be seen."""
    return Finding(subject, Verdict.UNKNOWN, says, remedy)


_AS_ROOT: Final = "run amdcni doctor as root"


# ---- the node


def judge_privileges(capabilities: Collection[str], *, root: bool) -> Iterator[Finding]:
    """Whether root may do what ADD does; other users prove nothing, as runtimes call as root."""
    for name in ("CAP_NET_ADMIN", "CAP_SYS_ADMIN"):
        if name in capabilities:
            yield passed(Subject.PRIVILEGES, f"{name} is available")
        elif root:
            remedy = "give it to the container, or run what calls plugins on the host itself"
            yield failed(Subject.PRIVILEGES, f"root does not have {name} here", remedy)
        else:
            yield not_known(Subject.PRIVILEGES, f"only root has {name}", _AS_ROOT)


def judge_sysfs(*, has_netdevs: bool, has_pci: bool) -> Finding:
    """Whether devices can be found."""
    if not has_netdevs:
        remedy = "mount it: mount -t sysfs sysfs /sys"
        return failed(Subject.SYSFS, "sysfs is not mounted on /sys", remedy)
    if not has_pci:
        remedy = "NICs of this machine can be lent only by the keys device, hwaddr and kernelpath"
        return not_known(Subject.SYSFS, "/sys shows no PCI bus", remedy)
    return passed(Subject.SYSFS, "/sys shows the PCI bus")


def judge_nics(nics: Collection[Nic]) -> Finding:
    """Which NICs there are to lend; having none, or none of AMD's, is not a failure."""
    ours = [str(nic.bus_device) for nic in nics if nic.bus.amd is not None]
    if not nics:
        return passed(Subject.NICS, "this node has no NIC on a bus, so there is none to lend")
    if not ours:
        none = "the only NIC is not" if len(nics) == 1 else f"none of the {len(nics)} NICs is"
        says = f"{none} AMD's; NICs of other vendors can be lent just the same"
        return passed(Subject.NICS, says)
    more = f" and {len(ours) - _MOST_SHOWN} more" if len(ours) > _MOST_SHOWN else ""
    return passed(Subject.NICS, f"NICs of AMD: {', '.join(ours[:_MOST_SHOWN])}{more}")


_MOST_SHOWN: Final = 8


def judge_rdma(mode: RdmaMode | None) -> Iterator[Finding]:
    """Whether RDMA devices follow their NICs; no ADD needs either mode, and few nodes have RDMA."""
    match mode:
        case RdmaMode.EXCLUSIVE:
            yield passed(
                Subject.RDMA,
                "the mode is exclusive: the RDMA devices of a NIC follow it into its pod",
            )
        case RdmaMode.SHARED:
            yield passed(
                Subject.RDMA,
                "the mode is shared: every pod has all RDMA devices, and none follows its NIC; "
                f"for the exclusive mode, {_BOOT_EXCLUSIVE}",
            )
        case None:
            pass
        case _:
            assert_never(mode)


_BOOT_EXCLUSIVE: Final = (
    'put "options ib_core netns_mode=0" into a file in /etc/modprobe.d and boot, or run '
    "rdma system set netns exclusive before there is any other network namespace"
)


# ---- the policy


def judge_policy(policy: Policy | None, nics: Collection[Nic] | None) -> Finding:
    """Whether the node's policy can be used, and how many NICs it leaves to lend.

    A `policy` that this user may not read is None, and so are `nics` that could not be seen.
    """
    if policy is None:
        return not_known(Subject.POLICY, f"only root may read {POLICY_PATH}", _AS_ROOT)
    if policy.fault is not None:
        return failed(Subject.POLICY, unusable(policy.fault), _MEND_POLICY)
    if policy == Policy():
        return passed(Subject.POLICY, "there is no policy: every NIC may be lent")
    if policy.lending is None:
        return passed(Subject.POLICY, f"{POLICY_PATH} has no rules: every NIC may be lent")
    count = len(policy.lending.rules)
    says = f"{POLICY_PATH} has {count} rule{'' if count == 1 else 's'}"
    if nics is None:
        return passed(Subject.POLICY, says)
    free = sum(nic.denial is None for nic in nics)
    return passed(Subject.POLICY, f"{says}; {free} of {len(nics)} NICs may be lent")


_MEND_POLICY: Final = (
    "correct it, or remove it if every NIC may be lent; it and its folder have to belong to root, "
    "and nobody else may write to them"
)


def judge_checkpoint(*, readable: bool, root: bool) -> Finding:
    """Whether it can be read which devices a pod has; only "naming": "allocated" needs that."""
    if readable:
        return passed(Subject.POLICY, f"{CHECKPOINT} can be read")
    if not root:
        return not_known(Subject.POLICY, f"only root may read {CHECKPOINT}", _AS_ROOT)
    says = (
        f'{CHECKPOINT} cannot be read, so nothing is lent: {POLICY_PATH} says "naming": "allocated"'
    )
    remedy = "is this a node with a kubelet, and the file root's? If not, remove that key"
    return failed(Subject.POLICY, says, remedy)


@attrs.frozen
class Folder:
    """The state folder: `nearest` is the folder itself, or the part of its path that exists.

    `free_bytes` and `free_files` are what the file system has left; None means no limit.  `exposed`
    is why others than root could exchange what is there.
    """

    path: str
    nearest: str
    is_folder: bool = True
    writable: bool = True
    free_bytes: int | None = None
    free_files: int | None = None
    exposed: str | None = None


_LEAST_MIB: Final = 4
_LEAST_FILES: Final = 64


def judge_state(folder: Folder, *, root: bool) -> Finding:
    """Whether a record could be written: without one no NIC is lent."""
    if not folder.is_folder:
        remedy = "move it away, or choose another folder with the key dataDir"
        return failed(Subject.STATE, f"{folder.nearest} is not a folder", remedy)
    if folder.exposed is not None:
        remedy = "let every folder on the way belong to root, and nobody else write to it"
        return failed(
            Subject.STATE, f"{folder.path} cannot be used safely: {folder.exposed}", remedy
        )
    lack = None
    if folder.free_bytes is not None and folder.free_bytes < _LEAST_MIB << 20:
        lack = f"less than {_LEAST_MIB} MiB free"
    elif folder.free_files is not None and folder.free_files < _LEAST_FILES:
        lack = f"room for fewer than {_LEAST_FILES} more files"
    if lack is not None:
        says = f"the file system of {folder.nearest} has {lack}"
        remedy = "free some space there: records are small, but have to fit"
        return failed(Subject.STATE, says, remedy)
    if not folder.writable and not root:
        return not_known(Subject.STATE, f"only root may write to {folder.path}", _AS_ROOT)
    if not folder.writable:
        remedy = (
            "is it mounted read-only, or immutable? The default folder always has to be writable: "
            "it holds the index of the others"
        )
        return failed(Subject.STATE, f"{folder.nearest} cannot be written", remedy)
    made = "" if folder.nearest == folder.path else "; the first ADD creates it"
    return passed(Subject.STATE, f"{folder.path} can be written{made}")


def judge_lost_folder(path: str, entry: str) -> Finding:
    """A state folder that is in the index and does not exist: records may be out of sight."""
    remedy = f"mount it again, or give it back to root; if it is gone for good, remove {entry}"
    return failed(Subject.STATE, f"{path} held records, but is no folder of root's now", remedy)


# ---- plugins


@attrs.frozen
class Plugin:
    """What was found of a plugin: its executable in one of `dirs`, and its answer to VERSION.

    `hidden` are the folders that this user may not look into.
    """

    name: PluginName
    dirs: tuple[str, ...]
    path: str | None = None
    versions: tuple[str, ...] = ()
    fault: str | None = None
    hidden: tuple[str, ...] = ()


def judge_plugin(plugin: Plugin, executable: str | None) -> Finding:
    """Whether the plugin is there and answers.

    `executable` is this installation's own; None if this is a tree, which has to be installed.
    """
    own = plugin.name == LENDER
    if plugin.path is None and plugin.hidden:
        says = f"{plugin.name} may be in {', '.join(plugin.hidden)}, where only root may look"
        return not_known(Subject.PLUGINS, says, _AS_ROOT)
    if plugin.path is None:
        says = f"{plugin.name} is not in {' or '.join(plugin.dirs) or 'any folder'}"
        return failed(Subject.PLUGINS, says, _put_ours(plugin, executable) if own else _INSTALL)
    if plugin.fault is not None:
        remedy = f"see what it says: CNI_COMMAND=VERSION {plugin.path} </dev/null"
        return failed(
            Subject.PLUGINS, plugin.fault, _put_ours(plugin, executable) if own else remedy
        )
    versions = f"CNI {', '.join(plugin.versions)}" if plugin.versions else "no version of CNI"
    answer = f"{plugin.path} supports {versions}"
    if own and set(plugin.versions) != set(SUPPORTED):
        return failed(Subject.PLUGINS, answer, _put_ours(plugin, executable))
    if not set(plugin.versions) & set(SUPPORTED):
        more = ", but no version that amdcni supports" if plugin.versions else ""
        return failed(Subject.PLUGINS, f"{answer}{more}", _INSTALL)
    return passed(Subject.PLUGINS, answer)


def _put_ours(plugin: Plugin, executable: str | None) -> str:
    """What puts this installation's executable where the plugin is, or should be."""
    if plugin.path is None:
        bin_dir = plugin.dirs[0] if plugin.dirs else "BINDIR"
    else:
        bin_dir = plugin.path.removesuffix(f"/{plugin.name}")
    if executable is None:
        install = "amdcni install" + ("" if bin_dir == BIN_DIR else f" --bin-dir {bin_dir}")
        absent, another = f"install it: {install}", f"{install} keeps it aside and replaces it"
    else:
        absent = f"link to it: ln -s {executable} {bin_dir}/{plugin.name}"
        another = f"Put a link to {executable} in its place"
    return absent if plugin.path is None else f"is it another program of this name? {another}"


_INSTALL: Final = (
    "install it from github.com/containernetworking/plugins, or the package "
    'containernetworking-plugins ("mover": "native" needs neither host-device nor static)'
)


# ---- Multus


def judge_multus(folder: ConfDir) -> Finding:
    """Whether the first file, which the runtime uses, is Multus, or amd-host-device itself."""
    if folder.fault is not None or not folder.files:
        says = folder.fault or f"{folder.path} has no CNI configuration"
        if folder.denied:
            return not_known(Subject.MULTUS, says, _AS_ROOT)
        remedy = "install Multus, or say with --cni-conf-dir where the runtime looks"
        return failed(Subject.MULTUS, says, remedy)
    first, *others = folder.files
    where = f"{folder.path}/{first.name}"
    if first.config is None:
        says = f"{where}, the first: {first.fault}"
        if first.denied:
            return not_known(Subject.MULTUS, says, _AS_ROOT)
        return failed(Subject.MULTUS, says, "fix or remove it: some runtimes stop at it")
    if first.is_multus:
        return passed(Subject.MULTUS, f"{where} is Multus, and the first that the runtime finds")
    if LENDER in first.types:
        return passed(Subject.MULTUS, f"{where}, the first, executes {LENDER} without Multus")
    says = f"{where}, the first that the runtime finds, is not Multus but {', '.join(first.types)}"
    behind = [file.name for file in others if file.is_multus]
    if behind:
        remedy = f"give {behind[0]} a name that comes before {first.name}"
        return failed(Subject.MULTUS, says, remedy)
    return failed(
        Subject.MULTUS, says, "install Multus: github.com/k8snetworkplumbingwg/multus-cni"
    )


def judge_bin_dir(path: str, *, exists: bool) -> Finding:
    """Whether the folder from which plugins are executed exists."""
    if exists:
        return passed(Subject.PLUGINS, f"{path} exists")
    remedy = "create it, or say with --bin-dir what the binDir of Multus is"
    return failed(Subject.PLUGINS, f"{path} is not a folder", remedy)


# ---- the agent


AGENT_AWAY: Final = (
    "the agent does not serve: calls do their work themselves, and no NIC is healed in between"
)
START_AGENT: Final = (
    "systemctl start amdcni-agent, or look at the pod of its DaemonSet; by hand: amdcni agent"
)


RESTART_AGENT: Final = (
    "systemctl restart amdcni-agent, or delete the pod of its DaemonSet, which starts it anew"
)


def agent_silent(process: int) -> str:
    """That the agent, which is that process, is there but does not answer."""
    return (
        f"the agent (process {process}) does not answer: calls wait a moment for it and then do "
        "their work themselves, and no NIC is healed in between"
    )


def judge_agent(process: int | None, *, silent: int | None = None, hidden: bool = False) -> Finding:
    """Whether the agent serves, as which process; no ADD needs it, so its absence is no failure.

    It is `hidden` from all users but root.  If it does not answer, it is process `silent`.
    """
    if hidden:
        return not_known(Subject.AGENT, "only root can ask the agent", _AS_ROOT)
    if silent is not None:
        return failed(Subject.AGENT, agent_silent(silent), RESTART_AGENT)
    if process is None:
        return passed(Subject.AGENT, f"{AGENT_AWAY}; start it: {START_AGENT}")
    return passed(Subject.AGENT, f"the agent serves (process {process})")


# ---- networks


def judge_definition(where: str, review: Review) -> Iterator[Finding]:
    """What ADD would refuse in a definition; `where` is its file and its name."""
    if not review.lends:
        yield passed(Subject.NETWORKS, f"{where} has no plugin of type {LENDER}")
    elif not review.faults:
        yield passed(Subject.NETWORKS, f"{where}: ADD accepts the configuration")
    for fault in review.faults:
        yield failed(Subject.NETWORKS, f"{where}: {fault}", "correct it, and apply it again")
    for misspelt in review.misspelt:
        yield failed(Subject.NETWORKS, f"{where}: {misspelt}", "correct the key, or leave it out")


# ---- records


def judge_record(record: Attachment, seen: Seen, *, heal: str, file: str) -> Finding:
    """Whether the record is of a NIC that a pod has, and what to do if not.

    `heal` is the command that heals, and `file` the record's.
    """
    found = f"{record.key} of {record.lent_to}: {seen.words}"
    remedy = seen.remedy(heal, file)
    if remedy is None:
        return passed(Subject.RECORDS, found)
    return failed(Subject.RECORDS, found, remedy)


def judge_lent_by_go(mappings: Iterable[GoMapping]) -> Iterator[Finding]:
    """What AMD's Go plugin has lent; it waits only for the next call."""
    for mapping in mappings:
        yield passed(Subject.RECORDS, sentence_on(mapping).removesuffix("."))


def judge_ignored_mappings(ignored: Iterable[str]) -> Iterator[Finding]:
    """What cannot be read in the Go plugin's file: the NICs listed there do not come back."""
    for fault in ignored:
        remedy = (
            "nothing listed there comes back by itself: give the NICs their addresses by "
            "hand once their pods have ended, and remove the entries"
        )
        yield failed(Subject.RECORDS, fault, remedy)


def judge_faults(records: Records) -> Iterator[Finding]:
    """The records that cannot be read; those of a newer version are not to be removed."""
    for key, fault in records.faults.items():
        newer = "leave it as it is, and install the newer version of amdcni again"
        yield failed(Subject.RECORDS, fault, newer if key in records.newer else _DAMAGED)


def judge_set_aside(paths: Iterable[str]) -> Iterator[Finding]:
    """The files that earlier calls found damaged."""
    for path in paths:
        yield failed(Subject.RECORDS, f"{path} was set aside as damaged", _DAMAGED)


_DAMAGED: Final = (
    "amdcni devices shows where the NIC is, or ip link if it is on no bus; let its pod end, "
    "compare the host with what is left in the file, and then remove the file"
)


def judge_lost(nics: Iterable[Nic]) -> Iterator[Finding]:
    """The netdevs that look as if a pod had left them behind, without a record."""
    for nic in nics:
        for each in nic.lost or ():
            ifname = each.netdev.ifname
            remedy = (
                f"find its name with udevadm info /sys/class/net/{ifname} or journalctl -k -g "
                f"{nic.bus_device}, and its addresses where this node's network is configured; "
                f"then ip link set {ifname} name NAME, and apply that configuration"
            )
            yield failed(
                Subject.NICS,
                f"{ifname} of {nic.bus_device} looks lost: down, bare, and in no record",
                remedy,
            )
