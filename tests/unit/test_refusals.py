"""What an ADD refuses before it plans anything."""

import ipaddress

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment, Phase
from amdcni.core.capture import Details
from amdcni.core.errors import (
    AmdcniError,
    DeviceHeld,
    DeviceNotFound,
    DeviceProtected,
    IfnameTaken,
    InvalidEnvironment,
)
from amdcni.core.host import Load, Netdev, WayOut
from amdcni.core.names import ContainerId, DeviceKey, MacAddress
from amdcni.core.plans.attach import plan_add
from amdcni.core.plans.refusals import held_by
from amdcni.core.request import DeviceSelector
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Handover, Lending
from tests.unit.handovers import any_handovers, every_handovers, in_pod, on_host, plan_of, record_in


def refusal_of(refused: type[AmdcniError], handover: Handover) -> str:
    with pytest.raises(refused) as refusal:
        plan_of(handover)
    return refusal.value.message


@given(every_handovers)
def test_the_hosts_own_netns_is_refused_as_a_pod(handover: Handover) -> None:
    message = refusal_of(InvalidEnvironment, in_pod(handover, id=handover.snapshot.host.id))
    assert repr(handover.request.netns) in message


@given(every_handovers, some.netdevs, st.booleans())
def test_an_ifname_that_the_pod_already_has_is_refused(
    handover: Handover, other: Netdev, as_altname: bool
) -> None:
    ifname = handover.request.attachment.ifname
    if as_altname:
        other = attrs.evolve(other, altnames=(*other.altnames, ifname))
    else:
        other = attrs.evolve(other, ifname=ifname)
    netdevs = (*handover.snapshot.pod.netdevs, other)
    message = refusal_of(IfnameTaken, in_pod(handover, netdevs=netdevs))
    assert repr(ifname) in message
    assert repr(handover.request.netns) in message


@given(some.attachments)
def test_who_holds_a_device_is_said_with_13_digits_of_the_container_id(record: Attachment) -> None:
    long = attrs.evolve(record.id, container_id=ContainerId("8c1f0a7be2d94" + "f" * 51))
    message = held_by(attrs.evolve(record, id=long)).message
    assert "container 8c1f0a7be2d94 as " in message
    assert long.container_id not in message
    assert long.in_short == f"8c1f0a7be2d94/{record.id.ifname}"


@given(some.handovers, st.booleans())
def test_a_netdev_that_the_node_needs_is_not_lent(
    handover: Handover, carries_another: bool
) -> None:
    """`test_protection` says which netdevs those are."""
    assert handover.netdev is not None
    ways = (WayOut(ipaddress.ip_network("::/0"), handover.netdev.ifindex),)
    load = Load(rdma={"rxe0": handover.netdev.ifname})
    handover = on_host(handover, lambda n: n, details=Details(ways_out=ways))
    if carries_another:
        snapshot = attrs.evolve(handover.snapshot, details=Details(), load=load)
        handover = attrs.evolve(handover, snapshot=snapshot)
    message = refusal_of(DeviceProtected, handover)
    assert "carries" in message
    assert ("rxe0" in message) == carries_another


@given(any_handovers)
def test_a_device_that_is_not_on_the_node_is_refused(handover: Handover) -> None:
    assume(handover.request.device.selector.bus_device is not None)
    candidates = attrs.evolve(handover.snapshot.candidates, device=None)
    snapshot = attrs.evolve(handover.snapshot, candidates=candidates)
    message = refusal_of(DeviceNotFound, attrs.evolve(handover, snapshot=snapshot))
    assert str(handover.request.device.selector.bus_device) in message


@given(any_handovers, some.attachments_of(phases=st.just(Phase.ATTACHED)))
def test_a_device_held_by_a_live_attachment_is_refused_and_the_holder_named(
    handover: Handover, record: Attachment
) -> None:
    """The holder left only an empty `net` folder on the host, or nothing if it is on no bus."""
    device = handover.snapshot.candidates.device
    gone = None if device is None else attrs.evolve(device, ifnames=())
    snapshot = attrs.evolve(
        handover.snapshot,
        candidates=attrs.evolve(handover.snapshot.candidates, device=gone),
        records=(record,),
    )
    message = refusal_of(DeviceHeld, attrs.evolve(handover, snapshot=snapshot))
    assert record.id.short in message
    assert repr(record.id.ifname) in message
    assert record.since in message


@given(some.handovers, some.lendings, some.macs)
def test_a_lent_netdev_is_held_even_if_its_device_has_another_one_on_the_host(
    handover: Handover, lending: Lending, mac: MacAddress
) -> None:
    device, netdev = handover.snapshot.candidates.device, handover.netdev
    captured = lending.record.captured
    assert netdev is not None
    assert captured is not None
    assume(device is not None and device.driver == "ionic" and mac != netdev.mac)
    selector = DeviceSelector(None if device is None else device.bus_device, hwaddr=mac)
    device_asked = attrs.evolve(handover.request.device, selector=selector)
    held = attrs.evolve(
        lending.record,
        key=DeviceKey(selector.bus_device),
        captured=attrs.evolve(captured, mac=mac),
    )
    request = attrs.evolve(handover.request, device=device_asked)
    for record, failure in ((held, DeviceHeld), (lending.record, DeviceNotFound)):
        candidates = handover.snapshot.candidates
        others = tuple(n for n in candidates.netdevs if n.mac != mac)
        snapshot = attrs.evolve(
            handover.snapshot,
            candidates=attrs.evolve(candidates, netdevs=others),
            records=(record,),
        )
        changed = attrs.evolve(handover, request=request, snapshot=snapshot)
        assume(record is held or record.key.bus_device != selector.bus_device)
        assert refusal_of(failure, changed)


@given(some.handovers, some.attachments_of(with_netdev=True))
def test_another_netdev_of_a_held_device_can_be_lent(
    handover: Handover, record: Attachment
) -> None:
    device, netdev = handover.snapshot.candidates.device, handover.netdev
    assert netdev is not None
    assert record.captured is not None
    assume(device is not None and record.captured.ifname not in str(handover))
    snapshot = attrs.evolve(handover.snapshot, records=(record,))
    taken = record_in(plan_add(handover.request, snapshot))
    assert taken.key == DeviceKey(record_in(plan_of(handover)).key.bus_device, netdev.ifname)
