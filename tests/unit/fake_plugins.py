"""The plugins `host-device`, `static` and `host-local` 1.9 on the kernel in memory.

They do what their sources do, in the same order, and undo the same things on failure.  `Trouble`
can hit a plugin at any of its own moments.
"""

import ipaddress
import math
from typing import Any, Final, Literal

import attrs

from amdcni.core.host import Address
from amdcni.core.spec import Json, Verb
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_netdevs import Link, Refused, Space

_USERSPACE_DRIVERS: Final = ("vfio-pci", "uio_pci_generic", "igb_uio")


class PluginError(Exception):
    """A plugin ends with an error object."""

    def __init__(self, msg: str, code: int = 999) -> None:
        super().__init__(msg)
        self.msg = msg
        self.code = code


class PluginDied(Exception):
    """A plugin was killed, by a fault of its own or because its time was up."""


class PluginLied(Exception):
    """A plugin ends early and reports success."""


@attrs.frozen
class Trouble:
    """What goes wrong in a plugin, at its own moment number `at`.

    It `fails` with an error object and undoes nothing; it `dies`; it `hangs` until its caller kills
    it, when its time is up; or it `lies`: it ends there and reports success.
    """

    plugin: str
    verb: Verb
    at: int = 0
    how: Literal["fails", "dies", "hangs", "lies"] = "fails"


@attrs.define(eq=False)
class Execution:
    """A plugin at work, for `limit_s` at most.  `temporary` are namespaces that end with it."""

    plugin: str
    verb: Verb
    config: Json
    container_id: str
    ifname: str
    netns: str
    args: str = ""
    limit_s: float = 90
    moments: int = 0
    temporary: list[Space] = attrs.field(factory=list)


@attrs.define(eq=False)
class Plugins:
    """The plugins of a node, with the leases of `host-local` by (container ID, ifname)."""

    kernel: Kernel
    installed: set[str] = attrs.field(factory=lambda: {"host-device", "static", "host-local"})
    versions: dict[str, tuple[str, ...]] = attrs.field(factory=dict)
    troubles: list[Trouble] = attrs.field(factory=list)
    pool: tuple[str, ...] = ("10.9.0.2/24", "10.9.0.3/24", "10.9.0.4/24")
    leases: dict[tuple[str, str], str] = attrs.field(factory=dict)
    answer: Json | None = None
    """What `host-local` answers to ADD instead of the address that it leases."""
    executed: list[Execution] = attrs.field(factory=list)
    _running: list[Execution] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.kernel.interrupts.append(self._cause_trouble)

    def _cause_trouble(self, what: str) -> None:
        if not self._running:
            return
        running = self._running[-1]
        at = running.moments
        running.moments += 1
        for trouble in self.troubles:
            if (trouble.plugin, trouble.verb, trouble.at) == (running.plugin, running.verb, at):
                match trouble.how:
                    case "fails":
                        raise PluginError(f"trouble at {what}")
                    case "dies":
                        raise PluginDied
                    case "hangs":
                        self.kernel.now_s += math.ceil(running.limit_s)
                        raise PluginDied
                    case "lies":
                        raise PluginLied

    def execute(self, execution: Execution) -> dict[str, Any]:
        """Run a plugin; raises PluginError or PluginDied."""
        self.executed.append(execution)
        self._running.append(execution)
        try:
            self.kernel.moment(f"{execution.plugin} {execution.verb} begins")
            answer = self._answer(execution)
            self.kernel.moment(f"{execution.plugin} {execution.verb} ends")
        except PluginLied:
            return {"cniVersion": execution.config["cniVersion"], "ips": []}
        finally:
            for space in execution.temporary:
                self.kernel.lose(space)
            self._running.remove(execution)
        return answer

    def _answer(self, execution: Execution) -> dict[str, Any]:
        match execution.plugin, execution.verb:
            case "host-device", Verb.ADD:
                return self._host_device_add(execution)
            case "host-device", Verb.DEL:
                return self._host_device_del(execution)
            case "host-device", Verb.CHECK:
                return self._host_device_check(execution)
            case "static", Verb.ADD:
                return self._ips(execution, execution.config["ipam"]["addresses"])
            case "host-local", Verb.ADD:
                return self._host_local_add(execution)
            case "host-local", Verb.DEL:
                self.leases.pop((execution.container_id, execution.ifname), None)
            case "host-local", Verb.CHECK:
                if (execution.container_id, execution.ifname) not in self.leases:
                    raise PluginError("host-local: Failed to find address added by container")
        return {}

    def _ips(self, execution: Execution, entries: list[dict[str, str]]) -> dict[str, Any]:
        return {"cniVersion": execution.config["cniVersion"], "ips": entries}

    def _host_local_add(self, execution: Execution) -> dict[str, Any]:
        holder = (execution.container_id, execution.ifname)
        if holder in self.leases:
            raise PluginError("duplicate allocation is not allowed", 11)
        free = [address for address in self.pool if address not in self.leases.values()]
        if not free:
            raise PluginError("no IP addresses available in range set", 11)
        self.kernel.moment(f"lease {free[0]}")
        self.leases[holder] = free[0]
        if self.answer is not None:
            return {"cniVersion": execution.config["cniVersion"], **self.answer}
        return self._ips(execution, [{"address": free[0]}])

    def _call_ipam(self, execution: Execution, verb: Verb) -> dict[str, Any]:
        name = _ipam_type(execution.config)
        if name not in self.installed:
            raise PluginError(f'failed to find plugin "{name}" in path')
        nested = attrs.evolve(execution, plugin=name, verb=verb, moments=0, temporary=[])
        try:
            return self.execute(nested)
        except PluginDied:
            raise PluginError(f"{name}: netplugin failed: signal: killed") from None

    def _host_device_add(self, execution: Execution) -> dict[str, Any]:
        pod = self._pod_of(execution)
        userspace = self._is_userspace(execution)
        result: dict[str, Any] = {"cniVersion": execution.config["cniVersion"]}
        if not userspace:
            link = self._host_link(execution)
            self._move_in(execution, link, pod)
            result["interfaces"] = [
                {"name": link.name, "mac": link.mac, "sandbox": execution.netns},
            ]
        if not _ipam_type(execution.config):
            return result
        ips = self._call_ipam(execution, Verb.ADD)["ips"]
        if not ips:
            self._call_ipam(execution, Verb.DEL)
            raise PluginError("IPAM plugin returned missing IP config")
        if not userspace:
            try:
                for ip in ips:
                    self.kernel.add_address(link, Address(ipaddress.ip_interface(ip["address"])))
            except Refused as error:
                self._call_ipam(execution, Verb.DEL)
                raise PluginError(f"failed to add IP addr: {error}") from None
        return result | {"ips": [{**ip, "interface": 0} for ip in ips]}

    def _pod_of(self, execution: Execution) -> Space:
        pod = self.kernel.paths.get(execution.netns)
        if pod is None:
            raise PluginError(f"failed to open netns {execution.netns!r}")
        return pod

    def _is_userspace(self, execution: Execution) -> bool:
        address = _pci_address(execution.config)
        if address is None:
            return False
        function = self.kernel.functions.get(address)
        if function is None or function.driver is None:
            raise PluginError(f"error with host device: {address} has no driver")
        return function.driver in _USERSPACE_DRIVERS

    def _host_link(self, execution: Execution) -> Link:
        config = execution.config
        found: Link | None = None
        if config.get("device"):
            found = self.kernel.host.find(config["device"])
        elif address := _pci_address(config):
            links = self.kernel.functions[address].links
            found = next((link for link in links if link.space is self.kernel.host), None)
        if found is None:
            raise PluginError("failed to find host device")
        return found

    def _move_in(self, execution: Execution, link: Link, pod: Space) -> None:
        """By way of a namespace of its own (host-device 1.9); undoes what it can on failure."""
        own, was_up = link.name, link.up
        between = Space(0)
        execution.temporary.append(between)
        self._first_move(link, between)
        try:
            self.kernel.rename(link, execution.ifname)
            self.kernel.set_attribute(link, "alias", own)
            self.kernel.move(link, pod)
        except Refused as error:
            self.kernel.set_attribute(link, "alias", "")
            self.kernel.rename(link, own)
            self.kernel.move(link, self.kernel.host)
            self.kernel.set_up(link, was_up)
            raise PluginError(f"failed to move link: {error}") from None
        self.kernel.set_up(link, True)

    def _first_move(self, link: Link, to: Space) -> None:
        try:
            self.kernel.move(link, to)
        except Refused as error:
            raise PluginError(f"failed to move {link.name!r}: {error}") from None

    def _host_device_del(self, execution: Execution) -> dict[str, Any]:
        userspace = self._is_userspace(execution)
        if not execution.netns:
            return {}
        pod = self._pod_of(execution)
        if _ipam_type(execution.config):
            self._call_ipam(execution, Verb.DEL)
        if userspace:
            return {}
        link = pod.find(execution.ifname)
        if link is None:
            raise PluginError(f"failed to find device {execution.ifname!r} in containerNS")
        was_up, own = link.up, link.alias
        between = Space(0)
        execution.temporary.append(between)
        self._first_move(link, between)
        try:
            self.kernel.rename(link, own)
            self.kernel.set_attribute(link, "alias", "")
            self.kernel.move(link, self.kernel.host)
        except Refused as error:
            self.kernel.set_attribute(link, "alias", own)
            self.kernel.rename(link, execution.ifname)
            self.kernel.move(link, pod)
            self.kernel.set_up(link, was_up)
            raise PluginError(f"failed to move {execution.ifname!r}: {error}") from None
        return {}

    def _host_device_check(self, execution: Execution) -> dict[str, Any]:
        pod = self._pod_of(execution)
        if _ipam_type(execution.config):
            self._call_ipam(execution, Verb.CHECK)
        previous = execution.config.get("prevResult")
        if previous is None:
            raise PluginError("Required prevResult missing")
        if self._is_userspace(execution):
            return {}
        ours = [i for i in previous.get("interfaces", ()) if i["name"] == execution.ifname]
        link = pod.find(execution.ifname)
        if link is None or [i["sandbox"] for i in ours] != [execution.netns]:
            raise PluginError(f"Container Interface name in prevResult: {execution.ifname}")
        if ours[0].get("mac") not in (None, link.mac):
            raise PluginError(f"Interface {link.name} Mac doesn't match container Mac")
        return {}


def _ipam_type(config: Json) -> str:
    ipam = config.get("ipam") or {}
    return str(ipam.get("type", ""))


def _pci_address(config: Json) -> str | None:
    runtime = config.get("runtimeConfig") or {}
    given = runtime.get("deviceID") or config.get("pciBusID")
    return None if given is None else str(given).lower()
