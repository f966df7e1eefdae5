"""Verdicts follow from facts, and whatever has not passed comes with a remedy."""

from collections.abc import Callable, Iterable
from ipaddress import ip_interface

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core import diagnosis
from amdcni.core.attachment import Attachment
from amdcni.core.condition import HEALABLE, Condition
from amdcni.core.diagnosis import Finding, Folder, Plugin, Subject, Verdict
from amdcni.core.host import Hardware, Netdev, SysfsDevice
from amdcni.core.identity import Place
from amdcni.core.kubernetes.installation import ConfDir, ConfFile
from amdcni.core.kubernetes.review import LENDER, Review
from amdcni.core.mapping import GoMapping, sentence_on
from amdcni.core.names import DeviceKey, IfName, PciAddress, PluginName
from amdcni.core.nics import BusNic, Nic, Port, nics_of
from amdcni.core.nics import Records as KnownRecords
from amdcni.core.protection import Surroundings
from amdcni.core.versions import SUPPORTED
from amdcni.testing import strategies as some

NEEDED = {"CAP_NET_ADMIN", "CAP_SYS_ADMIN"}
OWN = "/opt/amdcni/bin/amd-host-device"
PASSED, FAILED, UNKNOWN = Verdict.PASSED, Verdict.FAILED, Verdict.UNKNOWN


def sound(finding: Finding, verdict: Verdict, *words: str) -> bool:
    """Whether it has that verdict, a remedy just if it needs one, and all the words."""
    said = f"{finding.says} {finding.remedy}"
    has_remedy = finding.remedy is not None
    return (
        finding.verdict is verdict
        and has_remedy == (verdict is not PASSED)
        and all(word in said for word in words)
    )


# ---- the node


@given(st.sets(st.sampled_from(sorted(NEEDED))), st.booleans())
def test_a_privilege_that_is_missing_is_a_failure_of_root_alone(here: set[str], root: bool) -> None:
    findings = list(diagnosis.judge_privileges(here, root=root))
    assert len(findings) == len(NEEDED)
    for finding, name in zip(findings, sorted(NEEDED), strict=True):
        absent = FAILED if root else UNKNOWN
        assert sound(finding, PASSED if name in here else absent, name)


@pytest.mark.parametrize(
    ("has_netdevs", "has_pci", "verdict"),
    [(True, True, PASSED), (True, False, UNKNOWN), (False, True, FAILED), (False, False, FAILED)],
)
def test_sysfs_has_to_be_there_and_should_show_a_pci_bus(
    has_netdevs: bool, has_pci: bool, verdict: Verdict
) -> None:
    assert sound(diagnosis.judge_sysfs(has_netdevs=has_netdevs, has_pci=has_pci), verdict)


def nics_of_vendors(*vendors: str) -> list[Nic]:
    devices = (PciAddress(0, bus, 0, 0) for bus in range(len(vendors)))
    return [
        Nic(BusNic(SysfsDevice(device, hardware=Hardware(vendor))))
        for device, vendor in zip(devices, vendors, strict=True)
    ]


@given(st.lists(st.sampled_from(["0x1dd8", "0x1022", "0x15b3"]), max_size=12))
def test_to_have_no_nic_of_amd_is_no_failure(vendors: list[str]) -> None:
    finding = diagnosis.judge_nics(nics_of_vendors(*vendors))
    assert sound(finding, PASSED)
    ours = [index for index, vendor in enumerate(vendors) if vendor != "0x15b3"]
    for index in ours[:8]:
        assert f"0000:{index:02x}:00.0" in finding.says
    assert ("more" in finding.says) == (len(ours) > 8)
    assert ("none" in finding.says) == (not ours)


PATH = "/var/lib/cni/amd-host-device"


@pytest.mark.parametrize(
    ("folder", "root", "verdict"),
    [
        (Folder(PATH, PATH), True, PASSED),
        (Folder(PATH, "/var/lib"), True, PASSED),
        (Folder(PATH, PATH, is_folder=False), True, FAILED),
        (Folder(PATH, PATH, writable=False), True, FAILED),
        (Folder(PATH, PATH, writable=False), False, UNKNOWN),
        (Folder(PATH, PATH, free_bytes=1 << 30, free_files=1 << 20), True, PASSED),
        (Folder(PATH, PATH, free_bytes=4096), True, FAILED),
        (Folder(PATH, PATH, writable=False, free_bytes=4096), False, FAILED),
        (Folder(PATH, PATH, free_files=0), True, FAILED),
    ],
)
def test_a_state_folder_has_to_take_a_record(folder: Folder, root: bool, verdict: Verdict) -> None:
    assert sound(diagnosis.judge_state(folder, root=root), verdict)


def test_a_state_folder_that_is_yet_to_be_made_is_told_as_such() -> None:
    assert "first ADD" in diagnosis.judge_state(Folder(PATH, "/var/lib"), root=True).says
    assert "first ADD" not in diagnosis.judge_state(Folder(PATH, PATH), root=True).says


# ---- plugins

STATIC = PluginName("static")
DIRS = ("/opt/cni/bin", "/usr/lib/cni")


@given(st.sampled_from([LENDER, STATIC]), st.lists(some.versions, unique=True))
def test_a_plugin_has_to_speak_what_is_spoken_here(name: PluginName, versions: list[str]) -> None:
    plugin = Plugin(name, DIRS, f"/opt/cni/bin/{name}", tuple(versions))
    finding = diagnosis.judge_plugin(plugin, OWN)
    enough = set(versions) == set(SUPPORTED) if name == LENDER else bool(versions)
    assert sound(finding, PASSED if enough else FAILED, f"/opt/cni/bin/{name}", *versions)


def test_versions_that_nobody_knows_here_are_none() -> None:
    plugin = Plugin(STATIC, DIRS, "/opt/cni/bin/static", ("7.0.0",))
    assert sound(diagnosis.judge_plugin(plugin, OWN), FAILED, "7.0.0")


def test_our_own_plugin_with_more_than_our_versions_is_another_one() -> None:
    plugin = Plugin(LENDER, DIRS, "/opt/cni/bin/amd-host-device", (*SUPPORTED, "7.0.0"))
    assert sound(diagnosis.judge_plugin(plugin, OWN), FAILED, OWN)


@pytest.mark.parametrize("dirs", [DIRS, ()])
def test_a_plugin_that_is_not_there_is_told_with_where_and_how_to_have_it(
    dirs: tuple[str, ...],
) -> None:
    own = diagnosis.judge_plugin(Plugin(LENDER, dirs), OWN)
    assert sound(own, FAILED, *dirs, f"ln -s {OWN} {dirs[0] if dirs else 'the binDir'}/{LENDER}")
    assert sound(diagnosis.judge_plugin(Plugin(STATIC, dirs), OWN), FAILED, *dirs, "package")


def test_a_plugin_in_a_folder_of_roots_is_not_known() -> None:
    hidden = Plugin(STATIC, DIRS, hidden=("/opt/cni/bin",))
    assert sound(diagnosis.judge_plugin(hidden, OWN), UNKNOWN, "/opt/cni/bin", "root")


def test_a_plugin_that_does_not_answer_is_told_with_how_to_see_it() -> None:
    broken = Plugin(STATIC, DIRS, "/opt/cni/bin/static", fault="it gave no usable answer")
    finding = diagnosis.judge_plugin(broken, OWN)
    assert sound(finding, FAILED, "no usable answer", "CNI_COMMAND=VERSION /opt/cni/bin/static")


@pytest.mark.parametrize(("exists", "verdict"), [(True, PASSED), (False, FAILED)])
def test_a_bin_dir_has_to_be_there(exists: bool, verdict: Verdict) -> None:
    assert sound(diagnosis.judge_bin_dir("/opt/cni/bin", exists=exists), verdict, "/opt/cni/bin")


# ---- Multus

MULTUS = ConfFile("00-multus.conf", {"type": "multus"})
BRIDGE = ConfFile("10-bridge.conflist", {"plugins": [{"type": "bridge"}, {"type": "portmap"}]})
OURS = ConfFile("20-amd.conf", {"type": LENDER})
BROKEN = ConfFile("05-broken.conf", fault="it is not JSON")
ROOTS = ConfFile("00-multus.conf", fault="Permission denied", denied=True)


@pytest.mark.parametrize(
    ("folder", "verdict", "words"),
    [
        (ConfDir("/etc/cni/net.d", (MULTUS, BRIDGE)), PASSED, ["00-multus.conf is Multus"]),
        (ConfDir("/etc/cni/net.d", (OURS,)), PASSED, ["without Multus"]),
        (ConfDir("/etc/cni/net.d", (BRIDGE, MULTUS)), FAILED, ["bridge, portmap", "name"]),
        (ConfDir("/etc/cni/net.d", (BRIDGE, BROKEN)), FAILED, ["install Multus"]),
        (ConfDir("/etc/cni/net.d", (BROKEN, MULTUS)), FAILED, ["is not JSON", "mend"]),
        (ConfDir("/etc/cni/net.d", (ROOTS, BRIDGE)), UNKNOWN, ["Permission denied", "root"]),
        (ConfDir("/etc/cni/net.d"), FAILED, ["has no CNI configuration"]),
        (ConfDir("/etc/cni/net.d", fault="No such file"), FAILED, ["No such file"]),
        (ConfDir("/etc/cni/net.d", fault="Permission denied", denied=True), UNKNOWN, ["root"]),
    ],
)
def test_the_first_configuration_has_to_be_multus_or_our_own(
    folder: ConfDir, verdict: Verdict, words: list[str]
) -> None:
    assert sound(diagnosis.judge_multus(folder), verdict, *words)


# ---- networks


@given(st.lists(some.words, max_size=3))
def test_every_fault_of_a_definition_is_a_finding(faults: list[str]) -> None:
    findings = list(diagnosis.judge_definition("a.yaml", Review(lends=True, faults=tuple(faults))))
    assert len(findings) == max(1, len(faults))
    for finding, fault in zip(findings, faults or [""], strict=True):
        assert sound(finding, FAILED if faults else PASSED, "a.yaml", fault)


def test_a_definition_of_another_plugin_passes() -> None:
    (finding,) = diagnosis.judge_definition("a.yaml", Review(lends=False))
    assert sound(finding, PASSED, "no plugin of type amd-host-device")


# ---- records


@given(some.attachments, st.sampled_from(Condition), st.booleans())
def test_a_record_of_what_no_pod_has_fails_unless_a_call_is_at_work_on_it(
    record: Attachment, condition: Condition, busy: bool
) -> None:
    finding = diagnosis.judge_record(
        record, condition, busy=busy, heal="amdcni heal", file="/x/y.json"
    )
    fine = condition is Condition.HELD or busy
    assert sound(finding, PASSED if fine else FAILED, str(record.key), str(record.id))
    assert finding.subject is Subject.RECORDS
    assert "None" not in str(finding.remedy) or fine
    if not fine:
        assert "amdcni heal" in str(finding.remedy) or "remove /x/y.json" in str(finding.remedy)
        assert (condition in HEALABLE) == str(finding.remedy).endswith(": amdcni heal")


@given(some.attachments)
def test_of_a_nic_in_a_strange_netns_the_way_home_is_told(record: Attachment) -> None:
    finding = diagnosis.judge_record(
        record,
        Condition.MISSING,
        busy=False,
        heal="amdcni heal",
        file="/x/y.json",
        place=Place("/run/netns/x", IfName("rail7")),
    )
    assert sound(finding, FAILED, "it is neither on the host nor in its pod")
    assert finding.subject is Subject.RECORDS
    assert finding.remedy == (
        "it is in /run/netns/x as rail7; bring it out: nsenter --net=/run/netns/x ip link set "
        "rail7 netns 1; then amdcni heal"
    )


@given(st.dictionaries(some.bus_devices.map(DeviceKey), some.words, max_size=3), st.data())
def test_a_record_that_cannot_be_read_fails_and_one_of_a_newer_version_is_not_removed(
    faults: dict[DeviceKey, str], data: st.DataObject
) -> None:
    newer = frozenset(key for key in faults if data.draw(st.booleans()))
    findings = list(diagnosis.judge_faults(KnownRecords(faults=faults, newer=newer)))
    for finding, (key, words) in zip(findings, faults.items(), strict=True):
        assert sound(finding, FAILED, words)
        assert finding.subject is Subject.RECORDS
        assert ("remove" in str(finding.remedy)) == (key not in newer)
        kept = "leave it as it is, and install the newer version of amdcni again"
        assert (finding.remedy == kept) == (key in newer)


def test_what_the_go_plugin_has_lent_waits_for_nobody() -> None:
    address = ip_interface("192.0.2.1/31")
    told = GoMapping(PciAddress(0, 0xC1, 0, 0), IfName("ens1"), True, (address,), 5)
    (finding,) = diagnosis.judge_lent_by_go([told])
    assert finding == Finding(
        Subject.RECORDS,
        PASSED,
        "0000:c1:00.0 was lent by AMD's Go plugin, as ens1 with 192.0.2.1/31; the DEL of its pod, "
        "or the next ADD of the NIC, gives it back",
    )
    several = attrs.evolve(told, addresses=(address, ip_interface("fd00::1/64")))
    assert "with 192.0.2.1/31 and fd00::1/64; " in sentence_on(several)
    assert "with no address; " in sentence_on(attrs.evolve(told, addresses=()))


LOST = Netdev(7, IfName("net1"))


def nic_of(netdev: Netdev, records: KnownRecords | None) -> tuple[Nic, ...]:
    device = SysfsDevice(PciAddress(0, 0xC1, 0, 0), "ionic", (netdev.ifname,))
    return nics_of([BusNic(device, ports=(Port(netdev.ifname),))], Surroundings((netdev,)), records)


def test_a_nic_that_looks_lost_is_told_with_where_to_look() -> None:
    (finding,) = diagnosis.judge_lost(nic_of(LOST, KnownRecords()))
    assert sound(finding, FAILED, "net1", "0000:c1:00.0", "udevadm")
    assert finding.subject is Subject.NICS


def test_a_nic_of_which_it_is_not_known_is_not_told() -> None:
    assert list(diagnosis.judge_lost(nic_of(LOST, None))) == []
    assert list(diagnosis.judge_lost(nic_of(attrs.evolve(LOST, up=True), KnownRecords()))) == []


# ---- word by word: an operator has nothing else to act on

AS_ROOT = "run amdcni doctor as root"
LINK = f"ln -s {OWN} /opt/cni/bin/amd-host-device"
INSTALL = (
    "install it from github.com/containernetworking/plugins, or the package "
    'containernetworking-plugins ("mover": "native" needs neither host-device nor static)'
)
STATE = Folder(PATH, "/var/lib")
CILIUM = ConfFile("05-cilium.conf", {"plugins": [{"type": "cilium-cni"}, {"type": "tuning"}]})


def only(findings: Iterable[Finding]) -> Finding:
    """The one finding that there has to be."""
    (finding,) = findings
    return finding


def privileges(*here: str, root: bool) -> Finding:
    """The finding on CAP_NET_ADMIN."""
    return next(diagnosis.judge_privileges(here, root=root))


def state(*, root: bool = True, **facts: object) -> Finding:
    return diagnosis.judge_state(attrs.evolve(STATE, **facts), root=root)  # type: ignore[arg-type]


def plugin(name: str, **facts: object) -> Finding:
    found = attrs.evolve(Plugin(PluginName(name), DIRS), **facts)  # type: ignore[arg-type]
    return diagnosis.judge_plugin(found, OWN)


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
            "passed privileges: CAP_NET_ADMIN is there",
        ),
        (
            lambda: privileges(root=True),
            "failed privileges: root does not have CAP_NET_ADMIN here → give it to the container, "
            "or run what calls plugins on the host itself",
        ),
        (
            lambda: privileges(root=False),
            f"not known privileges: CAP_NET_ADMIN is root's → {AS_ROOT}",
        ),
        (
            lambda: diagnosis.judge_sysfs(has_netdevs=False, has_pci=False),
            "failed sysfs: sysfs is not mounted on /sys → mount it: mount -t sysfs sysfs /sys",
        ),
        (
            lambda: diagnosis.judge_sysfs(has_netdevs=True, has_pci=False),
            "not known sysfs: /sys shows no PCI bus → NICs of this machine can be lent by the keys "
            "device, hwaddr and kernelpath alone",
        ),
        (
            lambda: diagnosis.judge_sysfs(has_netdevs=True, has_pci=True),
            "passed sysfs: /sys shows the PCI bus",
        ),
        (
            lambda: diagnosis.judge_nics(()),
            "passed NICs: this node has no NIC on a bus, so there is none to lend",
        ),
        (
            lambda: diagnosis.judge_nics(nic_of(LOST, None)),
            "passed NICs: none of the NICs (1) is AMD's; any other can be lent just the same",
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
            lambda: state(is_folder=False),
            "failed state folder: /var/lib is no folder → move it away, or choose another folder "
            "with the key dataDir",
        ),
        (
            lambda: state(free_bytes=4 * 1024 * 1024 - 1),
            "failed state folder: the file system of /var/lib is full → make space there: records "
            "are small, but have to fit",
        ),
        (
            lambda: state(free_files=63),
            "failed state folder: the file system of /var/lib is full → make space there: records "
            "are small, but have to fit",
        ),
        (
            lambda: state(writable=False),
            "failed state folder: /var/lib cannot be written → is it mounted read-only, or "
            "immutable? The default folder has to be writable in any case, for its index of the "
            "others",
        ),
        (
            lambda: state(writable=False, root=False),
            f"not known state folder: /var/lib/cni/amd-host-device is root's → {AS_ROOT}",
        ),
        (
            lambda: state(free_bytes=4 * 1024 * 1024, free_files=64),
            "passed state folder: /var/lib/cni/amd-host-device can be written; the first ADD makes "
            "it",
        ),
        (
            lambda: state(nearest=PATH),
            "passed state folder: /var/lib/cni/amd-host-device can be written",
        ),
        (
            lambda: diagnosis.judge_bin_dir("/opt/cni/bin", exists=True),
            "passed plugins: /opt/cni/bin is there",
        ),
        (
            lambda: diagnosis.judge_bin_dir("/opt/cni/bin", exists=False),
            "failed plugins: /opt/cni/bin is no folder → make it, or say with --bin-dir what the "
            "binDir of Multus is",
        ),
        (
            lambda: plugin("static", hidden=DIRS),
            "not known plugins: static may be in /opt/cni/bin, /usr/lib/cni, which is root's → "
            f"{AS_ROOT}",
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
            f"ln -s {OWN} the binDir/amd-host-device",
        ),
        (
            lambda: plugin("static", path="/opt/cni/bin/static", fault="static said nothing"),
            "failed plugins: static said nothing → see what it says: "
            "CNI_COMMAND=VERSION /opt/cni/bin/static </dev/null",
        ),
        (
            lambda: plugin("static", path="/opt/cni/bin/static"),
            "failed plugins: /opt/cni/bin/static answers CNI no version, none of which is spoken "
            f"here → {INSTALL}",
        ),
        (
            lambda: plugin("static", path="/opt/cni/bin/static", versions=("9.0.0", "1.0.0")),
            "passed plugins: /opt/cni/bin/static answers CNI 9.0.0, 1.0.0",
        ),
        (
            lambda: plugin(
                "amd-host-device", path="/opt/cni/bin/amd-host-device", versions=("1.0.0",)
            ),
            "failed plugins: /opt/cni/bin/amd-host-device answers CNI 1.0.0 → is it another plugin "
            f"of this name? Put a link to {OWN} in its place",
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
            "failed Multus: /etc/cni/net.d/00.conf, the first: it is not JSON → mend or remove it: "
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
            "passed networks: a.yaml: ADD takes the configuration",
        ),
        (
            lambda: next(
                diagnosis.judge_definition("a.yaml", Review(lends=True, faults=("$.mtu is 0",)))
            ),
            "failed networks: a.yaml: $.mtu is 0 → correct it, and apply it again",
        ),
        (
            lambda: only(diagnosis.judge_ignored_mappings(["/x.json: it is not JSON"])),
            "failed records: /x.json: it is not JSON → nothing that it tells there comes back by "
            "itself: give the NICs their addresses by hand once their pods have ended, and take "
            "the entries out",
        ),
        (
            lambda: only(diagnosis.judge_set_aside(["/x.json.damaged-1"])),
            "failed records: /x.json.damaged-1 was set aside as damaged → amdcni devices tells "
            "where the NIC is; let its pod end, compare the host with what is left in the file, "
            "and then remove the file",
        ),
        (
            lambda: only(diagnosis.judge_lost(nic_of(LOST, KnownRecords()))),
            "failed NICs: net1 of 0000:c1:00.0 looks lost: down, bare, and in no record → find its "
            "name with udevadm info /sys/class/net/net1 or journalctl -k -g 0000:c1:00.0, and its "
            "addresses where this node's network is configured; then ip link set net1 name NAME, "
            "and let that configure it",
        ),
    ],
)
def test_findings_word_by_word(judge: Callable[[], Finding], words: str) -> None:
    finding = judge()
    remedy = "" if finding.remedy is None else f" → {finding.remedy}"
    assert f"{finding.verdict} {finding.subject}: {finding.says}{remedy}" == words


def test_a_state_folder_that_has_gone_is_named_with_the_entry_that_tells_of_it() -> None:
    finding = diagnosis.judge_lost_folder("/srv/cni", "/var/lib/cni/folders/1")
    assert sound(finding, FAILED)
    assert "/srv/cni" in finding.says
    assert "/var/lib/cni/folders/1" in str(finding.remedy)
