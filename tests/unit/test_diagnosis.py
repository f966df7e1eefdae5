"""Verdicts follow from facts, and everything that has not passed comes with a remedy."""

from ipaddress import ip_interface

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core import diagnosis
from amdcni.core.attachment import Attachment
from amdcni.core.condition import Condition, Seen
from amdcni.core.diagnosis import Finding, Folder, Plugin, Subject, Verdict
from amdcni.core.host import Hardware, SysfsDevice
from amdcni.core.identity import Place
from amdcni.core.kubernetes.installation import ConfDir
from amdcni.core.kubernetes.review import LENDER, Review
from amdcni.core.mapping import GoMapping, sentence_on
from amdcni.core.names import DeviceKey, FilePath, IfName, PciAddress, PluginName
from amdcni.core.nics import BusNic, Nic
from amdcni.core.nics import Records as KnownRecords
from amdcni.core.policy import Denial, Lending, Policy
from amdcni.core.policy import Verdict as PolicyVerdict
from amdcni.core.rdma import RdmaMode
from amdcni.core.versions import SUPPORTED
from amdcni.testing import strategies as some
from tests.unit.node_facts import BRIDGE, BROKEN, DIRS, LOST, MULTUS, OURS, OWN, PATH, ROOTS, nic_of


@pytest.mark.parametrize("mode", [None, *RdmaMode])
def test_the_mode_of_rdma_is_said_if_there_is_one_and_is_no_failure(mode: RdmaMode | None) -> None:
    findings = list(diagnosis.judge_rdma(mode))
    assert [finding.subject for finding in findings] == [Subject.RDMA] * (mode is not None)
    for finding in findings:
        assert sound(finding, PASSED, f"the mode is {mode}")
        assert ("netns_mode=0" in finding.says) == (mode is RdmaMode.SHARED)


NEEDED = {"CAP_NET_ADMIN", "CAP_SYS_ADMIN"}
PASSED, FAILED, UNKNOWN = Verdict.PASSED, Verdict.FAILED, Verdict.UNKNOWN


def sound(finding: Finding, verdict: Verdict, *words: str) -> bool:
    """Whether it has that verdict, a remedy only if it needs one, and all the words."""
    said = f"{finding.says} {finding.remedy}"
    has_remedy = finding.remedy is not None
    return (
        finding.verdict is verdict
        and has_remedy == (verdict is not PASSED)
        and all(word in said for word in words)
    )


# ---- the node


@given(st.sets(st.sampled_from(sorted(NEEDED))), st.booleans())
def test_a_missing_privilege_fails_only_for_root(here: set[str], root: bool) -> None:
    findings = list(diagnosis.judge_privileges(here, root=root))
    assert len(findings) == len(NEEDED)
    for finding, name in zip(findings, sorted(NEEDED), strict=True):
        absent = FAILED if root else UNKNOWN
        assert sound(finding, PASSED if name in here else absent, name)


@pytest.mark.parametrize(
    ("has_netdevs", "has_pci", "verdict"),
    [(True, True, PASSED), (True, False, UNKNOWN), (False, True, FAILED), (False, False, FAILED)],
)
def test_sysfs_must_be_mounted_and_should_show_a_pci_bus(
    has_netdevs: bool, has_pci: bool, verdict: Verdict
) -> None:
    assert sound(diagnosis.judge_sysfs(has_netdevs=has_netdevs, has_pci=has_pci), verdict)


DENIAL = Denial("it is not wanted", "denied")
POLICIES = {
    "none": Policy(),
    "folders": Policy((FilePath("/srv/amdcni"),)),
    "rules": Policy(lending=Lending((), PolicyVerdict.DENY)),
    "torn": Policy(fault="it is torn"),
    "hidden": None,
}


@pytest.mark.parametrize("which", POLICIES)
@given(st.none() | st.lists(st.booleans(), max_size=4))
def test_a_policy_passes_if_it_can_be_used_however_little_it_leaves_to_lend(
    which: str, denied: list[bool] | None
) -> None:
    one = nics_of_vendors("0x1dd8")[0]
    denials = None if denied is None else [DENIAL if each else None for each in denied]
    nics = None if denials is None else [attrs.evolve(one, denial=each) for each in denials]
    verdict = {"torn": FAILED, "hidden": UNKNOWN}.get(which, PASSED)
    finding = diagnosis.judge_policy(POLICIES[which], nics)
    assert sound(finding, verdict)
    assert finding.subject is Subject.POLICY
    if which == "rules" and denied is not None:
        assert f"; {denied.count(False)} of {len(denied)} NICs may be lent" in finding.says


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("readable", [True, False])
def test_a_checkpoint_that_cannot_be_read_fails_only_for_root(readable: bool, root: bool) -> None:
    verdict = PASSED if readable else FAILED if root else UNKNOWN
    finding = diagnosis.judge_checkpoint(readable=readable, root=root)
    assert sound(finding, verdict, "kubelet_internal_checkpoint")
    assert finding.subject is Subject.POLICY


def nics_of_vendors(*vendors: str) -> list[Nic]:
    devices = (PciAddress(0, bus, 0, 0) for bus in range(len(vendors)))
    return [
        Nic(BusNic(SysfsDevice(device, hardware=Hardware(vendor))))
        for device, vendor in zip(devices, vendors, strict=True)
    ]


@given(st.lists(st.sampled_from(["0x1dd8", "0x1022", "0x15b3"]), max_size=12))
def test_a_node_without_an_amd_nic_passes(vendors: list[str]) -> None:
    finding = diagnosis.judge_nics(nics_of_vendors(*vendors))
    assert sound(finding, PASSED)
    ours = [index for index, vendor in enumerate(vendors) if vendor != "0x15b3"]
    for index in ours[:8]:
        assert f"0000:{index:02x}:00.0" in finding.says
    assert ("more" in finding.says) == (len(ours) > 8)
    assert ("NICs of AMD: " in finding.says) == bool(ours)


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
def test_a_state_folder_must_have_room_for_a_record(
    folder: Folder, root: bool, verdict: Verdict
) -> None:
    assert sound(diagnosis.judge_state(folder, root=root), verdict)


def test_a_state_folder_that_does_not_exist_yet_is_reported_as_such() -> None:
    assert "first ADD" in diagnosis.judge_state(Folder(PATH, "/var/lib"), root=True).says
    assert "first ADD" not in diagnosis.judge_state(Folder(PATH, PATH), root=True).says


def test_a_vanished_state_folder_is_reported_with_its_entry_in_the_index() -> None:
    finding = diagnosis.judge_lost_folder("/srv/cni", "/var/lib/cni/folders/1")
    assert sound(finding, FAILED)
    assert finding.subject is diagnosis.Subject.STATE
    assert "/srv/cni" in finding.says
    assert "/var/lib/cni/folders/1" in str(finding.remedy)


# ---- plugins

STATIC = PluginName("static")


@given(st.sampled_from([LENDER, STATIC]), st.lists(some.versions, unique=True))
def test_a_plugin_must_speak_versions_that_we_speak(name: PluginName, versions: list[str]) -> None:
    plugin = Plugin(name, DIRS, f"/opt/cni/bin/{name}", tuple(versions))
    finding = diagnosis.judge_plugin(plugin, OWN)
    enough = set(versions) == set(SUPPORTED) if name == LENDER else bool(versions)
    assert sound(finding, PASSED if enough else FAILED, f"/opt/cni/bin/{name}", *versions)


def test_a_plugin_with_only_unknown_versions_fails() -> None:
    plugin = Plugin(STATIC, DIRS, "/opt/cni/bin/static", ("7.0.0",))
    assert sound(diagnosis.judge_plugin(plugin, OWN), FAILED, "7.0.0")


def test_a_plugin_of_our_name_with_more_versions_is_another_plugin() -> None:
    plugin = Plugin(LENDER, DIRS, "/opt/cni/bin/amd-host-device", (*SUPPORTED, "7.0.0"))
    assert sound(diagnosis.judge_plugin(plugin, OWN), FAILED, OWN)


@pytest.mark.parametrize("dirs", [DIRS, ()])
def test_a_missing_plugin_is_reported_with_the_folders_and_how_to_install_it(
    dirs: tuple[str, ...],
) -> None:
    own = diagnosis.judge_plugin(Plugin(LENDER, dirs), OWN)
    assert sound(own, FAILED, *dirs, f"ln -s {OWN} {dirs[0] if dirs else 'BINDIR'}/{LENDER}")
    assert sound(diagnosis.judge_plugin(Plugin(STATIC, dirs), OWN), FAILED, *dirs, "package")


def test_a_plugin_in_a_folder_only_root_can_read_is_not_known() -> None:
    hidden = Plugin(STATIC, DIRS, hidden=("/opt/cni/bin",))
    assert sound(diagnosis.judge_plugin(hidden, OWN), UNKNOWN, "/opt/cni/bin", "root")


def test_a_plugin_that_does_not_answer_is_reported_with_a_command_to_try() -> None:
    broken = Plugin(STATIC, DIRS, "/opt/cni/bin/static", fault="it gave no usable answer")
    finding = diagnosis.judge_plugin(broken, OWN)
    assert sound(finding, FAILED, "no usable answer", "CNI_COMMAND=VERSION /opt/cni/bin/static")


@pytest.mark.parametrize(("exists", "verdict"), [(True, PASSED), (False, FAILED)])
def test_a_bin_dir_must_exist(exists: bool, verdict: Verdict) -> None:
    assert sound(diagnosis.judge_bin_dir("/opt/cni/bin", exists=exists), verdict, "/opt/cni/bin")


# ---- Multus


@pytest.mark.parametrize(
    ("folder", "verdict", "words"),
    [
        (ConfDir("/etc/cni/net.d", (MULTUS, BRIDGE)), PASSED, ["00-multus.conf is Multus"]),
        (ConfDir("/etc/cni/net.d", (OURS,)), PASSED, ["without Multus"]),
        (ConfDir("/etc/cni/net.d", (BRIDGE, MULTUS)), FAILED, ["bridge, portmap", "name"]),
        (ConfDir("/etc/cni/net.d", (BRIDGE, BROKEN)), FAILED, ["install Multus"]),
        (ConfDir("/etc/cni/net.d", (BROKEN, MULTUS)), FAILED, ["is not JSON", "fix"]),
        (ConfDir("/etc/cni/net.d", (ROOTS, BRIDGE)), UNKNOWN, ["Permission denied", "root"]),
        (ConfDir("/etc/cni/net.d"), FAILED, ["has no CNI configuration"]),
        (ConfDir("/etc/cni/net.d", fault="No such file"), FAILED, ["No such file"]),
        (ConfDir("/etc/cni/net.d", fault="Permission denied", denied=True), UNKNOWN, ["root"]),
    ],
)
def test_the_first_configuration_must_be_multus_or_our_own(
    folder: ConfDir, verdict: Verdict, words: list[str]
) -> None:
    assert sound(diagnosis.judge_multus(folder), verdict, *words)


# ---- networks


@given(st.lists(some.words, max_size=3))
def test_every_fault_in_a_definition_is_a_finding(faults: list[str]) -> None:
    findings = list(diagnosis.judge_definition("a.yaml", Review(lends=True, faults=tuple(faults))))
    assert len(findings) == max(1, len(faults))
    for finding, fault in zip(findings, faults or [""], strict=True):
        assert sound(finding, FAILED if faults else PASSED, "a.yaml", fault)


def test_a_definition_of_another_plugin_passes() -> None:
    (finding,) = diagnosis.judge_definition("a.yaml", Review(lends=False))
    assert sound(finding, PASSED, "no plugin of type amd-host-device")


# ---- records


@given(some.attachments, st.sampled_from(Condition), st.booleans())
def test_a_record_of_a_nic_that_no_pod_has_fails_unless_a_call_works_on_it(
    record: Attachment, condition: Condition, busy: bool
) -> None:
    seen = Seen(condition, busy=busy)
    finding = diagnosis.judge_record(record, seen, heal="amdcni heal", file="/x/y.json")
    fine = condition is Condition.HELD or busy
    assert sound(finding, PASSED if fine else FAILED, str(record.key), record.lent_to)
    assert finding.subject is Subject.RECORDS
    assert "None" not in str(finding.remedy) or fine
    if not fine:
        assert "amdcni heal" in str(finding.remedy) or "remove /x/y.json" in str(finding.remedy)
        assert condition.about.healable == str(finding.remedy).endswith(": amdcni heal")


@given(some.attachments, st.sampled_from([Condition.MISSING, Condition.HELD]))
def test_a_nic_in_another_netns_is_reported_with_how_to_bring_it_back(
    record: Attachment, condition: Condition
) -> None:
    place = Place("/run/netns/x", IfName("rail7"))
    seen = Seen(condition, place, left=condition is Condition.HELD)
    finding = diagnosis.judge_record(record, seen, heal="amdcni heal", file="/x/y.json")
    assert sound(finding, FAILED, "it is in /run/netns/x as rail7")
    assert ("though its pod lives" in finding.says) == (condition is Condition.HELD)
    assert finding.subject is Subject.RECORDS
    assert finding.remedy == (
        "bring it out: nsenter --net=/run/netns/x ip link set rail7 netns $$; then amdcni heal"
    )


@given(st.dictionaries(some.bus_devices.map(DeviceKey), some.words, max_size=3), st.data())
def test_an_unreadable_record_fails_with_advice_to_remove_it_unless_it_is_newer(
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


def test_a_nic_that_the_go_plugin_lent_passes() -> None:
    address = ip_interface("192.0.2.1/31")
    lent = GoMapping(PciAddress(0, 0xC1, 0, 0), IfName("ens1"), True, (address,), 5)
    (finding,) = diagnosis.judge_lent_by_go([lent])
    assert finding == Finding(
        Subject.RECORDS,
        PASSED,
        "0000:c1:00.0 was lent by AMD's Go plugin, as ens1 with 192.0.2.1/31; the DEL of its pod, "
        "or the next ADD of the NIC, returns it",
    )
    several = attrs.evolve(lent, addresses=(address, ip_interface("fd00::1/64")))
    assert "with 192.0.2.1/31 and fd00::1/64; " in sentence_on(several)
    assert "with no address; " in sentence_on(attrs.evolve(lent, addresses=()))


def test_a_nic_that_looks_lost_is_reported_with_where_to_look() -> None:
    (finding,) = diagnosis.judge_lost(nic_of(LOST, KnownRecords()))
    assert sound(finding, FAILED, "net1", "0000:c1:00.0", "udevadm")
    assert finding.subject is Subject.NICS


def test_a_nic_that_does_not_certainly_look_lost_is_not_reported() -> None:
    assert list(diagnosis.judge_lost(nic_of(LOST, None))) == []
    assert list(diagnosis.judge_lost(nic_of(attrs.evolve(LOST, up=True), KnownRecords()))) == []
