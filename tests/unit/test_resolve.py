"""From a selector to the one netdev, and from a record to where its netdev is now."""

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.errors import DeviceAmbiguous, DeviceNotFound
from amdcni.core.host import Netdev, Netns, SysfsDevice
from amdcni.core.names import NO_MAC, BusDevice, DeviceKey, FilePath, IfName, MacAddress
from amdcni.core.request import DeviceSelector
from amdcni.core.resolve import (
    Candidates,
    find_captured,
    find_home,
    find_in_another,
    find_in_pod,
    key_of,
    resolve,
)
from amdcni.testing import strategies as some
from amdcni.testing.strategies import Handover, Lending

# ---- from a selector to a netdev ---------------------------------------------------------------


@given(some.handovers)
def test_a_selector_that_means_one_netdev_gives_it(handover: Handover) -> None:
    selector = handover.request.device.selector
    assert resolve(selector, handover.snapshot.candidates) == handover.netdev


@given(some.userspace_handovers, st.lists(some.netdevs, max_size=2))
def test_a_device_of_a_userspace_driver_has_no_netdev(
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
    """Selectors that ask for what some netdevs of the host have, and now and then for more."""
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
def test_the_netdev_is_the_only_one_that_fits_everything_that_is_asked(
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
def test_a_kernelpath_that_is_none_has_no_netdev(host: Netns) -> None:
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
def test_netdevs_of_one_device_have_different_keys_in_whatever_order_they_come_and_go(
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


# ---- from a record to its netdev ---------------------------------------------------------------


def changed_in_a_pod(captured: Captured, ifindex: int, ifname: IfName) -> Netdev:
    """The netdev that was captured, after a pod has done to it what it may."""
    return Netdev(
        ifindex,
        ifname,
        mac=captured.mac,
        permanent_mac=captured.permanent_mac,
        mtu=9000,
        up=not captured.up,
        kind=captured.kind,
        alias="changed",
        parent=captured.parent,
    )


def strangers_to(captured: Captured, *, like_ours: bool) -> SearchStrategy[list[Netdev]]:
    """Netdevs on another bus device, some with the very name and addresses of the captured one."""
    strangers = some.netdevs.filter(lambda n: n.parent is not None and n.parent != captured.parent)
    if like_ours:
        strangers |= strangers.map(
            lambda n: attrs.evolve(
                n,
                ifname=captured.ifname,
                ifindex=captured.ifindex,
                mac=captured.mac,
                permanent_mac=captured.permanent_mac,
                addresses=captured.addresses,
            )
        )
    return st.lists(strangers, max_size=3, unique_by=lambda n: n.ifname)


on_a_bus = some.captures.filter(lambda captured: captured.parent is not None)
on_no_bus = some.captures.filter(lambda captured: captured.parent is None)


@given(on_a_bus, st.data(), st.booleans())
def test_a_netdev_on_another_bus_device_is_a_stranger_whatever_its_name(
    captured: Captured, data: st.DataObject, sole: bool
) -> None:
    strangers = data.draw(strangers_to(captured, like_ours=True))
    names = {netdev.ifname for netdev in strangers}
    assert find_captured(captured, strangers, sole=sole) is None
    assert find_captured(captured, strangers, visible=names, sole=sole) is None
    assert find_captured(captured, strangers, ifindex=captured.ifindex, sole=sole) is None


@given(on_a_bus, st.data(), some.ifnames, st.none() | some.macs)
def test_the_only_netdev_of_a_device_is_found_whatever_its_name_and_mac(
    captured: Captured, data: st.DataObject, ifname: IfName, mac: MacAddress | None
) -> None:
    """A pod may set another hardware address; the bus parent does not change."""
    strangers = data.draw(strangers_to(captured, like_ours=True))
    ours = attrs.evolve(changed_in_a_pod(captured, 2, ifname), mac=mac)
    shuffled = data.draw(st.permutations([*strangers, ours]))
    assert find_captured(captured, shuffled) == ours


@given(on_a_bus, st.data(), some.ifnames)
def test_another_netdev_of_the_same_device_is_a_stranger(
    captured: Captured, data: st.DataObject, ifname: IfName
) -> None:
    own_macs = {captured.mac, captured.permanent_mac}
    other = data.draw(some.netdevs.filter(lambda n: not own_macs & {n.mac, n.permanent_mac, None}))
    sibling = attrs.evolve(other, ifname=captured.ifname, parent=captured.parent)
    assert find_captured(captured, [sibling], sole=False) is None
    if captured.mac not in (None, NO_MAC) and ifname != sibling.ifname:
        ours = changed_in_a_pod(captured, sibling.ifindex + 1, ifname)
        assert find_captured(captured, [sibling, ours], sole=False) == ours
        assert find_captured(captured, [ours, sibling]) == ours


@given(on_no_bus, st.data(), some.ifnames)
def test_on_the_host_sysfs_tells_which_netdev_is_ours(
    captured: Captured, data: st.DataObject, ifname: IfName
) -> None:
    strangers = data.draw(strangers_to(captured, like_ours=True))
    assume(ifname not in [netdev.ifname for netdev in strangers])
    ours = changed_in_a_pod(captured, 2, ifname)
    shuffled = data.draw(st.permutations([*strangers, ours]))
    assert find_captured(captured, shuffled, visible={ifname}) == ours
    assert find_captured(captured, strangers, visible={ifname}) is None
    assert find_captured(captured, strangers, visible=()) is None


@given(on_no_bus, st.data(), some.ifnames)
def test_without_a_bus_the_mac_tells_and_the_name_does_not(
    captured: Captured, data: st.DataObject, ifname: IfName
) -> None:
    own_macs = {captured.mac, captured.permanent_mac}
    other = data.draw(some.netdevs.filter(lambda n: not own_macs & {n.mac, n.permanent_mac, None}))
    namesake = attrs.evolve(other, ifname=captured.ifname, kind=captured.kind, parent=None)
    assert find_captured(captured, [namesake]) is None
    if captured.mac not in (None, NO_MAC):
        ours = changed_in_a_pod(captured, namesake.ifindex + 1, ifname)
        assert find_captured(captured, [namesake, ours]) == ours


@given(on_no_bus, some.ifnames, some.macs)
def test_in_its_pod_a_netdev_is_known_by_its_ifindex_too(
    captured: Captured, ifname: IfName, mac: MacAddress
) -> None:
    ours = attrs.evolve(changed_in_a_pod(captured, 4, ifname), mac=mac, permanent_mac=None)
    twin = attrs.evolve(ours, ifindex=5, mac=captured.mac)
    assert find_captured(captured, [ours, twin], ifindex=4) == ours
    assert find_captured(captured, [twin, ours], ifindex=4) == ours


@given(on_no_bus, some.ifnames, st.sampled_from(["kind", "parent"]))
def test_without_a_bus_a_netdev_of_another_kind_or_on_a_bus_is_a_stranger(
    captured: Captured, ifname: IfName, difference: str
) -> None:
    ours = changed_in_a_pod(captured, 4, ifname)
    if difference == "kind":
        stranger = attrs.evolve(ours, kind="macvlan")
    else:
        stranger = attrs.evolve(ours, parent="0000:01:00.0")
    assert find_captured(captured, [stranger], ifindex=4) is None


@given(some.captures, st.booleans())
def test_of_two_netdevs_that_might_be_ours_none_is(captured: Captured, sole: bool) -> None:
    one = changed_in_a_pod(captured, 4, IfName("net1"))
    two = attrs.evolve(one, ifindex=5, ifname=IfName("net2"))
    assert find_captured(captured, [one, two], sole=sole) is None


@given(some.lendings)
def test_a_netdev_that_is_lent_is_in_its_pod(lending: Lending) -> None:
    assert find_in_pod(lending.record, lending.pod.netdevs) == lending.netdev


@given(some.lendings, some.ifnames)
def test_a_netdev_that_was_renamed_in_its_pod_is_still_found(
    lending: Lending, ifname: IfName
) -> None:
    renamed = attrs.evolve(lending.netdev, ifname=ifname)
    netdevs = [renamed if n == lending.netdev else n for n in lending.pod.netdevs]
    assert find_in_pod(lending.record, netdevs) == renamed


@given(some.lendings, some.ifnames)
def test_in_a_netns_of_strangers_the_bus_or_the_mac_tells_and_the_ifindex_does_not(
    lending: Lending, ifname: IfName
) -> None:
    record, netdev = lending.record, lending.netdev
    ours = attrs.evolve(netdev, ifname=ifname, ifindex=netdev.ifindex + 1000)
    stranger = Netdev(netdev.ifindex, IfName("net1"), kind=netdev.kind)
    known = {netdev.mac, netdev.permanent_mac} - {None, NO_MAC}
    captured = record.captured
    assert captured is not None
    assume(captured.mac in known)
    assert find_in_another(record, (stranger, ours)) == ours
    assert find_in_another(record, (stranger,)) is None
    assert find_in_another(attrs.evolve(record, captured=None), (ours,)) is None


@given(some.lendings, some.bus_devices, st.booleans())
def test_in_a_netns_of_strangers_the_bus_suffices_for_the_sole_netdev_of_a_device(
    lending: Lending, bus_device: BusDevice, sole: bool
) -> None:
    record, captured = lending.record, lending.record.captured
    assert captured is not None
    key = DeviceKey(bus_device, None if sole else captured.ifname)
    captured = attrs.evolve(captured, parent=str(bus_device))
    record = attrs.evolve(record, key=key, captured=captured)
    ours = Netdev(7, IfName("rail7"), parent=captured.parent)
    assert find_in_another(record, (ours,)) == (ours if sole else None)


@given(some.lendings, some.macs)
def test_in_a_netns_of_strangers_the_mac_that_a_pod_gave_tells_too(
    lending: Lending, mac: MacAddress
) -> None:
    assume(mac != NO_MAC)
    captured = lending.record.captured
    assert captured is not None
    captured = attrs.evolve(captured, parent=None, mac=None, permanent_mac=None)
    ours = Netdev(7, IfName("rail7"), kind=captured.kind, mac=mac)
    for given_mac, found in ((mac, ours), (None, None)):
        record = attrs.evolve(lending.record, captured=captured, pod_mac=given_mac)
        assert find_in_another(record, (ours,)) == found


@given(some.lendings)
def test_what_stays_in_a_pod_when_our_netdev_has_left_is_not_ours(lending: Lending) -> None:
    left = [n for n in lending.pod.netdevs if n != lending.netdev]
    found = find_in_pod(attrs.evolve(lending.record, pod_ifindex=None), left)
    captured = lending.record.captured
    assert captured is not None
    if found is not None:
        own_macs = {captured.mac, captured.permanent_mac} - {None}
        assert own_macs & {found.mac, found.permanent_mac}


def device_named(record: Attachment, ifname: IfName) -> SysfsDevice | None:
    bus_device = record.key.bus_device
    return None if bus_device is None else SysfsDevice(bus_device, "ionic", (ifname,))


@given(some.lendings, some.ifnames)
def test_a_netdev_that_has_come_home_is_found_there(lending: Lending, ifname: IfName) -> None:
    record = lending.record
    at_home = attrs.evolve(lending.netdev, ifindex=2, ifname=ifname)
    device = device_named(record, ifname)
    assume(device is not None or at_home.parent is not None or at_home.mac not in (None, NO_MAC))
    assume(record.key.ifname is None or at_home.mac not in (None, NO_MAC))
    assert find_home(record, [at_home], device) == at_home


@given(some.lendings, st.none() | some.ifnames, some.macs)
def test_with_another_hardware_address_only_the_sole_netdev_of_a_device_is_found_at_home(
    lending: Lending, of_several: IfName | None, mac: MacAddress
) -> None:
    record, captured = lending.record, lending.record.captured
    assert captured is not None
    assume(record.key.bus_device is not None)
    assume(mac not in (captured.mac, captured.permanent_mac, record.pod_mac))
    record = attrs.evolve(record, key=attrs.evolve(record.key, ifname=of_several))
    at_home = attrs.evolve(lending.netdev, ifindex=2, mac=mac, permanent_mac=None)
    device = device_named(record, at_home.ifname)
    assert find_home(record, [at_home], device) == (at_home if of_several is None else None)


@given(some.lendings, st.none() | some.ifnames, some.pci_addresses.map(str), some.macs)
def test_with_another_hardware_address_only_the_sole_netdev_of_a_device_is_found_in_the_pod(
    lending: Lending, of_several: IfName | None, parent: str, mac: MacAddress
) -> None:
    record, captured = lending.record, lending.record.captured
    assert captured is not None
    assume(mac not in (captured.mac, captured.permanent_mac, record.pod_mac))
    record = attrs.evolve(
        record,
        key=attrs.evolve(record.key, ifname=of_several),
        captured=attrs.evolve(captured, parent=parent),
        pod_ifindex=None,
    )
    inside = attrs.evolve(lending.netdev, mac=mac, permanent_mac=None, parent=parent)
    assert find_in_pod(record, [inside]) == (inside if of_several is None else None)


@given(some.attachments_of(with_netdev=False), some.hosts, some.sysfs_devices)
def test_where_there_was_no_netdev_none_is_found(
    record: Attachment, host: Netns, device: SysfsDevice
) -> None:
    assert find_home(record, host.netdevs, device) is None
    assert find_home(record, host.netdevs, None) is None
    assert find_in_pod(record, host.netdevs) is None
