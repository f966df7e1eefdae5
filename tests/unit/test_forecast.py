"""What the host will be once a netdev has been returned: nothing else of it may change."""

from typing import Any

import attrs
import pytest

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured
from amdcni.core.errors import NetdevLost
from amdcni.core.forecast import Found, after, find_netdev
from amdcni.core.host import Netdev, Netns, NetnsId, SysfsDevice
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
