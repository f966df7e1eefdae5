"""What the verbs and the steps need of a node: the boundary to everything that is not pure."""

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from typing import Protocol, Self

from amdcni.core.aspects.routes import SetRoute
from amdcni.core.attachment import Attachment, NetnsRef
from amdcni.core.capture import Captured, Change, Details
from amdcni.core.host import (
    Address,
    IpNetwork,
    Load,
    Netdev,
    Netns,
    NetnsId,
    Route,
    SysfsDevice,
)
from amdcni.core.identity import Place
from amdcni.core.mapping import GoMapping
from amdcni.core.names import BusDevice, DeviceKey, IfName, PciAddress, PluginName
from amdcni.core.plans.snapshot import Clock
from amdcni.core.retry import Attempts
from amdcni.core.spec import Json, PluginCall
from amdcni.core.steps import Outcome, Step


class Node(Protocol):
    """A node as the commands see it: facts to read, steps to perform, and nothing to decide.

    `amdcni.effects.node` is the real one; a test may bring another.
    """

    def clock(self) -> Clock:
        """The time, and the boot that it belongs to."""

    def host(self) -> Netns:
        """The network namespace that this process is in, with all of its netdevs."""

    def details(self, netdev: Netdev) -> Details:
        """What a change of its network namespace loses of a netdev of the host."""

    def load(self, netdevs: Collection[Netdev], chosen: Collection[Netdev]) -> Load:
        """What the host's `netdevs` carry that none of them tells; some is told of `chosen` alone.

        What cannot be read is not told.
        """

    def unsaved(self, netdev: Netdev, details: Details, *, renumbered: bool) -> tuple[str, ...]:
        """In words, what else the host has of the netdev that no record can hold.

        If it is `renumbered`, it will have another ifindex in the pod, and also when it returns.
        """

    def find_netns(self, path: str) -> Netns | None:
        """The network namespace at `path`, with its netdevs; None if there is none."""

    def find_pod(self, netns: NetnsRef) -> Netns | None:
        """The network namespace of a pod, with its netdevs; None if it has gone.

        It is looked for at its path, and where that leads elsewhere now, among those of all
        processes: that a path is not found from here proves nothing.
        """

    def find_elsewhere(self, record: Attachment) -> Place | None:
        """Where the netdev of `record` is, if in any netns but the host's that can be seen."""

    def is_netns(self, path: str) -> bool:
        """Whether there is a network namespace at `path`; nothing in it is looked at."""

    def find_device(self, bus_device: BusDevice) -> SysfsDevice | None:
        """What sysfs says of the device; None if it is not plugged in."""

    def bus_device_of(self, ifname: IfName) -> BusDevice | None:
        """The device that the host's netdev hangs on; None for one without."""

    def netdevs_at(self, kernelpath: str) -> tuple[IfName, ...]:
        """The names of the netdevs below a path of /sys/devices."""

    def pause(self, seconds: float) -> None:
        """Let so much time pass, before something is looked at again."""

    def lock(self, device: str, *, wait_s: float) -> AbstractContextManager[None]:
        """Excludes other calls from `device`; raises DeviceBusy when `wait_s` seconds are over."""

    def is_locked(self, device: str) -> bool:
        """Whether a call has the lock of `device` now; nothing is locked by looking."""

    def records_of(self, bus_device: BusDevice) -> tuple[Attachment, ...]:
        """The records of one bus device."""

    def find_record(self, key: DeviceKey) -> Attachment | None:
        """The record of `key`."""

    def records(self) -> tuple[Attachment, ...]:
        """All records."""

    def multipath_records(self) -> tuple[Attachment, ...]:
        """The records that hold a route with several hops, at no cost for the others."""

    def unfinished(self) -> tuple[DeviceKey, ...]:
        """The keys of the records whose work was begun and not ended, at no cost for the others."""

    def attempts(self, key: DeviceKey) -> Attempts | None:
        """What was noted of attempts to end unfinished work; None if nothing usable was."""

    def note(self, key: DeviceKey, attempts: Attempts) -> None:
        """Note that for later calls, if it can be done; the device's lock has to be held."""

    def was_damaged(self, key: DeviceKey) -> bool:
        """Whether a record of `key` was found damaged and set aside, by this call or earlier."""

    def mappings(self) -> tuple[GoMapping, ...]:
        """What the Go plugin noted of NICs that it lent and that nobody has taken over yet."""

    def perform(self, step: Step, so_far: Outcome) -> Outcome:
        """Make true what `step` says; give `so_far` with what has been found out by it."""

    def call(self, call: PluginCall, *, limit_s: float | None = None) -> Json:
        """Execute another CNI plugin and give its answer, an empty object for a silent verb.

        It may work `limit_s` seconds, or as long as any plugin.
        """

    def find_plugin(self, name: PluginName) -> str:
        """The path of a plugin's executable; raises PluginNotFound."""

    def versions_of(self, name: PluginName) -> tuple[str, ...]:
        """The CNI versions that a plugin says it speaks; raises PluginNotFound, PluginBroken."""

    def require_ready(self) -> None:
        """Raise NotAvailable, saying why, if this node could not carry out an ADD."""

    def report(self, event: str, **facts: object) -> None:
        """Tell the operator of something that is no failure of this call."""


class Namespace(Protocol):
    """A network namespace, to be read and changed; whatever it refuses is a KernelRefused.

    To set what somebody else has set already, and to take away what has gone, is no failure; what
    is there may differ from what was asked for in what the kernel does not tell things apart by.
    """

    @property
    def id(self) -> NetnsId:
        """What tells it from any other that exists now."""

    def netdevs(self) -> tuple[Netdev, ...]:
        """All netdevs with all of their addresses."""

    def find_netdev(self, ifname: str) -> Netdev | None:
        """The netdev of that name with its addresses, at no cost for the others; None if none."""

    def find_by_index(self, ifindex: int) -> Netdev | None:
        """The netdev of that number with its addresses, at no cost for the others; None if none."""

    def details(
        self, netdev: Netdev, kept: Captured | None = None, *, early: bool = False
    ) -> Details:
        """What is not read of every netdev, to be captured or, if it is `kept`, to be compared.

        `early` is enough to tell what is due before the last stage.  Default routes of others are
        not looked for.
        """

    def routes_to(self, destinations: Collection[IpNetwork]) -> tuple[Route, ...]:
        """The routes to just these networks, of every table."""

    def change(self, netdev: Netdev, **attributes: object) -> None:
        """Give the netdev these values of attributes of `Netdev`, in one request."""

    def rename(self, netdev: Netdev, ifname: IfName) -> None:
        """Rename the netdev, which has to be down."""

    def drop_altname(self, netdev: Netdev, altname: str) -> None:
        """Take an alternative name away from the netdev, if it has it still."""

    def add_altname(self, netdev: Netdev, altname: str) -> None:
        """Give the netdev an alternative name; another netdev may not have it."""

    def move(self, netdev: Netdev, to: Self, ifname: IfName, **attributes: object) -> None:
        """Move the netdev into another namespace under the name `ifname`, with these attributes.

        A failure may leave it moved, under its old name, or without some: the caller has to look.
        """

    def put_address(self, netdev: Netdev, address: Address) -> None:
        """Add the address, or give the one that is there these attributes."""

    def allow_ipv6(self, ifname: str) -> None:
        """Let the netdev of that name have IPv6 addresses where a sysctl forbids it."""

    def put_route(self, change: SetRoute) -> None:
        """Set the route, whose hops have the ifindexes of this namespace."""

    def apply(self, netdev: Netdev, changes: Iterable[Change]) -> list[str]:
        """Make the changes, of which none stops another; what was refused, in words."""


class Machine(Node, Protocol):
    """What steps need beyond a node's facts: namespaces to change, and records to write."""

    @property
    def own(self) -> Namespace:
        """The host's network namespace."""

    def enter(self, path: str) -> AbstractContextManager[Namespace | None]:
        """The network namespace at `path`; None if there is none."""

    def save(self, record: Attachment) -> None:
        """Write the record durably; raises StateFailure."""

    def remove(self, key: DeviceKey, folder: str | None = None) -> None:
        """Remove the record durably, but not what tells of unfinished work; raises StateFailure."""

    def forget(self, key: DeviceKey, folder: str | None = None) -> None:
        """Remove the record in `folder`, or in all state folders, durably; raises StateFailure."""

    def forget_mapping(self, device: PciAddress) -> None:
        """Remove what the Go plugin noted of `device`, durably; raises StateFailure, DeviceBusy."""
