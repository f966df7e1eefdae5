"""The real node: reads facts and performs steps by netlink, sysfs, the store and other plugins."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

import attrs

from amdcni.core import capture, codec, plans
from amdcni.core.attachment import Attachment, Phase
from amdcni.core.capture import Captured
from amdcni.core.errors import (
    KernelRefused,
    NetdevLost,
    NotAvailable,
    PluginBroken,
    PluginFailed,
    PluginNotFound,
    RestoreIncomplete,
    StateFailure,
)
from amdcni.core.host import Netdev, Netns, NetnsId, SysfsDevice, netdev_named
from amdcni.core.names import BusDevice, DeviceKey, IfName, PluginName
from amdcni.core.plans import Clock
from amdcni.core.resolve import find_captured
from amdcni.core.spec import Json, Verb
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
from amdcni.effects import netns, sysfs
from amdcni.effects.store import Store

if TYPE_CHECKING:
    from amdcni.effects.delegate import Plugins
    from amdcni.effects.netlink import Netlink

_CAP_NET_ADMIN: Final = 12
_CAP_SYS_ADMIN: Final = 21


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
    ) -> None:
        """A node with its state in `data_dir`; `report` gets (event, **facts)."""
        self.report = report
        self._store = Store(data_dir, report)
        self._plugin_dirs = plugin_dirs
        self._environ = environ
        self._own_netlink: Netlink | None = None
        self._own_plugins: Plugins | None = None

    def __enter__(self) -> "LinuxNode":
        return self

    def __exit__(self, *_: object) -> None:
        if self._own_netlink is not None:
            self._own_netlink.close()

    # ---- facts

    def clock(self) -> Clock:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        wall = datetime.now(UTC).isoformat(timespec="seconds")
        return Clock(int(time.clock_gettime(time.CLOCK_BOOTTIME)), boot_id, wall)

    def host(self) -> Netns:
        status = os.stat(netns.OWN_NETNS)
        netns_id = NetnsId(status.st_dev, status.st_ino)
        return Netns(netns.OWN_NETNS, netns_id, self._netlink.netdevs())

    def find_netns(self, path: str) -> Netns | None:
        fd = netns.open_netns(path)
        if fd is None:
            return None
        try:
            with self._netlink_in(fd) as pod:
                return Netns(path, netns.netns_id(fd), pod.netdevs())
        finally:
            os.close(fd)

    def default_routes(self, ifindex: int) -> tuple[int, ...]:
        return self._netlink.default_routes(ifindex)

    def find_device(self, bus_device: BusDevice) -> SysfsDevice | None:
        return sysfs.find_device(bus_device)

    def bus_device_of(self, ifname: IfName) -> BusDevice | None:
        return sysfs.bus_device_of(ifname)

    def netdevs_at(self, kernelpath: str) -> tuple[IfName, ...]:
        return sysfs.netdevs_at(kernelpath)

    def lock(self, device: str, *, wait_s: float) -> AbstractContextManager[None]:
        return self._store.lock(device, wait_s)

    def records_of(self, bus_device: BusDevice) -> tuple[Attachment, ...]:
        return self._store.of(bus_device)

    def find_record(self, key: DeviceKey) -> Attachment | None:
        return self._store.find(key)

    def records(self) -> tuple[Attachment, ...]:
        return self._store.all()

    def unfinished(self) -> tuple[DeviceKey, ...]:
        return self._store.unfinished()

    def was_damaged(self, key: DeviceKey) -> bool:
        return self._store.was_damaged(key)

    # ---- other plugins

    def find_plugin(self, name: PluginName) -> str:
        return self._plugins.find(name)

    def versions_of(self, name: PluginName) -> tuple[str, ...]:
        return self._plugins.versions_of(name)

    def call(self, call: PluginCall) -> Json:
        return self._plugins.call(call, self._store.held_locks)

    def require_ready(self) -> None:
        capabilities = _effective_capabilities()
        for number, name in ((_CAP_NET_ADMIN, "CAP_NET_ADMIN"), (_CAP_SYS_ADMIN, "CAP_SYS_ADMIN")):
            if not capabilities >> number & 1:
                raise NotAvailable(f"the privilege {name} is missing; run as root")
        if not os.path.isdir("/sys/class/net"):
            raise NotAvailable("sysfs is not mounted on /sys")
        try:
            self._store.require_writable()
        except StateFailure as failure:
            raise NotAvailable(failure.message) from None

    # ---- steps

    def perform(self, step: Step, so_far: Outcome) -> Outcome:
        match step:
            case SaveRecord(record):
                self._store.save(record)
            case ConfirmRecord(record):
                confirmed = plans.confirmed(record, so_far)
                self._store.save(confirmed)
                return attrs.evolve(so_far, result=confirmed.result)
            case ForgetRecord(key):
                self._store.forget(key)
            case DelegateAdd(call):
                return attrs.evolve(so_far, result=codec.result_from_json(self.call(call)))
            case InspectPod(record):
                return self._inspect_pod(record, so_far)
            case ReleaseDelegate(record):
                self._release_delegate(record)
            case ReleaseIpam(record):
                self._release_ipam(record, netns_alive=False)
            case BringHome(record):
                self._bring_home(record)
            case RestoreConfiguration(record):
                self._restore(record)
            case VerifyHome(record):
                self._verify(record)
            case _:
                assert_never(step)
        return so_far

    def _inspect_pod(self, record: Attachment, so_far: Outcome) -> Outcome:
        pod = self.find_netns(record.netns.path)
        netdev = None if pod is None else netdev_named(pod.netdevs, record.id.ifname)
        if netdev is None:
            raise PluginBroken(
                f"{plans.DELEGATE} reported success, and {record.id.ifname!r} "
                f"is not in {record.netns.path!r}"
            )
        return attrs.evolve(so_far, pod_ifindex=netdev.ifindex, pod_mtu=netdev.mtu)

    def _release_delegate(self, record: Attachment) -> None:
        """Tell the delegate; where it fails, the IPAM plugin: the netdev is fetched in any case."""
        pod = self.find_netns(record.netns.path)
        call = plans.release_call(record, pod)
        if call is None:
            return
        if call.plugin != plans.DELEGATE:
            self._call_ipam(record, call)
            return
        try:
            self.call(call)
        except (PluginFailed, PluginBroken, PluginNotFound) as failure:
            if record.captured is None:
                raise
            self.report("delegate-failed", device=str(record.key), reason=failure.message)
            self._release_ipam(record, netns_alive=True)

    def _release_ipam(self, record: Attachment, *, netns_alive: bool) -> None:
        call = plans.ipam_call(record, Verb.DEL, netns_alive=netns_alive)
        if call is not None:
            self._call_ipam(record, call)

    def _call_ipam(self, record: Attachment, call: PluginCall) -> None:
        try:
            self.call(call)
        except PluginNotFound:
            # An ADD that never ended cannot have been given anything by a plugin that is not there.
            if record.phase is not Phase.ATTACHING:
                raise

    def _bring_home(self, record: Attachment) -> None:
        host = self.host()
        netdev = self._at_home(record, host)
        if netdev is None:
            self._fetch(record, host)
            host = self.host()
            netdev = self._at_home(record, host)
        if netdev is None:
            raise NetdevLost(
                f"the netdev of {record.key} is neither on the host nor in {record.netns.path!r}; "
                "it is held elsewhere, or gone; its record is kept"
            )
        others = {
            n: other
            for other in host.netdevs
            if other.ifindex != netdev.ifindex
            for n in (other.ifname, *other.altnames)
        }
        wanted = plans.free_name(_captured(record).ifname, others)
        if netdev.ifname != wanted:
            self._netlink.set_up(netdev, False)
            self._netlink.rename(netdev, wanted)
        if wanted != _captured(record).ifname:
            self.report("name-taken", device=str(record.key), wanted=record.host_ifname, now=wanted)

    def _fetch(self, record: Attachment, host: Netns) -> None:
        """Move the netdev out of its pod, if it is there; the kernel may refuse its old name."""
        fd = netns.open_netns(record.netns.path)
        if fd is None:
            return
        own = os.open(netns.OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if netns.netns_id(fd) != record.netns.id:
                return
            with self._netlink_in(fd) as pod:
                netdev = find_captured(_captured(record), pod.netdevs(), ifindex=record.pod_ifindex)
                if netdev is None:
                    return
                taken = {
                    n: other for other in host.netdevs for n in (other.ifname, *other.altnames)
                }
                pod.set_up(netdev, False)
                pod.move(netdev, own, plans.free_name(_captured(record).ifname, taken))
        finally:
            os.close(own)
            os.close(fd)

    def _restore(self, record: Attachment) -> None:
        captured, netdev = self._still_due(record), self._require_home(record)
        if (netdev.alias or None) != captured.alias:
            self._netlink.set_alias(netdev, captured.alias)
        if netdev.up != captured.up:
            self._netlink.set_up(netdev, captured.up)
        refused = self._netlink.put_addresses(netdev, captured.addresses)
        if refused:
            raise RestoreIncomplete(f"{record.key} on the host: " + "; ".join(refused))

    def _verify(self, record: Attachment) -> None:
        lacking = capture.differences(self._still_due(record), self._require_home(record))
        if lacking:
            raise RestoreIncomplete(
                f"{record.key} is not yet what it was on the host: " + "; ".join(lacking)
            )

    def _still_due(self, record: Attachment) -> Captured:
        """What was captured, as it has to be now: lifetimes have gone on."""
        captured = _captured(record)
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
        return plans.find_home(record, host, device)

    # ---- what is loaded late

    @property
    def _netlink(self) -> "Netlink":
        if self._own_netlink is None:
            self._own_netlink = self._netlink_in(None)
        return self._own_netlink

    def _netlink_in(self, fd: int | None) -> "Netlink":
        from amdcni.effects.netlink import Netlink

        return Netlink(fd)

    @property
    def _plugins(self) -> "Plugins":
        if self._own_plugins is None:
            from amdcni.effects.delegate import Plugins

            self._own_plugins = Plugins(self._plugin_dirs, self._environ)
        return self._own_plugins


def _captured(record: Attachment) -> Captured:
    """Steps that are about a netdev are planned only for records that have one."""
    assert record.captured is not None
    return record.captured


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    raise KernelRefused("/proc/self/status shows no capabilities; is /proc mounted?")
