"""The node's NICs: what each one is, which of them the node itself needs, and which look lost."""

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final

import attrs

from amdcni.core.attachment import Attachment
from amdcni.core.host import USERSPACE_DRIVERS, Netdev, SysfsDevice
from amdcni.core.identity import find_home
from amdcni.core.mapping import GoMapping
from amdcni.core.names import AuxiliaryDevice, BusDevice, DeviceKey, IfName, PciAddress
from amdcni.core.policy import Denial, Policy, Traits, denial_of, traits_of
from amdcni.core.protection import (
    Protection,
    Surroundings,
    each_rests_on,
    protection_by,
    protections,
    uplinks_of,
)

AMD_VENDORS: Final[Mapping[str, str]] = {"0x1dd8": "AMD Pensando", "0x1022": "AMD"}
"""AMD's vendor IDs on the PCI bus, with what they are called."""


class NicKind(StrEnum):
    """What a NIC is on its bus: a PCI function, or an auxiliary device below one."""

    PHYSICAL = "physical function"
    VIRTUAL = "virtual function"
    SUB = "sub-function"


@attrs.frozen
class Port:
    """What sysfs says of a netdev: `operstate` as in RFC 2863, and the speed of the link."""

    ifname: IfName
    operstate: str | None = None
    speed_mbps: int | None = None


@attrs.frozen
class BusNic:
    """What sysfs says of a NIC on the PCI or auxiliary bus.

    `parent` is the PCI function below which a sub-function is, or the physical function of a
    virtual one.  `vfs` is the number of existing virtual functions, `rdma` names the RDMA devices.
    """

    device: SysfsDevice
    numa_node: int | None = None
    parent: PciAddress | None = None
    vfs: int = 0
    rdma: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()

    @property
    def kind(self) -> NicKind:
        """What it is on its bus."""
        if isinstance(self.device.bus_device, AuxiliaryDevice):
            return NicKind.SUB
        return NicKind.PHYSICAL if self.parent is None else NicKind.VIRTUAL

    @property
    def amd(self) -> str | None:
        """The name of the vendor if it is AMD, else None."""
        return AMD_VENDORS.get(self.device.hardware.vendor or "")


class Link(StrEnum):
    """Whether a netdev can be used; DOWN is on purpose, and NO_CARRIER is for lack of a cable."""

    UP = "up"
    DOWN = "down"
    DORMANT = "dormant"
    NO_CARRIER = "no carrier"


@attrs.frozen
class NicNetdev:
    """A netdev of a NIC on the host.

    `uplink` is whether the node needs it as a way out, `protection` why no ADD would lend it, and
    `denial` why the node's policy does not allow that.
    """

    netdev: Netdev
    port: Port
    uplink: bool = False
    protection: Protection | None = None
    denial: Denial | None = None

    @property
    def link(self) -> Link:
        """Whether it can be used.  Some drivers never report an operstate but `unknown`."""
        if not self.netdev.up:
            return Link.DOWN
        match self.port.operstate:
            case None | "up" | "unknown":
                return Link.UP
            case "dormant":
                return Link.DORMANT
            case _:
                return Link.NO_CARRIER


@attrs.frozen
class Records:
    """The records of a state folder, and why others could not be read.

    `lent_by_go` is what AMD's Go plugin noted of NICs that are still to come back.  The fault of
    those in `newer` is that a newer version has written them.  `set_aside` are those that were
    found damaged before, with a sentence on each.
    """

    read: tuple[Attachment, ...] = ()
    faults: Mapping[DeviceKey, str] = attrs.field(factory=dict)
    lent_by_go: tuple[GoMapping, ...] = ()
    newer: frozenset[DeviceKey] = frozenset()
    set_aside: Mapping[DeviceKey, str] = attrs.field(factory=dict)

    @property
    def knows_none(self) -> bool:
        """Whether they mention no NIC at all."""
        return not (self.read or self.faults or self.lent_by_go or self.set_aside)

    def of(self, bus_device: BusDevice) -> "Records":
        """Those of one device."""
        return Records(
            tuple(record for record in self.read if record.key.bus_device == bus_device),
            {key: fault for key, fault in self.faults.items() if key.bus_device == bus_device},
            tuple(mapping for mapping in self.lent_by_go if mapping.device == bus_device),
            frozenset(key for key in self.newer if key.bus_device == bus_device),
            {key: says for key, says in self.set_aside.items() if key.bus_device == bus_device},
        )


def together(folders: Iterable[Records]) -> Records:
    """The records of several state folders."""
    folders = tuple(folders)
    return Records(
        tuple(record for each in folders for record in each.read),
        {key: fault for each in folders for key, fault in each.faults.items()},
        tuple(mapping for each in folders for mapping in each.lent_by_go),
        frozenset(key for each in folders for key in each.newer),
        {key: says for each in folders for key, says in each.set_aside.items()},
    )


@attrs.frozen
class Nic:
    """A NIC of the node: what it is, its netdevs on the host, and who holds it.

    `records` are those of this device alone; None means that they are not known.  `denial` is why
    the node's policy lends nothing of it.
    """

    bus: BusNic
    netdevs: tuple[NicNetdev, ...] = ()
    records: Records | None = Records()
    denial: Denial | None = None

    @property
    def bus_device(self) -> BusDevice:
        """The PCI address or auxiliary device."""
        return self.bus.device.bus_device

    @property
    def homes(self) -> Iterator[tuple[Attachment, Netdev | None]]:
        """Each record, and its netdev if that is on the host."""
        here = [each.netdev for each in self.netdevs]
        for record in () if self.records is None else self.records.read:
            yield record, find_home(record, here, self.bus.device, None)

    @property
    def away(self) -> tuple[Attachment, ...]:
        """The records whose netdev is not on the host: what they say is what comes back."""
        return tuple(record for record, netdev in self.homes if netdev is None)

    @property
    def rdma_away(self) -> tuple[str, ...]:
        """The names of the RDMA devices that come back and are not on the host."""
        read = () if self.records is None else self.records.read
        due = (device.name for record in read for device in record.rdma)
        return tuple(name for name in due if name not in self.bus.rdma)

    @property
    def lent_by_go(self) -> GoMapping | None:
        """What AMD's Go plugin noted of it, if that is how it comes back."""
        return None if self.records is None else next(iter(self.records.lent_by_go), None)

    @property
    def lost(self) -> tuple[NicNetdev, ...] | None:
        """The netdevs that look lost; None if that is not known."""
        if self.records is None:
            return None
        if not self.records.knows_none:
            return ()
        return tuple(each for each in self.netdevs if looks_lost(each.netdev))


def nics_of(
    seen: Iterable[BusNic], around: Surroundings, records: Records | None, policy: Policy
) -> tuple[Nic, ...]:
    """The NICs that were seen, in the order of their addresses, auxiliary devices last."""
    seen = tuple(seen)
    by_name = {netdev.ifname: netdev for netdev in around.netdevs}
    uplinks, protected = uplinks_of(around), protections(around)
    below = {} if policy.lending is None else _below(seen, around)

    def nic_of(bus: BusNic) -> Nic:
        found = ((by_name.get(port.ifname), port) for port in bus.ports)
        for_kin = _protection_for_kin(bus.device, records)
        nic = Nic(
            bus,
            tuple(
                NicNetdev(
                    netdev, port, netdev.ifindex in uplinks, protected.get(netdev.ifindex, for_kin)
                )
                for netdev, port in found
                if netdev is not None
            ),
            None if records is None else records.of(bus.device.bus_device),
        )
        return _judged(nic, below, policy)

    return tuple(sorted(map(nic_of, seen), key=_order))


def _protection_for_kin(device: SysfsDevice, records: Records | None) -> Protection | None:
    """Why nothing of the device is lent while a pod has what controls it, or what it controls."""
    if records is None or not device.kin:
        return None
    lent = (record for record in records.read if record.key.bus_device in device.kin)
    return next((protection_by(record, device) for record in lent), None)


def _below(seen: Iterable[BusNic], around: Surroundings) -> dict[int, tuple[Traits, ...]]:
    """What rules look at of all that the NICs' netdevs rest on, by ifindex."""
    devices = {port.ifname: bus.device for bus in seen for port in bus.ports}
    netdevs = (netdev for netdev in around.netdevs if netdev.ifname in devices)
    return {
        netdev.ifindex: tuple(traits_of(each, devices.get(each.ifname)) for each in below)
        for netdev, below in each_rests_on(netdevs, around)
    }


def _judged(nic: Nic, below: Mapping[int, tuple[Traits, ...]], policy: Policy) -> Nic:
    """The NIC with what the policy says of it, by the names that its netdevs have once restored.

    It is denied itself if nothing of it may be lent.  Without root, what is not on the host is not
    judged, since nobody knows its name.
    """
    bare = traits_of(None, nic.bus.device)
    restored = {}
    denials = []
    for record, netdev in nic.homes:
        traits = _traits_of_restored(record, bare)
        if netdev is None:
            denials.append(denial_of(policy, (traits,)))
        else:
            restored[netdev.ifindex] = traits
    if nic.lent_by_go is not None:
        denials.append(denial_of(policy, (attrs.evolve(bare, ifname=nic.lent_by_go.ifname),)))
    netdevs = []
    for each in nic.netdevs:
        ifindex = each.netdev.ifindex
        own = restored.get(ifindex) or traits_of(each.netdev, nic.bus.device)
        denial = denial_of(policy, (own, *below.get(ifindex, ())))
        netdevs.append(attrs.evolve(each, denial=denial))
    denials = [each.denial for each in netdevs] + denials
    unseen = nic.records is None and nic.bus.device.driver not in USERSPACE_DRIVERS
    if not denials and (policy.fault is not None or not unseen):
        denials = [denial_of(policy, (bare,))]
    denial = denials[0] if denials and None not in denials else None
    return attrs.evolve(nic, netdevs=tuple(netdevs), denial=denial)


def _traits_of_restored(record: Attachment, bare: Traits) -> Traits:
    """What rules look at of a netdev that has come back, `bare` being those of its device alone."""
    altnames = () if record.captured is None else record.captured.altnames or ()
    return attrs.evolve(bare, ifname=record.host_ifname, altnames=altnames)


def _order(nic: Nic) -> tuple[bool, BusDevice]:
    return isinstance(nic.bus_device, AuxiliaryDevice), nic.bus_device


_NAME_OF_LOST: Final = re.compile(r"(net|dev)[0-9]+")


def looks_lost(netdev: Netdev) -> bool:
    """Whether a NIC's netdev that no record knows looks like one that a dying pod left behind.

    The kernel sends it to the host down and bare, under its name in the pod, such as `net1`, or as
    `dev7` where that is taken (net/core/dev.c, default_device_exit_net).
    """
    called_so = _NAME_OF_LOST.fullmatch(netdev.ifname) is not None
    return called_so and not netdev.up and not netdev.addresses
