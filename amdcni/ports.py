"""What the verbs and the steps need of a node: the boundary to everything that is not pure."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self

from amdcni.core.aspects.routes import SetRoute
from amdcni.core.attachment import Attachment, NetnsRef
from amdcni.core.capture import Captured, Change, Details
from amdcni.core.host import (
    Address,
    Interrupts,
    IpNetwork,
    Load,
    Netdev,
    Netns,
    NetnsId,
    Route,
    SysfsDevice,
    Values,
    WayOut,
)
from amdcni.core.identity import Place
from amdcni.core.mapping import GoMapping
from amdcni.core.names import BusDevice, DeviceKey, IfName, PciAddress, PluginName
from amdcni.core.plans.snapshot import Clock
from amdcni.core.policy import Policy
from amdcni.core.rdma import Rdma, RdmaDevice, RdmaFile
from amdcni.core.retry import Attempts
from amdcni.core.rules import Rule, RuleChange
from amdcni.core.spec import Json, PluginCall
from amdcni.core.steps import Outcome, Step


class Node(Protocol):
    """A node as the commands see it: facts to read and steps to perform, without decisions.

    `amdcni.effects.node` is the real one; a test may use another.
    """

    def clock(self) -> Clock:
        """The time, and the boot that it belongs to."""

    def host(self) -> Netns:
        """The network namespace that this process is in, with all of its netdevs."""

    def details(self, netdev: Netdev) -> Details:
        """What a netdev of the host loses when it changes its network namespace."""

    def load(self, netdevs: Collection[Netdev], chosen: Collection[Netdev]) -> Load:
        """What the host's `netdevs` carry beyond what they show, some of it for `chosen` alone.

        What cannot be read is left out.
        """

    def keeps_ifindexes(self) -> bool:
        """Whether this kernel can give a netdev that returns its old ifindex (Linux 5.12)."""

    def unsaved(self, netdev: Netdev, details: Details, *, renumbered: bool) -> tuple[str, ...]:
        """In words, what else of the netdev is on the host that no record can hold.

        If it is `renumbered`, it will have another ifindex in the pod, and also when it returns.
        """

    def rdma(self) -> Rdma:
        """What the host has for RDMA; nothing if the kernel has no RDMA subsystem."""

    def rdma_files(self) -> tuple[RdmaFile, ...]:
        """The files of all RDMA devices, whatever network namespaces these are in."""

    def find_netns(self, path: str) -> Netns | None:
        """The network namespace at `path`, with its netdevs; None if there is none."""

    def find_pod(self, netns: NetnsRef) -> Netns | None:
        """The network namespace of a pod, with its netdevs; None if it has gone.

        It is looked for at its path and, if that leads elsewhere now, among those of all
        processes: a path that is not found from here proves nothing.
        """

    def find_elsewhere(self, record: Attachment) -> Place | None:
        """Where the netdev of `record` is, if it is in a visible netns other than the host's."""

    def routes_in(self, path: str, destinations: Collection[IpNetwork]) -> tuple[Route, ...]:
        """The routes to exactly these networks in the netns at `path`, in every table."""

    def rdma_in(self, path: str) -> tuple[RdmaDevice, ...]:
        """The RDMA devices that can be used in the netns at `path`."""

    def is_netns(self, path: str) -> bool:
        """Whether there is a network namespace at `path`, without looking inside."""

    def find_device(self, bus_device: BusDevice | None) -> SysfsDevice | None:
        """What sysfs says of the device; None if there is none, or it is not plugged in."""

    def interrupts_of(
        self, bus_device: BusDevice | None, kept: Interrupts | None = None
    ) -> Interrupts | None:
        """The interrupts of the device, and those of others that are also in `kept`.

        None if there are none of its own.
        """

    def bus_device_of(self, ifname: IfName) -> BusDevice | None:
        """The device that the host's netdev belongs to; None if it belongs to none."""

    def netdevs_at(self, kernelpath: str) -> tuple[IfName, ...]:
        """The names of the netdevs below a path of /sys/devices."""

    def pause(self, seconds: float) -> None:
        """Wait so long before something is looked at again."""

    def lock(self, device: str, *, wait_s: float) -> AbstractContextManager[None]:
        """Excludes other calls from `device`; raises DeviceBusy after `wait_s` seconds."""

    def is_locked(self, device: str) -> bool:
        """Whether a call holds the lock of `device` now; looking locks nothing."""

    def records_of(self, bus_device: BusDevice) -> tuple[Attachment, ...]:
        """The records of one bus device."""

    def find_record(self, key: DeviceKey) -> Attachment | None:
        """The record of `key`."""

    def records(self) -> tuple[Attachment, ...]:
        """All records."""

    def multipath_records(self) -> tuple[Attachment, ...]:
        """The records with a shared route or nexthop group, at no cost for the others."""

    def unfinished(self) -> tuple[DeviceKey, ...]:
        """The keys of the records whose work is unfinished, at no cost for the others."""

    def attempts(self, key: DeviceKey) -> Attempts | None:
        """What was noted about attempts to finish the work; None if nothing usable was."""

    def note(self, key: DeviceKey, attempts: Attempts) -> None:
        """Note that for later calls, if possible; the caller holds the device's lock."""

    def was_damaged(self, key: DeviceKey) -> bool:
        """Whether a record of `key` was found damaged and set aside, by this call or earlier."""

    def mappings(self) -> tuple[GoMapping, ...]:
        """What the Go plugin noted about NICs that it lent and nobody has taken over yet."""

    def perform(self, step: Step, so_far: Outcome) -> Outcome:
        """Carry out `step`; return `so_far` with what it has found out."""

    def call(self, call: PluginCall, *, limit_s: float | None = None) -> Json:
        """Execute another CNI plugin and return its answer, an empty object if its verb has none.

        It may take `limit_s` seconds, or as long as any plugin.
        """

    def find_plugin(self, name: PluginName) -> str:
        """The path of a plugin's executable; raises PluginNotFound."""

    def versions_of(self, name: PluginName) -> tuple[str, ...]:
        """The CNI versions that a plugin says it speaks; raises PluginNotFound, PluginBroken."""

    @property
    def policy(self) -> Policy:
        """What the node's administrator lets definitions do."""

    def allocated_to(self, uid: str) -> frozenset[str] | None:
        """The devices that the kubelet has allocated to a pod; None if that cannot be read."""

    def require_ready(self) -> None:
        """Raise NotAvailable, saying why, if this node could not carry out an ADD."""

    def report(self, event: str, **facts: object) -> None:
        """Report something to the operator that is not a failure of this call."""


class Namespace(Protocol):
    """A network namespace, to be read and changed; whatever it refuses is a KernelRefused.

    Setting what somebody else has set already, and removing what is already gone, succeeds; what is
    there then may differ from what was asked for where the kernel takes both for the same.
    """

    @property
    def id(self) -> NetnsId:
        """What distinguishes it from any other that exists now."""

    def netdevs(self) -> tuple[Netdev, ...]:
        """All netdevs with all of their addresses."""

    def ways_out(self) -> tuple[WayOut, ...]:
        """The routes that lead to more than a network of one's own, such as default routes."""

    def find_netdev(self, ifname: str) -> Netdev | None:
        """The netdev of that name with its addresses, at no cost for the others; None if none."""

    def find_by_index(self, ifindex: int) -> Netdev | None:
        """The netdev of that number with its addresses, at no cost for the others; None if none."""

    def details(
        self, netdev: Netdev, kept: Captured | None = None, *, early: bool = False
    ) -> Details:
        """What is not read for every netdev, to be captured or, given `kept`, to be compared.

        `early` reads only what shows what is due before the last stage.  Default routes of others
        are not looked for.
        """

    def routes_to(self, destinations: Collection[IpNetwork]) -> tuple[Route, ...]:
        """The routes to exactly these networks, in every table."""

    def change(self, netdev: Netdev, **attributes: object) -> None:
        """Set these attributes of the netdev, named as those of `Netdev`, in one request."""

    def rename(self, netdev: Netdev, ifname: IfName) -> None:
        """Rename the netdev; the caller has set it down, as older kernels require."""

    def drop_altname(self, netdev: Netdev, altname: str) -> None:
        """Remove an alternative name from the netdev, if it still has it."""

    def add_altname(self, netdev: Netdev, altname: str) -> None:
        """Give the netdev an alternative name, which no other netdev may have."""

    def move(
        self,
        netdev: Netdev,
        to: Self,
        ifname: IfName,
        ifindex: int | None = None,
        **attributes: object,
    ) -> None:
        """Move the netdev into another namespace under the name `ifname`, with these attributes.

        It has `ifindex` there, if that is free and the kernel can (Linux 5.12).

        After a failure it may be moved, under its old name, or lack some: the caller has to look.
        """

    def rdma_devices(self) -> tuple[RdmaDevice, ...]:
        """The RDMA devices that can be used here; what only sysfs knows of them is left out."""

    def move_rdma(self, device: RdmaDevice, to: Self) -> None:
        """Move an RDMA device of this namespace into another; raises RdmaImmovable if none can."""

    def rename_rdma(self, device: RdmaDevice, name: str) -> None:
        """Rename an RDMA device of this namespace; no other may have the name."""

    def put_address(self, netdev: Netdev, address: Address) -> None:
        """Add the address, or set these attributes of the one that is there."""

    def allow_ipv6(self, ifname: str) -> None:
        """Let the netdev of that name have IPv6 addresses, even if a sysctl forbids them."""

    def sysctl_defaults(self, names: Iterable[str]) -> Values:
        """What a new netdev has of the sysctls with these names, as far as that can be read."""

    def put_route(self, change: SetRoute) -> None:
        """Set the route, whose hops have the ifindexes of this namespace."""

    def rules(self) -> tuple[Rule, ...]:
        """The policy rules that name a netdev or an address, in the order of the kernel."""

    def set_rule(self, change: RuleChange) -> None:
        """Add the rule, or add it once more and remove the older ones."""

    def apply(self, netdev: Netdev, changes: Iterable[Change]) -> list[str]:
        """Make the changes, each even if others fail; return what was refused, in words."""


class Machine(Node, Protocol):
    """What steps need beyond a node's facts: namespaces to change, and records to write."""

    @property
    def own(self) -> Namespace:
        """The host's network namespace."""

    def enter(self, path: str) -> AbstractContextManager[Namespace | None]:
        """The network namespace at `path`; None if there is none."""

    def enter_new(self) -> AbstractContextManager[Namespace | None]:
        """A new network namespace, which ends with the `with`; None if the kernel refuses."""

    def set_interrupt(self, number: str, cpus: str) -> None:
        """Let an interrupt go to these CPUs; raises KernelRefused."""

    def await_udev(self, ifindex: int) -> bool:
        """Wait until udev is done with a netdev of the host; whether it is at work here at all."""

    def save(self, record: Attachment) -> None:
        """Write the record durably; raises StateFailure."""

    def remove(self, key: DeviceKey, folder: str | None = None) -> None:
        """Remove the record durably, but not its markers; raises StateFailure."""

    def forget(self, key: DeviceKey, folder: str | None = None) -> None:
        """Remove the record in `folder`, or in all state folders, durably; raises StateFailure."""

    def forget_mapping(self, device: PciAddress) -> None:
        """Remove the Go plugin's note about `device` durably; raises StateFailure, DeviceBusy."""


class Folder(Protocol):
    """One state folder, which is only looked into."""

    def device_keys(self) -> tuple[DeviceKey, ...]:
        """The keys of all records, readable or not."""

    def read(self, key: DeviceKey) -> Attachment | None:
        """The record of `key`, leaving everything as it is; raises StateFailure."""


class Folders(Protocol):
    """All state folders, which are only looked into."""

    @property
    def parts(self) -> Sequence[Folder]:
        """Each of them."""

    def set_aside(self) -> tuple[tuple[DeviceKey, str], ...]:
        """The devices whose records were found damaged, and the paths of the files."""


class OpenNode(Machine, Protocol):
    """A node that also shows what is in its state folders, for whoever reports on it."""

    @property
    def store(self) -> Folders:
        """The state folders."""
