"""ADDs together with a node on which they can be carried out."""

from collections.abc import Iterable
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.capture import Details
from amdcni.core.host import USERSPACE_DRIVERS, Below, Netdev, Netns, NetnsId, SysfsDevice
from amdcni.core.names import NetdevName, NetworkName
from amdcni.core.plans.snapshot import Snapshot
from amdcni.core.request import AddRequest, Device, DeviceSelector, Mover, Network
from amdcni.core.resolve import Candidates
from amdcni.core.spec import Verb
from amdcni.testing.strategies.configuration import Meaning, meanings_in
from amdcni.testing.strategies.environment import attachment_of, invocations_for
from amdcni.testing.strategies.names import bus_devices, plugin_names, versions
from amdcni.testing.strategies.node import hosts_with
from amdcni.testing.strategies.record import clocks
from amdcni.testing.strategies.routing import sysctls


@attrs.frozen
class Handover:
    """An ADD, a node on which it can be carried out, and the netdev that it means.

    `netdev` is None for a device of a userspace driver.
    """

    request: AddRequest
    snapshot: Snapshot
    netdev: Netdev | None


def _selectors_of(
    netdev: Netdev, device: SysfsDevice | None, host: Netns
) -> SearchStrategy[DeviceSelector]:
    """Selectors that mean `netdev` and nothing else on `host`."""
    bus_device = None if device is None else device.bus_device
    names = map(NetdevName, (netdev.ifname, *netdev.altnames))
    choices = [DeviceSelector(bus_device, name) for name in names]
    if [n.mac for n in host.netdevs].count(netdev.mac) == 1 and netdev.mac is not None:
        choices.append(DeviceSelector(bus_device, hwaddr=netdev.mac))
    if device is not None and len(device.ifnames) == 1:
        choices.append(DeviceSelector(bus_device))
    return st.sampled_from(choices)


def _set_free(netdevs: Iterable[Netdev], chosen: Netdev) -> tuple[Netdev, ...]:
    """The netdevs without what ties `chosen` to any other."""
    return tuple(
        chosen if n.ifindex == chosen.ifindex else attrs.evolve(n, lower=None, below=Below())
        for n in netdevs
    )


_maybe_plugin_names = st.none() | plugin_names


@st.composite
def _plain_meanings(
    draw: DrawFn, selectors: SearchStrategy[DeviceSelector], mover: Mover
) -> Meaning:
    """Configurations that say what is needed, and nothing else."""
    version, ipam, selector = draw(versions), draw(_maybe_plugin_names), draw(selectors)
    said = {
        "deviceID": None if selector.bus_device is None else str(selector.bus_device),
        "device": selector.ifname,
        "hwaddr": selector.hwaddr,
        "ipam": None if ipam is None else {"type": ipam},
        "mover": mover.value,
    }
    raw: dict[str, Any] = {"cniVersion": version, "name": "fabric", "type": "amd-host-device"}
    raw |= {key: value for key, value in said.items() if value is not None}
    network = Network(raw, NetworkName("fabric"), version)
    return Meaning(network, Device(selector, ipam, mover), None)


_userspace_devices = st.builds(SysfsDevice, bus_devices, st.sampled_from(sorted(USERSPACE_DRIVERS)))
_add_invocations = invocations_for(Verb.ADD)
_small = st.integers(0, 8)
_booleans = st.booleans()
_maybe_bus_devices = st.none() | bus_devices
_hosts_of_few, _hosts_of_some = hosts_with(0, 1), hosts_with(1, 2)


@st.composite
def _handovers(
    draw: DrawFn, userspace: bool, configured: bool, mover: Mover = Mover.DELEGATE
) -> Handover:
    device, netdev = None, None
    if userspace:
        host = draw(_hosts_of_few)
        device = draw(_userspace_devices)
        chosen = st.just(DeviceSelector(device.bus_device))
    else:
        host = draw(_hosts_of_some)
        netdev = host.netdevs[1 + draw(_small) % (len(host.netdevs) - 1)]
        bus_device, virtio = draw(_maybe_bus_devices), draw(_booleans)
        parent = None if bus_device is None else "virtio7" if virtio else str(bus_device)
        netdev = attrs.evolve(netdev, master=None, lower=None, below=Below(), parent=parent)
        if bus_device is None and mover is Mover.DELEGATE:
            # The delegate does not take what is made by software.
            netdev = attrs.evolve(netdev, kind=None)
        host = attrs.evolve(host, netdevs=_set_free(host.netdevs, netdev))
        if bus_device is not None:
            others = [n.ifname for n in host.netdevs if n != netdev and not n.loopback]
            more = others if draw(_booleans) else []
            device = SysfsDevice(bus_device, "ionic", (netdev.ifname, *more))
        chosen = _selectors_of(netdev, device, host)
    if configured:
        meaning = draw(meanings_in(versions, selectors=chosen, movers=st.just(mover)))
    else:
        meaning = draw(_plain_meanings(chosen, mover))
    invocation = draw(_add_invocations)
    attachment, netns = attachment_of(invocation), str(invocation.netns)
    pod = draw(_hosts_of_few)
    free = [n for n in pod.netdevs if attachment.ifname not in (n.ifname, *n.altnames)]
    other = NetnsId(host.id.dev, host.id.inode + 1 + draw(_small))
    pod = attrs.evolve(pod, path=netns, id=other, netdevs=tuple(free))
    details = Details(sysctls=draw(sysctls)) if mover is Mover.NATIVE else Details()
    snapshot = Snapshot(draw(clocks), host, pod, Candidates(host.netdevs, device), details)
    request = AddRequest(invocation, meaning.network, meaning.device, attachment, netns)
    return Handover(request, snapshot, netdev)


handovers: SearchStrategy[Handover] = _handovers(userspace=False, configured=False)
"""ADDs that can work, of a netdev on a bus or on none, alone on its device or beside another."""

userspace_handovers: SearchStrategy[Handover] = _handovers(userspace=True, configured=False)
"""ADDs that can work, of a device that is bound to a userspace driver."""

configured_handovers: SearchStrategy[Handover] = _handovers(
    userspace=False, configured=True
) | _handovers(userspace=True, configured=True)
"""ADDs that can work, of any device, and with everything in their configurations."""

native_handovers: SearchStrategy[Handover] = _handovers(
    userspace=False, configured=False, mover=Mover.NATIVE
) | _handovers(userspace=False, configured=True, mover=Mover.NATIVE)
"""ADDs by the mover `native` that can work, of a netdev."""

native_userspace_handovers: SearchStrategy[Handover] = _handovers(
    userspace=True, configured=True, mover=Mover.NATIVE
)
"""ADDs by the mover `native` that can work, of a device without a netdev."""

snapshots: SearchStrategy[Snapshot] = (handovers | userspace_handovers).map(
    lambda handover: handover.snapshot
)
"""What an ADD sees of a node, before anything of the device is lent."""
