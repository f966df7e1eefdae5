"""What has become of an attachment."""

import attrs
from hypothesis import assume, given
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.condition import Condition, Seen, condition_of
from amdcni.core.host import Netdev, Netns, NetnsId, SysfsDevice
from amdcni.core.identity import Place, dies_with_its_netns
from amdcni.core.names import DeviceKey, IfName, MacAddress, PciAddress, parse_mac
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Lending


def device_of(record: Attachment, *ifnames: str) -> SysfsDevice | None:
    """The device of the record, plugged in."""
    bus_device = record.key.bus_device
    names = tuple(IfName(name) for name in ifnames)
    return None if bus_device is None else SysfsDevice(bus_device, "ionic", names)


def empty_host(pod: Netns) -> Netns:
    """A host with no netdev but the loopback one."""
    return Netns("/proc/self/ns/net", NetnsId(99, 1, 2**64), pod.netdevs[:1])


@given(some.lendings)
def test_a_pod_holds_the_netdev_that_is_not_on_the_host(lending: Lending) -> None:
    record, pod = lending.record, lending.pod
    condition = condition_of(record, record.boot_id, empty_host(pod), pod, device_of(record))
    assert condition is Condition.HELD


@given(some.lendings, st.sampled_from([None, "reused"]), st.booleans())
def test_a_netdev_that_is_nowhere_is_missing_or_destroyed_if_it_dies_with_its_netns(
    lending: Lending, reused: str | None, elsewhere: bool
) -> None:
    record, host = lending.record, empty_host(lending.pod)
    pod = None if reused is None else attrs.evolve(lending.pod, id=host.id)
    device = device_of(record)
    condition = condition_of(record, record.boot_id, host, pod, device, is_elsewhere=elsewhere)
    if elsewhere or not dies_with_its_netns(record):
        assert condition is Condition.MISSING
        assert not condition.about.healable
    else:
        assert condition is Condition.DESTROYED
        assert condition.about.healable


@given(some.lendings, st.booleans())
def test_a_living_pod_may_still_have_what_an_interrupted_add_gave_it(
    lending: Lending, numbered: bool
) -> None:
    number, captured = lending.record.pod_ifindex if numbered else None, lending.record.captured
    assert captured is not None
    record = attrs.evolve(
        lending.record,
        key=DeviceKey(None, captured.ifname),
        captured=attrs.evolve(captured, kind="vlan"),
        phase=Phase.ATTACHING,
        pod_ifindex=number,
    )
    pod = attrs.evolve(lending.pod, netdevs=lending.pod.netdevs[:1])
    condition = condition_of(record, record.boot_id, empty_host(pod), pod, None, is_elsewhere=False)
    assert condition is (Condition.DESTROYED if numbered else Condition.MISSING)


@given(some.lendings, st.booleans())
def test_a_netdev_on_the_host_has_returned_whatever_is_at_the_netns_path(
    lending: Lending, alive: bool
) -> None:
    record, netdev = lending.record, lending.netdev
    home = attrs.evolve(netdev, ifindex=2, altnames=(record.mark,))
    host = attrs.evolve(empty_host(lending.pod), netdevs=(home,))
    device = device_of(record, netdev.ifname)
    pod = attrs.evolve(lending.pod, netdevs=lending.pod.netdevs[:1]) if alive else None
    assert condition_of(record, record.boot_id, host, pod, device) is Condition.RETURNED


@given(some.lendings, st.sampled_from([None, 5]), st.sampled_from([None, 5]))
def test_a_pod_has_what_it_does_not_show_only_if_both_times_its_cookie_is_known(
    lending: Lending, then: int | None, now: int | None
) -> None:
    pod = attrs.evolve(
        lending.pod,
        id=attrs.evolve(lending.pod.id, cookie=now),
        netdevs=lending.pod.netdevs[:1],
    )
    netns = NetnsRef(pod.path, attrs.evolve(pod.id, cookie=then))
    record = attrs.evolve(lending.record, netns=netns)
    condition = condition_of(record, record.boot_id, empty_host(pod), pod, device_of(record))
    both = then is not None and now is not None
    assert condition is (Condition.HELD if both else Condition.MISSING)


PCI = PciAddress(0, 1, 0, 0)
OURS, OTHERS = parse_mac("02:00:00:00:00:01"), parse_mac("02:00:00:00:00:02")


def made_anew(lending: Lending, mac: MacAddress = OURS) -> tuple[Attachment, Netdev]:
    """The record of a NIC with a permanent address, and its netdev after a reset."""
    captured = lending.record.captured
    assert captured is not None
    captured = attrs.evolve(captured, permanent_mac=OURS)
    record = attrs.evolve(lending.record, key=DeviceKey(PCI), captured=captured, hardware=None)
    new = attrs.evolve(lending.netdev, ifindex=77, permanent_mac=mac, alias=None, addresses=())
    return record, attrs.evolve(new, ifname=IfName("eth77"), altnames=())


def seen_anew(record: Attachment, netdev: Netdev, pod: Netns | None) -> Condition:
    """Its condition with the netdev on the host, as the only one of the device."""
    host = Netns("/proc/self/ns/net", NetnsId(99, 1, 2**64), (netdev,))
    return condition_of(record, record.boot_id, host, pod, device_of(record, netdev.ifname))


@given(some.lendings)
def test_a_netdev_made_anew_was_reset_only_if_its_pod_is_proved_to_live(lending: Lending) -> None:
    record, netdev = made_anew(lending)
    bare = attrs.evolve(lending.pod, netdevs=lending.pod.netdevs[:1])
    known = attrs.evolve(bare, id=attrs.evolve(bare.id, cookie=5))
    record = attrs.evolve(record, netns=NetnsRef(bare.path, known.id))
    assert seen_anew(record, netdev, known) is Condition.RESET
    assert Condition.RESET.about.healable
    another = attrs.evolve(known, id=attrs.evolve(known.id, cookie=6))
    unknown = attrs.evolve(known, id=attrs.evolve(known.id, cookie=None))
    for pod in (None, another, unknown):
        assert seen_anew(record, netdev, pod) is Condition.RETURNED
    unfinished = attrs.evolve(record, phase=Phase.DETACHING)
    assert seen_anew(unfinished, netdev, known) is Condition.UNFINISHED


@given(some.lendings, st.booleans())
def test_a_netdev_that_somebody_moved_home_was_not_reset(lending: Lending, marked: bool) -> None:
    record, netdev = made_anew(lending)
    pod = attrs.evolve(lending.pod, id=attrs.evolve(lending.pod.id, cookie=5), netdevs=())
    record = attrs.evolve(record, netns=NetnsRef(pod.path, pod.id))
    moved = {"altnames": (record.mark,)} if marked else {"alias": record.host_ifname}
    assert seen_anew(record, attrs.evolve(netdev, **moved), pod) is Condition.RETURNED


@given(some.lendings, st.booleans())
def test_what_was_to_be_attached_again_is_reset_wherever_it_is(
    lending: Lending, inside: bool
) -> None:
    record, netdev = made_anew(lending)
    pod = attrs.evolve(lending.pod, id=attrs.evolve(lending.pod.id, cookie=5), netdevs=())
    record = attrs.evolve(record, netns=NetnsRef(pod.path, pod.id))
    record = record.reattaching(record.captured)
    marked = attrs.evolve(netdev, altnames=(record.mark,))
    if inside:
        away = attrs.evolve(netdev, ifindex=9, ifname=IfName("lo9"))
        pod = attrs.evolve(pod, netdevs=(marked,))
        away = attrs.evolve(away, permanent_mac=OTHERS)
        assert seen_anew(record, away, pod) is Condition.RESET
    else:
        assert seen_anew(record, marked, pod) is Condition.RESET


@given(some.lendings)
def test_another_card_in_the_place_of_one_that_a_pod_had_is_no_attachment_of_it(
    lending: Lending,
) -> None:
    record, other = made_anew(lending, OTHERS)
    pod = attrs.evolve(lending.pod, id=attrs.evolve(lending.pod.id, cookie=5), netdevs=())
    record = attrs.evolve(record, netns=NetnsRef(pod.path, pod.id))
    assert seen_anew(record, other, pod) is Condition.UNPLUGGED
    several = attrs.evolve(record, key=DeviceKey(PCI, IfName("ens1")))
    assert seen_anew(several, other, pod) is Condition.HELD
    unknown = attrs.evolve(other, permanent_mac=None)
    assert seen_anew(record, unknown, pod) is Condition.HELD
    assert record.captured is not None
    captured = attrs.evolve(record.captured, permanent_mac=None)
    assert seen_anew(attrs.evolve(record, captured=captured), other, pod) is Condition.HELD


@given(some.lendings)
def test_a_netdev_in_its_living_pod_is_held_whatever_is_on_the_host(lending: Lending) -> None:
    record, pod = lending.record, lending.pod
    double = attrs.evolve(lending.netdev, ifindex=2, altnames=(record.mark,))
    host = attrs.evolve(empty_host(pod), netdevs=(double,))
    device = device_of(record, double.ifname)
    assert condition_of(record, record.boot_id, host, pod, device) is Condition.HELD


@given(some.lendings, st.booleans())
def test_without_cookies_a_pod_is_alive_only_if_it_has_our_netdev(
    lending: Lending, inside: bool
) -> None:
    id = attrs.evolve(lending.pod.id, cookie=None)
    record = attrs.evolve(lending.record, netns=NetnsRef(lending.pod.path, id))
    netdevs = lending.pod.netdevs if inside else lending.pod.netdevs[:1]
    pod = attrs.evolve(lending.pod, id=id, netdevs=netdevs)
    condition = condition_of(record, record.boot_id, empty_host(pod), pod, device_of(record))
    assert condition is (Condition.HELD if inside else Condition.MISSING)


@given(some.attachments_of(phases=st.just(Phase.ATTACHED), with_netdev=False), some.hosts)
def test_a_device_without_a_netdev_is_held_as_long_as_the_netns_lives(
    record: Attachment, pod: Netns
) -> None:
    host, device = empty_host(pod), device_of(record)
    alive = attrs.evolve(pod, id=record.netns.id)
    assert condition_of(record, record.boot_id, host, alive, device) is Condition.HELD
    other = attrs.evolve(record.netns.id, inode=record.netns.id.inode + 1, cookie=None)
    gone = attrs.evolve(pod, id=other)
    assert condition_of(record, record.boot_id, host, gone, device) is Condition.ABANDONED


@given(some.lendings, st.sampled_from([Phase.ATTACHING, Phase.DETACHING]))
def test_an_attachment_is_unfinished_while_its_work_has_not_ended(
    lending: Lending, phase: Phase
) -> None:
    record = attrs.evolve(lending.record, phase=phase, result=None)
    host, device = empty_host(lending.pod), device_of(record)
    condition = condition_of(record, record.boot_id, host, lending.pod, device)
    assert condition is Condition.UNFINISHED


@given(some.lendings, st.sampled_from([Phase.ATTACHING, Phase.DETACHING]), st.booleans())
def test_an_unfinished_attachment_is_missing_if_its_netdev_is_nowhere(
    lending: Lending, phase: Phase, alive: bool
) -> None:
    record = attrs.evolve(lending.record, phase=phase)
    host, device = empty_host(lending.pod), device_of(record)
    pod = attrs.evolve(lending.pod, netdevs=lending.pod.netdevs[:1]) if alive else None
    condition = condition_of(record, record.boot_id, host, pod, device)
    assert condition is Condition.MISSING


@given(
    some.attachments_of(
        phases=st.sampled_from([Phase.ATTACHING, Phase.DETACHING]), with_netdev=False
    ),
    some.hosts,
)
def test_unfinished_work_on_a_device_without_a_netdev_can_always_go_on(
    record: Attachment, host: Netns
) -> None:
    condition = condition_of(record, record.boot_id, host, None, device_of(record))
    assert condition is Condition.UNFINISHED


@given(some.attachments, some.boot_ids, some.hosts)
def test_after_a_reboot_every_record_is_outdated(
    record: Attachment, boot_id: str, host: Netns
) -> None:
    assume(boot_id != record.boot_id)
    for device in (None, device_of(record)):
        assert condition_of(record, boot_id, host, host, device) is Condition.OUTDATED


@given(some.attachments, some.hosts)
def test_a_device_that_is_not_found_is_unplugged_in_every_phase(
    record: Attachment, host: Netns
) -> None:
    assume(record.key.bus_device is not None)
    condition = condition_of(record, record.boot_id, host, host, None)
    assert condition is Condition.UNPLUGGED
    assert not condition.about.healable


@given(st.sampled_from(Condition), st.booleans())
def test_of_a_netdev_on_which_a_call_works_nothing_else_is_said(
    condition: Condition, left: bool
) -> None:
    assert Seen(condition, busy=True, left=left).words == "a call is working on it"


def test_of_a_netdev_that_has_left_its_pod_it_is_said_where_it_is_and_what_to_do() -> None:
    left = Seen(Condition.HELD, left=True)
    assert left.words == "its pod lives, but has it in no network namespace that can be seen"
    assert left.next == "amdcni doctor says what to do"
    assert left.remedy("amdcni heal", "/the/record") == (
        "was it unplugged, or replaced, or moved on by its pod? If it is gone for good, end the "
        "pod, and then remove /the/record"
    )
    found = attrs.evolve(left, place=Place("/run/netns/other", IfName("eth5")))
    assert found.words == "it is in /run/netns/other as eth5, though its pod lives"
    out = "bring it out: nsenter --net=/run/netns/other ip link set eth5 netns $$; then amdcni heal"
    assert found.next == out
    assert found.remedy("amdcni heal --all", "/the/record") == f"{out} --all"
