"""Netdevs that look like one another, one of which is ours."""

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.host import Netdev, Netns, NetnsId, SysfsDevice
from amdcni.core.names import DeviceKey, IfName, mark_of
from amdcni.testing.strategies.names import macs
from amdcni.testing.strategies.node import netdevs
from amdcni.testing.strategies.record import attachments_of


@attrs.frozen
class Crowd:
    """A record, and netdevs of one netns that look like the captured one, or not.

    None of them is ours.  They may have our name, our hardware address or none, our bus device, and
    the mark of another record.  Their ifindexes are those of netdevs that came after ours had left.
    `device` is what sysfs says about the bus device: it may list all of them.
    """

    record: Attachment
    captured: Captured
    strangers: tuple[Netdev, ...]
    device: SysfsDevice | None

    def ours(self, ifindex: int, *altnames: str) -> Netdev:
        """Our netdev, after a pod has changed what it may."""
        return attrs.evolve(
            _like(self.captured, ifindex, IfName("ours")),
            mac=None if self.captured.mac is None else self.strangers[0].mac,
            up=not self.captured.up,
            mtu=1280,
            alias="changed",
            altnames=altnames,
        )

    def netns(self, *ours: Netdev, id: NetnsId | None = None, path: str = "/run/netns/x") -> Netns:
        """A netns with the strangers, and ours among them."""
        found = (*self.strangers[:1], *ours, *self.strangers[1:])
        return Netns(path, self.record.netns.id if id is None else id, found)


def _like(captured: Captured, ifindex: int, ifname: IfName) -> Netdev:
    return Netdev(
        ifindex,
        ifname,
        mac=captured.mac,
        permanent_mac=captured.permanent_mac,
        kind=captured.kind,
        link_type=captured.link_type,
        parent=captured.parent,
        port_name=captured.port_name,
        port_id=captured.port_id,
        altnames=captured.altnames or (),
        addresses=captured.addresses,
    )


_marks = st.lists(st.just(mark_of(DeviceKey(None, IfName("other")))), max_size=1)
_likenesses = st.sampled_from(["in all", "in all", "but for the address", "in nothing"])


@st.composite
def _crowds(draw: DrawFn, on_a_bus: bool | None) -> Crowd:
    record = draw(
        attachments_of(with_netdev=True).filter(
            lambda each: on_a_bus in (None, each.key.bus_device is not None)
        )
    )
    captured = record.captured
    assert captured is not None
    captured = attrs.evolve(captured, altnames=())
    permanent = captured.permanent_mac
    strangers: list[Netdev] = []
    for number in range(draw(st.integers(1, 3))):
        ifname = captured.ifname if draw(st.integers(0, 2)) == 0 and not number else None
        ifname = ifname or IfName(f"like{number}")
        stranger = attrs.evolve(_like(captured, 0, ifname), permanent_mac=None)
        likeness = draw(_likenesses)
        if likeness == "but for the address":
            address = draw(st.none() | macs.filter(lambda mac: mac != permanent))
            stranger = attrs.evolve(stranger, mac=address, permanent_mac=address)
        elif likeness == "in nothing":
            stranger = attrs.evolve(draw(netdevs), ifname=ifname)
        used = {captured.ifindex, record.pod_ifindex or 0, *(each.ifindex for each in strangers)}
        marks = draw(_marks)
        strangers.append(
            attrs.evolve(
                stranger,
                ifindex=max(used) + 1 + draw(st.integers(0, 3)),
                altnames=tuple(mark for mark in marks if mark != record.mark),
            )
        )
    bus_device = record.key.bus_device
    listed = tuple(each.ifname for each in strangers if draw(st.booleans()))
    device = None if bus_device is None else SysfsDevice(bus_device, "ionic", listed)
    record = attrs.evolve(record, captured=captured)
    return Crowd(record, captured, tuple(strangers), device)


crowds: SearchStrategy[Crowd] = _crowds(None)
"""Records with netdevs that look like theirs, made by software or on a bus."""

hardware_crowds: SearchStrategy[Crowd] = _crowds(True)
"""The same for netdevs on a bus."""

software_crowds: SearchStrategy[Crowd] = _crowds(False)
"""The same for netdevs on no bus, such as VLANs of one NIC, tunnels and CAN interfaces."""
