"""From a selector to the one netdev, and from a record to where its netdev is now."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.errors import DeviceAmbiguous, DeviceNotFound
from amdcni.core.host import Netdev, Netns, SysfsDevice
from amdcni.core.names import BusDevice, DeviceKey, FilePath, IfName, PciAddress
from amdcni.core.request import DeviceSelector
from amdcni.core.resolve import (
    Candidates,
    fits_record,
    key_of,
    resolve,
)
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Handover

# ---- from a selector to a netdev ---------------------------------------------------------------


@given(some.handovers)
def test_a_selector_that_fits_one_netdev_finds_it(handover: Handover) -> None:
    selector = handover.request.device.selector
    assert resolve(selector, handover.snapshot.candidates) == handover.netdev


@given(some.userspace_handovers, st.lists(some.netdevs, max_size=2))
def test_a_device_with_a_userspace_driver_has_no_netdev(
    handover: Handover, netdevs: list[Netdev]
) -> None:
    candidates = attrs.evolve(handover.snapshot.candidates, netdevs=tuple(netdevs))
    assert resolve(handover.request.device.selector, candidates) is None


@pytest.mark.parametrize("driver", ["vfio-pci", "uio_pci_generic", "igb_uio"])
@given(bus_device=some.bus_devices)
def test_the_userspace_drivers_are_those_of_the_host_device_plugin(
    driver: str, bus_device: BusDevice
) -> None:
    """plugins/main/host-device, userspaceDrivers."""
    candidates = Candidates((), SysfsDevice(bus_device, driver))
    assert resolve(DeviceSelector(bus_device), candidates) is None


@st.composite
def _questions(draw: st.DrawFn) -> tuple[DeviceSelector, Candidates]:
    """Selectors that fit some netdevs of the host, and sometimes none."""
    netdevs = draw(some.hosts).netdevs
    twin = draw(st.booleans())
    if twin and len(netdevs) > 2:
        netdevs = (*netdevs[:-1], attrs.evolve(netdevs[-1], mac=netdevs[-2].mac))
    names = [netdev.ifname for netdev in netdevs]
    device = draw(
        st.none() | st.builds(SysfsDevice, some.bus_devices, st.just("ionic"), _some_of(names))
    )
    macs = [netdev.mac for netdev in netdevs if netdev.mac is not None]
    selector = draw(
        st.builds(
            DeviceSelector,
            st.none() if device is None else st.just(device.bus_device),
            st.none() | st.sampled_from([*names, *netdevs[-1].altnames]).map(IfName),
            st.none() | st.sampled_from(macs) | some.macs,
            st.none() | some.paths,
        ).filter(lambda selector: selector != DeviceSelector())
    )
    at_kernelpath = None if selector.kernelpath is None else draw(_some_of(names))
    return selector, Candidates(netdevs, device, at_kernelpath)


def _some_of(names: list[IfName]) -> SearchStrategy[tuple[IfName, ...]]:
    return st.lists(st.sampled_from(names), unique=True, max_size=3).map(tuple)


@given(_questions())
def test_the_netdev_is_the_only_one_that_fits_the_whole_selector(
    question: tuple[DeviceSelector, Candidates],
) -> None:
    selector, candidates = question
    fitting = set(candidates.netdevs)
    if candidates.device is not None:
        fitting = {n for n in fitting if n.ifname in candidates.device.ifnames}
    if selector.ifname is not None:
        fitting = {n for n in fitting if selector.ifname in [n.ifname, *n.altnames]}
    if selector.hwaddr is not None:
        fitting = {n for n in fitting if n.mac == selector.hwaddr}
    if candidates.at_kernelpath is not None:
        fitting = {n for n in fitting if n.ifname in candidates.at_kernelpath}
    if len(fitting) == 1:
        assert {resolve(selector, candidates)} == fitting
    elif not fitting:
        with pytest.raises(DeviceNotFound):
            resolve(selector, candidates)
    else:
        with pytest.raises(DeviceAmbiguous) as refusal:
            resolve(selector, candidates)
        assert all(netdev.ifname in refusal.value.message for netdev in fitting)
        assert "'device'" in refusal.value.message


@given(some.hosts, some.bus_devices)
def test_a_device_that_is_not_on_the_node_is_not_found(host: Netns, bus_device: BusDevice) -> None:
    with pytest.raises(DeviceNotFound) as refusal:
        resolve(DeviceSelector(bus_device), Candidates(host.netdevs))
    assert str(bus_device) in refusal.value.message


@given(some.hosts, some.bus_devices, st.none() | st.just("ionic"))
def test_a_device_without_a_netdev_is_not_found_and_its_driver_is_named(
    host: Netns, bus_device: BusDevice, driver: str | None
) -> None:
    with pytest.raises(DeviceNotFound) as refusal:
        resolve(
            DeviceSelector(bus_device), Candidates(host.netdevs, SysfsDevice(bus_device, driver))
        )
    assert str(bus_device) in refusal.value.message
    assert ("'ionic'" if driver else "no driver") in refusal.value.message


@given(some.hosts)
def test_an_unknown_kernelpath_has_no_netdev(host: Netns) -> None:
    with pytest.raises(DeviceNotFound, match="/sys/devices/x"):
        resolve(DeviceSelector(kernelpath=FilePath("/sys/devices/x")), Candidates(host.netdevs))


# ---- keys --------------------------------------------------------------------------------------


@given(some.netdevs)
def test_the_key_of_a_netdev_on_no_bus_is_its_name(netdev: Netdev) -> None:
    assert key_of(None, netdev, ()) == DeviceKey(None, netdev.ifname)


@given(some.bus_devices)
def test_the_key_of_a_device_without_a_netdev_is_the_device(bus_device: BusDevice) -> None:
    device = SysfsDevice(bus_device, "vfio-pci")
    assert key_of(device, None, ()) == DeviceKey(bus_device)


@given(some.bus_devices, some.netdevs)
def test_the_key_of_the_only_netdev_of_a_device_is_the_device(
    bus_device: BusDevice, netdev: Netdev
) -> None:
    device = SysfsDevice(bus_device, "ionic", (netdev.ifname,))
    assert key_of(device, netdev, ()) == DeviceKey(bus_device)


@given(
    some.bus_devices,
    st.lists(some.netdevs, min_size=2, max_size=3, unique_by=lambda netdev: netdev.ifname),
    st.lists(st.integers(0, 2), max_size=12),
    some.attachments,
)
def test_netdevs_of_one_device_have_different_keys_whatever_order_they_are_lent_in(
    bus_device: BusDevice, netdevs: list[Netdev], moves: list[int], record: Attachment
) -> None:
    held: dict[IfName, Attachment] = {}
    for move in moves:
        netdev = netdevs[move % len(netdevs)]
        if netdev.ifname in held:
            del held[netdev.ifname]
            continue
        visible = tuple(n.ifname for n in netdevs if n.ifname not in held)
        device = SysfsDevice(bus_device, "ionic", visible)
        key = key_of(device, netdev, tuple(held.values()))
        assert key.bus_device == bus_device
        assert key not in {record.key for record in held.values()}
        captured = Captured(netdev.ifname, netdev.ifindex)
        held[netdev.ifname] = attrs.evolve(record, key=key, captured=captured)


# ---- from a selector to a record ---------------------------------------------------------------

HOME = "/sys/devices/pci0000:00/0000:00:01.0"


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        (f"{HOME}/0000:01:00.0", True),
        (f"{HOME}/0000:01:00.0/", True),
        (f"{HOME}/0000:01:00.0/.", True),
        (f"{HOME}/0000:01:00.0/virtio3", True),
        (f"{HOME}/0000:02:00.0", False),
        (f"{HOME}/0000:01:00.0/../0000:02:00.0", False),
        (f"{HOME}/0000:02:00.0/../0000:01:00.0", False),
        ("/", False),
    ],
)
@given(record=some.attachments)
def test_a_sysfs_path_fits_the_record_of_the_device_that_it_leads_to(
    record: Attachment, path: str, fits: bool
) -> None:
    record = attrs.evolve(record, key=DeviceKey(PciAddress(0, 1, 0, 0)), config={})
    selector = DeviceSelector(kernelpath=FilePath(path))
    assert fits_record(selector, record) == fits
    given = attrs.evolve(record, config={"kernelpath": path})
    assert fits_record(selector, given)
