"""Hypothesis strategies for the types of `amdcni.core`: one plural noun a type.

The values are such as a kernel, a sysfs or a runtime gives; hostile input is `hostile_texts` and
`hostile_values`.  Where values have to agree with each other there is a type for the whole:
`Meaning` is a configuration with what it means, `Handover` an ADD with a node where it can work.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amdcni.core.attachment import Attachment, NetnsRef, Phase
from amdcni.core.capture import Captured
from amdcni.core.host import (
    USERSPACE_DRIVERS,
    Address,
    Details,
    Hop,
    IpAddress,
    IpInterface,
    Neighbour,
    Netdev,
    Netns,
    NetnsId,
    Qdisc,
    SysfsDevice,
)
from amdcni.core.host import Route as KernelRoute
from amdcni.core.names import (
    IFNAME_MAX_BYTES,
    AuxiliaryDevice,
    BusDevice,
    ContainerId,
    DeviceKey,
    FilePath,
    IfName,
    MacAddress,
    NetworkName,
    PciAddress,
    PluginName,
)
from amdcni.core.plans import Clock, Snapshot
from amdcni.core.request import (
    DEFAULT_DATA_DIR,
    FALLBACK_PLUGIN_DIRS,
    AddRequest,
    CheckRequest,
    DelRequest,
    Device,
    DeviceSelector,
    GcRequest,
    Invocation,
    LogLevel,
    LogSettings,
    Mover,
    Network,
    Request,
    StatusRequest,
)
from amdcni.core.resolve import Candidates
from amdcni.core.spec import AttachmentId, Dns, Interface, Ip, Result, Route, Verb
from amdcni.core.versions import SUPPORTED, CniVersion

# ---- JSON --------------------------------------------------------------------------------------

json_values: SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=5,
)
"""Anything that JSON can say, small."""

json_objects: SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.text(max_size=8), json_values, max_size=3
)
"""JSON objects with any keys."""

hostile_texts: SearchStrategy[str] = st.sampled_from(
    ["\ud800", "a\0b", "\n", " ", "..", "/", "%d", "-", "é" * 8, "x" * 300, "\u202e", "true", "0"]
) | st.text(st.characters(), max_size=20)
"""Strings that nobody means; lone surrogates among them."""

_nested: Final = st.integers(1, 30).map(lambda depth: _nest(depth))

hostile_values: SearchStrategy[Any] = (
    hostile_texts
    | json_values
    | st.sampled_from([10**400, -(10**400), 1e308, -0.0, 0, 1, True, False, None, "", [], {}, [[]]])
    | _nested
)
"""JSON values that nobody means where they turn up."""


def _nest(depth: int) -> object:
    value: object = "deep"
    for _ in range(depth):
        value = {"a": [value]}
    return value


# ---- names -------------------------------------------------------------------------------------

_ALPHANUMERIC: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

container_ids: SearchStrategy[ContainerId] = st.builds(
    lambda first, rest: ContainerId(first + rest),
    st.sampled_from(_ALPHANUMERIC),
    st.text(_ALPHANUMERIC + "_.-", max_size=63),
)
"""Container IDs (CNI SPEC 1.1 §2)."""

network_names: SearchStrategy[NetworkName] = container_ids.map(NetworkName)
"""Network names, which have the grammar of container IDs (CNI SPEC 1.1 §1)."""


def _kernel_takes(name: str) -> bool:
    octets = name.encode()
    return len(octets) <= 15 and name not in (".", "..") and b"\xa0" not in octets


_plain_ifnames = st.builds(
    lambda prefix, number: IfName(f"{prefix}{number}"),
    st.sampled_from(["eth", "net", "ens", "enp1s0f"]),
    st.integers(0, 999),
)

ifnames: SearchStrategy[IfName] = _plain_ifnames | st.text(
    st.characters(
        min_codepoint=0x21,
        max_codepoint=0x2FF,
        categories=["L", "N", "P", "S"],
        exclude_characters="/:%",
    ),
    min_size=1,
    max_size=9,
).filter(_kernel_takes).map(IfName)
"""Names that the kernel takes for a netdev as they are; some of other letters than ASCII."""

ethernet_macs: SearchStrategy[MacAddress] = st.binary(min_size=6, max_size=6).map(
    lambda octets: MacAddress(octets.hex(":"))
)
"""Hardware addresses of Ethernet, six octets."""

macs: SearchStrategy[MacAddress] = ethernet_macs | st.binary(min_size=6, max_size=32).map(
    lambda octets: MacAddress(octets.hex(":"))
)
"""Hardware addresses of any kind of link, six octets and more (InfiniBand has twenty)."""

plugin_names: SearchStrategy[PluginName] = st.sampled_from(
    ["host-local", "static", "dhcp", "whereabouts"]
).map(PluginName) | st.text(_ALPHANUMERIC + "_", min_size=1, max_size=12).map(PluginName)
"""Names of plugin executables."""

pci_addresses: SearchStrategy[PciAddress] = st.builds(
    PciAddress,
    domain=st.just(0) | st.integers(0, 0xFFFF) | st.integers(0, 0xFFFF_FFFF),
    bus=st.integers(0, 0xFF),
    device=st.integers(0, 0x1F),
    function=st.integers(0, 7),
)
"""PCI addresses; domains of more than 16 bits exist too (VMD)."""

auxiliary_devices: SearchStrategy[AuxiliaryDevice] = st.builds(
    lambda driver, kind, number: AuxiliaryDevice(f"{driver}.{kind}.{number}"),
    st.text("abz059_-", min_size=1, max_size=9),
    st.sampled_from(["sf", "eth", "rdma-1", "x_2"]),
    st.integers(0, 999),
)
"""Devices of the auxiliary bus."""

bus_devices: SearchStrategy[BusDevice] = pci_addresses | auxiliary_devices
"""What a device plugin can allocate."""

device_keys: SearchStrategy[DeviceKey] = st.builds(
    DeviceKey, bus_devices, st.none() | ifnames
) | st.builds(DeviceKey, st.none(), ifnames)
"""Keys of records: a bus device, one of its netdevs, or a netdev on no bus."""

versions: SearchStrategy[CniVersion] = st.sampled_from(SUPPORTED)
"""Every supported CNI version."""


def versions_since(oldest: str) -> SearchStrategy[CniVersion]:
    """The supported CNI versions from `oldest` up."""
    return st.sampled_from(SUPPORTED[SUPPORTED.index(CniVersion(oldest)) :])


paths: SearchStrategy[FilePath] = st.text("abcXYZ019._-/é ", min_size=1, max_size=20).map(
    lambda text: FilePath(f"/{text}")
)
"""Absolute paths."""

words: SearchStrategy[str] = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
"""Text that says something."""

# ---- what a kernel shows -----------------------------------------------------------------------

_ipv4_addresses: SearchStrategy[ipaddress.IPv4Address] = st.integers(0, 2**32 - 1).map(
    ipaddress.IPv4Address
) | st.sampled_from(["10.0.0.1", "10.0.0.255", "127.0.0.1", "169.254.1.1", "224.0.0.1"]).map(
    ipaddress.IPv4Address
)
_ipv6_addresses: SearchStrategy[ipaddress.IPv6Address] = st.integers(0, 2**128 - 1).map(
    ipaddress.IPv6Address
) | st.sampled_from(["2001:db8::1", "::1", "fe80::1", "fe80::ff:fe00:1", "ff02::1", "fd00::f"]).map(
    ipaddress.IPv6Address
)

ipv4_interfaces: SearchStrategy[ipaddress.IPv4Interface] = st.builds(
    lambda ip, length: ipaddress.IPv4Interface((ip, length)),
    _ipv4_addresses,
    st.sampled_from([24, 31, 32, *range(33)]),
)
"""IPv4 addresses with a prefix length."""

ipv6_interfaces: SearchStrategy[ipaddress.IPv6Interface] = st.builds(
    lambda ip, length: ipaddress.IPv6Interface((ip, length)),
    _ipv6_addresses,
    st.sampled_from([64, 127, 128, 64, 127, 128, *range(129)]),
)
"""IPv6 addresses with a prefix length; many are link-local."""

ip_interfaces: SearchStrategy[IpInterface] = ipv4_interfaces | ipv6_interfaces
"""IP addresses with a prefix length."""

ip_addresses: SearchStrategy[IpAddress] = _ipv4_addresses | _ipv6_addresses
"""IP addresses without one."""

_flags = st.integers(0, 0xFFF)
_seconds = st.integers(0, 2**32 - 2)

lifetimes: SearchStrategy[tuple[int | None, int | None]] = st.builds(
    lambda kind, one, other: {
        "permanent": (None, None),
        "deprecated": (None, one),
        "finite": (max(one, other), min(one, other)),
    }[kind],
    st.sampled_from(["permanent", "deprecated", "finite"]),
    _seconds,
    _seconds,
)
"""Valid and preferred lifetimes: an address is never preferred for longer than it is valid."""


def _address(both: tuple[int | None, int | None], **attributes: Any) -> Address:
    return Address(valid_s=both[0], preferred_s=both[1], **attributes)


ipv4_addresses: SearchStrategy[Address] = st.builds(
    _address,
    lifetimes,
    interface=ipv4_interfaces,
    peer=st.none() | _ipv4_addresses,
    broadcast=st.none() | _ipv4_addresses,
    label=st.none() | words,
    scope=st.sampled_from([0, 200, 253, 254]),
    flags=_flags,
    metric=st.none() | st.integers(1, 2**32 - 1),
    proto=st.none() | st.integers(4, 255),
)
"""IPv4 addresses of a netdev, with every attribute."""

ipv6_addresses: SearchStrategy[Address] = st.builds(
    _address,
    lifetimes,
    interface=ipv6_interfaces,
    peer=st.none() | _ipv6_addresses,
    scope=st.sampled_from([0, 200, 253, 254]),
    flags=_flags,
    metric=st.none() | st.integers(1, 2**32 - 1),
    proto=st.none() | st.integers(1, 255),
)
"""IPv6 addresses of a netdev; some are made by the kernel, and some of these show it (`proto`)."""

addresses: SearchStrategy[Address] = ipv4_addresses | ipv6_addresses
"""Addresses of a netdev."""

address_lists: SearchStrategy[tuple[Address, ...]] = st.lists(
    addresses, max_size=2, unique_by=lambda address: address.identity
).map(tuple)
"""All addresses of a netdev; the kernel has none of them twice."""

_ifindexes = st.integers(2, 2**31 - 1)

hops: SearchStrategy[Hop] = st.builds(
    Hop,
    ifname=ifnames,
    via=st.none() | ip_addresses,
    weight=st.integers(1, 256),
    onlink=st.booleans(),
)
"""Where a route leads."""

_sysctl_names = st.sampled_from(
    [
        *("ipv4/conf/rp_filter", "ipv4/neigh/ucast_solicit", "ipv6/conf/accept_ra"),
        *("ipv6/conf/mtu", "ipv6/conf/accept_dad", "ipv6/conf/addr_gen_mode"),
        *("ipv6/conf/disable_ipv6", "ipv6/conf/stable_secret"),
    ]
)

sysctls: SearchStrategy[dict[str, int | str]] = st.dictionaries(
    _sysctl_names, st.sampled_from(["0", "1", "2", "1500"]), max_size=3
)
"""Sysctls of a netdev."""


def _kernel_route(destination: IpInterface, **attributes: Any) -> KernelRoute:
    return KernelRoute(destination.network, **attributes)


kernel_routes: SearchStrategy[KernelRoute] = st.builds(
    _kernel_route,
    ip_interfaces,
    hops=st.lists(hops, min_size=1, max_size=2, unique_by=lambda hop: hop.ifname).map(tuple),
    table=st.sampled_from([254, 255, 1000]),
    kind=st.sampled_from([1, 2]),
    protocol=st.sampled_from([1, 2, 3, 4, 9, 186]),
    scope=st.sampled_from([0, 253]),
    tos=st.sampled_from([0, 0x10]),
    metric=st.none() | st.integers(0, 2**32 - 1),
    origin=st.none() | ipv6_interfaces.map(lambda interface: interface.network),
    source=st.none() | ip_addresses,
    realm=st.none() | st.integers(1, 9),
    preference=st.none() | st.integers(0, 3),
    metrics=st.dictionaries(st.sampled_from(["mtu", "lock"]), st.integers(0, 9000), max_size=2)
    | st.just({"cc_algo": "cubic"}),
    expires_s=st.none() | st.integers(1, 2**31),
)
"""Routes of a network namespace."""

neighbours: SearchStrategy[Neighbour] = st.builds(
    Neighbour,
    ip_addresses,
    mac=st.none() | macs,
    flags=st.sampled_from([0, 0x80]),
    protocol=st.none() | st.integers(1, 255),
)
"""Permanent neighbours."""

qdiscs: SearchStrategy[Qdisc] = st.builds(
    Qdisc,
    st.sampled_from(["pfifo", "tbf", "fq_codel"]),
    st.integers(1, 0xFFFF).map(lambda major: major << 16),
    st.binary(max_size=8).map(bytes.hex),
)
"""Root qdiscs."""

_tokens = ipv6_interfaces.map(lambda interface: interface.ip)

details: SearchStrategy[Details] = st.builds(
    Details,
    routes=st.lists(kernel_routes, max_size=2).map(tuple),
    neighbours=st.lists(neighbours, max_size=2, unique_by=lambda n: n.address).map(tuple),
    sysctls=sysctls,
    sysctl_defaults=sysctls,
    qdisc=st.none() | qdiscs,
)
"""What is read of the one netdev that matters."""

netdevs: SearchStrategy[Netdev] = st.builds(
    Netdev,
    ifindex=_ifindexes,
    ifname=ifnames,
    mac=st.none() | macs,
    permanent_mac=st.none() | macs,
    mtu=st.integers(68, 65535),
    txqlen=st.integers(0, 9),
    group=st.integers(0, 9),
    flags=st.sampled_from([0, 0x100, 0x1080]),
    up=st.booleans(),
    kind=st.none() | st.sampled_from(["veth", "dummy", "vlan"]),
    alias=st.none() | words,
    altnames=st.lists(words, max_size=1).map(tuple),
    parent=st.none() | bus_devices.map(str),
    token=st.none() | _tokens,
    addresses=address_lists,
)
"""Netdevs of their own: neither below nor above another, and not the loopback netdev."""

netns_ids: SearchStrategy[NetnsId] = st.builds(
    NetnsId, st.integers(1, 9), st.integers(1, 2**32 - 1)
)
"""What network namespaces are told apart by."""


def _loopback(protocols_reported: bool) -> Netdev:
    proto = 1 if protocols_reported else None
    own = Address(ipaddress.IPv4Interface("127.0.0.1/8"), label="lo", scope=254, proto=proto)
    return Netdev(
        1, IfName("lo"), MacAddress("00:00:00:00:00:00"), loopback=True, up=True, addresses=(own,)
    )


_unlike_netdevs = {
    sizes: st.lists(
        netdevs,
        min_size=sizes[0],
        max_size=sizes[1],
        unique_by=(lambda n: n.ifindex, lambda n: n.ifname.lower()),
    )
    for sizes in [(0, 1), (0, 2), (1, 2), (0, 3)]
}
_relations = st.sampled_from([(0, 0), (0, 0), (1, 0), (0, 1)])
_host_paths = st.sampled_from(["/proc/self/ns/net", "/run/netns/pod1"])


def _have_no_loopback(netdevs: Iterable[Netdev]) -> bool:
    return all(netdev.ifname != "lo" for netdev in netdevs)


@st.composite
def _hosts(draw: DrawFn, min_size: int, max_size: int) -> Netns:
    drawn = draw(_unlike_netdevs[min_size, max_size].filter(_have_no_loopback))
    names = {"lo"} | {netdev.ifname for netdev in drawn}
    distinct = []
    for netdev in drawn:
        altnames = tuple(name for name in netdev.altnames if name not in names)
        names.update(altnames)
        distinct.append(attrs.evolve(netdev, altnames=altnames))
    for position, netdev in enumerate(distinct[1:], 1):
        lower, master = draw(_relations)
        other = distinct[draw(st.integers(0, position - 1))].ifindex
        distinct[position] = attrs.evolve(
            netdev, lower=other if lower else None, master=other if master else None
        )
    return Netns(draw(_host_paths), draw(netns_ids), (_loopback(draw(st.booleans())), *distinct))


hosts: SearchStrategy[Netns] = _hosts(min_size=0, max_size=3)
"""Network namespaces whose netdevs have ifindexes and names of their own and hang together."""

sysfs_devices: SearchStrategy[SysfsDevice] = st.builds(
    SysfsDevice,
    bus_devices,
    st.none() | st.sampled_from(["ionic", "virtio-pci", *sorted(USERSPACE_DRIVERS)]),
    st.lists(ifnames, max_size=2, unique=True).map(tuple),
)
"""What sysfs says of a bus device."""


_who_it_is: dict[str, SearchStrategy[Any]] = {
    "ifname": ifnames,
    "ifindex": _ifindexes,
    "mac": st.none() | macs,
    "permanent_mac": st.none() | macs,
    "parent": st.none() | bus_devices.map(str),
    "kind": st.none() | st.just("veth"),
    "up": st.booleans(),
    "alias": st.none() | words,
    "addresses": address_lists,
}

captures: SearchStrategy[Captured] = st.builds(Captured, **_who_it_is)
"""What a record keeps of a netdev: what decisions are made by."""


def _through_itself(captured: Captured) -> Captured:
    """The first hop of every route leads through the netdev itself."""
    routes = [
        attrs.evolve(r, hops=(attrs.evolve(r.hops[0], ifname=captured.ifname), *r.hops[1:]))
        for r in captured.routes
    ]
    return attrs.evolve(captured, routes=tuple(routes))


whole_captures: SearchStrategy[Captured] = st.builds(
    Captured,
    **_who_it_is,
    altnames=st.none() | st.lists(words, max_size=2, unique=True).map(tuple),
    mtu=st.none() | st.integers(68, 65535),
    txqlen=st.none() | st.integers(0, 9),
    group=st.none() | st.integers(0, 9),
    flags=st.none() | st.sampled_from([0, 0x100, 0x1080]),
    routes=st.lists(kernel_routes, max_size=1).map(tuple),
    neighbours=st.lists(neighbours, max_size=1).map(tuple),
    sysctls=sysctls,
    token=st.none() | _tokens,
    qdisc=st.none() | qdiscs,
    eui64=st.booleans(),
).map(_through_itself)
"""The same with everything else that is given back."""

# ---- CNI ---------------------------------------------------------------------------------------

attachment_ids: SearchStrategy[AttachmentId] = st.builds(AttachmentId, container_ids, ifnames)
"""Pairs of a container ID and an ifname."""

netns_paths: SearchStrategy[str] = st.sampled_from(
    ["/run/netns/pod1", "/var/run/netns/cni-1", "/proc/4711/ns/net"]
)
"""Values of CNI_NETNS."""

dnses: SearchStrategy[Dns] = st.builds(
    Dns,
    nameservers=st.lists(ip_addresses.map(str), max_size=2).map(tuple),
    domain=st.none() | words,
    search=st.lists(words, max_size=2).map(tuple),
    options=st.lists(words, max_size=2).map(tuple),
).filter(lambda dns: dns != Dns())
"""Resolver settings that say something."""

_positive = st.integers(1, 2**31 - 1)

interfaces: SearchStrategy[Interface] = st.builds(
    Interface,
    name=ifnames,
    mac=st.none() | macs,
    mtu=st.none() | _positive,
    sandbox=st.none() | netns_paths,
    socket_path=st.none() | paths,
    pci_id=st.none() | pci_addresses.map(str),
)
"""Netdevs of a result."""

routes: SearchStrategy[Route] = st.builds(
    Route,
    dst=ip_interfaces,
    gw=st.none() | ip_addresses,
    mtu=st.none() | _positive,
    advmss=st.none() | _positive,
    priority=st.none() | st.integers(0, 2**31 - 1),
    table=st.none() | st.integers(0, 2**31 - 1),
    scope=st.none() | st.integers(0, 255),
)
"""Routes of a result."""


def _result(
    there: list[Interface],
    ips: list[tuple[IpInterface, IpAddress | None, int]],
    routes: list[Route],
    dns: Dns | None,
) -> Result:
    indexes = [*range(len(there)), None]
    pointing = [Ip(ip, gateway, indexes[at % len(indexes)]) for ip, gateway, at in ips]
    return Result(tuple(there), tuple(pointing), tuple(routes), dns)


results: SearchStrategy[Result] = st.builds(
    _result,
    st.lists(interfaces, max_size=2),
    st.lists(st.tuples(ip_interfaces, st.none() | ip_addresses, st.integers(0, 2)), max_size=3),
    st.lists(routes, max_size=2),
    st.none() | dnses,
)
"""Results with everything that the newest version can say."""

cni_args: SearchStrategy[str] = st.lists(
    st.tuples(
        st.sampled_from(["IP", "MAC", "K8S_POD_NAME", "K8S_POD_NAMESPACE", "K8S_POD_UID"]), words
    ),
    max_size=3,
).map(lambda pairs: ";".join(f"{key}={value}" for key, value in pairs))
"""Values of CNI_ARGS whose keys are all known."""


_plugin_dirs = st.lists(paths, max_size=3)
_some_plugin_dirs = st.lists(paths, min_size=1, max_size=3)


@st.composite
def _environments(draw: DrawFn, verb: Verb) -> dict[str, str]:
    environ: dict[str, str] = {"CNI_COMMAND": verb.value, draw(words): draw(words)}
    if draw(st.booleans()):
        environ |= dict.fromkeys(["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"], "")
    dirs = draw(_some_plugin_dirs if verb is Verb.GC else _plugin_dirs)
    if draw(st.booleans()) or dirs:
        environ["CNI_PATH"] = ":".join(dirs)
    if verb in (Verb.ADD, Verb.DEL, Verb.CHECK):
        attachment = draw(attachment_ids)
        environ["CNI_CONTAINERID"] = attachment.container_id
        environ["CNI_IFNAME"] = attachment.ifname
        environ["CNI_ARGS"] = draw(cni_args)
        if verb is not Verb.DEL or draw(st.booleans()):
            environ["CNI_NETNS"] = draw(netns_paths)
    return environ


def environments_for(verb: Verb) -> SearchStrategy[dict[str, str]]:
    """Environments of valid calls of `verb`, with variables that are none of CNI's."""
    return _environments(verb)


verbs: SearchStrategy[Verb] = st.sampled_from(Verb)
"""Every CNI_COMMAND."""

environments: SearchStrategy[dict[str, str]] = verbs.flatmap(environments_for)
"""Environments of valid calls of every verb."""


def _invocation(environ: Mapping[str, str]) -> Invocation:
    verb = Verb(environ["CNI_COMMAND"])
    attachment = None
    if verb in (Verb.ADD, Verb.DEL, Verb.CHECK):
        container_id = ContainerId(environ["CNI_CONTAINERID"])
        attachment = AttachmentId(container_id, IfName(environ["CNI_IFNAME"]))
    dirs: list[str] = []
    for path in [*environ.get("CNI_PATH", "").split(":"), *FALLBACK_PLUGIN_DIRS]:
        if path and path not in dirs:
            dirs.append(path)
    return Invocation(verb, attachment, environ.get("CNI_NETNS") or None, tuple(dirs), environ)


def invocations_for(verb: Verb) -> SearchStrategy[Invocation]:
    """What valid environments of `verb` say."""
    return environments_for(verb).map(_invocation)


# ---- configurations ----------------------------------------------------------------------------

KNOWN_KEYS: Final = frozenset(
    [
        "cniVersion",
        "name",
        "type",
        "dataDir",
        "logLevel",
        "logFile",
        "mover",
        "copyRoutes",
        "ipam",
        "deviceID",
        "pciBusID",
        "runtimeConfig",
        "device",
        "hwaddr",
        "kernelpath",
        "prevResult",
        "cni.dev/valid-attachments",
    ]
)
"""The keys of a configuration that mean something here."""

_keys_of_others = st.sampled_from(["args", "capabilities", "dns", "mtu", "mac"])
unknown_keys: SearchStrategy[str] = st.sampled_from(
    ["args", "capabilities", "dns", "mtu", "mac"]
) | (
    st.text(max_size=10).filter(
        lambda key: key.casefold() not in {known.casefold() for known in KNOWN_KEYS}
    )
)
"""Keys of a configuration that mean nothing here, in no spelling."""


@attrs.frozen
class Meaning:
    """A configuration, as JSON in `network.raw`, and what it means."""

    network: Network
    device: Device
    prev_result: Result | None

    @property
    def raw(self) -> dict[str, Any]:
        """The configuration."""
        return dict(self.network.raw)


selectors: SearchStrategy[DeviceSelector] = st.builds(
    DeviceSelector,
    bus_device=st.none() | bus_devices,
    ifname=st.none() | ifnames,
    hwaddr=st.none() | macs,
    kernelpath=st.none() | paths,
).filter(lambda selector: selector != DeviceSelector())
"""Selectors that say something."""


_booleans = st.booleans()
_silent = st.sampled_from([None, ""])
_runtime_configs = st.dictionaries(st.sampled_from(["mac", "ips"]), json_values, max_size=1)
_device_id_keys = st.sets(st.sampled_from(["deviceID", "pciBusID", "runtime"]), min_size=1)


@st.composite
def _device_members(draw: DrawFn, selector: DeviceSelector) -> dict[str, Any]:
    """The members that spell `selector`, with some that say nothing."""
    raw: dict[str, Any] = {}
    runtime_config = draw(_runtime_configs)
    if selector.bus_device is not None:
        text = str(selector.bus_device)
        if isinstance(selector.bus_device, PciAddress) and draw(_booleans):
            text = text.upper()
        keys = draw(_device_id_keys)
        raw |= {key: text for key in sorted(keys - {"runtime"})}
        if "runtime" in keys:
            runtime_config["deviceID"] = text
    if runtime_config:
        raw["runtimeConfig"] = runtime_config
    for key, value in (
        ("device", selector.ifname),
        ("hwaddr", selector.hwaddr),
        ("kernelpath", selector.kernelpath),
    ):
        if value is not None:
            raw[key] = value
        elif draw(_booleans):
            raw[key] = draw(_silent)
    return raw


_silent_ipams: SearchStrategy[dict[str, Any]] = st.sampled_from([{}, {"ipam": None}, {"ipam": {}}])
_ipam_members_besides = st.dictionaries(
    st.text(max_size=6).filter(lambda key: key.casefold() != "type"), json_values, max_size=2
)


@st.composite
def _ipam_members(draw: DrawFn, ipam: PluginName | None) -> dict[str, Any]:
    if ipam is None:
        return draw(_silent_ipams)
    return {"ipam": {**draw(_ipam_members_besides), "type": ipam}}


_unknown_members = st.dictionaries(unknown_keys, json_values, max_size=2)
_maybe_plugin_names = st.none() | plugin_names
_log_settings = st.builds(LogSettings, st.sampled_from(LogLevel), st.none() | paths)
_data_dirs = st.just(DEFAULT_DATA_DIR) | paths
_oldest_versions: SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"cniVersion": ""}, {"cniVersion": "0.1.0"}]
)
_delegate_members: SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"mover": "delegate"}, {"mover": ""}, {"mover": None}]
)
movers: SearchStrategy[Mover] = st.sampled_from(Mover)
"""Who moves netdevs."""

_mtus = st.none() | st.integers(1, 65535)


@st.composite
def _native(draw: DrawFn, device: Device, raw: dict[str, Any]) -> tuple[Device, dict[str, Any]]:
    """The same for the mover `native`, which obeys keys that are nobody's otherwise."""
    own = ("mtu", "mac", "dns", "runtimeConfig")
    runtime = {k: v for k, v in raw.get("runtimeConfig", {}).items() if k != "mac"}
    device = attrs.evolve(device, mover=Mover.NATIVE, mtu=draw(_mtus), mac=draw(st.none() | macs))
    raw = {key: value for key, value in raw.items() if key not in own}
    if device.mtu is not None or draw(_booleans):
        raw["mtu"] = device.mtu or draw(st.sampled_from([0, None]))
    if device.mac is not None and draw(_booleans):
        runtime["mac"] = device.mac
        raw |= draw(st.fixed_dictionaries({}, optional={"mac": macs}))
    elif device.mac is not None:
        raw["mac"] = device.mac
    return device, raw | {"mover": "native"} | ({"runtimeConfig": runtime} if runtime else {})


@st.composite
def _meanings(
    draw: DrawFn,
    versions: SearchStrategy[CniVersion],
    selectors: SearchStrategy[DeviceSelector],
    with_prev_result: bool | None = None,
    movers: SearchStrategy[Mover] = movers,
) -> Meaning:
    version, name = draw(versions), draw(network_names)
    device = Device(draw(selectors), draw(_maybe_plugin_names))
    log, data_dir = draw(_log_settings), draw(_data_dirs)
    raw: dict[str, Any] = draw(_unknown_members)
    raw |= {"type": "amd-host-device", "name": name}
    if version != "0.1.0":
        raw["cniVersion"] = version
    else:
        raw |= draw(_oldest_versions)
    raw |= draw(_device_members(device.selector))
    raw |= draw(_ipam_members(device.ipam))
    if draw(movers) is Mover.NATIVE:
        device, raw = draw(_native(device, raw))
    else:
        raw |= draw(_delegate_members)
    if data_dir != DEFAULT_DATA_DIR:
        raw["dataDir"] = data_dir
    if log.level is not LogLevel.WARNING:
        raw["logLevel"] = log.level.value
    if log.file is not None:
        raw["logFile"] = log.file
    previous = None
    if draw(_booleans) if with_prev_result is None else with_prev_result:
        previous = draw(_prev_results(version))
        raw["prevResult"] = prev_result_members(previous, version)
    if draw(_booleans):
        raw = {key: raw[key] for key in reversed(raw)}
    return Meaning(Network(raw, name, version, data_dir, log), device, previous)


_prev_interfaces = st.builds(Interface, ifnames, macs, sandbox=netns_paths)
_prev_ips = st.tuples(
    st.none() | st.builds(Ip, ipv4_interfaces, st.none() | _ipv4_addresses),
    st.none() | st.builds(Ip, ipv6_interfaces, st.none() | _ipv6_addresses),
)


@st.composite
def _prev_results(draw: DrawFn, version: CniVersion) -> Result:
    """Results that every version from 0.1.0 or 0.3.0 on can say without loss."""
    ips = tuple(ip for ip in draw(_prev_ips) if ip is not None)
    if version < "0.3.0":
        return Result((), ips)
    return Result((draw(_prev_interfaces),), tuple(attrs.evolve(ip, interface=0) for ip in ips))


def prev_result_members(result: Result, version: CniVersion) -> dict[str, Any]:
    """A result of `meanings` as JSON of `version`, with what that can say of it."""
    said: dict[str, Any] = {"cniVersion": version}
    old = version < "0.3.0"
    for ip in result.ips:
        member: dict[str, Any] = {"ip" if old else "address": str(ip.address)}
        if ip.gateway is not None:
            member["gateway"] = str(ip.gateway)
        if not old and ip.interface is not None:
            member["interface"] = ip.interface
        if not old and version < "1.0.0":
            member["version"] = str(ip.address.version)
        if old:
            said[f"ip{ip.address.version}"] = member
        else:
            said.setdefault("ips", []).append(member)
    if not old and result.interfaces:
        said["interfaces"] = [
            {"name": there.name, "mac": there.mac, "sandbox": there.sandbox}
            for there in result.interfaces
        ]
    return said


meanings: SearchStrategy[Meaning] = _meanings(versions, selectors)
"""Configurations of every version, valid for ADD, with unknown keys, and what they mean."""


def meanings_in(
    versions: SearchStrategy[CniVersion], *, with_prev_result: bool | None = None
) -> SearchStrategy[Meaning]:
    """Configurations of some versions, all or none of them with a prevResult if asked for."""
    return _meanings(versions, selectors, with_prev_result)


configurations: SearchStrategy[dict[str, Any]] = meanings.map(lambda meaning: meaning.raw)
"""Configurations of every version, valid for ADD, as JSON objects."""

# ---- requests ----------------------------------------------------------------------------------


def _held_by(invocation: Invocation) -> AttachmentId:
    assert invocation.attachment is not None
    return invocation.attachment


add_requests: SearchStrategy[AddRequest] = st.builds(
    lambda invocation, meaning: AddRequest(
        invocation,
        meaning.network,
        meaning.device,
        _held_by(invocation),
        invocation.netns,
        meaning.prev_result,
    ),
    invocations_for(Verb.ADD),
    meanings,
)
"""ADD."""

del_requests: SearchStrategy[DelRequest] = st.builds(
    lambda invocation, meaning: DelRequest(
        invocation,
        meaning.network,
        _held_by(invocation),
        invocation.netns,
        meaning.device.selector,
        meaning.device.ipam,
        meaning.device.mover,
    ),
    invocations_for(Verb.DEL),
    meanings,
)
"""DEL with a device in the configuration."""

check_requests: SearchStrategy[CheckRequest] = st.builds(
    lambda invocation, meaning: CheckRequest(
        invocation,
        meaning.network,
        meaning.device,
        _held_by(invocation),
        invocation.netns,
        meaning.prev_result,
    ),
    invocations_for(Verb.CHECK),
    meanings_in(versions_since("0.4.0"), with_prev_result=True),
)
"""CHECK."""


def _with_valid(network: Network, valid: frozenset[AttachmentId] | None) -> Network:
    if valid is None:
        return network
    listed = [{"containerID": a.container_id, "ifname": a.ifname} for a in sorted(valid)]
    return attrs.evolve(network, raw={**network.raw, "cni.dev/valid-attachments": listed})


gc_requests: SearchStrategy[GcRequest] = st.builds(
    lambda invocation, meaning, valid: GcRequest(
        invocation, _with_valid(meaning.network, valid), valid, meaning.device.ipam
    ),
    invocations_for(Verb.GC),
    meanings_in(versions_since("1.1.0")),
    st.none() | st.frozensets(attachment_ids, max_size=2),
)
"""GC, with and without a list of what is valid."""

status_requests: SearchStrategy[StatusRequest] = st.builds(
    lambda invocation, meaning: StatusRequest(
        invocation, meaning.network, meaning.device.ipam, meaning.device.mover
    ),
    invocations_for(Verb.STATUS),
    meanings_in(versions_since("1.1.0")),
)
"""STATUS."""

requests: SearchStrategy[Request] = st.one_of(
    add_requests, del_requests, check_requests, gc_requests, status_requests
)
"""Requests of every verb."""

# ---- state -------------------------------------------------------------------------------------

boot_ids: SearchStrategy[str] = st.uuids().map(str)
"""Boot IDs, as /proc/sys/kernel/random/boot_id shows them."""

clocks: SearchStrategy[Clock] = st.builds(
    Clock,
    now_s=st.integers(0, 2**31),
    boot_id=boot_ids,
    wall=st.datetimes().map(lambda time: f"{time.isoformat(timespec='seconds')}+00:00"),
)
"""Moments."""

netns_refs: SearchStrategy[NetnsRef] = st.builds(NetnsRef, netns_paths, netns_ids)
"""The pod's netns at the time of an ADD."""


_maybe_bus_devices = st.none() | bus_devices
_maybe_captures = st.none() | captures
_maybe_macs = st.none() | macs


@st.composite
def _attachments(
    draw: DrawFn,
    phases: SearchStrategy[Phase],
    captures: SearchStrategy[Captured | None],
    configs: SearchStrategy[dict[str, Any]],
    results: SearchStrategy[Result | None],
) -> Attachment:
    captured, bus_device = draw(captures), draw(_maybe_bus_devices)
    if captured is None:
        key = DeviceKey(draw(bus_devices) if bus_device is None else bus_device)
    else:
        alone = bus_device is not None and draw(_booleans)
        key = DeviceKey(bus_device, None if alone else captured.ifname)
    clock, phase = draw(clocks), draw(phases)
    attached = phase is not Phase.ATTACHING
    return Attachment(
        network=draw(network_names),
        id=draw(attachment_ids),
        netns=draw(netns_refs),
        key=key,
        phase=phase,
        boot_id=clock.boot_id,
        read_at_s=clock.now_s,
        since=clock.wall,
        config=draw(configs),
        args=draw(cni_args),
        captured=captured,
        ipam=draw(_maybe_plugin_names),
        mover=draw(movers),
        pod_mac=draw(_maybe_macs),
        pod_ifindex=draw(_ifindexes) if attached and captured else None,
        result=draw(results) if attached else None,
        taken_over=draw(_booleans) if isinstance(key.bus_device, PciAddress) else False,
    )


phases: SearchStrategy[Phase] = st.sampled_from(Phase)
"""Every phase of a record."""

attachments: SearchStrategy[Attachment] = _attachments(
    phases, _maybe_captures, json_objects, results
)
"""Records, also of devices of a userspace driver, which have no netdev."""


def attachments_of(
    *, phases: SearchStrategy[Phase] = phases, with_netdev: bool | None = None
) -> SearchStrategy[Attachment]:
    """Records in some phases, all or none of them with a netdev if asked for."""
    chosen = {None: _maybe_captures, True: captures, False: st.none()}[with_netdev]
    return _attachments(phases, chosen, json_objects, results)


# ---- an ADD that can work ----------------------------------------------------------------------


@attrs.frozen
class Handover:
    """An ADD, a node on which it can be carried out, and the netdev that it means.

    `netdev` is None for a device of a userspace driver.
    """

    request: AddRequest
    snapshot: Snapshot
    netdev: Netdev | None


def _selectors_of(
    netdev: Netdev, device: SysfsDevice | None, host: Netns
) -> SearchStrategy[DeviceSelector]:
    """Selectors that mean `netdev` and nothing else on `host`."""
    bus_device = None if device is None else device.bus_device
    by_name = DeviceSelector(bus_device, netdev.ifname)
    # An altname may be longer than what the key `device` takes.
    names = [
        name
        for name in netdev.altnames
        if len(name.encode()) <= IFNAME_MAX_BYTES and _kernel_takes(name)
    ]
    choices = [by_name, *(attrs.evolve(by_name, ifname=IfName(name)) for name in names)]
    if [n.mac for n in host.netdevs].count(netdev.mac) == 1 and netdev.mac is not None:
        choices.append(DeviceSelector(bus_device, hwaddr=netdev.mac))
    if device is not None and len(device.ifnames) == 1:
        choices.append(DeviceSelector(bus_device))
    return st.sampled_from(choices)


def _set_free(netdevs: Iterable[Netdev], chosen: Netdev) -> tuple[Netdev, ...]:
    """The netdevs without what ties `chosen` to any other."""
    return tuple(
        chosen if n.ifindex == chosen.ifindex else attrs.evolve(n, lower=None) for n in netdevs
    )


@st.composite
def _plain_meanings(
    draw: DrawFn, selectors: SearchStrategy[DeviceSelector], mover: Mover
) -> Meaning:
    """Configurations that say what has to be said, and nothing else."""
    version, ipam, selector = draw(versions), draw(_maybe_plugin_names), draw(selectors)
    said = {
        "deviceID": None if selector.bus_device is None else str(selector.bus_device),
        "device": selector.ifname,
        "hwaddr": selector.hwaddr,
        "ipam": None if ipam is None else {"type": ipam},
        "mover": mover.value,
    }
    raw: dict[str, Any] = {"cniVersion": version, "name": "fabric", "type": "amd-host-device"}
    raw |= {key: value for key, value in said.items() if value is not None}
    network = Network(raw, NetworkName("fabric"), version)
    return Meaning(network, Device(selector, ipam, mover), None)


_userspace_devices = st.builds(SysfsDevice, bus_devices, st.sampled_from(sorted(USERSPACE_DRIVERS)))
_add_invocations = invocations_for(Verb.ADD)
_small = st.integers(0, 8)


@st.composite
def _handovers(
    draw: DrawFn, userspace: bool, configured: bool, mover: Mover = Mover.DELEGATE
) -> Handover:
    device, netdev = None, None
    if userspace:
        host = draw(_hosts(0, 1))
        device = draw(_userspace_devices)
        chosen = st.just(DeviceSelector(device.bus_device))
    else:
        host = draw(_hosts(1, 2))
        netdev = host.netdevs[1 + draw(_small) % (len(host.netdevs) - 1)]
        bus_device, virtio = draw(_maybe_bus_devices), draw(_booleans)
        parent = None if bus_device is None else "virtio7" if virtio else str(bus_device)
        netdev = attrs.evolve(netdev, master=None, lower=None, parent=parent)
        host = attrs.evolve(host, netdevs=_set_free(host.netdevs, netdev))
        if bus_device is not None:
            others = [n.ifname for n in host.netdevs if n != netdev and not n.loopback]
            besides = others if draw(_booleans) else []
            device = SysfsDevice(bus_device, "ionic", (netdev.ifname, *besides))
        chosen = _selectors_of(netdev, device, host)
    if configured:
        meaning = draw(_meanings(versions, chosen, movers=st.just(mover)))
    else:
        meaning = draw(_plain_meanings(chosen, mover))
    invocation = draw(_add_invocations)
    attachment, netns = _held_by(invocation), str(invocation.netns)
    pod = draw(_hosts(0, 1))
    free = [n for n in pod.netdevs if attachment.ifname not in (n.ifname, *n.altnames)]
    other = NetnsId(host.id.dev, host.id.inode + 1 + draw(_small))
    pod = attrs.evolve(pod, path=netns, id=other, netdevs=tuple(free))
    snapshot = Snapshot(draw(clocks), host, pod, Candidates(host.netdevs, device))
    request = AddRequest(invocation, meaning.network, meaning.device, attachment, netns)
    return Handover(request, snapshot, netdev)


handovers: SearchStrategy[Handover] = _handovers(userspace=False, configured=False)
"""ADDs that can work, of a netdev on a bus or on none, alone on its device or beside another."""

userspace_handovers: SearchStrategy[Handover] = _handovers(userspace=True, configured=False)
"""ADDs that can work, of a device that is bound to a userspace driver."""

configured_handovers: SearchStrategy[Handover] = _handovers(
    userspace=False, configured=True
) | _handovers(userspace=True, configured=True)
"""ADDs that can work, of any device, and with everything in their configurations."""

native_handovers: SearchStrategy[Handover] = _handovers(
    userspace=False, configured=False, mover=Mover.NATIVE
) | _handovers(userspace=False, configured=True, mover=Mover.NATIVE)
"""ADDs by the mover `native` that can work, of a netdev."""

native_userspace_handovers: SearchStrategy[Handover] = _handovers(
    userspace=True, configured=True, mover=Mover.NATIVE
)
"""ADDs by the mover `native` that can work, of a device without a netdev."""

snapshots: SearchStrategy[Snapshot] = (handovers | userspace_handovers).map(
    lambda handover: handover.snapshot
)
"""What an ADD sees of a node, before anything of the device is held."""

# ---- a device that a pod has -------------------------------------------------------------------


@attrs.frozen
class Lending:
    """A record of an attachment that is whole, its pod, and the netdev as it is there."""

    record: Attachment
    pod: Netns
    netdev: Netdev


_lent = _attachments(
    st.just(Phase.ATTACHED),
    captures,
    st.builds(lambda mark: {"name": "fabric", "type": "amd-host-device", "mark": mark}, words),
    st.none(),
)


@st.composite
def _lendings(draw: DrawFn) -> Lending:
    record = draw(_lent)
    captured, ifname = record.captured, record.id.ifname
    assert captured is not None
    pod = draw(_hosts(0, 2))
    strangers = tuple(
        n
        for n in pod.netdevs
        if ifname not in (n.ifname, *n.altnames)
        and (n.parent is None or n.parent != captured.parent)
    )
    netdev = Netdev(
        ifindex=max(n.ifindex for n in strangers) + 1,
        ifname=ifname,
        mac=captured.mac,
        permanent_mac=captured.permanent_mac,
        kind=captured.kind,
        parent=captured.parent,
        up=True,
        addresses=draw(address_lists),
    )
    position = 1 + draw(_small) % len(strangers)
    netdevs = (*strangers[:position], netdev, *strangers[position:])
    pointing = 0 if draw(_booleans) else None
    result = Result(
        (Interface(ifname, captured.mac, sandbox=pod.path),),
        tuple(Ip(address.interface, interface=pointing) for address in netdev.addresses),
    )
    record = attrs.evolve(
        record,
        netns=NetnsRef(pod.path, pod.id),
        pod_ifindex=netdev.ifindex,
        result=result,
    )
    return Lending(record, attrs.evolve(pod, netdevs=netdevs), netdev)


lendings: SearchStrategy[Lending] = _lendings()
"""Records of netdevs that are in their pods, up and with all that their results promise."""
