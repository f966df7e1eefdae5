"""`FakeNode`: one process of ours on the machine in memory.

Steps are performed by the code that performs them on a real node, `amdcni.effects.steps`; this
module provides what it needs from a node.

A process can be killed at any moment of its call: at number `kill_at`, or before one whose words
begin with `kill_before`.  Each later use of that node raises `Killed`, which nobody catches; so
nothing is undone, and its locks are released.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import attrs

from amdcni import ports
from amdcni.core import codec, formats, retry
from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Details
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
from amdcni.core.host import Interrupts, IpNetwork, Load, Netdev, Netns, NetnsId, Route, SysfsDevice
from amdcni.core.identity import Place, find_anywhere
from amdcni.core.mapping import GoMapping
from amdcni.core.names import BusDevice, DeviceKey, IfName, PciAddress, PluginName, parse_bus_device
from amdcni.core.plans.snapshot import Clock
from amdcni.core.policy import Policy
from amdcni.core.rdma import Rdma, RdmaDevice, RdmaFile
from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni.core.retry import Attempts
from amdcni.core.spec import Json, PluginCall
from amdcni.core.steps import Outcome, Step
from amdcni.core.versions import SUPPORTED
from amdcni.effects.plugins import TIME_LIMIT_S
from amdcni.effects.steps import perform
from tests.unit.fake_machine import Disk, Machine
from tests.unit.fake_namespace import FakeNamespace
from tests.unit.fake_netdevs import Space
from tests.unit.fake_plugins import Execution, PluginDied, PluginError


class Killed(BaseException):
    """The process is dead; this only unwinds the stack that a dead process does not have."""


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
        """A moment of this process has come; it may be the last."""
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

    def routes_in(self, path: str, destinations: Collection[IpNetwork]) -> tuple[Route, ...]:
        space = self.alive().kernel.paths.get(path)
        found = () if space is None else self._kernel.routes(space)
        return tuple(route for route in found if route.destination in destinations)

    def rdma_in(self, path: str) -> tuple[RdmaDevice, ...]:
        space = self.alive().kernel.paths.get(path)
        return () if space is None else self._kernel.rdma.devices(space)

    def find_pod(self, ref: NetnsRef) -> Netns | None:
        """As `effects.node`: at the path, otherwise at any other."""
        paths = [ref.path, *(self.alive().kernel.paths if ref.id.cookie is not None else ())]
        found = (self.find_netns(path) for path in paths)
        return next((pod for pod in found if ref.is_alive_in(pod)), None)

    def find_elsewhere(self, record: Attachment) -> Place | None:
        for path, space in self.alive().kernel.paths.items():
            if space is not self._kernel.host:
                netdev = find_anywhere(record, self._kernel.netdevs(space))
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

    def keeps_ifindexes(self) -> bool:
        return self.alive().kernel.keeps_ifindexes

    def unsaved(self, netdev: Netdev, details: Details, *, renumbered: bool) -> tuple[str, ...]:
        kernel = self.alive().kernel
        return (*kernel.unsaved, *(kernel.unsaved_if_renumbered if renumbered else ()))

    def load(self, netdevs: Collection[Netdev], chosen: Collection[Netdev]) -> Load:
        load, numbers = self.alive().kernel.load(), {netdev.ifindex for netdev in chosen}
        chosen_alone = {n: macs for n, macs in load.receives_for.items() if n in numbers}
        return attrs.evolve(load, receives_for=chosen_alone)

    def rdma(self) -> Rdma:
        return self.alive().kernel.rdma.seen()

    def rdma_files(self) -> tuple[RdmaFile, ...]:
        hcas = self.alive().kernel.rdma.hcas
        return tuple(RdmaFile(f"uverbs{h.file}", h.name, h.function) for h in hcas)

    def find_device(self, bus_device: BusDevice | None) -> SysfsDevice | None:
        kernel = self.alive().kernel
        function = kernel.functions.get(str(bus_device))
        if bus_device is None or function is None:
            return None
        here = [link.name for link in function.links if link.space is kernel.host]
        names = tuple(IfName(name) for name in sorted(here))
        below = {link.parent for link in function.links} - {function.address, None}
        virtio = tuple(sorted(map(str, below)))
        virtual = sorted(a for a, f in kernel.functions.items() if f.physfn == function.address)
        return SysfsDevice(
            bus_device,
            driver=function.driver,
            ifnames=names,
            virtio=virtio,
            physfn=None if function.physfn is None else PciAddress.parse(function.physfn),
            virtfns=tuple(map(PciAddress.parse, virtual)),
        )

    def interrupts_of(
        self, bus_device: BusDevice | None, kept: Interrupts | None = None
    ) -> Interrupts | None:
        kernel = self.alive().kernel
        function = kernel.functions.get(str(bus_device))
        if function is None or not function.interrupts:
            return None
        others: dict[str, int | str] = {
            number: cpus
            for other in kernel.functions.values()
            for number, cpus in other.interrupts.items()
            if other is not function and (kept is None or number in kept.others)
        }
        return Interrupts(dict(function.interrupts), others)

    def set_interrupt(self, number: str, cpus: str) -> None:
        kernel = self.alive().kernel
        kernel.moment(f"let interrupt {number} go to {cpus}")
        for function in kernel.functions.values():
            if number in function.interrupts:
                if function.interrupts[number] == "managed":
                    raise KernelRefused("the kernel refused: Input/output error")
                function.interrupts[number] = cpus

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
        self._kernel.time_passes()

    def await_udev(self, ifindex: int) -> bool:
        self.alive()
        return False

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
            record = self._parsed(data)
            if record.key != key:
                raise DamagedRecord(f"it is the record of {record.key}")
        except DamagedRecord as failure:
            self._set_aside(folder, key, failure)
            return None
        return attrs.evolve(record, folder=folder)

    def _parsed(self, data: bytes) -> Attachment:
        parsed = self.machine.parsed
        if data not in parsed:
            parsed[data] = formats.parse_attachment(data)
        return parsed[data]

    def records(self) -> tuple[Attachment, ...]:
        return self._readable(self._keys())

    def _readable(self, keys: Iterable[tuple[str, DeviceKey]]) -> tuple[Attachment, ...]:
        found = []
        for folder, key in keys:
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
        keys = [
            (folder, DeviceKey.parse(name))
            for folder, disk in self._disks().items()
            for name, data in disk.files.items()
            if _is_multipath(data)
        ]
        return self._readable(keys)

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
            if disk.full and name not in disk.markers:
                raise StateFailure(f"cannot mark work on {name}: No space left on device")
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
            # A full disk may have refused the marker: the record's own file becomes it.
            disk.markers.add(name)
            disk.attempts.pop(name, None)
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
        """As `effects.store`, which empties a marker that is there and then writes into it."""
        self._require_lock(key)
        self._kernel.moment(f"note attempts {key}")
        disk = self._marking(key)
        if disk is not None and not disk.read_only:
            disk.attempts.pop(str(key), None)
            if not disk.full:
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

    @property
    def policy(self) -> Policy:
        return self.alive().policy

    def allocated_to(self, uid: str) -> frozenset[str] | None:
        allocations = self.alive().allocations
        return None if allocations is None else allocations.get(uid, frozenset())

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

    @contextmanager
    def enter_new(self) -> Iterator["FakeNamespace | None"]:
        """The namespace ends even if this process is killed."""
        kernel = self.alive().kernel
        space = kernel.make_netns(f"/proc/{kernel.now_s}/ns/net")
        try:
            yield FakeNamespace(self, space)
        finally:
            kernel.leave_netns(space)


def _is_multipath(data: bytes) -> bool:
    """Whether a record, if it is one, holds a route with several hops, or a nexthop group."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        captured = json.loads(data).get("captured") or {}
        several = any(len(route["hops"]) > 1 for route in captured.get("routes", []))
        return several or bool(captured.get("nexthop_groups"))
    return False


_: type[ports.Machine] = FakeNode
