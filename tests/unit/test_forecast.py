"""What the host will be once a netdev has been returned: nothing else of it may change."""

import ipaddress
from typing import Any

import attrs
import pytest

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured, Details
from amdcni.core.errors import NetdevLost
from amdcni.core.forecast import Found, after, details_at_home, find_netdev, netdev_at_home
from amdcni.core.host import Filter, Hop, Netdev, Netns, NetnsId, Route, SysfsDevice
from amdcni.core.names import (
    ContainerId,
    DeviceKey,
    IfName,
    NetworkName,
    PciAddress,
    parse_mac,
)
from amdcni.core.plans.snapshot import Clock, Snapshot
from amdcni.core.resolve import Candidates
from amdcni.core.spec import AttachmentId

PCI = PciAddress(0, 0xC1, 0, 0)
MAC = parse_mac("02:00:00:00:00:01")
NET1, ENS1, ENS2, BACK = map(IfName, ("net1", "ens1", "ens2", "back"))
RECORD = Attachment(
    network=NetworkName("fabric"),
    id=AttachmentId(ContainerId("pod1"), NET1),
    netns=NetnsRef("/run/netns/pod1", NetnsId(4, 9, 90)),
    key=DeviceKey(PCI),
    phase=Phase.ATTACHED,
    boot_id="boot-1",
    read_at_s=0,
    since="2026-01-02T03:04:05+00:00",
    config={},
    captured=Captured(ENS1, 7, permanent_mac=MAC),
    pod_ifindex=2,
)
LOOPBACK = Netdev(1, IfName("lo"), loopback=True)
LENT = Netdev(2, NET1, permanent_mac=MAC)
"""The netdev in its pod."""

TWIN = Netdev(2, ENS2)
"""A netdev of the host with the number that the lent one has in its pod."""

HOME = Netdev(9, BACK, permanent_mac=MAC)
POD = Netns("/run/netns/pod1", RECORD.netns.id, (LOOPBACK, LENT))
DEVICE = SysfsDevice(PCI, "ionic", (BACK,))


def host_of(*netdevs: Netdev) -> Netns:
    return Netns("/proc/1/ns/net", NetnsId(4, 1, 1), netdevs)


# ---- where it is now


def test_a_netdev_in_its_living_pod_is_found_there_even_if_the_host_has_its_double() -> None:
    inside = Found(LENT, on_host=False)
    double = attrs.evolve(HOME, altnames=(RECORD.mark,))
    for host in (host_of(TWIN), host_of(TWIN, HOME), host_of(TWIN, double)):
        assert find_netdev(RECORD, host, POD, DEVICE) == inside


@pytest.mark.parametrize("marked", [True, False])
def test_a_netdev_that_has_left_its_pod_is_found_on_the_host_by_its_mark_or_device(
    marked: bool,
) -> None:
    home = attrs.evolve(HOME, altnames=(RECORD.mark,) if marked else ())
    device = None if marked else DEVICE
    for pod in (None, attrs.evolve(POD, netdevs=(LOOPBACK,))):
        found = find_netdev(RECORD, host_of(TWIN, home), pod, device)
        assert found == Found(home, on_host=True)
        with pytest.raises(NetdevLost):
            find_netdev(RECORD, host_of(TWIN), pod, device)


# ---- the netdev after the return


@pytest.mark.parametrize(
    ("found", "host", "ifindex"),
    [
        (Found(LENT, on_host=False), (), 7),
        (Found(LENT, on_host=False), (LOOPBACK, TWIN), 7),
        (Found(LENT, on_host=False), (LOOPBACK, attrs.evolve(TWIN, ifindex=7)), 8),
        (Found(LENT, on_host=False), (TWIN, attrs.evolve(HOME, ifindex=7), LOOPBACK), 8),
        (Found(HOME, on_host=True), (LOOPBACK, HOME, attrs.evolve(TWIN, ifindex=7)), 9),
    ],
)
def test_a_netdev_that_returns_gets_its_ifindex_or_if_another_has_that_the_next_one(
    found: Found, host: tuple[Netdev, ...], ifindex: int
) -> None:
    assert RECORD.captured is not None
    assert netdev_at_home(RECORD.captured, found, host, 0).ifindex == ifindex


def test_what_leads_through_a_netdev_that_returns_does_so_under_the_name_that_it_gets() -> None:
    """A hop through a netdev that is away has to wait."""
    destination = ipaddress.ip_network("10.9.0.0/24")
    hops = (Hop(ENS1, 7), Hop(ENS2, 5), Hop(IfName("ens3"), 6))
    mirrors = Filter("flower", 0x10000, 1, 8, 1, options="00", targets=(ENS1, ENS2))
    captured = Captured(ENS1, 7, routes=(Route(destination, hops),), filters=(mirrors,))
    back = attrs.evolve(HOME, ifindex=7)
    details = details_at_home(captured, back, Details(), (LOOPBACK, TWIN, back), 0)
    assert details == Details(
        routes=(Route(destination, (Hop(BACK, 7), Hop(ENS2, TWIN.ifindex))),),
        filters=(attrs.evolve(mirrors, targets=(BACK, ENS2)),),
    )


# ---- the snapshot after the return


def snapshot_of(host: Netns, **candidates: Any) -> Snapshot:
    known = Candidates(host.netdevs)
    return Snapshot(Clock(1, "boot-1", "now"), host, POD, attrs.evolve(known, **candidates))


def test_a_netdev_that_returns_from_its_pod_leaves_it_and_joins_those_of_the_host() -> None:
    before = snapshot_of(host_of(LOOPBACK, TWIN))
    host = host_of(LOOPBACK, TWIN, HOME)
    assert after(before, RECORD, Found(LENT, on_host=False), HOME) == attrs.evolve(
        before,
        host=host,
        pod=attrs.evolve(POD, netdevs=(LOOPBACK,)),
        candidates=Candidates(host.netdevs),
    )


def test_a_netdev_that_is_on_the_host_already_is_replaced_there_and_no_pod_changes() -> None:
    """The pod may have another netdev of the same number, as the host may have of one in a pod."""
    found = attrs.evolve(HOME, ifindex=LENT.ifindex)
    before = snapshot_of(host_of(LOOPBACK, found))
    host = host_of(LOOPBACK, HOME)
    assert after(before, RECORD, Found(found, on_host=True), HOME) == attrs.evolve(
        before, host=host, candidates=Candidates(host.netdevs)
    )


def test_a_return_from_another_pod_changes_nothing_in_the_one_of_the_add() -> None:
    other = attrs.evolve(POD, path="/run/netns/pod2", id=NetnsId(4, 10, 91))
    before = attrs.evolve(snapshot_of(host_of(LOOPBACK, TWIN)), pod=other)
    seen = after(before, RECORD, Found(LENT, on_host=False), HOME)
    assert seen.pod == other
    assert seen.host == host_of(LOOPBACK, TWIN, HOME)


@pytest.mark.parametrize(
    ("bus_device", "below", "names", "below_after"),
    [
        (PCI, (ENS2, NET1), (ENS2, BACK), (ENS2, BACK)),
        (PCI, (ENS2,), (ENS2, BACK), (ENS2,)),
        (PciAddress(0, 0xC2, 0, 0), (ENS2, NET1), (ENS2,), (ENS2, BACK)),
        (PCI, None, (ENS2, BACK), None),
    ],
)
def test_only_its_own_device_and_a_path_that_led_to_it_show_its_new_name(
    bus_device: PciAddress,
    below: tuple[IfName, ...] | None,
    names: tuple[IfName, ...],
    below_after: tuple[IfName, ...] | None,
) -> None:
    device = SysfsDevice(bus_device, "ionic", (ENS2,))
    before = snapshot_of(host_of(LOOPBACK, TWIN), device=device, at_kernelpath=below)
    seen = after(before, RECORD, Found(LENT, on_host=False), HOME)
    assert seen.candidates == Candidates(
        seen.host.netdevs, attrs.evolve(device, ifnames=names), below_after
    )
