"""A machine in memory, and `FakeNode`: one process of ours on it.

The kernel is `fake_kernel`, the plugins are `fake_plugins`.  `FakeNode` gives the steps the meaning
that `amdcni.effects.perform` gives them: from the core it takes what is the definition of a step
there too (`plans.confirmed`, `plans.release_call`, `plans.ipam_call`, `find_home`,
`plans.free_name`, `find_in_pod`, `capture.aged`, `capture.deviations`, `capture.differences`,
`capture.in_setting_order`), and the JSON codec of records, because the disk holds bytes.

A process can be killed at any moment of its call (`ask(..., kill_at=3)`): each later use of that
node raises `Killed`, which nobody catches, so that nothing is undone, and its locks are free.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final, assert_never

import attrs

from amdcni import commands
from amdcni.core import capture, codec, plans
from amdcni.core.attachment import Attachment, Phase
from amdcni.core.capture import Captured
from amdcni.core.errors import (
    DamagedRecord,
    DeviceBusy,
    KernelRefused,
    NetdevLost,
    NotAvailable,
    PluginBroken,
    PluginFailed,
    PluginNotFound,
    RestoreIncomplete,
    StateFailure,
    StateTooNew,
)
from amdcni.core.host import Address, Netdev, Netns, NetnsId, SysfsDevice, names_of, netdev_named
from amdcni.core.names import BusDevice, DeviceKey, IfName, PluginName, parse_bus_device
from amdcni.core.plans import Clock
from amdcni.core.request import parse_environment
from amdcni.core.resolve import find_home, find_in_pod
from amdcni.core.spec import Json, Result, Verb
from amdcni.core.steps import (
    BringHome,
    ConfirmRecord,
    DelegateAdd,
    ForgetRecord,
    InspectPod,
    Outcome,
    PluginCall,
    ReleaseDelegate,
    ReleaseIpam,
    RestoreConfiguration,
    SaveRecord,
    Step,
    VerifyHome,
)
from amdcni.core.versions import SUPPORTED
from amdcni.execute import Node
from tests.unit.fake_kernel import Configuration, Kernel, Link, Refused, Space
from tests.unit.fake_plugins import Execution, PluginDied, PluginError, Plugins

_PLUGIN_FAILURES: Final = (PluginFailed, PluginBroken, PluginNotFound)


class Killed(BaseException):
    """The process is dead; this only unwinds the stack that a dead process does not have."""


@attrs.define
class Disk:
    """The state folder: record files and markers by device key."""

    files: dict[str, bytes] = attrs.field(factory=dict)
    aside: list[tuple[str, bytes]] = attrs.field(factory=list)
    markers: set[str] = attrs.field(factory=set)
    full: bool = False
    read_only: bool = False

    def records(self) -> dict[str, Any]:
        """Every record, read without the code under test."""
        return {key: json.loads(data) for key, data in self.files.items()}


@attrs.define(eq=False)
class Machine:
    """One node with its kernel, its plugins and its state folder; `last` served the last call.

    `locks` may hold the name of a device on which another process is at work.
    """

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

    def _spend(self, _: str) -> None:
        if self._running is not None:
            self._running.spend_moment()

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
    """One call's process on a machine: an `amdcni.execute.Node`."""

    def __init__(self, machine: Machine, *, kill_at: int | None = None) -> None:
        self.machine = machine
        self._kernel = machine.kernel
        self.kill_at = kill_at
        self.dead = False
        self.reads: list[DeviceKey] = []
        self.reported: list[tuple[str, dict[str, object]]] = []
        self.performed: list[Step] = []

    def _enter(self) -> Machine:
        if self.dead:
            raise Killed
        return self.machine

    def spend_moment(self) -> None:
        """One moment of this process has come, and may be its last."""
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
        kernel = self._enter().kernel
        return Clock(kernel.now_s, f"boot-{kernel.boot}", f"{kernel.now_s} s after boot")

    def host(self) -> Netns:
        return self._netns("/proc/thread-self/ns/net", self._enter().kernel.host)

    def find_netns(self, path: str) -> Netns | None:
        space = self._enter().kernel.paths.get(path)
        return None if space is None else self._netns(path, space)

    def _netns(self, path: str, space: Space) -> Netns:
        return Netns(path, NetnsId(4, space.inode), self._kernel.netdevs(space))

    def default_routes(self, ifindex: int) -> tuple[int, ...]:
        routes = self._enter().kernel.default_routes
        return routes if ifindex in routes else ()

    def find_device(self, bus_device: BusDevice) -> SysfsDevice | None:
        kernel = self._enter().kernel
        function = kernel.functions.get(str(bus_device))
        if function is None:
            return None
        here = [link.name for link in function.links if link.space is kernel.host]
        names = tuple(IfName(name) for name in sorted(here))
        below = {link.parent for link in function.links} - {function.address, None}
        virtio = tuple(sorted(map(str, below)))
        return SysfsDevice(bus_device, driver=function.driver, ifnames=names, virtio=virtio)

    def bus_device_of(self, ifname: IfName) -> BusDevice | None:
        link = next((n for n in self._enter().kernel.host.links if n.name == ifname), None)
        if link is None or link.function is None:
            return None
        return parse_bus_device(link.function)

    def netdevs_at(self, kernelpath: str) -> tuple[IfName, ...]:
        address = self._enter().kernelpaths.get(kernelpath)
        device = None if address is None else self.find_device(parse_bus_device(address))
        return () if device is None else device.ifnames

    def lock(self, device: str, *, wait_s: float) -> AbstractContextManager[None]:
        return self._locked(device, wait_s)

    @contextmanager
    def _locked(self, device: str, wait_s: float) -> Iterator[None]:
        machine = self._enter()
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
        data = self._enter().disk.files.get(str(key))
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

    def unfinished(self) -> tuple[DeviceKey, ...]:
        return tuple(DeviceKey.parse(name) for name in sorted(self._enter().disk.markers))

    def was_damaged(self, key: DeviceKey) -> bool:
        return any(name == str(key) for name, _ in self._enter().disk.aside)

    def _keys(self) -> list[DeviceKey]:
        return [DeviceKey.parse(name) for name in sorted(self._enter().disk.files)]

    def _set_aside(self, key: DeviceKey, failure: DamagedRecord) -> None:
        disk = self.machine.disk
        self.report("record-damaged", device=str(key), reason=failure.message)
        if not disk.read_only:
            self._kernel.moment(f"set aside {key}")
            disk.aside.append((str(key), disk.files.pop(str(key))))

    def _save(self, record: Attachment) -> None:
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

    def _forget(self, key: DeviceKey) -> None:
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
        if name not in self._enter().plugins.installed:
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
        machine = self._enter()
        if machine.unready is not None:
            raise NotAvailable(machine.unready)
        if machine.disk.full or machine.disk.read_only:
            raise NotAvailable("cannot write to the state folder")

    def report(self, event: str, **facts: object) -> None:
        self._enter()
        self.reported.append((event, facts))

    # ---- steps: the same semantics as `amdcni.effects.perform`, on the kernel above

    def perform(self, step: Step, so_far: Outcome) -> Outcome:
        self._enter()
        self._kernel.moment(f"before {type(step).__name__}")
        outcome = self._perform(step, so_far)
        self.performed.append(step)
        self._kernel.moment(f"after {type(step).__name__}")
        return outcome

    def _perform(self, step: Step, so_far: Outcome) -> Outcome:
        match step:
            case SaveRecord(record):
                self._save(record)
            case ConfirmRecord(record):
                confirmed = plans.confirmed(record, so_far)
                self._save(confirmed)
                return attrs.evolve(so_far, result=confirmed.result)
            case ForgetRecord(key):
                self._forget(key)
            case DelegateAdd(call):
                return attrs.evolve(so_far, result=codec.result_from_json(self.call(call)))
            case InspectPod(record):
                return self._inspect_pod(record, so_far)
            case ReleaseDelegate(record, required):
                pod = self.find_netns(record.netns.path)
                self._release(record, plans.release_call(record, pod), required)
            case ReleaseIpam(record):
                ipam = plans.ipam_call(record, Verb.DEL, netns_alive=False)
                self._release(record, ipam, required=False)
            case BringHome(record, captured):
                self._bring_home(record, captured)
            case RestoreConfiguration(record, captured):
                self._restore(record, captured)
            case VerifyHome(record, captured):
                self._verify(record, captured)
            case _:
                assert_never(step)
        return so_far

    def _inspect_pod(self, record: Attachment, so_far: Outcome) -> Outcome:
        pod = self.find_netns(record.netns.path)
        netdev = None if pod is None else netdev_named(pod.netdevs, record.id.ifname)
        if netdev is None:
            raise PluginBroken(f"{record.id.ifname!r} is not in {record.netns.path!r}")
        return attrs.evolve(so_far, pod_ifindex=netdev.ifindex, pod_mtu=netdev.mtu)

    def _release(self, record: Attachment, call: PluginCall | None, required: bool) -> None:
        if call is None:
            return
        try:
            self.call(call)
        except _PLUGIN_FAILURES as failure:
            if call.plugin == plans.DELEGATE and record.captured is not None:
                self.report("delegate-failed", device=str(record.key), reason=failure.message)
                ipam = plans.ipam_call(record, Verb.DEL, netns_alive=True)
                self._release(record, ipam, required)
            elif isinstance(failure, PluginNotFound) and record.phase is Phase.ATTACHING:
                return
            elif required:
                raise
            else:
                self.report("ipam-not-released", device=str(record.key), reason=failure.message)

    def _bring_home(self, record: Attachment, captured: Captured) -> None:
        host = self.host()
        netdev = self._at_home(record, host)
        if netdev is None:
            self._fetch(record, captured, host)
            host = self.host()
            netdev = self._at_home(record, host)
        if netdev is None:
            raise NetdevLost(f"the netdev of {record.key} is neither on the host nor in its pod")
        others = tuple(other for other in host.netdevs if other.ifindex != netdev.ifindex)
        wanted = plans.free_name(captured.ifname, names_of(others))
        if netdev.ifname != wanted:
            link = self._link(self._kernel.host, netdev)
            if wanted in netdev.altnames:
                self._ask(self._kernel.drop_altname, link, wanted)
            self._ask(self._kernel.set_up, link, False)
            self._ask(self._kernel.rename, link, wanted)
        if wanted != captured.ifname:
            self.report("name-taken", device=str(record.key), was=captured.ifname, now=wanted)

    def _fetch(self, record: Attachment, captured: Captured, host: Netns) -> None:
        pod = self.find_netns(record.netns.path)
        if pod is None:
            return
        netdev = find_in_pod(record, pod.netdevs)
        if netdev is None or pod.id != record.netns.id:
            return
        link = self._link(self._kernel.paths[pod.path], netdev)
        taken = names_of(host.netdevs)
        wanted = plans.free_name(captured.ifname, taken)
        for altname in (taken | {wanted}).intersection(netdev.altnames):
            self._ask(self._kernel.drop_altname, link, altname)
        self._ask(self._kernel.set_up, link, False)
        self._ask(self._kernel.move, link, self._kernel.host, wanted)

    def _restore(self, record: Attachment, captured: Captured) -> None:
        captured, netdev = self._still_due(record, captured), self._require_home(record)
        link = self._link(self._kernel.host, netdev)
        if (netdev.alias or None) != captured.alias:
            self._ask(self._kernel.set_alias, link, captured.alias or "")
        if netdev.up != captured.up:
            self._ask(self._kernel.set_up, link, captured.up)
        refused = self._put_addresses(link, netdev, captured.addresses)
        if refused:
            raise RestoreIncomplete(f"{record.key} on the host: " + "; ".join(refused))

    def _put_addresses(self, link: Link, netdev: Netdev, wanted: tuple[Address, ...]) -> list[str]:
        there = {address.identity: address for address in netdev.addresses}
        refused = []
        for address in capture.in_setting_order(wanted):
            present = there.get(address.identity)
            if present is not None and not capture.deviations(address, present):
                continue
            try:
                self._ask(self._kernel.add_address, link, address)
            except KernelRefused as failure:
                refused.append(failure.message)
        return refused

    def _verify(self, record: Attachment, captured: Captured) -> None:
        lacking = capture.differences(self._still_due(record, captured), self._require_home(record))
        if lacking:
            raise RestoreIncomplete(f"{record.key} is not yet what it was: " + "; ".join(lacking))

    def _still_due(self, record: Attachment, captured: Captured) -> Captured:
        elapsed_s = record.elapsed_s(self.clock().now_s)
        return attrs.evolve(captured, addresses=capture.aged(captured.addresses, elapsed_s))

    def _require_home(self, record: Attachment) -> Netdev:
        netdev = self._at_home(record, self.host())
        if netdev is None:
            raise NetdevLost(f"the netdev of {record.key} is not on the host")
        return netdev

    def _at_home(self, record: Attachment, host: Netns) -> Netdev | None:
        bus_device = record.key.bus_device
        device = None if bus_device is None else self.find_device(bus_device)
        return find_home(record, host.netdevs, device)

    def _link(self, space: Space, netdev: Netdev) -> Link:
        return next(link for link in space.links if link.ifindex == netdev.ifindex)

    def _ask(self, act: Callable[..., None], *arguments: object) -> None:
        try:
            act(*arguments)
        except Refused as error:
            raise KernelRefused(f"the kernel refused: {error}") from None


_: type[Node] = FakeNode


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
        )

    def watch(self) -> None:
        if self.is_plugged and not self.is_whole() and not self.is_recorded():
            where = self.machine.kernel.moments[-1]
            self.machine.kernel.violations.append(f"{self.original.ifname} is lost before: {where}")


def _in_any_order(configuration: Configuration) -> Configuration:
    return attrs.evolve(configuration, addresses=tuple(sorted(configuration.addresses, key=str)))


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
) -> Result | None:
    """What a runtime does: start a process that serves one call, afterwards `Machine.last`."""
    environ = {
        "CNI_COMMAND": verb.value,
        "CNI_CONTAINERID": container,
        "CNI_IFNAME": ifname,
        "CNI_NETNS": netns or "",
        "CNI_PATH": "/opt/cni/bin",
        "CNI_ARGS": args,
    }
    request = codec.parse_request(parse_environment(environ), json.dumps(config).encode())
    node = FakeNode(machine, kill_at=kill_at)
    with machine.running(node):
        return commands.serve(request, node)
