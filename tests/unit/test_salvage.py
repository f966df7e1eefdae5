"""A netdev in a pod without a record: whether it is ours, and which record it gets."""

import ipaddress

import attrs
from hypothesis import given
from hypothesis import strategies as st

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.host import Address, Netdev, Netns, NetnsId, SysfsDevice
from amdcni.core.names import DeviceKey, IfName
from amdcni.core.plans.salvage import salvage
from amdcni.core.plans.snapshot import Clock
from amdcni.core.request import DelRequest
from amdcni.testing import strategies as some


def salvaged(
    request: DelRequest, netdev: Netdev, pod: Netns, clock: Clock, *, damaged: bool = False
) -> Attachment | None:
    """The record that is made for a pod that has `netdev` under the attachment's ifname."""
    assert request.selector is not None
    bus_device = request.selector.bus_device
    assert bus_device is not None
    netdev = attrs.evolve(netdev, ifname=request.attachment.ifname)
    others = tuple(n for n in pod.netdevs if netdev.ifname not in (n.ifname, *n.altnames))
    there = attrs.evolve(pod, netdevs=(*others, netdev))
    device = SysfsDevice(bus_device, "virtio-pci", virtio=("virtio3",))
    return salvage(request, device, there, clock, record_damaged=damaged)


dels_with_a_device = some.del_requests.filter(
    lambda request: request.selector is not None and request.selector.bus_device is not None
)


@given(dels_with_a_device, some.netdevs, some.hosts, some.clocks, st.booleans())
def test_a_netdev_on_the_configured_device_is_ours_without_a_record(
    request: DelRequest, netdev: Netdev, pod: Netns, clock: Clock, virtio: bool
) -> None:
    assert request.selector is not None
    parent = "virtio3" if virtio else str(request.selector.bus_device)
    record = salvaged(request, attrs.evolve(netdev, parent=parent), pod, clock)
    assert record is not None
    assert record.captured is not None
    assert record.key == DeviceKey(request.selector.bus_device)
    assert (record.network, record.id) == (request.network.name, request.attachment)
    assert record.netns == NetnsRef(pod.path, pod.id)
    assert (record.mover, record.ipam) == (request.mover, request.ipam)
    assert (record.phase, record.boot_id) == (Phase.DETACHING, clock.boot_id)
    assert (record.read_at_s, record.since) == (clock.now_s, clock.wall)
    assert record.pod_ifindex == netdev.ifindex
    assert record.config["device"] == record.captured.ifname
    assert {**record.config, "device": 0} == {**request.network.raw, "device": 0}


@given(dels_with_a_device, some.netdevs, some.hosts, some.clocks, some.ifnames)
def test_a_netdev_without_a_record_gets_its_name_back_from_the_delegates_alias(
    request: DelRequest, netdev: Netdev, pod: Netns, clock: Clock, host_name: IfName
) -> None:
    """plugins/main/host-device, moveLinkIn: "Set the alias to the original name"."""
    assert request.selector is not None
    ours = attrs.evolve(netdev, parent=str(request.selector.bus_device))
    for alias, expected in (
        (host_name, host_name),
        (None, request.attachment.ifname),
        ("no name at all", request.attachment.ifname),
    ):
        record = salvaged(request, attrs.evolve(ours, alias=alias), pod, clock)
        assert record is not None
        assert record.captured is not None
        assert record.captured.ifname == expected
        assert record.captured.alias is None


@given(dels_with_a_device, some.hosts, some.clocks, some.ifnames)
def test_a_label_that_was_the_name_in_the_pod_becomes_the_name_on_the_host(
    request: DelRequest, pod: Netns, clock: Clock, host_name: IfName
) -> None:
    assert request.selector is not None
    ifname = request.attachment.ifname
    plain = Address(ipaddress.ip_interface("10.0.0.1/24"), label=ifname)
    labelled = attrs.evolve(plain, label=f"{ifname}:x", interface=ipaddress.ip_interface("::/0"))
    other = attrs.evolve(plain, label="other", interface=ipaddress.ip_interface("::/1"))
    within = f"{host_name}:x" if len(f"{host_name}:x".encode()) <= 15 else host_name
    ours = Netdev(
        7,
        ifname,
        alias=host_name,
        parent=str(request.selector.bus_device),
        addresses=(plain, labelled, other),
    )
    record = salvaged(request, ours, pod, clock)
    assert record is not None
    assert record.captured is not None
    labels = [address.label for address in record.captured.addresses]
    assert labels == [host_name, within, "other"]


@given(dels_with_a_device, some.clocks, st.booleans())
def test_an_address_made_by_the_kernel_in_the_pod_is_not_salvaged(
    request: DelRequest, clock: Clock, reported: bool
) -> None:
    """Since Linux 5.18 it reports who made an address; `proto` 3 is its own link-local one."""
    assert request.selector is not None
    proto = 1 if reported else 0
    loopback = Address(ipaddress.ip_interface("127.0.0.1/8"), proto=proto)
    own = Address(ipaddress.ip_interface("10.0.0.1/24"))
    made = Address(ipaddress.ip_interface("fe80::1/64"), scope=253, proto=3 * proto)
    pod = Netns(
        "/run/netns/pod1",
        NetnsId(4, 9),
        (Netdev(1, IfName("lo"), loopback=True, addresses=(loopback,)),),
    )
    ours = Netdev(7, IfName("x"), parent=str(request.selector.bus_device), addresses=(own, made))
    record = salvaged(request, ours, pod, clock)
    assert record is not None
    assert record.captured is not None
    restored = [address.interface for address in record.captured.addresses]
    assert restored == [address.interface for address in (own, *(() if reported else (made,)))]


@given(dels_with_a_device, some.netdevs, some.hosts, some.clocks, st.booleans())
def test_a_netdev_on_another_device_is_not_ours_even_if_a_record_was_damaged(
    request: DelRequest, netdev: Netdev, pod: Netns, clock: Clock, damaged: bool
) -> None:
    assert request.selector is not None
    other = attrs.evolve(netdev, parent=f"{request.selector.bus_device}x", alias="eth0")
    assert salvaged(request, other, pod, clock, damaged=damaged) is None


@given(dels_with_a_device, some.netdevs, some.hosts, some.clocks)
def test_a_netdev_on_no_bus_is_ours_only_with_an_alias_and_a_damaged_record(
    request: DelRequest, netdev: Netdev, pod: Netns, clock: Clock
) -> None:
    aliased = attrs.evolve(netdev, parent=None, alias="eth0")
    bare = attrs.evolve(aliased, alias=None)
    assert salvaged(request, aliased, pod, clock, damaged=True) is not None
    assert salvaged(request, aliased, pod, clock, damaged=False) is None
    assert salvaged(request, bare, pod, clock, damaged=True) is None


@given(dels_with_a_device, some.sysfs_devices, some.hosts, some.clocks)
def test_a_pod_without_the_ifname_has_nothing_to_salvage(
    request: DelRequest, device: SysfsDevice, pod: Netns, clock: Clock
) -> None:
    ifname = request.attachment.ifname
    others = tuple(n for n in pod.netdevs if ifname not in (n.ifname, *n.altnames))
    without = attrs.evolve(pod, netdevs=others)
    assert salvage(request, device, without, clock, record_damaged=True) is None
