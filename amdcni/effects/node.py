"""The real node: reads facts and performs steps by netlink, sysfs, the store and other plugins."""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from amdcni.core.attachment import Attachment, NetnsRef
from amdcni.core.capture import Details
from amdcni.core.errors import KernelRefused, NotAvailable, StateFailure
from amdcni.core.host import Interrupts, IpNetwork, Load, Netdev, Netns, NetnsId, Route, SysfsDevice
from amdcni.core.identity import Place, find_anywhere
from amdcni.core.mapping import GoMapping
from amdcni.core.names import BusDevice, DeviceKey, IfName, PciAddress, PluginName
from amdcni.core.numbering import is_since
from amdcni.core.plans.snapshot import Clock
from amdcni.core.policy import Policy
from amdcni.core.rdma import Rdma, RdmaDevice, RdmaFile
from amdcni.core.retry import Attempts
from amdcni.core.spec import Json, PluginCall, with_sandbox_at
from amdcni.core.steps import Outcome, Step
from amdcni.effects import netns, sysfs
from amdcni.effects.load import read_load
from amdcni.effects.mappings import Mappings
from amdcni.effects.policy import read_allocated, read_policy
from amdcni.effects.steps import perform
from amdcni.effects.stores import Stores

if TYPE_CHECKING:
    from amdcni.effects.netlink import Netlink
    from amdcni.effects.plugins import Plugins

_UDEV: Final = "/run/udev"
_NEEDED: Final = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


class LinuxNode:
    """The node that this process runs on; a context manager that closes what it has opened.

    pyroute2 and subprocess are loaded when a netdev or a plugin is first needed.
    """

    def __init__(
        self,
        data_dir: str,
        plugin_dirs: tuple[str, ...],
        environ: Mapping[str, str],
        report: Callable[..., None],
        *,
        looks_only: bool = False,
        alone: bool = False,
        policy: Policy | None = None,
        opened: Mapping[str, int | None] = MappingProxyType({}),
    ) -> None:
        """A node with its state in `data_dir`; `report` gets (event, **facts).

        With `looks_only`, reading modifies nothing, not even a damaged record.  With `alone`, no
        other state folder is looked into; without it, those in the index are.
        `policy` is the node's if it was read already.  `opened` are descriptors of what others have
        found at the paths of network namespaces, None for nothing; from here, the paths may lead
        elsewhere.
        """
        self.report = report
        self.store = Stores(data_dir, report, looks_only=looks_only, alone=alone)
        self._policy = policy
        self._opened = opened
        home, default = self.store.home, self.store.default
        folders = (home,) if alone or home is default else (home, default)
        self._mappings = tuple(Mappings(part.folder, part, report) for part in folders)
        self._plugin_dirs = plugin_dirs
        self._environ = environ
        self._own_netlink: Netlink | None = None
        self._entered: dict[NetnsId, Netlink] = {}
        self._own_plugins: Plugins | None = None

    def __enter__(self) -> "LinuxNode":
        return self

    def __exit__(self, *_: object) -> None:
        for namespace in self._entered.values():
            namespace.close()
        if self._own_netlink is not None:
            self._own_netlink.close()

    # ---- facts

    def clock(self) -> Clock:
        wall = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        return Clock(int(time.clock_gettime(time.CLOCK_BOOTTIME)), self._boot_id, wall)

    def host(self) -> Netns:
        return Netns(netns.OWN_NETNS, self.own.id, self.own.netdevs())

    def find_netns(self, path: str) -> Netns | None:
        with self.enter(path) as pod:
            return None if pod is None else Netns(path, pod.id, pod.netdevs())

    def routes_in(self, path: str, destinations: Collection[IpNetwork]) -> tuple[Route, ...]:
        with self.enter(path) as pod:
            return () if pod is None else pod.routes_to(destinations)

    def rdma_in(self, path: str) -> tuple[RdmaDevice, ...]:
        with self.enter(path) as pod:
            return () if pod is None else pod.rdma_devices()

    def find_pod(self, ref: NetnsRef) -> Netns | None:
        for path in self._paths_of(ref):
            with self.enter(path) as pod:
                if pod is not None and pod.id.is_same(ref.id):
                    return Netns(path, pod.id, pod.netdevs())
        return None

    def _paths_of(self, ref: NetnsRef) -> Iterator[str]:
        """Without a cookie, only the path distinguishes it from a later one with the same inode."""
        yield ref.path
        if ref.id.cookie is not None:
            yield from (path for path, there in self._all_netns if ref.id.is_same(there))

    def find_elsewhere(self, record: Attachment) -> Place | None:
        """A netns that this user may not enter is skipped."""
        seen = {netns.netns_id(netns.OWN_NETNS)}
        for path, there in self._all_netns:
            if there in seen:
                continue
            seen.add(there)
            with suppress(KernelRefused):
                found = self.find_netns(path)
                netdev = None if found is None else find_anywhere(record, found.netdevs)
                if netdev is not None:
                    return Place(path, netdev.ifname)
        return None

    def is_netns(self, path: str) -> bool:
        fd = self._open(path)
        if fd is not None:
            os.close(fd)
        return fd is not None

    def _open(self, path: str) -> int | None:
        """A descriptor of the network namespace at `path`; None if there is none."""
        if path not in self._opened:
            return netns.open_netns(path)
        fd = self._opened[path]
        return None if fd is None else netns.open_netns(f"/proc/self/fd/{fd}")

    def details(self, netdev: Netdev) -> Details:
        own = self.own
        return attrs.evolve(own.details(netdev), ways_out=own.ways_out(), rules=own.rules())

    def keeps_ifindexes(self) -> bool:
        return is_since(os.uname().release, (5, 12))

    def unsaved(self, netdev: Netdev, details: Details, *, renumbered: bool) -> tuple[str, ...]:
        return self.own.unsaved(netdev, details, renumbered=renumbered)

    def rdma(self) -> Rdma:
        return self.own.rdma()

    def rdma_files(self) -> tuple[RdmaFile, ...]:
        return tuple(sysfs.rdma_files())

    def load(self, netdevs: Collection[Netdev], chosen: Collection[Netdev]) -> Load:
        return read_load(netdevs, chosen, self.own)

    def find_device(self, bus_device: BusDevice | None) -> SysfsDevice | None:
        return None if bus_device is None else sysfs.find_device(bus_device)

    def interrupts_of(
        self, bus_device: BusDevice | None, kept: Interrupts | None = None
    ) -> Interrupts | None:
        if not isinstance(bus_device, PciAddress):
            return None
        from amdcni.effects import interrupts

        return interrupts.read(bus_device, None if kept is None else tuple(kept.others))

    def bus_device_of(self, ifname: IfName) -> BusDevice | None:
        return sysfs.bus_device_of(ifname)

    def netdevs_at(self, kernelpath: str) -> tuple[IfName, ...]:
        return sysfs.netdevs_at(kernelpath)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def await_udev(self, ifindex: int) -> bool:
        if not os.path.exists(f"{_UDEV}/control"):
            return False
        from amdcni.effects.udev import await_udev

        await_udev(ifindex, _UDEV)
        return True

    def lock(self, device: str, *, wait_s: float) -> AbstractContextManager[None]:
        return self.store.lock(device, wait_s)

    def is_locked(self, device: str) -> bool:
        return self.store.is_locked(device)

    def records_of(self, bus_device: BusDevice) -> tuple[Attachment, ...]:
        return self.store.of(bus_device)

    def find_record(self, key: DeviceKey) -> Attachment | None:
        return self.store.find(key)

    def records(self) -> tuple[Attachment, ...]:
        return self.store.all()

    def multipath_records(self) -> tuple[Attachment, ...]:
        return self.store.multipath()

    def unfinished(self) -> tuple[DeviceKey, ...]:
        return self.store.unfinished()

    def attempts(self, key: DeviceKey) -> Attempts | None:
        return self.store.attempts(key)

    def note(self, key: DeviceKey, attempts: Attempts) -> None:
        self.store.note(key, attempts)

    def was_damaged(self, key: DeviceKey) -> bool:
        return self.store.was_damaged(key)

    def mappings(self) -> tuple[GoMapping, ...]:
        return tuple(each for mappings in self._mappings for each in mappings.read())

    @property
    def policy(self) -> Policy:
        if self._policy is None:
            self._policy = read_policy()
        return self._policy

    def allocated_to(self, uid: str) -> frozenset[str] | None:
        return read_allocated(uid)

    # ---- other plugins

    def find_plugin(self, name: PluginName) -> str:
        return self._plugins.find(name)

    def versions_of(self, name: PluginName) -> tuple[str, ...]:
        return self._plugins.versions_of(name)

    def call(self, call: PluginCall, *, limit_s: float | None = None) -> Json:
        path = self._path_for_plugins(call.netns)
        if path == call.netns:
            return self._plugins.call(call, self.store.held_locks, limit_s)
        there = call.with_netns_at(path)
        return with_sandbox_at(
            self._plugins.call(there, self.store.held_locks, limit_s), path, call.netns
        )

    def _path_for_plugins(self, path: str) -> str:
        """A path that leads from here to the netns that was found at `path`."""
        fd = self._opened.get(path)
        if fd is None or netns.leads_to(path, fd):
            return path
        return f"/proc/{os.getpid()}/fd/{fd}"

    def require_ready(self) -> None:
        here = effective_capabilities()
        for name in _NEEDED:
            if name not in here:
                raise NotAvailable(f"the privilege {name} is missing; run as root")
        if not os.path.isdir("/sys/class/net"):
            raise NotAvailable("sysfs is not mounted on /sys")
        try:
            self.store.require_writable()
        except StateFailure as failure:
            raise NotAvailable(failure.message) from None

    # ---- steps

    def perform(self, step: Step, so_far: Outcome) -> Outcome:
        return perform(step, so_far, self)

    def set_interrupt(self, number: str, cpus: str) -> None:
        from amdcni.effects import interrupts

        interrupts.assign(number, cpus)

    def save(self, record: Attachment) -> None:
        self.store.save(record)

    def remove(self, key: DeviceKey, folder: str | None = None) -> None:
        self.store.remove(key, folder)

    def forget(self, key: DeviceKey, folder: str | None = None) -> None:
        self.store.forget(key, folder)

    def forget_mapping(self, device: PciAddress) -> None:
        for mappings in self._mappings:
            mappings.remove(device)

    @contextmanager
    def enter(self, path: str) -> Iterator["Netlink | None"]:
        """The socket is kept for the next time: while open, no other netns has its identity."""
        fd = self._open(path)
        if fd is None:
            yield None
            return
        found = netns.netns_id(fd)
        if found in self._entered:
            os.close(fd)
        else:
            self._entered[found] = _netlink(fd)
        yield self._entered[found]

    @contextmanager
    def enter_new(self) -> Iterator["Netlink | None"]:
        fd = netns.new_netns()
        if fd is None:
            yield None
            return
        namespace = _netlink(fd)
        try:
            yield namespace
        finally:
            namespace.close()

    # ---- what is read or loaded late

    @cached_property
    def _all_netns(self) -> tuple[tuple[str, NetnsId], ...]:
        return tuple(netns.all_paths())

    @cached_property
    def _boot_id(self) -> str:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    @property
    def own(self) -> "Netlink":
        """The socket in the host's network namespace."""
        if self._own_netlink is None:
            self._own_netlink = _netlink(os.open(netns.OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC))
        return self._own_netlink

    @property
    def _plugins(self) -> "Plugins":
        if self._own_plugins is None:
            from amdcni.effects.plugins import Plugins

            self._own_plugins = Plugins(self._plugin_dirs, self._environ)
        return self._own_plugins


def _netlink(fd: int) -> "Netlink":
    from amdcni.effects.netlink import Netlink

    return Netlink(fd)


def effective_capabilities() -> frozenset[str]:
    """The capabilities that an ADD needs and this process has."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
            return frozenset(name for name, number in _NEEDED.items() if bits >> number & 1)
    raise KernelRefused("/proc/self/status shows no capabilities; is /proc mounted?")
