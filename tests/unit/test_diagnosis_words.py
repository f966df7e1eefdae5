"""Findings word by word: an operator has nothing else to go by."""

from collections.abc import Callable, Iterable

import attrs
import pytest

from amdcni.core import diagnosis
from amdcni.core.diagnosis import Finding, Folder, Plugin
from amdcni.core.host import Hardware, SysfsDevice
from amdcni.core.kubernetes.installation import ConfDir, ConfFile
from amdcni.core.kubernetes.review import Review
from amdcni.core.names import PciAddress, PluginName
from amdcni.core.nics import BusNic, Nic
from amdcni.core.nics import Records as KnownRecords
from amdcni.core.policy import Conditions, Lending, Naming, Policy, Rule, Verdict
from amdcni.core.rdma import RdmaMode
from tests.unit.node_facts import DIRS, LOST, MULTUS, OWN, PATH, nic_of

AS_ROOT = "run amdcni doctor as root"
LINK = f"ln -s {OWN} /opt/cni/bin/amd-host-device"
INSTALL = (
    "install it from github.com/containernetworking/plugins, or the package "
    'containernetworking-plugins ("mover": "native" needs neither host-device nor static)'
)
POLICY = "/etc/amdcni/policy.json"
CHECKPOINT = "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"
ONE_RULE = Lending((Rule(Verdict.DENY, Conditions(ifname=("eno*",))),), Verdict.ALLOW)
STATE = Folder(PATH, "/var/lib")
CILIUM = ConfFile("05-cilium.conf", {"plugins": [{"type": "cilium-cni"}, {"type": "tuning"}]})


def only(findings: Iterable[Finding]) -> Finding:
    """The only finding."""
    (finding,) = findings
    return finding


def privileges(*here: str, root: bool) -> Finding:
    """The finding on CAP_NET_ADMIN."""
    return next(diagnosis.judge_privileges(here, root=root))


def state(*, root: bool = True, **facts: object) -> Finding:
    return diagnosis.judge_state(attrs.evolve(STATE, **facts), root=root)  # type: ignore[arg-type]


def plugin(name: str, executable: str | None = OWN, **facts: object) -> Finding:
    found = attrs.evolve(Plugin(PluginName(name), DIRS), **facts)  # type: ignore[arg-type]
    return diagnosis.judge_plugin(found, executable)


def ours_in_tree(**facts: object) -> Finding:
    """The finding on amd-host-device, by an amdcni that runs from a tree."""
    return plugin("amd-host-device", None, **facts)


def multus(*files: ConfFile, fault: str | None = None, denied: bool = False) -> Finding:
    return diagnosis.judge_multus(ConfDir("/etc/cni/net.d", files, fault, denied))


def amd_nics(count: int) -> tuple[Nic, ...]:
    return tuple(
        Nic(BusNic(SysfsDevice(PciAddress(0, 0xC1, number, 0), hardware=Hardware("0x1dd8"))))
        for number in range(count)
    )


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        (
            lambda: privileges("CAP_NET_ADMIN", root=True),
            "passed privileges: CAP_NET_ADMIN is available",
        ),
        (
            lambda: privileges(root=True),
            "failed privileges: root does not have CAP_NET_ADMIN here → give it to the container, "
            "or run what calls plugins on the host itself",
        ),
        (
            lambda: privileges(root=False),
            f"not known privileges: only root has CAP_NET_ADMIN → {AS_ROOT}",
        ),
        (
            lambda: diagnosis.judge_sysfs(has_netdevs=False, has_pci=False),
            "failed sysfs: sysfs is not mounted on /sys → mount it: mount -t sysfs sysfs /sys",
        ),
        (
            lambda: diagnosis.judge_sysfs(has_netdevs=True, has_pci=False),
            "not known sysfs: /sys shows no PCI bus → NICs of this machine can be lent only by "
            "the keys device, hwaddr and kernelpath",
        ),
        (
            lambda: diagnosis.judge_sysfs(has_netdevs=True, has_pci=True),
            "passed sysfs: /sys shows the PCI bus",
        ),
        (
            lambda: next(diagnosis.judge_rdma(RdmaMode.EXCLUSIVE)),
            "passed RDMA: the mode is exclusive: the RDMA devices of a NIC follow it into its pod",
        ),
        (
            lambda: next(diagnosis.judge_rdma(RdmaMode.SHARED)),
            "passed RDMA: the mode is shared: every pod has all RDMA devices, and none follows its "
            'NIC; for the exclusive mode, put "options ib_core netns_mode=0" into a file in '
            "/etc/modprobe.d and boot, or run rdma system set netns exclusive before there is any "
            "other network namespace",
        ),
        (
            lambda: diagnosis.judge_nics(()),
            "passed NICs: this node has no NIC on a bus, so there is none to lend",
        ),
        (
            lambda: diagnosis.judge_nics(nic_of(LOST, None)),
            "passed NICs: the only NIC is not AMD's; NICs of other vendors can be lent just the "
            "same",
        ),
        (
            lambda: diagnosis.judge_nics((*nic_of(LOST, None), *nic_of(LOST, None))),
            "passed NICs: none of the 2 NICs is AMD's; NICs of other vendors can be lent just the "
            "same",
        ),
        (
            lambda: diagnosis.judge_nics(amd_nics(2)),
            "passed NICs: NICs of AMD: 0000:c1:00.0, 0000:c1:01.0",
        ),
        (
            lambda: diagnosis.judge_nics(amd_nics(8)),
            "passed NICs: NICs of AMD: 0000:c1:00.0, 0000:c1:01.0, 0000:c1:02.0, 0000:c1:03.0, "
            "0000:c1:04.0, 0000:c1:05.0, 0000:c1:06.0, 0000:c1:07.0",
        ),
        (
            lambda: diagnosis.judge_nics(amd_nics(9)),
            "passed NICs: NICs of AMD: 0000:c1:00.0, 0000:c1:01.0, 0000:c1:02.0, 0000:c1:03.0, "
            "0000:c1:04.0, 0000:c1:05.0, 0000:c1:06.0, 0000:c1:07.0 and 1 more",
        ),
        (
            lambda: diagnosis.judge_policy(Policy(), ()),
            "passed policy: there is no policy: every NIC may be lent",
        ),
        (
            lambda: diagnosis.judge_policy(Policy(naming=Naming.ALLOCATED), ()),
            f"passed policy: {POLICY} has no rules: every NIC may be lent",
        ),
        (
            lambda: diagnosis.judge_policy(Policy(lending=ONE_RULE), amd_nics(2)),
            f"passed policy: {POLICY} has 1 rule; 2 of 2 NICs may be lent",
        ),
        (
            lambda: diagnosis.judge_policy(Policy(lending=Lending((), Verdict.DENY)), None),
            f"passed policy: {POLICY} has 0 rules",
        ),
        (
            lambda: diagnosis.judge_policy(Policy(fault="it is torn"), None),
            f"failed policy: {POLICY} cannot be used, so nothing is lent: it is torn → correct it, "
            "or remove it if every NIC may be lent; it and its folder have to belong to root, and "
            "nobody else may write to them",
        ),
        (
            lambda: diagnosis.judge_policy(None, ()),
            f"not known policy: only root may read {POLICY} → {AS_ROOT}",
        ),
        (
            lambda: diagnosis.judge_checkpoint(readable=True, root=True),
            f"passed policy: {CHECKPOINT} can be read",
        ),
        (
            lambda: diagnosis.judge_checkpoint(readable=False, root=True),
            f"failed policy: {CHECKPOINT} cannot be read, so nothing is lent: {POLICY} says "
            '"naming": "allocated" → is this a node with a kubelet, and the file root\'s? If not, '
            "remove that key",
        ),
        (
            lambda: diagnosis.judge_checkpoint(readable=False, root=False),
            f"not known policy: only root may read {CHECKPOINT} → {AS_ROOT}",
        ),
        (
            lambda: diagnosis.judge_lost_folder("/srv/cni", "/var/lib/cni/folders/1"),
            "failed state folder: /srv/cni held records, but is no folder of root's now → mount it "
            "again, or give it back to root; if it is gone for good, remove /var/lib/cni/folders/1",
        ),
        (
            lambda: state(is_folder=False),
            "failed state folder: /var/lib is not a folder → move it away, or choose another "
            "folder with the key dataDir",
        ),
        (
            lambda: state(exposed="'/var/lib' can be written by everybody"),
            f"failed state folder: {PATH} cannot be used safely: '/var/lib' can be written by "
            "everybody → let every folder on the way belong to root, and nobody else write to it",
        ),
        (
            lambda: state(free_bytes=4 * 1024 * 1024 - 1),
            "failed state folder: the file system of /var/lib has less than 4 MiB free → "
            "free some space there: records are small, but have to fit",
        ),
        (
            lambda: state(free_files=63),
            "failed state folder: the file system of /var/lib has room for fewer than 64 "
            "more files → free some space there: records are small, but have to fit",
        ),
        (
            lambda: state(writable=False),
            "failed state folder: /var/lib cannot be written → is it mounted read-only, or "
            "immutable? The default folder always has to be writable: it holds the index of the "
            "others",
        ),
        (
            lambda: state(writable=False, root=False),
            "not known state folder: only root may write to /var/lib/cni/amd-host-device → "
            f"{AS_ROOT}",
        ),
        (
            lambda: state(free_bytes=4 * 1024 * 1024, free_files=64),
            "passed state folder: /var/lib/cni/amd-host-device can be written; the first ADD "
            "creates it",
        ),
        (
            lambda: state(nearest=PATH),
            "passed state folder: /var/lib/cni/amd-host-device can be written",
        ),
        (
            lambda: diagnosis.judge_bin_dir("/opt/cni/bin", exists=True),
            "passed plugins: /opt/cni/bin exists",
        ),
        (
            lambda: diagnosis.judge_bin_dir("/opt/cni/bin", exists=False),
            "failed plugins: /opt/cni/bin is not a folder → create it, or say with --bin-dir what "
            "the binDir of Multus is",
        ),
        (
            lambda: plugin("static", hidden=DIRS),
            "not known plugins: static may be in /opt/cni/bin, /usr/lib/cni, where only root may "
            f"look → {AS_ROOT}",
        ),
        (
            lambda: plugin("static"),
            f"failed plugins: static is not in /opt/cni/bin or /usr/lib/cni → {INSTALL}",
        ),
        (
            lambda: plugin("amd-host-device"),
            "failed plugins: amd-host-device is not in /opt/cni/bin or /usr/lib/cni → link to it: "
            f"{LINK}",
        ),
        (
            lambda: plugin("amd-host-device", dirs=()),
            "failed plugins: amd-host-device is not in any folder → link to it: "
            f"ln -s {OWN} BINDIR/amd-host-device",
        ),
        (
            lambda: plugin("static", path="/opt/cni/bin/static", fault="static said nothing"),
            "failed plugins: static said nothing → see what it says: "
            "CNI_COMMAND=VERSION /opt/cni/bin/static </dev/null",
        ),
        (
            lambda: plugin("static", path="/opt/cni/bin/static"),
            f"failed plugins: /opt/cni/bin/static supports no version of CNI → {INSTALL}",
        ),
        (
            lambda: plugin("static", path="/opt/cni/bin/static", versions=("9.0.0",)),
            "failed plugins: /opt/cni/bin/static supports CNI 9.0.0, but no version that amdcni "
            f"supports → {INSTALL}",
        ),
        (
            lambda: plugin("static", path="/opt/cni/bin/static", versions=("9.0.0", "1.0.0")),
            "passed plugins: /opt/cni/bin/static supports CNI 9.0.0, 1.0.0",
        ),
        (
            lambda: plugin(
                "amd-host-device", path="/opt/cni/bin/amd-host-device", versions=("1.0.0",)
            ),
            "failed plugins: /opt/cni/bin/amd-host-device supports CNI 1.0.0 → is it another "
            f"program of this name? Put a link to {OWN} in its place",
        ),
        (
            lambda: plugin("amd-host-device", path=f"{DIRS[0]}/amd-host-device", fault="it hung"),
            f"failed plugins: it hung → is it another program of this name? Put a link to {OWN} in "
            "its place",
        ),
        (
            lambda: ours_in_tree(),
            "failed plugins: amd-host-device is not in /opt/cni/bin or /usr/lib/cni → install it: "
            "amdcni install",
        ),
        (
            lambda: ours_in_tree(dirs=("/x/bin", "/y")),
            "failed plugins: amd-host-device is not in /x/bin or /y → install it: "
            "amdcni install --bin-dir /x/bin",
        ),
        (
            lambda: ours_in_tree(dirs=()),
            "failed plugins: amd-host-device is not in any folder → install it: "
            "amdcni install --bin-dir BINDIR",
        ),
        (
            lambda: ours_in_tree(path="/y/amd-host-device", versions=("1.0.0",)),
            "failed plugins: /y/amd-host-device supports CNI 1.0.0 → is it another program of this "
            "name? amdcni install --bin-dir /y keeps it aside and replaces it",
        ),
        (
            lambda: ours_in_tree(path="/opt/cni/bin/amd-host-device", fault="it hung"),
            "failed plugins: it hung → is it another program of this name? amdcni install keeps it "
            "aside and replaces it",
        ),
        (
            lambda: diagnosis.judge_agent(2312),
            "passed agent: the agent serves (process 2312)",
        ),
        (
            lambda: diagnosis.judge_agent(None),
            "passed agent: the agent does not serve: calls do their work themselves, and no NIC is "
            "healed in between; start it: systemctl start amdcni-agent, or look at the pod of its "
            "DaemonSet; by hand: amdcni agent",
        ),
        (
            lambda: diagnosis.judge_agent(None, silent=2312),
            "failed agent: the agent (process 2312) does not answer: calls wait a moment for it "
            "and then do their work themselves, and no NIC is healed in between → systemctl "
            "restart amdcni-agent, or delete the pod of its DaemonSet, which starts it anew",
        ),
        (
            lambda: diagnosis.judge_agent(None, hidden=True),
            f"not known agent: only root can ask the agent → {AS_ROOT}",
        ),
        (
            lambda: multus(),
            "failed Multus: /etc/cni/net.d has no CNI configuration → install Multus, or say with "
            "--cni-conf-dir where the runtime looks",
        ),
        (
            lambda: multus(fault="/etc/cni/net.d: Permission denied", denied=True),
            f"not known Multus: /etc/cni/net.d: Permission denied → {AS_ROOT}",
        ),
        (
            lambda: multus(ConfFile("00.conf", fault="it is not JSON")),
            "failed Multus: /etc/cni/net.d/00.conf, the first: it is not JSON → fix or remove it: "
            "some runtimes stop at it",
        ),
        (
            lambda: multus(ConfFile("00.conf", fault="Permission denied", denied=True)),
            "not known Multus: /etc/cni/net.d/00.conf, the first: Permission denied → " + AS_ROOT,
        ),
        (
            lambda: multus(MULTUS, CILIUM),
            "passed Multus: /etc/cni/net.d/00-multus.conf is Multus, and the first that the "
            "runtime finds",
        ),
        (
            lambda: multus(ConfFile("05.conf", {"type": "amd-host-device"})),
            "passed Multus: /etc/cni/net.d/05.conf, the first, executes amd-host-device without "
            "Multus",
        ),
        (
            lambda: multus(CILIUM, attrs.evolve(MULTUS, name="70-multus.conf")),
            "failed Multus: /etc/cni/net.d/05-cilium.conf, the first that the runtime finds, is "
            "not Multus but cilium-cni, tuning → give 70-multus.conf a name that comes before "
            "05-cilium.conf",
        ),
        (
            lambda: multus(CILIUM),
            "failed Multus: /etc/cni/net.d/05-cilium.conf, the first that the runtime finds, is "
            "not Multus but cilium-cni, tuning → install Multus: "
            "github.com/k8snetworkplumbingwg/multus-cni",
        ),
        (
            lambda: only(diagnosis.judge_definition("a.yaml", Review(lends=False))),
            "passed networks: a.yaml has no plugin of type amd-host-device",
        ),
        (
            lambda: only(diagnosis.judge_definition("a.yaml", Review(lends=True))),
            "passed networks: a.yaml: ADD accepts the configuration",
        ),
        (
            lambda: next(
                diagnosis.judge_definition("a.yaml", Review(lends=True, faults=("$.mtu is 0",)))
            ),
            "failed networks: a.yaml: $.mtu is 0 → correct it, and apply it again",
        ),
        (
            lambda: list(
                diagnosis.judge_definition("a.yaml", Review(lends=True, misspelt=("$.mtv",)))
            )[-1],
            "failed networks: a.yaml: $.mtv → correct the key, or leave it out",
        ),
        (
            lambda: only(diagnosis.judge_ignored_mappings(["/x.json: it is not JSON"])),
            "failed records: /x.json: it is not JSON → nothing listed there comes back by "
            "itself: give the NICs their addresses by hand once their pods have ended, and "
            "remove the entries",
        ),
        (
            lambda: only(diagnosis.judge_set_aside(["/x.json.damaged-1"])),
            "failed records: /x.json.damaged-1 was set aside as damaged → amdcni devices shows "
            "where the NIC is, or ip link if it is on no bus; let its pod end, compare the host "
            "with what is left in the file, and then remove the file",
        ),
        (
            lambda: only(diagnosis.judge_lost(nic_of(LOST, KnownRecords()))),
            "failed NICs: net1 of 0000:c1:00.0 looks lost: down, bare, and in no record → find its "
            "name with udevadm info /sys/class/net/net1 or journalctl -k -g 0000:c1:00.0, and its "
            "addresses where this node's network is configured; then ip link set net1 name NAME, "
            "and apply that configuration",
        ),
    ],
)
def test_a_finding_reads_word_for_word_as_expected(
    judge: Callable[[], Finding], words: str
) -> None:
    finding = judge()
    remedy = "" if finding.remedy is None else f" → {finding.remedy}"
    assert f"{finding.verdict} {finding.subject}: {finding.says}{remedy}" == words
