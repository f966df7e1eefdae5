"""What the node's policy says of a NIC is the same to an operator and to an ADD."""

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment
from amdcni.core.errors import AmdcniError, PolicyDenies
from amdcni.core.host import SysfsDevice
from amdcni.core.mapping import GoMapping
from amdcni.core.names import DeviceKey, IfName, PciAddress, parse_bus_device
from amdcni.core.nics import BusNic, Nic, Port, Records, nics_of
from amdcni.core.policy import Conditions, Lending, Policy, Rule, Verdict
from amdcni.core.protection import Surroundings
from amdcni.core.request import AddRequest
from amdcni.core.spec import Verb
from amdcni.testing import strategies as some
from amdcni.verbs.preview import preview
from tests.unit.fake_machine import Machine
from tests.unit.fake_node import FakeNode
from tests.unit.fake_runtime import config_for, request_for
from tests.unit.two_nics import POD2, A, B, add, booted, pod_of

VFIO = "0000:03:00.0"
NAMES = {A: "ens1", B: "ens2", VFIO: VFIO}
ALLOW, DENY = Verdict.ALLOW, Verdict.DENY

conditions = st.builds(
    Conditions,
    ifname=st.sampled_from([(), (), ("ens1",), ("ens2",), ("ens*",), ("fabric*",), ("net1",)]),
    driver=st.sampled_from([(), (), ("ionic",), ("vfio*",)]),
    address=st.sampled_from([(), (), (A,), (B, VFIO), ("*",)]),
)
rules = st.builds(Rule, st.sampled_from(Verdict), conditions)
lendings = st.builds(Lending, st.lists(rules, max_size=4).map(tuple), st.sampled_from(Verdict))
policies = st.builds(
    Policy, lending=st.none() | lendings, fault=st.sampled_from([None, None, None, "it is torn"])
)


def lending(*rules: Rule, otherwise: Verdict = ALLOW) -> Policy:
    return Policy(lending=Lending(rules, otherwise))


FIRST_DENIED = lending(Rule(DENY, Conditions(ifname=("ens1",))))
SECOND_DENIED = lending(Rule(DENY, Conditions(ifname=("ens2",))))
DENIED_BY_ADDRESS = lending(Rule(DENY, Conditions(address=(A,))))


def machine_with(*, b_rests_on_a: bool, with_altname: bool) -> Machine:
    """A node with a third NIC that a userspace driver has."""
    machine = booted("delegate")
    first, second = (machine.kernel.functions[device].links[0] for device in (A, B))
    machine.kernel.plug(VFIO, driver="vfio-pci")
    if with_altname:
        first.altnames.add("fabric0")
    if b_rests_on_a:
        second.lower = first.ifindex
    return machine


def listed(machine: Machine, policy: Policy) -> dict[str, Nic]:
    """The NICs as an operator sees them."""
    node = FakeNode(machine)
    with machine.running(node):
        found = [node.find_device(parse_bus_device(device)) for device in NAMES]
        devices = [device for device in found if device is not None]
        netdevs = node.host().netdevs
        records = Records(node.records())
        around = Surroundings(netdevs, load=node.load(netdevs, netdevs))
    seen = [BusNic(device, ports=tuple(map(Port, device.ifnames))) for device in devices]
    return {str(nic.bus_device): nic for nic in nics_of(seen, around, records, policy)}


def refusal_of_add(machine: Machine, device: str) -> str | None:
    """Why the policy would refuse an ADD now."""
    request = request_for(machine, Verb.ADD, config_for(device), container="other", netns=POD2)
    assert isinstance(request, AddRequest)
    node = FakeNode(machine)
    with machine.running(node):
        try:
            preview(request, node)
        except PolicyDenies as denial:
            return denial.message
        except AmdcniError:
            return None
    return None


@given(
    policy=policies,
    b_rests_on_a=st.booleans(),
    with_altname=st.booleans(),
    left_behind=st.booleans(),
)
@example(policy=FIRST_DENIED, b_rests_on_a=True, with_altname=False, left_behind=False)
@example(policy=DENIED_BY_ADDRESS, b_rests_on_a=True, with_altname=False, left_behind=False)
@example(policy=SECOND_DENIED, b_rests_on_a=False, with_altname=False, left_behind=True)
def test_an_add_is_denied_exactly_if_the_nic_is_listed_as_denied_and_for_the_same_reason(
    policy: Policy, b_rests_on_a: bool, with_altname: bool, left_behind: bool
) -> None:
    machine = machine_with(b_rests_on_a=b_rests_on_a, with_altname=with_altname)
    if left_behind:
        add(machine, B)
        machine.kernel.destroy_netns(pod_of(machine))
    machine.policy = policy
    for device, nic in listed(machine, policy).items():
        refusal = refusal_of_add(machine, device)
        denials = [each.denial for each in nic.netdevs] or [nic.denial]
        assert denials == [nic.denial]
        says = None if nic.denial is None else f"{NAMES[device]} is not lent: {nic.denial}"
        assert says == refusal


NAMED = lending(Rule(ALLOW, Conditions(ifname=("eth*",))), otherwise=DENY)
DEVICE = SysfsDevice(PciAddress(0, 0xC1, 0, 0), "ionic")


def only(policy: Policy, records: Records | None, device: SysfsDevice = DEVICE) -> Nic:
    (nic,) = nics_of([BusNic(device)], Surroundings(()), records, policy)
    return nic


@given(some.attachments, st.booleans())
def test_a_nic_that_is_away_is_judged_by_the_name_that_comes_back(
    record: Attachment, fits: bool
) -> None:
    captured = record.captured
    if captured is not None:
        name = IfName("eth7" if fits else "mgmt7")
        captured = attrs.evolve(captured, ifname=name, altnames=("mgmt0",))
    held = attrs.evolve(record, key=DeviceKey(DEVICE.bus_device), captured=captured)
    assert (only(NAMED, Records((held,))).denial is None) == (fits and captured is not None)
    by_altname = lending(Rule(DENY, Conditions(ifname=("mgmt0",))))
    assert (only(by_altname, Records((held,))).denial is None) == (captured is None)


@pytest.mark.parametrize("name", ["eth1", "mgmt1"])
def test_a_nic_that_amds_plugin_has_lent_is_judged_by_the_name_that_comes_back(name: str) -> None:
    assert isinstance(DEVICE.bus_device, PciAddress)
    lent = GoMapping(DEVICE.bus_device, ifname=IfName(name), up=True, addresses=(), written_s=5)
    found = only(NAMED, Records(lent_by_go=(lent,)))
    assert (found.denial is None) == (name == "eth1")


def test_what_cannot_be_seen_is_not_called_denied_unless_everything_is() -> None:
    vfio = attrs.evolve(DEVICE, driver="vfio-pci")
    assert only(NAMED, None).denial is None
    assert only(Policy(fault="it is torn"), None).denial is not None
    for seen in (only(NAMED, Records()), only(NAMED, None, vfio)):
        assert seen.denial is not None
        assert seen.denial.short == "denied: no rule allows it"


def test_a_nic_is_denied_only_if_all_of_its_netdevs_are() -> None:
    machine = booted("delegate")
    machine.kernel.plug(VFIO, "eth0", "ens3")
    for name in ("ens3", "eth0"):
        nic = listed(machine, lending(Rule(DENY, Conditions(ifname=(name,)))))[VFIO]
        assert {each.netdev.ifname: each.denial is None for each in nic.netdevs} == {
            "eth0": name != "eth0",
            "ens3": name != "ens3",
        }
        assert nic.denial is None
    both = listed(machine, lending(Rule(DENY, Conditions(ifname=("e*",)))))[VFIO]
    assert both.denial == both.netdevs[0].denial is not None


def test_a_table_names_the_rule_in_few_words() -> None:
    machine = machine_with(b_rests_on_a=True, with_altname=False)
    policy = lending(
        Rule(DENY, Conditions(driver=("vfio*",))), Rule(DENY, Conditions(ifname=("ens1",)), "mine")
    )
    short = {
        device: str(nic.denial and nic.denial.short)
        for device, nic in listed(machine, policy).items()
    }
    assert short == {
        A: "denied by rule 2",
        B: "denied by rule 2: it rests on ens1",
        VFIO: "denied by rule 1",
    }
    torn = listed(machine, Policy(fault="it is torn"))[A]
    assert torn.denial is not None
    assert torn.denial.short == "denied: the policy cannot be used"
