"""The types of CNI SPEC 0.1.0 to 1.1.0, one class each, in the shape of the newest version.

Older versions are spellings of the same values: `codec` reads and writes each of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypeVar

import attrs

from amdcni.core.host import IpAddress, IpInterface
from amdcni.core.names import ContainerId, IfName, MacAddress, NetworkName, PluginName
from amdcni.core.versions import OLDEST, CniVersion

Json = Mapping[str, Any]
"""A JSON object as it was read; the values are what `json` makes of them."""


_T = TypeVar("_T")


class Verb(StrEnum):
    """CNI_COMMAND."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


@attrs.frozen(order=True)
class AttachmentId:
    """What a runtime knows an attachment by (CNI SPEC 1.1, GC; `cni.dev/valid-attachments`)."""

    container_id: ContainerId
    ifname: IfName

    @property
    def short(self) -> str:
        """The container ID as far as people need it, and as crictl shows it."""
        return short_id(self.container_id)

    @property
    def in_short(self) -> str:
        """The attachment in a sentence for people; a log key or a value for programs has it all."""
        return f"{self.short}/{self.ifname}"

    def __str__(self) -> str:
        return f"{self.container_id}/{self.ifname}"


_SHORT: Final = 13


def short_id(container_id: ContainerId) -> str:
    """A container ID as far as people need it, and as crictl shows it."""
    return container_id[:_SHORT]


@attrs.frozen
class Dns:
    """Resolver settings of a result or a configuration; never applied by a plugin itself."""

    nameservers: tuple[str, ...] = ()
    domain: str | None = None
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@attrs.frozen
class Interface:
    """A netdev of a result.  `sandbox` is a netns path, and None for a netdev of the host.

    `mtu`, `socket_path` and `pci_id` exist from 1.1.0; the last is a PCI address.
    """

    name: str
    mac: MacAddress | None = None
    mtu: int | None = None
    sandbox: str | None = None
    socket_path: str | None = None
    pci_id: str | None = None


@attrs.frozen
class Ip:
    """An address of a result; `interface` is an index into the result's interfaces."""

    address: IpInterface
    gateway: IpAddress | None = None
    interface: int | None = None


@attrs.frozen
class Route:
    """A route of a result; `mtu` to `scope` exist from 1.1.0."""

    dst: IpInterface
    gw: IpAddress | None = None
    mtu: int | None = None
    advmss: int | None = None
    priority: int | None = None
    table: int | None = None
    scope: int | None = None


@attrs.frozen
class Result:
    """What ADD answers, and what comes back as prevResult."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[Ip, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns | None = None

    def ips_of(self, ifname: str, sandbox: str | None) -> tuple[Ip, ...]:
        """The addresses of the netdev `ifname` in `sandbox`, and those that name no netdev."""
        ours = {
            index
            for index, interface in enumerate(self.interfaces)
            if interface.name == ifname and interface.sandbox in (sandbox, None)
        }
        return tuple(ip for ip in self.ips if ip.interface is None or ip.interface in ours)

    def after(self, previous: "Result") -> "Result":
        """What a list of plugins answers when this comes after `previous`: all that is in either.

        What is in both is listed once: a netdev as this result has it, since a plugin may modify
        what it is given (CNI SPEC 1.1 §5).
        """
        both = (*previous.interfaces, *self.interfaces)
        merged = {(netdev.name, netdev.sandbox): netdev for netdev in both}
        places = [list(merged).index((netdev.name, netdev.sandbox)) for netdev in both]
        count = len(previous.interfaces)
        ips = (*previous._pointing(places[:count]), *self._pointing(places[count:]))
        routes = (*previous.routes, *self.routes)
        dns = previous.dns if self.dns is None else self.dns
        return Result(tuple(merged.values()), _once(ips), _once(routes), dns)

    def _pointing(self, places: Sequence[int]) -> Iterator[Ip]:
        """The addresses, once the interfaces are in `places`; a wrong index becomes None."""
        known = dict[int | None, int](enumerate(places))
        return (attrs.evolve(ip, interface=known.get(ip.interface)) for ip in self.ips)


def _once(things: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(things))


@attrs.frozen
class ErrorObject:
    """How a plugin says that it failed (CNI SPEC 1.1 §5, "Error")."""

    version: CniVersion
    code: int
    msg: str
    details: str = ""


@attrs.frozen
class PluginInfo:
    """The answer to VERSION."""

    version: str
    supported: tuple[str, ...]


def with_sandbox_at(result: Json, old: str, new: str) -> dict[str, Any]:
    """The JSON of a result with the netns path `new` wherever it has `old`.

    What has not the form of a result is left as it is.
    """
    interfaces = result.get("interfaces")
    if not isinstance(interfaces, list):
        return dict(result)
    moved = [
        {**each, "sandbox": new}
        if isinstance(each, Mapping) and each.get("sandbox") == old
        else each
        for each in interfaces
    ]
    return {**result, "interfaces": moved}


@attrs.frozen
class PluginCall:
    """One execution of a CNI plugin: its executable, and what goes in by stdin and CNI_*.

    The rest of the environment is the caller's own.
    """

    plugin: PluginName
    verb: Verb
    config: Json
    attachment: AttachmentId | None
    netns: str
    args: str

    def variables(self, dirs: Iterable[str]) -> dict[str, str]:
        """The variables of the call (CNI SPEC 1.1 §2), with `dirs` as CNI_PATH.

        Variables that the call is not about are set but empty, as by runtimes.
        """
        return {
            "CNI_COMMAND": self.verb.value,
            "CNI_CONTAINERID": self.attachment.container_id if self.attachment else "",
            "CNI_IFNAME": self.attachment.ifname if self.attachment else "",
            "CNI_NETNS": self.netns,
            "CNI_ARGS": self.args,
            "CNI_PATH": ":".join(dirs),
        }

    def with_netns_at(self, path: str) -> "PluginCall":
        """This call where `path` leads to the same netns; results, too, name it (`sandbox`)."""
        previous = self.config.get("prevResult")
        config = dict(self.config)
        if isinstance(previous, Mapping):
            config["prevResult"] = with_sandbox_at(previous, self.netns, path)
        return attrs.evolve(self, config=config, netns=path)

    def describe(self) -> str:
        """The call in words."""
        return f"execute {self.plugin} with {self.verb}"


@attrs.frozen
class PluginList:
    """A network configuration list as an administrator writes it (CNI SPEC 1.1 §1).

    `versions` (JSON `cniVersions`), `disable_gc` and `load_only_inlined_plugins` exist from 1.1.0.
    A plugin's own object is kept as it is: only the plugin knows all of its keys.
    """

    name: NetworkName
    version: CniVersion = OLDEST
    plugins: tuple[Json, ...] = ()
    versions: tuple[CniVersion, ...] = ()
    disable_check: bool = False
    disable_gc: bool = False
    load_only_inlined_plugins: bool = False
