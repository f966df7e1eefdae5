"""Plans in words: each step says what it does, and to what."""

from ipaddress import IPv6Address, ip_address, ip_interface, ip_network

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.aspects.change import Stage
from amdcni.core.aspects.link import SetLink
from amdcni.core.aspects.sysctls import SetSysctl
from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured, lines
from amdcni.core.host import (
    Address,
    Chain,
    Filter,
    Hop,
    Interrupts,
    Member,
    Neighbour,
    Netdev,
    NetnsId,
    Nexthop,
    NexthopGroup,
    Qdisc,
    Redirection,
    Route,
    SysfsDevice,
    TrafficClass,
)
from amdcni.core.names import (
    ContainerId,
    DeviceKey,
    IfName,
    MacAddress,
    NetworkName,
    PciAddress,
    PluginName,
)
from amdcni.core.plans.attach import plan_add
from amdcni.core.plans.release import plan_release
from amdcni.core.rdma import RdmaDevice
from amdcni.core.rules import Rule
from amdcni.core.spec import AttachmentId, PluginCall, Verb
from amdcni.core.steps import (
    BringHome,
    ConfigureInPod,
    ConfirmRecord,
    CopyRoutes,
    DelegateAdd,
    ForgetRecord,
    InspectPod,
    IpamAdd,
    KeepOtherHops,
    LookAtKin,
    MoveIntoPod,
    MoveRdma,
    ReleaseIpam,
    ReleasePlugins,
    RestoreConfiguration,
    RestoreInterrupts,
    RestoreLink,
    RestoreRules,
    ReturnRdma,
    SaveRecord,
    Step,
    VerifyHome,
    VerifyRdma,
)
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Handover, Lending

handovers = st.one_of(
    some.handovers,
    some.native_handovers,
    some.userspace_handovers,
    some.native_userspace_handovers,
    some.configured_handovers,
)


@given(handovers)
def test_every_step_of_an_add_and_its_undo_is_described_on_one_line(handover: Handover) -> None:
    plan = plan_add(handover.request, handover.snapshot)
    steps: list[Step] = []
    for planned in plan.steps:
        steps += [planned.step, *planned.undo]
    described = [step.describe() for step in steps]
    assert all(words and words.isprintable() and not words.endswith(".") for words in described)
    # Different steps are described differently, so that a person can follow.
    assert len(set(described)) == len(set(map(repr, steps)))


@given(handovers)
def test_the_first_step_shows_which_addresses_will_be_returned(handover: Handover) -> None:
    save = plan_add(handover.request, handover.snapshot).steps[0].step
    assert isinstance(save, SaveRecord)
    captured = save.record.captured
    for address in () if captured is None else captured.addresses:
        assert str(address.interface) in save.describe()


@given(some.attachments, some.captures, st.lists(some.neighbours, max_size=2))
def test_routes_neighbours_and_sysctls_are_described_by_their_number(
    record: Attachment, captured: Captured, neighbours: list[Neighbour]
) -> None:
    captured = attrs.evolve(captured, neighbours=tuple(neighbours))
    restored = RestoreConfiguration(record, captured).describe()
    for name, things in (
        ("route", captured.routes),
        ("neighbour", captured.neighbours),
        ("sysctl", captured.sysctls),
    ):
        assert (f" {len(things)} {name}" in restored) == bool(things)
    copied = CopyRoutes(record, captured).describe()
    assert f" {len(captured.routes)} route" in copied


@given(some.lendings)
def test_every_step_of_a_release_is_described(lending: Lending) -> None:
    record = lending.record
    for boot_id in (record.boot_id, "another"):
        plan = plan_release(record, boot_id, None)
        for step in plan.work:
            assert step.describe()


RULE = Rule(4, 1010, table=101, source=ip_network("10.0.0.0/32"))
NIC = Captured(
    IfName("ens1"),
    7,
    addresses=(
        Address(ip_interface("10.0.0.0/31")),
        Address(ip_interface("fd00::8/64")),
    ),
    routes=(Route(ip_network("192.0.2.0/24"), ()), Route(ip_network("fd00::/64"), ())),
    neighbours=(Neighbour(ip_address("10.0.0.1"), MacAddress("02:00:00:00:00:01")),),
    sysctls={"ipv4/conf/rp_filter": 2},
)
PCI = PciAddress(0, 0xC1, 0, 0)
RECORD = Attachment(
    network=NetworkName("fabric"),
    id=AttachmentId(ContainerId("pod1"), IfName("net1")),
    netns=NetnsRef("/run/netns/pod1", NetnsId(4, 9)),
    key=DeviceKey(PCI),
    phase=Phase.ATTACHING,
    boot_id="boot-1",
    read_at_s=0,
    since="2026-01-02T03:04:05+00:00",
    config={},
    captured=NIC,
)
WITH_RDMA = attrs.evolve(RECORD, rdma=(RdmaDevice(1, "ionic_0"),))
CALL = PluginCall(PluginName("host-device"), Verb.ADD, {}, RECORD.id, "/run/netns/pod1", "")
HELD = "ens1 with 10.0.0.0/31, fd00::8/64, 1 neighbour, 2 routes, 1 sysctl, its state"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (SaveRecord(RECORD), f"write the record of 0000:c1:00.0: attaching, {HELD}"),
        (
            SaveRecord(attrs.evolve(RECORD, captured=None)),
            "write the record of 0000:c1:00.0: attaching, a device without a netdev",
        ),
        (
            ConfirmRecord(RECORD),
            "write the record of 0000:c1:00.0 again: attached, with the result",
        ),
        (ForgetRecord(RECORD.key), "remove the record of 0000:c1:00.0"),
        (
            LookAtKin(RECORD, SysfsDevice(PCI, physfn=PCI)),
            "check that no other pod has got 0000:c1:00.0 meanwhile",
        ),
        (
            LookAtKin(RECORD, SysfsDevice(PCI, virtfns=(PCI, PCI, PCI))),
            "check that no other pod has got 0000:c1:00.0 and 2 more meanwhile",
        ),
        (
            DelegateAdd(CALL, RECORD, None),
            "execute host-device with ADD, which moves the NIC into the pod and configures it",
        ),
        (InspectPod(RECORD), "check that net1 is in /run/netns/pod1 and is this NIC"),
        (
            MoveIntoPod(RECORD, Netdev(7, IfName("ens1"))),
            "move ens1 into /run/netns/pod1 as net1 and set it up",
        ),
        (
            MoveIntoPod(
                attrs.evolve(RECORD, pod_sysctls={"ipv6/conf/addr_gen_mode": "0"}),
                Netdev(7, IfName("ens1")),
            ),
            "move ens1 into /run/netns/pod1 as net1 and set it up",
        ),
        (
            MoveIntoPod(
                attrs.evolve(RECORD, pod_sysctls={"ipv6/conf/addr_gen_mode": "1"}),
                Netdev(7, IfName("ens1")),
            ),
            "move ens1 into /run/netns/pod1 as net1 with 1 sysctl of the host and set it up",
        ),
        (
            RestoreLink(Netdev(7, IfName("eth0")), (SetLink("mtu", 9000, 1500),)),
            "give eth0 what it had: mtu is 1500, was 9000",
        ),
        (
            RestoreLink(
                Netdev(7, IfName("eth0")),
                (
                    SetLink("alias", "to the fabric", ""),
                    SetSysctl("ipv4/conf/rp_filter", 2, None, Stage.DOWN),
                    SetLink("up", True, False),
                ),
            ),
            "give eth0 what it had: alias is none, was to the fabric, "
            "ipv4/conf/rp_filter is not known, was 2, is down, was up",
        ),
        (
            RestoreLink(Netdev(7, IfName("eth0")), (SetLink("up", False, True),)),
            "give eth0 what it had: is up, was down",
        ),
        (IpamAdd(RECORD, CALL), "execute host-device with ADD, which gives addresses"),
        (ConfigureInPod(RECORD), "set the addresses and routes of net1 in the pod"),
        (CopyRoutes(RECORD, NIC), "set 2 routes of the host on net1, too"),
        (
            KeepOtherHops(RECORD, NIC),
            "keep multipath routes through ens1 alive through their other hops",
        ),
        (ReleasePlugins(RECORD), "tell the plugins that pod1/net1 ends"),
        (
            ReleaseIpam(RECORD),
            "let the IPAM plugin release the addresses of pod1/net1",
        ),
        (BringHome(RECORD, NIC), "bring the NIC back to the host as ens1"),
        (
            RestoreConfiguration(RECORD, NIC),
            "restore " + HELD,
        ),
        (
            RestoreConfiguration(RECORD, Captured(IfName("ens1"), 7)),
            "restore ens1 with its state",
        ),
        (
            RestoreConfiguration(RECORD, attrs.evolve(NIC, rules=(RULE,))),
            "restore " + HELD.replace("its state", "1 policy rule, its state"),
        ),
        (
            RestoreInterrupts(RECORD, Interrupts({"40": "0", "41": "1"})),
            "let 2 interrupts go to the same CPUs as before",
        ),
        (VerifyHome(RECORD, NIC), "compare ens1 with the record"),
        (
            RestoreRules(RECORD, attrs.evolve(NIC, rules=(RULE,))),
            "see that 1 policy rule of ens1 is there again, or put it back",
        ),
        (
            RestoreRules(RECORD, attrs.evolve(NIC, rules=(RULE, RULE))),
            "see that 2 policy rules of ens1 are there again, or put them back",
        ),
        (MoveRdma(WITH_RDMA), "move the RDMA device ionic_0 into /run/netns/pod1"),
        (ReturnRdma(WITH_RDMA), "bring the RDMA device ionic_0 back to the host"),
        (VerifyRdma(WITH_RDMA), "check that the RDMA device ionic_0 is on the host"),
        (
            VerifyRdma(attrs.evolve(WITH_RDMA, rdma=(*WITH_RDMA.rdma, RdmaDevice(2, "ionic_1")))),
            "check that the RDMA devices ionic_0, ionic_1 are on the host",
        ),
    ],
)
def test_a_step_reads_word_for_word_as_expected(step: Step, words: str) -> None:
    assert step.describe() == words


def test_a_capture_reads_word_for_word_as_expected() -> None:
    router, mac = ip_address("10.0.0.1"), MacAddress("02:00:00:00:00:01")
    hop = Hop(IfName("ens1"), 7)
    kept = Captured(
        IfName("ens1"),
        7,
        mac=mac,
        up=True,
        alias="to the fabric",
        altnames=("rail0", "rail1"),
        mtu=9000,
        txqlen=1000,
        group=0,
        addresses=(
            Address(ip_interface("10.0.0.0/31"), peer=router, label="ens1:fabric", valid_s=90),
            Address(ip_interface("fd00::8/64")),
        ),
        routes=(Route(ip_network("10.9.0.0/24"), (attrs.evolve(hop, via=router), hop), table=100),),
        neighbours=(Neighbour(router, mac), Neighbour(ip_address("fd00::9"))),
        proxy_neighbours=(Neighbour(ip_address("10.0.0.9"), flags=8),),
        multicast_addresses=(MacAddress("01:00:5e:00:00:77"),),
        nexthops=(Nexthop(7, attrs.evolve(hop, via=router)), Nexthop(8, hop)),
        nexthop_groups=(NexthopGroup(9, (Member(7, 3), Member(8))),),
        other_nexthops=(Nexthop(6),),
        sysctls={"ipv4/conf/rp_filter": "2"},
        token=IPv6Address("::7"),
        qdisc=Qdisc("htb", 0x10000),
        qdiscs=(
            Qdisc("clsact", 0xFFFF0000, parent=0xFFFFFFF1),
            Qdisc("pfifo", 0x200000, parent=0x10010),
        ),
        classes=(TrafficClass("htb", 0x10010, 0x10000),),
        chains=(Chain(0xFFFFFFF3, 7), Chain(21, 8, "flower", shared=True)),
        filters=(
            Filter("flower", 0xFFFFFFF2, 10, 8, 1, options="00"),
            Filter("fw", 0x10010, 9, 8, 1, chain=2, options="00"),
            Filter("u32", 0x10000, 5, 8, 0x80000000),
        ),
        redirections=(Redirection(3, 1000, "04"),),
        ethtool={"rings/rx": 512, "features/on": "0x7", "features/off": "0x8"},
        queues={
            "gro_flush_timeout": "20000",
            "rx-0-7/rps_cpus": "ff",
            "rx-0-7/rps_flow_cnt": "0",
            "tx-0-7/xps_cpus": "00",
            "tx-0-7/xps_rxqs": "0f",
            "tx-0/byte_queue_limits/hold_time": "1000",
            "tx-1/byte_queue_limits/hold_time": "2000",
        },
        rules=(RULE,),
    )
    assert list(lines(kept)) == [
        "token ::7",
        "altnames rail0 rail1",
        "up",
        "mtu 9000",
        "mac 02:00:00:00:00:01",
        "alias to the fabric",
        "txqlen 1000",
        "group 0",
        "address 10.0.0.0/31 peer 10.0.0.1 label ens1:fabric valid for 90 s from then",
        "address fd00::8/64",
        "neighbour 10.0.0.1 02:00:00:00:00:01",
        "neighbour fd00::9",
        "proxy neighbour 10.0.0.9",
        "multicast address 01:00:5e:00:00:77",
        "nexthop object 7 via 10.0.0.1",
        "nexthop object 8",
        "nexthop group 9 of 7,3/8,1",
        "route 10.9.0.0/24 via 10.0.0.1, dev ens1 table 100",
        "qdisc htb",
        "class 1:10 of qdisc htb",
        "qdisc pfifo 20: in class 1:10",
        "qdisc clsact",
        "chain 7 of clsact egress",
        "chain 8 of block 21",
        "filter u32 (priority 5, chain 0) of qdisc 1:",
        "filter fw (priority 9, chain 2) of class 1:10",
        "filter flower (priority 10, chain 0) of clsact ingress",
        "action mirred 3",
        "rings: rx 512",
        "features: 3 on, 1 off",
        "gro_flush_timeout 20000",
        "rps_cpus of rx-0-7 ff",
        "xps_rxqs of tx-0-7 0f",
        "byte_queue_limits/hold_time of tx-1 2000",
        "sysctl ipv4/conf/rp_filter = 2",
        "policy rule 1010: from 10.0.0.0/32 lookup 101",
    ]
    assert list(lines(Captured(IfName("ens1"), 7))) == ["down"]
