"""A machine in memory, and `FakeNode`: one process of ours on it.

The kernel is `fake_kernel`, the plugins are `fake_plugins`.  Steps are performed by the code that
performs them on a real node, `amdcni.effects.perform`; what that asks of a node is made here.

A process can be killed at any moment of its call (`ask(..., kill_at=3)`, or `kill_before` one that
begins with some words): each later use of that node raises `Killed`, which nobody catches, so that
nothing is undone, and its locks are free.
"""

import ipaddress
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final

import attrs

from amdcni import commands, node
from amdcni.core import codec
from amdcni.core.attachment import Attachment, Phase
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
    Details,
    Hop,
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
from amdcni.core.plans import Clock
from amdcni.core.request import Request, parse_environment
from amdcni.core.routes import RouteChange
from amdcni.core.spec import Json, Result, Verb
from amdcni.core.steps import (
    Outcome,
    PluginCall,
    Step,
)
from amdcni.core.versions import SUPPORTED
from amdcni.effects.perform import perform
from tests.unit.fake_kernel import Configuration, Kernel, Link, Refused, Space
from tests.unit.fake_plugins import Execution, PluginDied, PluginError, Plugins


class Killed(BaseException):
    """The process is dead; this only unwinds the stack that a dead process does not have."""


@attrs.define
class Disk:
    """The state folder: record files and markers by device key."""

    files: dict[str, bytes] = attrs.field(factory=dict)
    aside: list[tuple[str, bytes]] = attrs.field(factory=list)
    mappings: bytes | None = None
    """The Go plugin's file."""
    mappings_written: tuple[int, int] = (1, 0)
    """The boot in which it was last written, and the second of that."""
    markers: set[str] = attrs.field(factory=set)
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
    locks: set[str] = attrs.field(factory=set)
    kernelpaths: dict[str, str] = attrs.field(factory=dict)
    unready: str | None = None
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
        self.last = self._running = node
        try:
            yield
        finally:
            self._running = None

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
            dict(self.disk.files),
            set(self.disk.markers),
            dict(self.plugins.leases),
            set(self.locks),
        )


# ---- a process of ours -------------------------------------------------------------------------


class FakeNode:
    """One call's process on a machine: an `amdcni.node.Machine`."""

    def __init__(
        self, machine: Machine, *, kill_at: int | None = None, kill_before: str | None = None
    ) -> None:
        self.machine = machine
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

    def is_netns(self, path: str) -> bool:
        return path in self.alive().kernel.paths

    def _netns(self, path: str, space: Space) -> Netns:
        return Netns(path, NetnsId(4, space.inode), self._kernel.netdevs(space))

    def details(self, netdev: Netdev) -> Details:
        kernel = self.alive().kernel
        link = next(link for link in kernel.host.links if link.ifindex == netdev.ifindex)
        return kernel.details(link)

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

    # ---- records

    def records_of(self, bus_device: BusDevice) -> tuple[Attachment, ...]:
        keys = [key for key in self._keys() if key.bus_device == bus_device]
        return tuple(record for key in keys if (record := self.find_record(key)) is not None)

    def find_record(self, key: DeviceKey) -> Attachment | None:
        data = self.alive().disk.files.get(str(key))
        if data is None:
            return None
        self.reads.append(key)
        try:
            record = codec.parse_attachment(data)
            if record.key != key:
                raise DamagedRecord(f"it is the record of {record.key}")
        except DamagedRecord as failure:
            self._set_aside(key, failure)
            return None
        return record

    def records(self) -> tuple[Attachment, ...]:
        found = []
        for key in self._keys():
            try:
                record = self.find_record(key)
            except StateTooNew as failure:
                self.report("record-too-new", device=str(key), reason=failure.message)
                continue
            if record is not None:
                found.append(record)
        return tuple(found)

    def multipath_records(self) -> tuple[Attachment, ...]:
        """As `effects.store`, which has markers for them."""
        found = []
        for name, record in self.alive().disk.records().items():
            routes = (record.get("captured") or {}).get("routes", [])
            if any(len(route["hops"]) > 1 for route in routes):
                found.append(self.find_record(DeviceKey.parse(name)))
        return tuple(record for record in found if record is not None)

    def unfinished(self) -> tuple[DeviceKey, ...]:
        return tuple(DeviceKey.parse(name) for name in sorted(self.alive().disk.markers))

    def was_damaged(self, key: DeviceKey) -> bool:
        return any(name == str(key) for name, _ in self.alive().disk.aside)

    def mappings(self) -> tuple[GoMapping, ...]:
        disk, (boot, second) = self.alive().disk, self.machine.disk.mappings_written
        if disk.mappings is None:
            return ()
        written_s = second if boot == self._kernel.boot else -1
        try:
            found, faults = codec.parse_mappings(disk.mappings, written_s)
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
                self._require_writable()
                disk.mappings = json.dumps(entries).encode()

    def _keys(self) -> list[DeviceKey]:
        return [DeviceKey.parse(name) for name in sorted(self.alive().disk.files)]

    def _set_aside(self, key: DeviceKey, failure: DamagedRecord) -> None:
        disk = self.machine.disk
        self.report("record-damaged", device=str(key), reason=failure.message)
        if not disk.read_only:
            self._kernel.moment(f"set aside {key}")
            disk.aside.append((str(key), disk.files.pop(str(key))))

    def save(self, record: Attachment) -> None:
        """As `effects.store`: the marker of unfinished work comes first, and goes last."""
        disk, name = self.machine.disk, str(record.key)
        self._require_lock(record.key)
        if record.phase is not Phase.ATTACHED:
            self._kernel.moment(f"mark {name}")
            self._require_writable()
            disk.markers.add(name)
        self._kernel.moment(f"write {name}")
        self._require_writable()
        if disk.full:
            raise StateFailure(f"cannot write the record of {name}: No space left on device")
        disk.files[name] = codec.encode(codec.attachment_to_json(record)).encode()
        if record.phase is Phase.ATTACHED:
            self._kernel.moment(f"unmark {name}")
            disk.markers.discard(name)

    def forget(self, key: DeviceKey) -> None:
        disk, name = self.machine.disk, str(key)
        self._require_lock(key)
        if name in disk.files:
            self._kernel.moment(f"remove {name}")
            self._require_writable()
            del disk.files[name]
        if name in disk.markers:
            self._kernel.moment(f"unmark {name}")
            self._require_writable()
            disk.markers.discard(name)

    def _require_writable(self) -> None:
        if self.machine.disk.read_only:
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

    def call(self, call: PluginCall) -> Json:
        self.find_plugin(call.plugin)
        execution = Execution(
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
        if machine.disk.full or machine.disk.read_only:
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
        self.id = NetnsId(4, space.inode)

    def netdevs(self) -> tuple[Netdev, ...]:
        return self._kernel.netdevs(self._space)

    def find_netdev(self, ifname: str) -> Netdev | None:
        return netdev_named(self.netdevs(), ifname)

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

    def routes(self) -> tuple[Route, ...]:
        return self._kernel.routes(self._space)

    def put_route(self, change: RouteChange) -> None:
        kernel = self._kernel
        try:
            kernel.add_route(self._space, change.route, replace=change.replace)
        except Refused as error:
            raise KernelRefused(f"the kernel refused: {error}") from None

    def put_neighbour(self, netdev: Netdev, neighbour: Neighbour) -> None:
        self._ask(self._kernel.add_neighbour, netdev, neighbour)

    def put_sysctl(self, netdev: Netdev, name: str, value: int | str) -> None:
        self._ask(self._kernel.set_sysctl, netdev, name, value)

    def put_qdisc(self, netdev: Netdev, qdisc: Qdisc) -> None:
        self._ask(self._kernel.set_qdisc, netdev, qdisc)

    @property
    def _kernel(self) -> Kernel:
        return self._node.alive().kernel

    def _ask(self, act: Callable[..., None], netdev: Netdev, *arguments: object) -> None:
        link = next(link for link in self._space.links if link.ifindex == netdev.ifindex)
        try:
            act(link, *arguments)
        except Refused as error:
            raise KernelRefused(f"the kernel refused: {error}") from None


_: type[node.Machine] = FakeNode


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
        return self.link.function in self.machine.kernel.functions

    def due(self) -> Configuration:
        """What has to be there: lifetimes go on, wherever the NIC is."""
        return self.original.at(self.machine.kernel.now_s)

    def is_whole(self) -> bool:
        """Whether the NIC is on the host as it was; under a free name if its own was taken."""
        host, link = self.machine.kernel.host, self.link
        if link.space is not host:
            return False
        taken = self.original.ifname in host.names - link.names
        if taken and link.name == f"{self.original.ifname}_1":
            self.names.add(link.name)
        seen = self.machine.kernel.configuration_of(link)
        due = attrs.evolve(self.due(), ifname=seen.ifname)
        if not self.order_matters:
            seen, due = _in_any_order(seen), _in_any_order(due)
        return seen == due and seen.ifname in self.names

    def is_recorded(self) -> bool:
        """Whether a record tells of the NIC all that there was."""
        return any(self._tells_all(record) for record in self.records())

    def records(self) -> list[dict[str, Any]]:
        """The records of the NIC, damaged ones left out."""
        found = []
        for key, data in self.machine.disk.files.items():
            with suppress(ValueError):
                if key.partition("@")[0] == (self.link.function or ""):
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
            and dict(self.original.sysctls).items() <= captured.get("sysctls", {}).items()
            and ("qdisc" in captured) == (self.original.qdisc is not None)
        )

    def watch(self) -> None:
        if self.is_plugged and not self.is_whole() and not self.is_recorded():
            where = self.machine.kernel.moments[-1]
            self.machine.kernel.violations.append(f"{self.original.ifname} is lost before: {where}")


def _count(captured: dict[str, Any], what: str) -> int:
    return len(captured.get(what, []))


def _in_any_order(configuration: Configuration) -> Configuration:
    return attrs.evolve(configuration, addresses=tuple(sorted(configuration.addresses, key=str)))


def furnish(machine: Machine, link: Link) -> None:
    """Configure what a NIC of a fabric has besides its addresses; routes only while it is up."""
    link.altnames.add(f"{link.name}-of-the-fabric")
    link.flags, link.mtu, link.group = int(LinkFlag.MULTICAST), 9000, 7
    link.neighbours = [Neighbour(ipaddress.ip_address("192.0.2.77"), MacAddress(link.mac))]
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
    config: Mapping[str, object],
    *,
    container: str = "pod1",
    ifname: str = "net1",
    netns: str | None = "/run/netns/pod1",
    args: str = "",
    kill_at: int | None = None,
    kill_before: str | None = None,
) -> Result | None:
    """What a runtime does: start a process that serves one call, afterwards `Machine.last`."""
    request = request_for(
        machine, verb, config, container=container, ifname=ifname, netns=netns, args=args
    )
    node = FakeNode(machine, kill_at=kill_at, kill_before=kill_before)
    with machine.running(node):
        return commands.serve(request, node)


def request_for(
    machine: Machine,
    verb: Verb,
    config: Mapping[str, object],
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
    stdin = json.dumps({"mover": machine.mover, **config}).encode()
    return codec.parse_request(parse_environment(environ), stdin)
