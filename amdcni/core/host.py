"""What was seen of a host or a pod: facts, as the kernel reports them, and nothing derived."""

import ipaddress
from collections.abc import Iterable, Mapping
from enum import IntFlag
from typing import Final

import attrs

from amdcni.core.names import BusDevice, IfName, MacAddress, PciAddress

IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

Values = Mapping[str, int | str]
"""Named values of the kernel."""


class AddressFlag(IntFlag):
    """Flags of an IP address (include/uapi/linux/if_addr.h)."""

    SECONDARY = 0x01
    NODAD = 0x02
    OPTIMISTIC = 0x04
    DADFAILED = 0x08
    HOMEADDRESS = 0x10
    DEPRECATED = 0x20
    TENTATIVE = 0x40
    PERMANENT = 0x80
    MANAGETEMPADDR = 0x100
    NOPREFIXROUTE = 0x200
    MCAUTOJOIN = 0x400
    STABLE_PRIVACY = 0x800


TEMPORARY: Final = AddressFlag.SECONDARY
"""The same bit as SECONDARY; on an IPv6 address it marks a privacy address (RFC 8981)."""

SETTABLE_FLAGS: Final = (
    AddressFlag.NODAD
    | AddressFlag.HOMEADDRESS
    | AddressFlag.MANAGETEMPADDR
    | AddressFlag.NOPREFIXROUTE
    | AddressFlag.MCAUTOJOIN
)
"""The flags that stay as a caller set them; the others are the kernel's own state.

OPTIMISTIC may be set too, but the kernel clears it when it has found no duplicate.
"""

PROTO_KERNEL: Final = frozenset({1, 2, 3})
"""IFA_PROTO of addresses that the kernel makes: loopback, router advertisement, link-local."""


@attrs.frozen
class Address:
    """One IP address of a netdev, with every attribute that netlink reports (RTM_GETADDR).

    `interface` is the local address with its prefix length.  `peer` is the other end of a
    point-to-point address.  Lifetimes are in whole seconds from the moment of reading; None means
    forever.  `scope` is a number of /etc/iproute2/rt_scopes, `proto` one of rt_addrprotos.
    """

    interface: IpInterface
    peer: IpAddress | None = None
    broadcast: ipaddress.IPv4Address | None = None
    label: str | None = None
    scope: int = 0
    flags: int = 0
    metric: int | None = None
    proto: int | None = None
    valid_s: int | None = None
    preferred_s: int | None = None

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.interface.version

    @property
    def identity(self) -> tuple[IpInterface, IpAddress | None]:
        """What distinguishes two addresses of one netdev for the kernel."""
        return (self.interface, self.peer)

    @property
    def is_link_local(self) -> bool:
        """Whether it is a link-local IPv6 address (RFC 4291)."""
        return self.family == 6 and self.interface.ip.is_link_local

    @property
    def settable_flags(self) -> int:
        """The flags with which the address was set, without the kernel's own state."""
        return self.flags & SETTABLE_FLAGS


@attrs.frozen
class Below:
    """What is below a netdev in the same netns, as its kind reports it (IFLA_INFO_DATA).

    `links` are ifindexes: the netdev that a tunnel is bound to, or the members of a ring.  `local`
    and `remote` are the ends of a tunnel, None where there is no such address.
    """

    links: tuple[int, ...] = ()
    local: IpAddress | None = None
    remote: IpAddress | None = None


@attrs.frozen
class Program:
    """A BPF program on a netdev: its ID, and how it is attached, such as `driver`."""

    number: int
    mode: str


@attrs.frozen
class Netdev:
    """One kernel netdev as RTM_GETLINK shows it.

    `link_type` is its ARPHRD_*, and `parent` the bus device's name (IFLA_PARENT_DEV_NAME, Linux
    5.14): a PCI address, or `virtioN`.  `port_name` and `port_id` are what a switch or a NIC with
    several ports calls the port (IFLA_PHYS_PORT_NAME, and in hexadecimal IFLA_PHYS_PORT_ID).
    `lower` is the ifindex of the netdev below (IFLA_LINK) if that is in the same netns, `below`
    what else is below, and `master` the ifindex of the bond, bridge or the like above.  `kind` is
    the rtnl_link type, such as `veth`, and None for real hardware.  `carrier` is whether it is up
    and has a link (IFF_LOWER_UP).  `flags` are the bits of `SETTABLE_LINK_FLAGS` that are set,
    `group` is a number of /etc/iproute2/group, `token` the IPv6 token (what RFC 7217 makes is not
    one), `xdp` the XDP programs.  The limits of segmentation and receive offloads, `gso_max_size`
    and the like, are None where the kernel does not show them: `gro_max_size` before Linux 5.19,
    those for IPv4 before 6.3.
    """

    ifindex: int
    ifname: IfName
    mac: MacAddress | None = None
    permanent_mac: MacAddress | None = None
    mtu: int = 1500
    txqlen: int = 1000
    group: int = 0
    flags: int = 0
    up: bool = False
    carrier: bool = False
    loopback: bool = False
    kind: str | None = None
    alias: str | None = None
    altnames: tuple[str, ...] = ()
    link_type: int | None = None
    parent: str | None = None
    port_name: str | None = None
    port_id: str | None = None
    lower: int | None = None
    master: int | None = None
    below: Below = Below()
    token: IpAddress | None = None
    xdp: tuple[Program, ...] = ()
    gso_max_size: int | None = None
    gso_max_segs: int | None = None
    gso_ipv4_max_size: int | None = None
    gro_max_size: int | None = None
    gro_ipv4_max_size: int | None = None
    addresses: tuple[Address, ...] = ()


class LinkFlag(IntFlag):
    """Flags of a netdev (include/uapi/linux/if.h)."""

    NOARP = 0x80
    PROMISC = 0x100
    ALLMULTI = 0x200
    MULTICAST = 0x1000


SETTABLE_LINK_FLAGS: Final = (
    LinkFlag.NOARP | LinkFlag.PROMISC | LinkFlag.ALLMULTI | LinkFlag.MULTICAST
)
"""The flags of a netdev, other than UP, that an administrator can set."""


@attrs.frozen
class Encap:
    """How packets are wrapped before they leave: LWTUNNEL_ENCAP_*, and its attributes.

    `data` are their bytes in hexadecimal digits: the kernel accepts what it reports.
    """

    kind: int
    data: str = ""


@attrs.frozen
class Hop:
    """Where a route leads: out of a netdev, to a next router or straight to the destination.

    `ifname` identifies the netdev in a record; `ifindex` is its number at the time of reading.
    `weight` counts from 1, as for `ip route`; `onlink` is RTNH_F_ONLINK.
    """

    ifname: IfName
    ifindex: int = attrs.field(default=0, eq=False)
    via: IpAddress | None = None
    weight: int = 1
    onlink: bool = False
    encap: Encap | None = None


@attrs.frozen
class Route:
    """One route, with every attribute that netlink reports and accepts (RTM_GETROUTE).

    Numbers are those of include/uapi/linux/rtnetlink.h: `kind` is RTN_*, `protocol` RTPROT_*,
    `scope` RT_SCOPE_*, `preference` ICMPV6_ROUTER_PREF_*.  `origin` is an IPv6 source prefix
    (`from`), `source` the preferred source address (`src`), `metric` the priority.  `metrics` are
    the RTAX_* by their names in lower case, or their numbers, `lock` being a bit field.  Several
    hops are a multipath route.  `expires_s` is in whole seconds from the moment of reading.
    `nexthop` is the ID of a nexthop object or group, which then has the hops.
    """

    destination: IpNetwork
    hops: tuple[Hop, ...]
    table: int = 254
    kind: int = 1
    protocol: int = 3
    scope: int = 0
    tos: int = 0
    metric: int | None = None
    origin: IpNetwork | None = None
    source: IpAddress | None = None
    realm: int | None = None
    preference: int | None = None
    metrics: Values = attrs.field(factory=dict)
    expires_s: int | None = None
    nexthop: int | None = None

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.destination.version

    @property
    def identity(self) -> tuple[object, ...]:
        """What the kernel looks for when a route is to be replaced."""
        return (self.table, self.destination, self.origin, self.tos, self.metric, self.kind)


@attrs.frozen
class Nexthop:
    """A nexthop object (RTM_GETNEXTHOP); `family` is 4 or 6, `protocol` is RTPROT_*.

    `hop` is None if it leads through no netdev, such as a blackhole.
    """

    id: int
    hop: Hop | None = None
    family: int = 4
    protocol: int = 0


@attrs.frozen
class Member:
    """A nexthop object in a group; `weight` counts from 1."""

    id: int
    weight: int = 1


@attrs.frozen
class Buckets:
    """How a resilient group distributes flows; the times are in ticks of USER_HZ."""

    count: int
    idle_timer: int = 0
    unbalanced_timer: int = 0


@attrs.frozen
class NexthopGroup:
    """A group of nexthop objects, in the order in which flows are distributed among them.

    `buckets` are those of a resilient group, None for a group by hash thresholds.
    """

    id: int
    members: tuple[Member, ...] = ()
    protocol: int = 0
    buckets: Buckets | None = None


@attrs.frozen
class Neighbour:
    """A neighbour that somebody has set; `flags` are NTF_*, such as `router` (0x80).

    `state` is the NUD_* with which it is set: permanent, noarp, stale if it is externally learnt,
    or 0 if it is looked up: `managed` is one that the kernel does not forget (NTF_EXT_MANAGED).
    """

    address: IpAddress
    mac: MacAddress | None = None
    flags: int = 0
    protocol: int | None = None
    state: int = 0x80
    managed: bool = False


TC_H_ROOT: Final = 0xFFFFFFFF
"""The parent of a root qdisc, and of a class that is in no other class."""


@attrs.frozen
class Qdisc:
    """A qdisc that somebody has set: `handle` is not 0, unlike that of the kernel's own.

    Handles and parents are numbers whose upper half is before the colon of `tc`.  `options` are the
    bytes of TCA_OPTIONS in hexadecimal digits, as the kernel reports them but without what it
    counts; `size_table` are those of TCA_STAB.  A block is what holds filters that qdiscs of
    several netdevs may share.
    """

    kind: str
    handle: int
    options: str = ""
    parent: int = TC_H_ROOT
    size_table: str = ""
    ingress_block: int | None = None
    egress_block: int | None = None


@attrs.frozen
class TrafficClass:
    """A class that somebody has set in the qdisc `kind`; its options are like those of a qdisc."""

    kind: str
    handle: int
    parent: int
    options: str = ""


@attrs.frozen
class Chain:
    """A chain of filters, with a template if it has a kind.

    `parent` is a qdisc or class, or if it is `shared` the number of a block.
    """

    parent: int
    number: int
    kind: str | None = None
    options: str = ""
    shared: bool = False


@attrs.frozen
class Filter:
    """A filter with its actions; `parent` and `shared` are like those of a chain.

    `protocol` is in network byte order.  `targets` are the netdevs to which its actions send, in
    their order: `options` has 0 in the places of their ifindexes.
    """

    kind: str
    parent: int
    priority: int
    protocol: int
    handle: int
    chain: int = 0
    options: str = ""
    targets: tuple[IfName, ...] = ()
    shared: bool = False


@attrs.frozen
class Redirection:
    """An action `mirred` that sends to a netdev, which filters of any netdev may have.

    `number` distinguishes it from others that exist at the same time, and `since_s`, in seconds on
    the kernel's monotonic clock, from later ones.  `parameters` are the bytes of struct tc_mirred
    in hexadecimal digits, without numbers and counters.
    """

    number: int
    since_s: int
    parameters: str


@attrs.frozen
class WayOut:
    """One hop of a route in the main table that is wide enough for the node to need it.

    The prefix of `destination` has at most `WIDEST_PREFIXES` bits.  A hop that is `dead` cannot be
    used now: its netdev is down or has no carrier.
    """

    destination: IpNetwork
    ifindex: int
    dead: bool = False

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.destination.version


WIDEST_PREFIXES: Final = 3
"""Default routes have 0 bits, the halves that VPNs set instead 1, and the Internet is 2000::/3."""


@attrs.frozen
class Load:
    """What netdevs of the host carry but do not report themselves.

    `pppoe` are the netdevs with PPPoE sessions, `rdma` the netdevs of software RDMA devices, by the
    names of the latter.  `tunnel_ways` maps each tunnel that is bound to no netdev and no address
    to the netdev through which it reaches its other end, both as ifindexes.  `receives_for` maps
    the ifindex of a netdev to the hardware addresses for which it receives in addition to its own:
    each is there for something above it, possibly in another netns.
    """

    pppoe: frozenset[IfName] = frozenset()
    rdma: Mapping[str, IfName] = attrs.field(factory=dict)
    tunnel_ways: Mapping[int, int] = attrs.field(factory=dict)
    receives_for: Mapping[int, tuple[MacAddress, ...]] = attrs.field(factory=dict)


@attrs.frozen
class NetnsId:
    """A network namespace, identified by what it is and not by a path, which may be reused.

    `cookie` is a number that the kernel never gives to another namespace of the same boot
    (SO_NETNS_COOKIE, Linux 5.14); None if it is not known.  The device and the inode of the nsfs
    file are reused within seconds, and distinguish only namespaces that exist at the same time.
    """

    dev: int
    inode: int
    cookie: int | None = None

    def is_same(self, other: "NetnsId") -> bool:
        """Whether both are the same namespace, judged by the cookies if both are known."""
        if self.cookie is not None and other.cookie is not None:
            return self.cookie == other.cookie
        return (self.dev, self.inode) == (other.dev, other.inode)


@attrs.frozen
class Netns:
    """A network namespace that exists: where it was found, what it is, and what is in it."""

    path: str
    id: NetnsId
    netdevs: tuple[Netdev, ...] = ()


@attrs.frozen
class Hardware:
    """What distinguishes a card from another one that later sits in its place.

    `vendor` and `product` are IDs as sysfs spells them, such as `0x1dd8`; `serial` is the device
    serial number of PCI Express, in hexadecimal.  What the device does not report is None.
    """

    vendor: str | None = None
    product: str | None = None
    serial: str | None = None


@attrs.frozen
class Interrupts:
    """The CPUs that the interrupts of a device may go to, and some of other devices.

    Each is a list of CPUs such as `0-3,8` by the number of the interrupt.
    """

    own: Values
    others: Values = attrs.field(factory=dict)


@attrs.frozen
class SysfsDevice:
    """What sysfs says of a bus device: the bound driver, and the netdevs visible on the host.

    `virtio` are the devices below it that its netdevs have as parent, such as `virtio3`.  With
    SR-IOV, `physfn` is the physical function of a virtual one, and `virtfns` are the virtual ones
    of a physical one.
    """

    bus_device: BusDevice
    driver: str | None = None
    ifnames: tuple[IfName, ...] = ()
    virtio: tuple[str, ...] = ()
    hardware: Hardware = Hardware()
    physfn: PciAddress | None = None
    virtfns: tuple[PciAddress, ...] = ()

    @property
    def kin(self) -> tuple[PciAddress, ...]:
        """The functions that control this one, or that this one controls."""
        return self.virtfns if self.physfn is None else (self.physfn, *self.virtfns)


USERSPACE_DRIVERS: Final = frozenset({"vfio-pci", "uio_pci_generic", "igb_uio"})
"""Drivers whose device has no netdev and belongs to a program (the host-device plugin's list)."""


def netdev_named(netdevs: Iterable[Netdev], ifname: str) -> Netdev | None:
    """The netdev that answers to `ifname`, as its name or as an alternative one."""
    return next((n for n in netdevs if n.ifname == ifname or ifname in n.altnames), None)


def names_of(netdevs: Iterable[Netdev]) -> frozenset[str]:
    """Every name that one of the netdevs has, alternative ones included."""
    return frozenset(name for n in netdevs for name in (n.ifname, *n.altnames))


def reports_protocols(netdevs: Iterable[Netdev]) -> bool:
    """Whether this kernel marks the addresses that it made itself (IFA_PROTO, Linux 5.18).

    That shows on the loopback addresses, or on any other address that the kernel made.
    """
    return any(a.proto in PROTO_KERNEL for netdev in netdevs for a in netdev.addresses)
