"""A machine in memory, and `FakeNode`: one process of ours on it.

The kernel is `fake_kernel`, the plugins are `fake_plugins`.  Steps are performed by the code that
performs them on a real node, `amdcni.effects.steps`; what that asks of a node is made here.

A process can be killed at any moment of its call (`ask(..., kill_at=3)`, or `kill_before` one that
begins with some words): each later use of that node raises `Killed`, which nobody catches, so that
nothing is undone, and its locks are free.
"""

import ipaddress
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final, assert_never

import attrs

from amdcni import ports, verbs
from amdcni.core import codec, formats, retry
from amdcni.core.aspects.addresses import SetAddress
from amdcni.core.aspects.altnames import SetAltname
from amdcni.core.aspects.link import SetLink
from amdcni.core.aspects.neighbours import SetNeighbour
from amdcni.core.aspects.proxy_neighbours import SetProxyNeighbour
from amdcni.core.aspects.qdisc import SetQdisc
from amdcni.core.aspects.routes import SetRoute, shared_destinations
from amdcni.core.aspects.sysctls import SetSysctl
from amdcni.core.aspects.token import SetToken
from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured, Change, Details
from amdcni.core.errors import (
    DamagedRecord,
    DeviceBusy,
    KernelRefused,
    NotAvailable,
    PluginBroken,
    PluginFailed,
    PluginNotFound,
    StateFailure,
    StateTooNew,
    UndecodableInput,
)
from amdcni.core.host import (
    Address,
    Hop,
    IpNetwork,
    LinkFlag,
    Load,
    Neighbour,
    Netdev,
    Netns,
    NetnsId,
    Qdisc,
    Route,
    SysfsDevice,
    netdev_named,
)
from amdcni.core.identity import Place, find_anywhere
from amdcni.core.mapping import GoMapping
from amdcni.core.names import (
    BusDevice,
    DeviceKey,
    IfName,
    MacAddress,
    PciAddress,
    PluginName,
    parse_bus_device,
)
from amdcni.core.plans.snapshot import Clock
from amdcni.core.request import DEFAULT_DATA_DIR, Request, parse_environment
from amdcni.core.retry import Attempts
from amdcni.core.spec import Json, PluginCall, Result, Verb
from amdcni.core.steps import Outcome, Step
from amdcni.core.versions import SUPPORTED
from amdcni.effects.plugins import TIME_LIMIT_S
from amdcni.effects.steps import perform
from tests.unit.fake_kernel import AlreadySo, Configuration, Kernel, Link, Refused, Space
from tests.unit.fake_plugins import Execution, PluginDied, PluginError, Plugins


class Killed(BaseException):
    """The process is dead; this only unwinds the stack that a dead process does not have."""


@attrs.define
class Disk:
    """A state folder: record files and markers by device key."""

    files: dict[str, bytes] = attrs.field(factory=dict)
    aside: list[tuple[str, bytes]] = attrs.field(factory=list)
    mappings: bytes | None = None
    """The Go plugin's file."""
    mappings_written: tuple[int, int] = (1, 0)
    """The boot in which it was last written, and the second of that."""
    markers: set[str] = attrs.field(factory=set)
    folders: set[str] = attrs.field(factory=set)
    """The index: the other state folders that hold records."""
    attempts: dict[str, bytes] = attrs.field(factory=dict)
    """What the markers contain."""
    full: bool = False
    read_only: bool = False

    def records(self) -> dict[str, Any]:
        """Every record, read without the code under test."""
        return {key: json.loads(data) for key, data in self.files.items()}


@attrs.define(eq=False)
class Machine:
    """One node with its kernel, its plugins and its state folder; `last` served the last call.

    `locks` may hold the name of a device on which another process is at work.  `mover` is that of
    all configurations that name none.
    """

    mover: str = "delegate"

    kernel: Kernel = attrs.field(factory=Kernel)
    plugins: Plugins = attrs.field(init=False)
    disk: Disk = attrs.field(factory=Disk)
    """The default state folder."""
    other_disks: dict[str, Disk] = attrs.field(factory=dict)
    """Other state folders, as `dataDir` names them."""
    locks: set[str] = attrs.field(factory=set)
    kernelpaths: dict[str, str] = attrs.field(factory=dict)
    unready: str | None = None
    looks: list[Callable[[], None]] = attrs.field(factory=list)
    """What happens before a process looks at anything, or does anything."""
    last: "FakeNode | None" = None
    _running: "FakeNode | None" = None

    def __attrs_post_init__(self) -> None:
        self.plugins = Plugins(self.kernel)
        self.kernel.interrupts.append(self._spend)

    def _spend(self, what: str) -> None:
        if self._running is not None:
            self._running.spend_moment(what)

    @contextmanager
    def running(self, node: "FakeNode") -> Iterator[None]:
        """The moments that come are those of `node`."""
        interrupted = self._running
        self.last = self._running = node
        try:
            yield
        finally:
            self._running = interrupted

    def _disks_in_use(self) -> list[tuple[str, Disk]]:
        others = [(name, disk) for name, disk in self.other_disks.items() if disk != Disk()]
        return [("", self.disk), *others]

    def picture(self) -> object:
        """Everything that lasts, to be compared: netdevs, records, markers, leases, locks."""
        spaces = {self.kernel.host, *self.kernel.paths.values()}
        netdevs = [
            (space.inode, link.ifindex, sorted(link.altnames), self.kernel.configuration_of(link))
            for space in spaces
            for link in space.links
        ]
        return (
            sorted(netdevs, key=lambda netdev: netdev[:2]),
            {name: dict(disk.files) for name, disk in self._disks_in_use()},
            {name: set(disk.markers) for name, disk in self._disks_in_use()},
            dict(self.plugins.leases),
            set(self.locks),
        )


# ---- a process of ours -------------------------------------------------------------------------


class FakeNode:
    """One call's process on a machine: an `amdcni.ports.Machine`."""

    def __init__(
        self,
        machine: Machine,
        *,
        data_dir: str = DEFAULT_DATA_DIR,
        kill_at: int | None = None,
        kill_before: str | None = None,
    ) -> None:
        self.machine = machine
        self._home = data_dir
        self._kernel = machine.kernel
        self.kill_at = kill_at
        self.kill_before = kill_before
        self.dead = False
        self.reads: list[DeviceKey] = []
        self.reported: list[tuple[str, dict[str, object]]] = []
        self.performed: list[Step] = []

    def alive(self) -> Machine:
        if self.dead:
            raise Killed
        for look in self.machine.looks:
            look()
        return self.machine

    def spend_moment(self, what: str) -> None:
        """One moment of this process has come, and may be its last."""
        if self.kill_before is not None and what.startswith(self.kill_before):
            self.dead = True
        if self.dead:
            raise Killed
        if self.kill_at is not None:
            if self.kill_at == 0:
                self.dead = True
                raise Killed
            self.kill_at -= 1

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.reported]

    # ---- facts

    def clock(self) -> Clock:
        kernel = self.alive().kernel
        return Clock(kernel.now_s, f"boot-{kernel.boot}", f"{kernel.now_s} s after boot")

    def host(self) -> Netns:
        return self._netns("/proc/thread-self/ns/net", self.alive().kernel.host)

    def find_netns(self, path: str) -> Netns | None:
        space = self.alive().kernel.paths.get(path)
        return None if space is None else self._netns(path, space)

    def find_pod(self, ref: NetnsRef) -> Netns | None:
        """As `effects.node`: at the path, and else at any other."""
        paths = [ref.path, *(self.alive().kernel.paths if ref.id.cookie is not None else ())]
        found = (self.find_netns(path) for path in paths)
        return next((pod for pod in found if ref.is_alive_in(pod)), None)

    def find_elsewhere(self, record: Attachment) -> Place | None:
        for path, space in self.alive().kernel.paths.items():
            if space is not self._kernel.host:
                netdev = find_anywhere(record, self._netns(path, space))
                if netdev is not None:
                    return Place(path, netdev.ifname)
        return None

    def is_netns(self, path: str) -> bool:
        return path in self.alive().kernel.paths

    def _netns(self, path: str, space: Space) -> Netns:
        return Netns(path, NetnsId(4, space.inode, space.cookie), self._kernel.netdevs(space))

    def details(self, netdev: Netdev) -> Details:
        kernel = self.alive().kernel
        link = next(link for link in kernel.host.links if link.ifindex == netdev.ifindex)
        return kernel.details(link)

    def unsaved(self, netdev: Netdev, details: Details, *, renumbered: bool) -> tuple[str, ...]:
        kernel = self.alive().kernel
        return (*kernel.unsaved, *(kernel.unsaved_if_renumbered if renumbered else ()))

    def load(self, netdevs: Collection[Netdev], chosen: Collection[Netdev]) -> Load:
        load, numbers = self.alive().kernel.load(), {netdev.ifindex for netdev in chosen}
        told = {n: macs for n, macs in load.receives_for.items() if n in numbers}
        return attrs.evolve(load, receives_for=told)

    def find_device(self, bus_device: BusDevice) -> SysfsDevice | None:
        kernel = self.alive().kernel
        function = kernel.functions.get(str(bus_device))
        if function is None:
            return None
        here = [link.name for link in function.links if link.space is kernel.host]
        names = tuple(IfName(name) for name in sorted(here))
        below = {link.parent for link in function.links} - {function.address, None}
        virtio = tuple(sorted(map(str, below)))
        return SysfsDevice(bus_device, driver=function.driver, ifnames=names, virtio=virtio)

    def bus_device_of(self, ifname: IfName) -> BusDevice | None:
        link = next((n for n in self.alive().kernel.host.links if n.name == ifname), None)
        if link is None or link.function is None:
            return None
        return parse_bus_device(link.function)

    def netdevs_at(self, kernelpath: str) -> tuple[IfName, ...]:
        address = self.alive().kernelpaths.get(kernelpath)
        device = None if address is None else self.find_device(parse_bus_device(address))
        return () if device is None else device.ifnames

    def pause(self, seconds: float) -> None:
        self.alive()
        self._kernel.moment("pause")

    def lock(self, device: str, *, wait_s: float) -> AbstractContextManager[None]:
        return self._locked(device, wait_s)

    @contextmanager
    def _locked(self, device: str, wait_s: float) -> Iterator[None]:
        machine = self.alive()
        self._kernel.moment(f"lock {device}")
        if device in machine.locks:
            raise DeviceBusy(f"another call has been working on {device} for {wait_s:g} s")
        machine.locks.add(device)
        try:
            yield
        finally:
            machine.locks.discard(device)

    def is_locked(self, device: str) -> bool:
        return device in self.alive().locks

    # ---- records

    def _disk(self, folder: str) -> Disk:
        machine = self.alive()
        if folder == DEFAULT_DATA_DIR:
            return machine.disk
        return machine.other_disks.setdefault(folder, Disk())

    def _disks(self) -> dict[str, Disk]:
        """Where this process looks for records, as `effects.stores` does."""
        known = (self._home, DEFAULT_DATA_DIR, *sorted(self.alive().disk.folders))
        return {folder: self._disk(folder) for folder in known}

    def records_of(self, bus_device: BusDevice) -> tuple[Attachment, ...]:
        keys = [each for each in self._keys() if each[1].bus_device == bus_device]
        return tuple(found for each in keys if (found := self._find(*each)) is not None)

    def find_record(self, key: DeviceKey) -> Attachment | None:
        found = (self._find(folder, key) for folder in self._disks())
        return next((record for record in found if record is not None), None)

    def _find(self, folder: str, key: DeviceKey) -> Attachment | None:
        data = self._disk(folder).files.get(str(key))
        if data is None:
            return None
        self.reads.append(key)
        try:
            record = formats.parse_attachment(data)
            if record.key != key:
                raise DamagedRecord(f"it is the record of {record.key}")
        except DamagedRecord as failure:
            self._set_aside(folder, key, failure)
            return None
        return attrs.evolve(record, folder=folder)

    def records(self) -> tuple[Attachment, ...]:
        found = []
        for folder, key in self._keys():
            try:
                record = self._find(folder, key)
            except StateTooNew as failure:
                self.report("record-too-new", device=str(key), reason=failure.message)
                continue
            if record is not None:
                found.append(record)
        return tuple(found)

    def multipath_records(self) -> tuple[Attachment, ...]:
        """As `effects.store`, which has markers for them."""
        found = []
        for folder, disk in self._disks().items():
            for name, record in disk.records().items():
                routes = (record.get("captured") or {}).get("routes", [])
                if any(len(route["hops"]) > 1 for route in routes):
                    found.append(self._find(folder, DeviceKey.parse(name)))
        return tuple(record for record in found if record is not None)

    def unfinished(self) -> tuple[DeviceKey, ...]:
        marked = {name for disk in self._disks().values() for name in disk.markers}
        return tuple(DeviceKey.parse(name) for name in sorted(marked))

    def was_damaged(self, key: DeviceKey) -> bool:
        return any(name == str(key) for disk in self._disks().values() for name, _ in disk.aside)

    def mappings(self) -> tuple[GoMapping, ...]:
        disk, (boot, second) = self.alive().disk, self.machine.disk.mappings_written
        if disk.mappings is None:
            return ()
        written_s = second if boot == self._kernel.boot else -1
        try:
            found, faults = formats.parse_mappings(disk.mappings, written_s)
        except UndecodableInput as failure:
            self.report("mappings-ignored", reason=failure.message)
            return ()
        if faults:
            self.report("mappings-ignored", reason="; ".join(faults))
        return found

    def forget_mapping(self, device: PciAddress) -> None:
        disk = self.machine.disk
        with suppress(TypeError, ValueError):
            entries = json.loads(disk.mappings or b"")
            if entries.pop(str(device), None) is not None:
                self._kernel.moment(f"take {device} out of the mappings")
                self._require_writable(disk)
                disk.mappings = json.dumps(entries).encode()

    def _keys(self) -> list[tuple[str, DeviceKey]]:
        return [
            (folder, DeviceKey.parse(name))
            for folder, disk in self._disks().items()
            for name in sorted(disk.files)
        ]

    def _set_aside(self, folder: str, key: DeviceKey, failure: DamagedRecord) -> None:
        disk = self._disk(folder)
        self.report("record-damaged", device=str(key), reason=failure.message)
        if not disk.read_only:
            self._kernel.moment(f"set aside {key}")
            disk.aside.append((str(key), disk.files.pop(str(key))))

    def save(self, record: Attachment) -> None:
        """As `effects.store`: the marker of unfinished work comes first, and goes last.

        The index comes before both.
        """
        folder, name = record.folder or self._home, str(record.key)
        disk = self._disk(folder)
        self._require_lock(record.key)
        if folder != DEFAULT_DATA_DIR and folder not in self.machine.disk.folders:
            self._kernel.moment(f"note {folder}")
            self._require_writable(self.machine.disk)
            self.machine.disk.folders.add(folder)
        if record.phase is not Phase.ATTACHED:
            self._kernel.moment(f"mark {name}")
            self._require_writable(disk)
            disk.markers.add(name)
            disk.attempts.pop(name, None)
        self._kernel.moment(f"write {name}")
        self._require_writable(disk)
        if disk.full:
            raise StateFailure(f"cannot write the record of {name}: No space left on device")
        disk.files[name] = codec.encode(formats.attachment_to_json(record)).encode()
        if record.phase is Phase.ATTACHED:
            self._kernel.moment(f"unmark {name}")
            self._unmark(name, disk)

    def remove(self, key: DeviceKey, folder: str | None = None) -> None:
        self._require_lock(key)
        for each, disk in self._disks().items():
            if folder in (None, each):
                self._remove(str(key), disk)

    def forget(self, key: DeviceKey, folder: str | None = None) -> None:
        self._require_lock(key)
        for each, disk in self._disks().items():
            if folder is None or each == folder:
                self._forget(str(key), disk)
                if not (disk.files or disk.markers):
                    self.machine.disk.folders.discard(each)

    def _remove(self, name: str, disk: Disk) -> None:
        if name in disk.files:
            self._kernel.moment(f"remove {name}")
            self._require_writable(disk)
            del disk.files[name]

    def _forget(self, name: str, disk: Disk) -> None:
        self._remove(name, disk)
        if name in disk.markers:
            self._kernel.moment(f"unmark {name}")
            self._require_writable(disk)
            self._unmark(name, disk)

    def _unmark(self, name: str, disk: Disk) -> None:
        disk.markers.discard(name)
        disk.attempts.pop(name, None)

    def _marking(self, key: DeviceKey) -> Disk | None:
        """The disk that has the marker of unfinished work on the device."""
        return next((d for d in self._disks().values() if str(key) in d.markers), None)

    def attempts(self, key: DeviceKey) -> Attempts | None:
        disk = self._marking(key)
        data = None if disk is None else disk.attempts.get(str(key))
        return None if data is None else retry.parse_attempts(data)

    def note(self, key: DeviceKey, attempts: Attempts) -> None:
        """As `effects.store`, which writes into a marker that is there."""
        self._require_lock(key)
        self._kernel.moment(f"note attempts {key}")
        disk = self._marking(key)
        if disk is not None and not (disk.read_only or disk.full):
            disk.attempts[str(key)] = retry.to_bytes(attempts)

    def _require_writable(self, disk: Disk) -> None:
        if disk.read_only:
            raise StateFailure("cannot write to the state folder: Read-only file system")

    def _require_lock(self, key: DeviceKey) -> None:
        if key.lock_name not in self.machine.locks:
            self._kernel.violations.append(f"the record of {key} changes without its lock")

    # ---- other plugins

    def find_plugin(self, name: PluginName) -> str:
        if name not in self.alive().plugins.installed:
            raise PluginNotFound(f"the CNI plugin {name!r} is not installed")
        return f"/opt/cni/bin/{name}"

    def versions_of(self, name: PluginName) -> tuple[str, ...]:
        self.find_plugin(name)
        return self.machine.plugins.versions.get(name, SUPPORTED)

    def call(self, call: PluginCall, *, limit_s: float | None = None) -> Json:
        self.find_plugin(call.plugin)
        execution = Execution(
            limit_s=TIME_LIMIT_S if limit_s is None else limit_s,
            plugin=call.plugin,
            verb=call.verb,
            config=json.loads(json.dumps(call.config)),
            container_id=call.attachment.container_id if call.attachment else "",
            ifname=call.attachment.ifname if call.attachment else "",
            netns=call.netns,
            args=call.args,
        )
        try:
            answer: Json = json.loads(json.dumps(self.machine.plugins.execute(execution)))
        except PluginError as error:
            raise PluginFailed(call.plugin, error.code, error.msg) from None
        except PluginDied:
            raise PluginBroken(f"{call.plugin} did not end {call.verb} and was killed") from None
        return answer

    def require_ready(self) -> None:
        machine = self.alive()
        if machine.unready is not None:
            raise NotAvailable(machine.unready)
        home = self._disk(self._home)
        if home.full or home.read_only or machine.disk.read_only:
            raise NotAvailable("cannot write to the state folder")

    def report(self, event: str, **facts: object) -> None:
        self.alive()
        self.reported.append((event, facts))

    # ---- steps

    def perform(self, step: Step, so_far: Outcome) -> Outcome:
        self.alive()
        self._kernel.moment(f"before {type(step).__name__}")
        outcome = perform(step, so_far, self)
        self.performed.append(step)
        self._kernel.moment(f"after {type(step).__name__}")
        return outcome

    @property
    def own(self) -> "FakeNamespace":
        return FakeNamespace(self, self.alive().kernel.host)

    @contextmanager
    def enter(self, path: str) -> Iterator["FakeNamespace | None"]:
        space = self.alive().kernel.paths.get(path)
        yield None if space is None else FakeNamespace(self, space)


class FakeNamespace:
    """A namespace of the machine's kernel, as one process of ours sees it."""

    def __init__(self, node: FakeNode, space: Space) -> None:
        self._node = node
        self._space = space
        self.id = NetnsId(4, space.inode, space.cookie)

    def netdevs(self) -> tuple[Netdev, ...]:
        return self._kernel.netdevs(self._space)

    def find_netdev(self, ifname: str) -> Netdev | None:
        return netdev_named(self.netdevs(), ifname)

    def find_by_index(self, ifindex: int) -> Netdev | None:
        return next((n for n in self.netdevs() if n.ifindex == ifindex), None)

    def details(
        self, netdev: Netdev, kept: Captured | None = None, *, early: bool = False
    ) -> Details:
        link = next(link for link in self._space.links if link.ifindex == netdev.ifindex)
        whole = attrs.evolve(self._kernel.details(link), ways_out=())
        if early:
            return Details(sysctls=whole.sysctls, sysctl_defaults=whole.sysctl_defaults)
        others = self.routes_to(set() if kept is None else shared_destinations(kept.routes))
        left = [route for route in others if route not in whole.routes]
        return attrs.evolve(whole, routes=(*whole.routes, *left))

    def routes_to(self, destinations: Collection[IpNetwork]) -> tuple[Route, ...]:
        found = self._kernel.routes(self._space)
        return tuple(route for route in found if route.destination in destinations)

    def change(self, netdev: Netdev, **attributes: object) -> None:
        self._ask(self._change, netdev, attributes)

    def _change(self, link: Link, attributes: dict[str, object]) -> None:
        for name, value in attributes.items():
            if name == "up":
                self._kernel.set_up(link, bool(value))
            else:
                plain = "" if name == "alias" and value is None else value
                self._kernel.set_attribute(link, name, plain)

    def rename(self, netdev: Netdev, ifname: IfName) -> None:
        self._ask(self._kernel.rename, netdev, ifname)

    def drop_altname(self, netdev: Netdev, altname: str) -> None:
        self._ask(self._kernel.drop_altname, netdev, altname)

    def add_altname(self, netdev: Netdev, altname: str) -> None:
        self._ask(self._kernel.add_altname, netdev, altname)

    def move(
        self, netdev: Netdev, to: "FakeNamespace", ifname: IfName, **attributes: object
    ) -> None:
        def act(link: Link) -> None:
            self._kernel.move(link, to._space, ifname)
            self._change(link, attributes)

        self._ask(act, netdev)

    def put_address(self, netdev: Netdev, address: Address) -> None:
        self._ask(self._kernel.add_address, netdev, address)

    def allow_ipv6(self, ifname: str) -> None:
        self._kernel.allow_ipv6(self._space, ifname)

    def put_route(self, change: SetRoute) -> None:
        parts = [part for part in (change.whole, change.least) if part is not None]
        for number, part in enumerate(parts, start=1):
            try:
                with _refusing():
                    self._kernel.add_route(self._space, part.route, replace=part.replace)
                break
            except KernelRefused:
                if number == len(parts):
                    raise

    def apply(self, netdev: Netdev, changes: Iterable[Change]) -> list[str]:
        refused = []
        for change in changes:
            try:
                self._apply(netdev, change)
            except KernelRefused as failure:
                refused.append(failure.message)
        return refused

    def _apply(self, netdev: Netdev, change: Change) -> None:
        match change:
            case SetToken(wanted):
                self.change(netdev, token=wanted)
            case SetAltname(altname, present=True):
                self.add_altname(netdev, altname)
            case SetAltname(altname):
                self.drop_altname(netdev, altname)
            case SetLink(name, value):
                self.change(netdev, **{name: value})
            case SetAddress(address):
                self.put_address(netdev, address)
            case SetNeighbour(neighbour):
                self._ask(self._kernel.add_neighbour, netdev, neighbour)
            case SetProxyNeighbour(neighbour):
                self._ask(self._kernel.add_proxy_neighbour, netdev, neighbour)
            case SetRoute():
                self.put_route(change)
            case SetQdisc(qdisc):
                self._ask(self._kernel.set_qdisc, netdev, qdisc)
            case SetSysctl(name, value):
                self._ask(self._kernel.set_sysctl, netdev, name, value)
            case _:
                assert_never(change)

    @property
    def _kernel(self) -> Kernel:
        return self._node.alive().kernel

    def _ask(self, act: Callable[..., None], netdev: Netdev, *arguments: object) -> None:
        link = next(link for link in self._space.links if link.ifindex == netdev.ifindex)
        with _refusing():
            act(link, *arguments)


@contextmanager
def _refusing() -> Iterator[None]:
    """What the kernel refuses; what is there already, or not any more, is no refusal."""
    try:
        yield
    except AlreadySo:
        return
    except Refused as error:
        raise KernelRefused(f"the kernel refused: {error}") from None


_: type[ports.Machine] = FakeNode


# ---- what a test needs -------------------------------------------------------------------------


@attrs.define(eq=False)
class Keeper:
    """Remembers how a NIC was configured on the host, and watches that this is never lost.

    At each moment the NIC is on the host as it was, or a record on the disk tells how it was.
    Records are read as plain JSON.
    """

    machine: Machine
    link: Link
    original: Configuration = attrs.field(init=False)
    order_matters: bool = True
    """False once an address was refused: the kernel lists it by when it was accepted."""
    names: set[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.remember()
        self.machine.kernel.watchers.append(self.watch)

    def remember(self) -> None:
        """How the NIC is configured now is how it has to come back from now on."""
        self.original = self.machine.kernel.configuration_of(self.link)
        self.names = {self.original.ifname}

    @property
    def is_plugged(self) -> bool:
        """Whether the NIC is in the machine, or what is made by software exists."""
        if self.link.function is None:
            return self.link in self.link.space.links
        return self.link.function in self.machine.kernel.functions

    def due(self) -> Configuration:
        """What has to be there: lifetimes go on, wherever the NIC is."""
        return self.original.at(self.machine.kernel.now_s)

    def is_whole(self) -> bool:
        """Whether the NIC is on the host as it was; under a free name if its own was taken.

        The mark of a record that is yet to go is no part of what it was.
        """
        host, link = self.machine.kernel.host, self.link
        if link.space is not host:
            return False
        taken = self.original.ifname in host.names - link.names
        if taken and link.name == f"{self.original.ifname}_1":
            self.names.add(link.name)
        seen, due = _unmarked(self.machine.kernel.configuration_of(link)), self.due()
        if seen.ifname != due.ifname:
            due = attrs.evolve(due, ifname=seen.ifname)
        if not self.order_matters:
            seen, due = _in_any_order(seen), _in_any_order(due)
        return seen == due and seen.ifname in self.names

    def is_recorded(self) -> bool:
        """Whether a record tells of the NIC all that there was."""
        return any(self._tells_all(record) for record in self.records())

    def records(self) -> list[dict[str, Any]]:
        """The records of the NIC in every folder that the index names, damaged ones left out."""
        found = []
        machine = self.machine
        for disk in (machine.disk, *(machine.other_disks[name] for name in machine.disk.folders)):
            for key, data in disk.files.items():
                with suppress(ValueError):
                    if _is_key_of(key, self.link, self.names):
                        found.append(json.loads(data))
        return found

    def _tells_all(self, record: dict[str, Any]) -> bool:
        captured = record.get("captured") or {}
        told = [entry["interface"] for entry in captured.get("addresses", [])]
        return (
            record["boot_id"] == f"boot-{self.machine.kernel.boot}"
            and captured.get("ifname") in self.names
            and captured.get("up", False) == self.original.up
            and (captured.get("alias") or "") == self.original.alias
            and {str(address.interface) for address, _, _ in self.due().addresses} <= set(told)
            and _count(captured, "routes") == len(self.original.routes)
            and _count(captured, "neighbours") == len(self.original.neighbours)
            and _count(captured, "proxy_neighbours") == len(self.original.proxy_neighbours)
            and dict(self.original.sysctls).items() <= captured.get("sysctls", {}).items()
            and ("qdisc" in captured) == (self.original.qdisc is not None)
        )

    def watch(self) -> None:
        if self.is_plugged and not self.is_whole() and not self.is_recorded():
            where = self.machine.kernel.moments[-1]
            self.machine.kernel.violations.append(f"{self.original.ifname} is lost before: {where}")


def _is_key_of(key: str, link: Link, names: set[str]) -> bool:
    bus_device, _, name = key.partition("@")
    return bus_device == (link.function or "") and (bus_device != "" or name in names)


def _count(captured: dict[str, Any], what: str) -> int:
    return len(captured.get(what, []))


def _unmarked(configuration: Configuration) -> Configuration:
    *link, altnames = configuration.link
    assert isinstance(altnames, tuple)
    left = tuple(name for name in altnames if not name.startswith("amdcni-"))
    return configuration if left == altnames else attrs.evolve(configuration, link=(*link, left))


def _in_any_order(configuration: Configuration) -> Configuration:
    return attrs.evolve(configuration, addresses=tuple(sorted(configuration.addresses, key=str)))


def furnish(machine: Machine, link: Link) -> None:
    """Configure what a NIC of a fabric has besides its addresses; routes only while it is up."""
    link.altnames.add(f"{link.name}-of-the-fabric")
    link.flags, link.mtu, link.group = int(LinkFlag.MULTICAST), 9000, 7
    link.neighbours = [Neighbour(ipaddress.ip_address("192.0.2.77"), MacAddress(link.mac))]
    link.proxy_neighbours = [Neighbour(ipaddress.ip_address("192.0.2.78"), flags=8)]
    link.sysctls = {"ipv4/conf/rp_filter": "2", "ipv6/conf/accept_ra": "0"}
    link.qdisc = Qdisc("pfifo", 0x110000, "37000000")
    link.token = ipaddress.ip_address("::5")
    if link.up:
        own = Hop(IfName(link.name), link.ifindex)
        router = attrs.evolve(own, via=ipaddress.ip_address("192.0.2.0"))
        number = link.ifindex
        for destination, hop in ((f"10.{number}.1.0/24", router), (f"10.{number}.2.0/24", own)):
            machine.kernel.add_route(
                machine.kernel.host, Route(ipaddress.ip_network(destination), (hop,), table=100)
            )
        # What a network manager sets in the kernel's place has the kernel's and a router's mark.
        for destination, protocol in ((f"10.{number}.3.0/24", 2), (f"2001:db8:{number}::/64", 9)):
            managed = Route(
                ipaddress.ip_network(destination), (own,), protocol=protocol, metric=1024
            )
            machine.kernel.add_route(machine.kernel.host, managed)


# ---- a runtime ---------------------------------------------------------------------------------


def config_for(address: str | None = None, /, **keys: object) -> dict[str, Any]:
    """The configuration that Multus hands over, for the device at `address`."""
    config: dict[str, Any] = {"cniVersion": "1.1.0", "name": "fabric", "type": "amd-host-device"}
    if address is not None:
        config |= {"deviceID": address, "pciBusID": address}
    return config | keys


HOST_LOCAL: Final[Mapping[str, object]] = {"type": "host-local", "subnet": "10.9.0.0/24"}
"""An `ipam` whose addresses come from `Plugins.pool`."""


def ask(
    machine: Machine,
    verb: Verb,
    config: Mapping[str, object] | bytes,
    *,
    container: str = "pod1",
    ifname: str = "net1",
    netns: str | None = "/run/netns/pod1",
    args: str = "",
    kill_at: int | None = None,
    kill_before: str | None = None,
) -> Result | None:
    """What a runtime does: start a process that serves one call, afterwards `Machine.last`.

    A configuration of bytes comes on standard input as it is.
    """
    request = request_for(
        machine, verb, config, container=container, ifname=ifname, netns=netns, args=args
    )
    data_dir = request.network.data_dir
    node = FakeNode(machine, data_dir=data_dir, kill_at=kill_at, kill_before=kill_before)
    with machine.running(node):
        return verbs.serve(request, node)


def request_for(
    machine: Machine,
    verb: Verb,
    config: Mapping[str, object] | bytes,
    *,
    container: str = "pod1",
    ifname: str = "net1",
    netns: str | None = "/run/netns/pod1",
    args: str = "",
) -> Request:
    """What a runtime asks of a process."""
    environ = {
        "CNI_COMMAND": verb.value,
        "CNI_CONTAINERID": container,
        "CNI_IFNAME": ifname,
        "CNI_NETNS": netns or "",
        "CNI_PATH": "/opt/cni/bin",
        "CNI_ARGS": args,
    }
    if isinstance(config, bytes):
        stdin = config
    else:
        stdin = json.dumps({"mover": machine.mover, **config}).encode()
    return formats.parse_call(parse_environment(environ), stdin)
