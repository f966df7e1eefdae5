"""The plan that puts a netdev back into its pod: what it sets, undoes and refuses, as values."""

import ipaddress
import re
from typing import Any

import attrs
import pytest

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured, Details
from amdcni.core.errors import DeviceProtected
from amdcni.core.host import Address, Hop, Neighbour, Netdev, Netns, NetnsId, Route
from amdcni.core.names import ContainerId, DeviceKey, IfName, NetworkName, PciAddress, parse_mac
from amdcni.core.plans.reattach import plan_reattach
from amdcni.core.plans.release import homecoming
from amdcni.core.plans.snapshot import Clock, Snapshot
from amdcni.core.rdma import Rdma, RdmaDevice, Seen
from amdcni.core.request import Mover
from amdcni.core.resolve import Candidates
from amdcni.core.spec import AttachmentId, Interface, Result
from amdcni.core.steps import (
    ConfigureInPod,
    ConfirmRecord,
    KeepOtherHops,
    MoveIntoPod,
    MoveRdma,
    Plan,
    Planned,
    RestoreLink,
    ReturnRdma,
    SaveRecord,
)

PATH, NET1 = "/run/netns/pod1", IfName("net1")
MAC = parse_mac("02:00:00:00:00:01")
LO = Netdev(1, IfName("lo"), addresses=(Address(ipaddress.ip_interface("::1/128"), proto=1),))
NEW = Netdev(9, IfName("eth0"), mac=MAC)
"""The netdev as a reset has made it."""

CAPTURED = Captured(IfName("ens1"), 7, mac=MAC)
RECORD = Attachment(
    network=NetworkName("fabric"),
    id=AttachmentId(ContainerId("pod1"), NET1),
    netns=NetnsRef(PATH, NetnsId(4, 9, 90)),
    key=DeviceKey(PciAddress(0, 0xC1, 0, 0)),
    phase=Phase.ATTACHED,
    boot_id="boot-1",
    read_at_s=100,
    since="2026-01-02T03:04:05+00:00",
    config={},
    captured=CAPTURED,
    mover=Mover.NATIVE,
    result=Result((Interface(NET1, MAC, sandbox=PATH),)),
)


def plan_of(
    record: Attachment = RECORD,
    netdev: Netdev = NEW,
    *others: Netdev,
    details: Details | None = None,
    in_pod: tuple[Netdev, ...] = (),
    **facts: Any,
) -> Plan:
    """The plan for a netdev on a host with `others`, a minute after the record was made."""
    host = Netns("/proc/1/ns/net", NetnsId(4, 1, 1), (LO, netdev, *others))
    snapshot = Snapshot(
        Clock(160, "boot-1", "now"),
        host,
        Netns(PATH, record.netns.id, (LO, *in_pod)),
        Candidates(host.netdevs),
        details or Details(),
        **facts,
    )
    assert record.captured is not None
    return plan_reattach(record, record.captured, netdev, snapshot)


def with_captured(**changes: Any) -> Attachment:
    return attrs.evolve(RECORD, captured=attrs.evolve(CAPTURED, **changes))


def move_in(plan: Plan) -> MoveIntoPod:
    (move,) = [each.step for each in plan.steps if isinstance(each.step, MoveIntoPod)]
    return move


def set_before_the_move(plan: Plan) -> list[str]:
    """What the netdev gets on the host, in words."""
    links = [each.step for each in plan.steps if isinstance(each.step, RestoreLink)]
    return [change.describe() for link in links for change in link.changes]


def test_a_bare_netdev_is_recorded_moved_and_configured_and_returned_if_that_fails() -> None:
    captured = attrs.evolve(CAPTURED, ifindex=9)
    begun = attrs.evolve(RECORD, phase=Phase.ATTACHING, captured=captured)
    assert plan_of() == Plan(
        (
            Planned(SaveRecord(begun)),
            Planned(MoveIntoPod(begun, NEW), undo=homecoming(begun, captured)),
            Planned(ConfigureInPod(begun)),
            Planned(KeepOtherHops(begun, captured)),
            Planned(ConfirmRecord(begun)),
        )
    )


def test_an_rdma_device_that_was_made_anew_follows_under_the_name_that_it_had() -> None:
    old, new = RdmaDevice(1, "ionic_0", "abc"), RdmaDevice(5, "rocep1s0", "abc")
    rdma = Rdma(seen=(Seen(new, frozenset({9})),))
    plan = plan_of(attrs.evolve(RECORD, rdma=(old,)), rdma=rdma)
    (move,) = [each for each in plan.steps if isinstance(each.step, MoveRdma)]
    assert isinstance(move.step, MoveRdma)
    assert move.step.record.rdma == (RdmaDevice(5, "ionic_0", "abc"),)
    assert move.undo == (ReturnRdma(move.step.record),)


# ---- what it has when it moves


def test_what_a_netdev_had_and_takes_along_is_set_before_it_moves() -> None:
    record = with_captured(mtu=9000, up=True, altnames=("fabric0",))
    plan = plan_of(record)
    assert set_before_the_move(plan) == ["mtu is 1500, was 9000", "altname fabric0 is missing"]


def test_an_altname_that_another_netdev_of_the_host_has_now_is_not_set() -> None:
    other = Netdev(10, IfName("ens2"), altnames=("fabric0",))
    assert set_before_the_move(plan_of(with_captured(altnames=("fabric0",)), NEW, other)) == []


@pytest.mark.parametrize(("had", "has"), [("to the fabric", None), (None, "spare")])
def test_the_alias_stays_as_it_is_until_the_netdev_returns(
    had: str | None, has: str | None
) -> None:
    assert (
        set_before_the_move(plan_of(with_captured(alias=had), attrs.evolve(NEW, alias=has))) == []
    )


def test_names_that_are_taken_in_the_pod_are_left_out_whether_it_has_them_or_is_to_get_them() -> (
    None
):
    stranger = Netdev(2, IfName("data"), altnames=("spare", "other"))
    netdev = attrs.evolve(NEW, altnames=("spare", "net1", "free"))
    record = with_captured(altnames=("data", "spare", "net1", "free"))
    plan = plan_of(record, netdev, in_pod=(stranger,))
    assert move_in(plan).in_the_way == ("data", "net1", "spare")


@pytest.mark.parametrize(
    ("interfaces", "mtu"),
    [
        ((Interface(NET1, mtu=1400, sandbox=PATH),), 1400),
        ((Interface(NET1, mtu=9000), Interface(NET1, mtu=1400, sandbox=PATH)), 1400),
        ((Interface("net0", mtu=9000, sandbox=PATH),), None),
        ((), None),
    ],
)
def test_the_netdev_has_the_mtu_in_the_pod_that_the_add_answered(
    interfaces: tuple[Interface, ...], mtu: int | None
) -> None:
    assert move_in(plan_of(attrs.evolve(RECORD, result=Result(interfaces)))).mtu == mtu


def test_without_a_result_the_netdev_keeps_its_mtu_in_the_pod() -> None:
    assert move_in(plan_of(attrs.evolve(RECORD, result=None))).mtu is None


# ---- what would be lost


def lost_by(*node: Any, **facts: Any) -> str:
    """What the refusal of `plan_of` says would be lost."""
    with pytest.raises(DeviceProtected) as refusal:
        plan_of(*node, **facts)
    found = re.fullmatch(
        r"eth0 is not attached to pod1/net1 again: it has been configured on the host, "
        r"which would be lost \((.*)\); remove that, or keep the NIC on the host: "
        r"amdcni release 0000:c1:00\.0",
        refusal.value.message,
    )
    assert found
    return found[1]


def address(text: str, **attributes: Any) -> Address:
    return Address(ipaddress.ip_interface(text), **attributes)


def test_everything_that_would_be_lost_is_reported() -> None:
    netdev = attrs.evolve(
        NEW, token=ipaddress.ip_address("::9"), addresses=(address("10.9.9.9/24"),)
    )
    details = Details(neighbours=(Neighbour(ipaddress.ip_address("10.1.1.1"), MAC),))
    assert lost_by(RECORD, netdev, details=details) == (
        "token is none, was ::9; 10.9.9.9/24 is missing; neighbour 10.1.1.1 is missing"
    )


def test_a_sysctl_would_be_lost_if_a_new_netdev_has_another_one_and_the_record_too() -> None:
    name = "ipv4/conf/rp_filter"
    details = Details(sysctls={name: "2"}, sysctl_defaults={name: "0"})
    assert lost_by(details=details) == "ipv4/conf/rp_filter is 0, was 2"
    recorded = with_captured(sysctls={name: "1"})
    assert lost_by(recorded, details=details) == "ipv4/conf/rp_filter is 1, was 2"
    assert plan_of(with_captured(sysctls={name: "2"}), details=details).steps


def test_a_sysctl_that_a_new_netdev_has_anyway_is_no_loss() -> None:
    """What accept_dad is, is always recorded."""
    name = "ipv6/conf/accept_dad"
    details = Details(sysctls={name: "1"}, sysctl_defaults={name: "1"})
    assert plan_of(with_captured(sysctls={name: "0"}), details=details).steps


def test_a_route_with_several_hops_would_be_lost_as_a_whole() -> None:
    other = Netdev(10, IfName("ens2"))
    hops = (Hop(NEW.ifname, 9), Hop(other.ifname, 10))
    route = Route(ipaddress.ip_network("10.5.0.0/16"), hops)
    assert lost_by(RECORD, NEW, other, details=Details(routes=(route,))) == (
        "the route to 10.5.0.0/16 dev ens1 dev ens2 in table main is missing"
    )


def test_a_link_local_address_that_somebody_has_set_would_be_lost_although_it_is_an_eui64() -> None:
    netdev = attrs.evolve(NEW, addresses=(address("fe80::ff:fe00:1/64"),))
    assert lost_by(RECORD, netdev) == "fe80::ff:fe00:1/64 is missing"


@pytest.mark.parametrize("rest", ["", ":fabric"])
def test_a_label_with_the_new_name_in_place_of_the_old_one_is_no_loss(rest: str) -> None:
    recorded = with_captured(addresses=(address("192.0.2.1/31", label=f"ens1{rest}"),))
    netdev = attrs.evolve(NEW, addresses=(address("192.0.2.1/31", label=f"eth0{rest}"),))
    assert plan_of(recorded, netdev).steps


def test_an_address_of_the_record_is_no_loss_until_its_lifetime_has_run_out() -> None:
    def lasting(seconds: int) -> tuple[Address]:
        return (address("192.0.2.1/31", valid_s=seconds, preferred_s=seconds),)

    netdev = attrs.evolve(NEW, addresses=lasting(540))
    assert plan_of(with_captured(addresses=lasting(600)), netdev).steps
    gone = with_captured(addresses=lasting(60))
    assert lost_by(gone, netdev) == "192.0.2.1/31 is missing"
