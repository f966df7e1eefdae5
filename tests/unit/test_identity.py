"""From a record to its netdev: by proof, whatever else is there, and never by resemblance."""

from typing import Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amdcni.core.aspects import altnames
from amdcni.core.aspects.change import Around
from amdcni.core.attachment import Attachment, Phase
from amdcni.core.capture import Details, capture
from amdcni.core.host import Hardware, Netdev, Netns, NetnsId, SysfsDevice
from amdcni.core.identity import (
    dies_with_its_netns,
    find_anywhere,
    find_home,
    find_in_pod,
    is_plugged,
    is_replaced,
    lost,
    may_be,
    needs_mark,
)
from amdcni.core.names import DeviceKey, IfName, MacAddress, PciAddress, is_mark, mark_of, parse_mac
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Crowd, Lending

HOST = NetnsId(4, 1, 1)
PCI = PciAddress(0, 1, 0, 0)
FAR = 100_000
"""An ifindex that no netdev of a crowd has."""


def attached(crowd: Crowd) -> Attachment:
    """The record once its ADD has succeeded."""
    number = crowd.record.pod_ifindex or 1
    return attrs.evolve(crowd.record, phase=Phase.ATTACHED, pod_ifindex=number)


def changed(hardware: Hardware, what: str, value: str | None) -> Hardware:
    """The hardware with another value of one attribute."""
    attribute: Any = {what: value}
    return attrs.evolve(hardware, **attribute)


def some_mac(number: int) -> MacAddress:
    """A hardware address of ours."""
    return parse_mac(f"02:00:00:00:00:{number:02x}")


# ---- in the pod


@given(some.lendings)
def test_a_lent_netdev_is_found_in_its_pod(lending: Lending) -> None:
    assert find_in_pod(lending.record, lending.pod) == lending.netdev


@given(some.crowds)
def test_in_its_pod_a_netdev_is_known_by_its_ifindex_whatever_else_is_there(crowd: Crowd) -> None:
    record = attached(crowd)
    ours = crowd.ours(record.pod_ifindex or 1)
    assert find_in_pod(record, crowd.netns(ours)) == ours


@given(some.crowds)
def test_in_its_pod_a_netdev_is_known_by_its_mark_until_its_ifindex_is_recorded(
    crowd: Crowd,
) -> None:
    record = attrs.evolve(crowd.record, phase=Phase.ATTACHING, pod_ifindex=None)
    ours = crowd.ours(FAR, record.mark)
    assert find_in_pod(record, crowd.netns(ours)) == ours


@given(some.crowds)
def test_no_other_netdev_in_a_pod_is_taken_for_ours(crowd: Crowd) -> None:
    assert find_in_pod(crowd.record, crowd.netns()) is None


@given(some.crowds, some.netns_ids)
def test_in_another_netns_at_the_same_path_nothing_is_ours(crowd: Crowd, other: NetnsId) -> None:
    assume(not other.is_same(crowd.record.netns.id))
    ours = crowd.ours(crowd.record.pod_ifindex or 1, crowd.record.mark)
    assert find_in_pod(crowd.record, crowd.netns(ours, id=other)) is None


@given(some.netns_ids, st.integers(1, 2**64 - 1))
def test_a_cookie_distinguishes_a_netns_from_a_later_one_with_its_inode(
    id: NetnsId, cookie: int
) -> None:
    assume(cookie != id.cookie)
    later = attrs.evolve(id, cookie=cookie)
    assert later.is_same(id) == (id.cookie is None)
    assert id.is_same(id)


@given(some.crowds, st.sampled_from(["kind", "parent", "link_type"]))
def test_a_netdev_of_another_kind_is_not_ours_whatever_its_ifindex_and_mark(
    crowd: Crowd, what: str
) -> None:
    record = attached(crowd)
    other: Any = {"kind": "bridge", "parent": "0000:0f:00.0", "link_type": 512}[what]
    assume(what != "link_type" or crowd.captured.link_type is not None)
    theirs = crowd.ours(record.pod_ifindex or 1, record.mark)
    theirs = attrs.evolve(theirs, **{what: other})
    assert find_in_pod(record, crowd.netns(theirs)) is None
    device = crowd.device and attrs.evolve(crowd.device, ifnames=(theirs.ifname,))
    assert find_home(record, (theirs,), device, None) is None
    assert not may_be(record, theirs)


@given(some.crowds)
def test_what_is_like_ours_may_be_ours_unless_there_was_no_netdev(crowd: Crowd) -> None:
    ours = crowd.ours(FAR)
    assert may_be(crowd.record, ours)
    assert not may_be(attrs.evolve(crowd.record, captured=None), ours)


# ---- on the host


@given(some.crowds, st.booleans())
def test_on_the_host_a_netdev_is_known_by_its_mark(crowd: Crowd, gone: bool) -> None:
    ours = crowd.ours(FAR, crowd.record.mark)
    host = crowd.netns(ours, id=HOST).netdevs
    pod = None if gone else crowd.netns()
    assert find_home(crowd.record, host, crowd.device, pod) == ours


@given(some.crowds)
def test_no_other_netdev_on_the_host_is_taken_for_ours(crowd: Crowd) -> None:
    host = crowd.netns(id=HOST).netdevs
    assert find_home(crowd.record, host, crowd.device, None) is None


@given(some.crowds)
def test_a_netdev_in_its_living_pod_is_not_found_on_the_host(
    crowd: Crowd,
) -> None:
    record = attached(crowd)
    pod = crowd.netns(crowd.ours(record.pod_ifindex or 1))
    double = crowd.ours(crowd.captured.ifindex, record.mark)
    device = crowd.device and attrs.evolve(crowd.device, ifnames=(double.ifname,))
    assert find_home(record, (double,), device, pod) is None


@given(some.hardware_crowds, st.sampled_from(["address", "number", "number in the pod"]))
def test_without_a_mark_hardware_is_known_by_its_device_and_its_address_or_ifindex(
    crowd: Crowd, by: str
) -> None:
    record = attached(crowd)
    captured = attrs.evolve(crowd.captured, permanent_mac=None)
    if by == "address":
        captured = attrs.evolve(captured, permanent_mac=some_mac(1))
    record = attrs.evolve(record, captured=captured)
    number = {"address": FAR, "number": captured.ifindex}.get(by, record.pod_ifindex)
    ours = attrs.evolve(crowd.ours(number or 1), permanent_mac=captured.permanent_mac)
    assert crowd.device is not None
    strangers = [n for n in crowd.strangers if n.permanent_mac is None]
    host = (*strangers, ours)
    listed = attrs.evolve(crowd.device, ifnames=tuple(n.ifname for n in host))
    assert find_home(record, host, listed, None) == ours
    unlisted = attrs.evolve(crowd.device, ifnames=())
    assert find_home(record, host, unlisted, None) is None
    assert find_home(record, host, None, None) is None


@given(some.hardware_crowds)
def test_neither_of_two_netdevs_with_the_same_hardware_is_ours(crowd: Crowd) -> None:
    captured = attrs.evolve(crowd.captured, permanent_mac=some_mac(1))
    record = attrs.evolve(attached(crowd), captured=captured)
    one = attrs.evolve(crowd.ours(FAR), permanent_mac=some_mac(1))
    other = attrs.evolve(one, ifindex=FAR + 1, ifname=IfName("twin"))
    assert crowd.device is not None
    device = attrs.evolve(crowd.device, ifnames=(one.ifname, other.ifname))
    assert find_home(record, (one, other), device, None) is None


@given(some.hardware_crowds, st.sampled_from(["port_name", "port_id"]))
def test_another_port_of_the_device_is_not_ours(crowd: Crowd, what: str) -> None:
    port: Any = {what: "01"}
    captured = attrs.evolve(crowd.captured, permanent_mac=some_mac(1), **port)
    record = attrs.evolve(attached(crowd), captured=captured)
    ours = attrs.evolve(crowd.ours(FAR), permanent_mac=some_mac(1), **port)
    assert crowd.device is not None
    device = attrs.evolve(crowd.device, ifnames=(ours.ifname,))
    assert find_home(record, (ours,), device, None) == ours
    port = {what: "02"}
    other = attrs.evolve(ours, **port)
    assert find_home(record, (other,), device, None) is None


@given(some.crowds, st.sampled_from(Phase), st.booleans())
def test_without_its_mark_after_an_interrupted_call_a_netdev_is_known_by_its_ifindex(
    crowd: Crowd, phase: Phase, renamed: bool
) -> None:
    record = attrs.evolve(crowd.record, phase=phase, pod_ifindex=None)
    ifname = IfName("renamed") if renamed else crowd.captured.ifname
    ours = attrs.evolve(crowd.ours(crowd.captured.ifindex), ifname=ifname, permanent_mac=None)
    strangers = [n for n in crowd.strangers if n.ifname != ifname]
    found = find_home(record, (*strangers, ours), None, None)
    known = phase is Phase.ATTACHING or (phase is Phase.DETACHING and not renamed)
    assert found == (ours if known else None)
    marked = attrs.evolve(ours, altnames=(record.mark,))
    assert needs_mark(record, marked, strangers, None) == (not known)


@given(some.attachments_of(with_netdev=False), some.hosts, some.sysfs_devices)
def test_if_there_was_no_netdev_none_is_found(
    record: Attachment, host: Netns, device: SysfsDevice
) -> None:
    assert find_home(record, host.netdevs, device, None) is None
    assert find_in_pod(record, attrs.evolve(host, id=record.netns.id)) is None
    assert find_anywhere(record, host.netdevs) is None
    assert not dies_with_its_netns(record)


# ---- anywhere


@given(some.crowds)
def test_in_any_other_netns_a_netdev_is_known_by_its_mark_but_not_by_its_ifindex(
    crowd: Crowd,
) -> None:
    record = attached(crowd)
    ours = crowd.ours(FAR, record.mark)
    assert find_anywhere(record, crowd.netns(ours, id=HOST).netdevs) == ours
    double = attrs.evolve(crowd.ours(record.pod_ifindex or 1), permanent_mac=None)
    assert find_anywhere(record, crowd.netns(double, id=HOST).netdevs) is None


@given(some.hardware_crowds)
def test_in_any_other_netns_hardware_is_known_by_bus_and_permanent_address(
    crowd: Crowd,
) -> None:
    captured = attrs.evolve(crowd.captured, parent="0000:01:00.0", permanent_mac=some_mac(1))
    record = attrs.evolve(attached(crowd), captured=captured)
    ours = attrs.evolve(
        crowd.ours(FAR), parent=captured.parent, permanent_mac=captured.permanent_mac
    )
    assert find_anywhere(record, crowd.netns(ours, id=HOST).netdevs) == ours
    without = attrs.evolve(captured, parent=None)
    elsewhere = attrs.evolve(ours, parent=None)
    record = attrs.evolve(record, captured=without)
    assert find_anywhere(record, crowd.netns(elsewhere, id=HOST).netdevs) is None


# ---- hardware


@given(some.hardware_crowds, st.sampled_from(["vendor", "product", "serial"]))
def test_another_card_in_the_slot_of_ours_is_not_ours(crowd: Crowd, what: str) -> None:
    hardware = Hardware("0x1dd8", "0x1002", "00")
    record = attrs.evolve(crowd.record, hardware=hardware)
    assert crowd.device is not None
    same = attrs.evolve(crowd.device, hardware=hardware)
    other = attrs.evolve(crowd.device, hardware=changed(hardware, what, "0x1"))
    unknown = attrs.evolve(crowd.device, hardware=changed(hardware, what, None))
    assert is_plugged(record, same)
    assert is_plugged(record, unknown)
    assert not is_plugged(record, other)
    assert not is_plugged(record, None)
    assert is_plugged(attrs.evolve(record, hardware=None), other)


@given(some.hardware_crowds)
def test_another_address_in_the_place_of_ours_is_another_card_without_a_serial_number(
    crowd: Crowd,
) -> None:
    captured = attrs.evolve(crowd.captured, permanent_mac=some_mac(1))
    key = attrs.evolve(crowd.record.key, ifname=None)
    record = attrs.evolve(attached(crowd), captured=captured, key=key)
    same = attrs.evolve(crowd.ours(FAR), permanent_mac=some_mac(1))
    other = attrs.evolve(same, permanent_mac=some_mac(2))
    misfit = attrs.evolve(other, ifname=IfName("misfit"), kind="no such kind")
    elsewhere = attrs.evolve(other, ifname=IfName("elsewhere"))
    assert crowd.device is not None
    device = attrs.evolve(crowd.device, ifnames=(other.ifname, misfit.ifname))
    assert is_replaced(record, (other,), device)
    assert not is_replaced(record, (same,), device)
    assert not is_replaced(record, (attrs.evolve(other, permanent_mac=None),), device)
    assert not is_replaced(record, (elsewhere,), device)
    assert not is_replaced(record, (misfit,), device)
    assert not is_replaced(record, (), device)
    assert not is_replaced(record, (other,), None)


@given(some.software_crowds)
def test_a_netdev_on_no_bus_is_never_unplugged(crowd: Crowd) -> None:
    assert is_plugged(crowd.record, None)


@pytest.mark.parametrize(
    ("kind", "dies"), [("vlan", True), ("tun", True), ("veth", True), ("can", False), (None, False)]
)
@given(crowd=some.software_crowds)
def test_a_software_netdev_dies_with_its_netns_but_hardware_does_not(
    crowd: Crowd, kind: str | None, dies: bool
) -> None:
    captured = attrs.evolve(crowd.captured, kind=kind)
    record = attrs.evolve(crowd.record, captured=captured)
    assert dies_with_its_netns(record) == dies
    on_a_bus = attrs.evolve(record, key=DeviceKey(PCI, captured.ifname))
    assert not dies_with_its_netns(on_a_bus)


@given(some.attachments)
def test_the_error_about_a_lost_netdev_says_where_it_is_not_and_what_is_kept(
    record: Attachment,
) -> None:
    assert lost(record).message == (
        f"the netdev of {record.key} is neither on the host nor in {record.netns.path!r}; "
        "it is held elsewhere, or gone; its record is kept"
    )


# ---- the mark


@given(some.attachments)
def test_a_mark_is_a_valid_altname_and_recognizable(record: Attachment) -> None:
    assert record.mark == mark_of(record.key)
    assert is_mark(record.mark)
    assert len(record.mark.encode()) < 128


@given(some.ifnames)
def test_no_name_chosen_by_others_is_a_mark(altname: IfName) -> None:
    assert not is_mark(altname)
    assert not is_mark(f"x{mark_of(DeviceKey(PCI))}")
    assert not is_mark("amdcni-")


@given(some.netdevs, some.attachments)
def test_a_mark_is_neither_captured_nor_removed_by_restoring(
    netdev: Netdev, record: Attachment
) -> None:
    marked = attrs.evolve(netdev, altnames=(*netdev.altnames, record.mark))
    captured = capture(marked, Details(), protocols_reported=True)
    assert captured.altnames == netdev.altnames
    assert altnames.due(captured, marked, None, Around(marked.ifname)) == []
