"""What a kernel in memory has: netdevs with their addresses, namespaces, and devices on a bus.

`Configuration` says how an administrator has configured a netdev, in a form that can be compared.
"""

import ipaddress
from typing import Final

import attrs

from amdcni.core.aspects.traffic_control import Item
from amdcni.core.host import (
    Address,
    AddressFlag,
    Below,
    Hop,
    IpAddress,
    Neighbour,
    Netdev,
    Nexthop,
    NexthopGroup,
    Redirection,
    Route,
)
from amdcni.core.names import IfName, MacAddress
from amdcni.core.rules import IIF_DETACHED, OIF_DETACHED, Rule

KERNEL_LINK_LOCAL: Final = 3  # IFAPROT_KERNEL_LL

ATTRIBUTES: Final = (
    *("mac", "mtu", "txqlen", "group", "flags"),
    *("gso_max_size", "gso_max_segs", "gso_ipv4_max_size", "gro_max_size", "gro_ipv4_max_size"),
)
"""Attributes of a netdev that it takes along wherever it goes."""

SYSCTL_DEFAULTS: Final[dict[str, int | str]] = {
    "ipv4/conf/rp_filter": "0",
    "ipv4/conf/arp_announce": "0",
    "ipv6/conf/accept_dad": "1",
    "ipv6/conf/accept_ra": "1",
    "ipv6/conf/addr_gen_mode": "0",
    "ipv6/conf/disable_ipv6": "0",
    "ipv6/neigh/ucast_solicit": "3",
}
"""What a new netdev gets."""


def address(text: str, **attributes: object) -> Address:
    return attrs.evolve(Address(ipaddress.ip_interface(text)), **attributes)  # type: ignore[arg-type]


def is_link_local(address: Address) -> bool:
    return address.family == 6 and address.interface.ip.is_link_local


class Refused(Exception):
    """The kernel answered with an error number."""


@attrs.define
class Assigned:
    """An address on a netdev, its lifetimes as the time of their end."""

    address: Address
    valid_until_s: int | None
    preferred_until_s: int | None
    by_kernel: bool = False
    _lasting: tuple[Address, Address] | None = attrs.field(default=None, init=False, eq=False)

    def seen(self, now_s: int) -> Address:
        """The address as it is now; without lifetimes it is always the same."""
        if self.valid_until_s is not None or self.preferred_until_s is not None:
            return self._seen(now_s)
        if self._lasting is None or self._lasting[0] is not self.address:
            self._lasting = self.address, self._seen(now_s)
        return self._lasting[1]

    def _seen(self, now_s: int) -> Address:
        flags = self.address.flags
        if self.valid_until_s is None:
            flags |= AddressFlag.PERMANENT
        if self.preferred_until_s is not None and self.preferred_until_s <= now_s:
            flags |= AddressFlag.DEPRECATED
        return attrs.evolve(
            self.address,
            flags=int(flags),
            valid_s=None if self.valid_until_s is None else self.valid_until_s - now_s,
            preferred_s=(
                None if self.preferred_until_s is None else max(0, self.preferred_until_s - now_s)
            ),
        )


QUEUES: Final = {
    "gro_flush_timeout": "0",
    **{f"rx-{number}/rps_cpus": "0" for number in range(2)},
    **{f"tx-{number}/xps_cpus": str(1 + number) for number in range(2)},
    **{f"napi-{number}/gro_flush_timeout": "0" for number in range(2)},
}
"""The settings of the queues of a new netdev."""

DRIVERS_CHOICE: Final[dict[str, int | str]] = {
    "channels/combined": 4,
    "rings/rx": 256,
    "features/on": "0x6",
    "features/off": "0x9",
    "link/autoneg": 1,
    "link/advertised": "0x3f",
}
"""The settings of ethtool that a netdev has at first."""


@attrs.define(eq=False)
class Link:
    """A netdev.  `function` is the bus device that it belongs to in sysfs."""

    ifindex: int
    name: str
    mac: str
    space: "Space"
    function: str | None = None
    parent: str | None = None
    permanent_mac: str | None = None
    kind: str | None = None
    mtu: int = 1500
    txqlen: int = 1000
    group: int = 0
    flags: int = 0
    gso_max_size: int = 65536
    gso_max_segs: int = 65535
    gso_ipv4_max_size: int = 65536
    gro_max_size: int = 65536
    gro_ipv4_max_size: int = 65536
    up: bool = False
    plugged_in: bool = True
    requests_until_ready: int = 0
    """How many come before the kernel sees that the link is ready, and makes its address."""
    loopback: bool = False
    alias: str = ""
    altnames: set[str] = attrs.field(factory=set)
    lower: int | None = None
    master: int | None = None
    given_altnames: set[str] = attrs.field(factory=set)
    """Those that somebody has set since the boot; a boot sets its own again."""
    below: Below = attrs.field(factory=Below)
    addresses: list[Assigned] = attrs.field(factory=list)
    neighbours: list[Neighbour] = attrs.field(factory=list)
    proxy_neighbours: list[Neighbour] = attrs.field(factory=list)
    multicast: list[MacAddress] = attrs.field(factory=list)
    sysctls: dict[str, int | str] = attrs.field(factory=dict)
    queues: dict[str, str] = attrs.field(factory=lambda: dict(QUEUES))
    token: IpAddress | None = None
    traffic: list[Item] = attrs.field(factory=list)
    """The traffic control, in the order in which it was set."""
    redirections: list[Redirection] = attrs.field(factory=list)
    """The actions of other netdevs that send to this one."""
    cut_off: list[Redirection] = attrs.field(factory=list)
    """Those that have sent to this one, until it left the host."""
    rules: list[Rule] = attrs.field(factory=list)
    """The policy rules that somebody has set for it on the host."""
    managed: list[Rule] = attrs.field(factory=list)
    """Those whose owner has them set only while it sees the netdev."""
    ethtool: dict[str, int | str] = attrs.field(factory=DRIVERS_CHOICE.copy)
    refused_settings: set[str] = attrs.field(factory=set)
    """Settings of ethtool that the driver does not change."""

    @property
    def names(self) -> set[str]:
        return {self.name, *self.altnames}

    @property
    def has_link(self) -> bool:
        return self.up and self.plugged_in

    def lose_configuration(self) -> None:
        """What no netdev keeps when it changes its namespace."""
        self.up, self.master, self.token = False, None, None
        for lost in (self.addresses, self.neighbours, self.proxy_neighbours, self.traffic):
            lost.clear()
        self.sysctls.clear()
        self.cut_off += self.redirections
        self.redirections.clear()
        self.multicast.clear()

    def alive_addresses(self, now_s: int) -> list[Assigned]:
        """The addresses, after those whose lifetime is over were removed."""
        self.addresses = [
            own for own in self.addresses if own.valid_until_s is None or own.valid_until_s > now_s
        ]
        return self.addresses

    def insert(self, new: Assigned) -> None:
        """IPv4 in order of arrival; IPv6 with the latest first and link-local ones last."""
        interface, position = new.address.interface, len(self.addresses)
        for index, own in enumerate(self.addresses):
            other = own.address.interface
            if other.version == 6 and (
                interface.version == 4 or other.is_link_local or not interface.is_link_local
            ):
                position = index
                break
        self.addresses.insert(position, new)

    def link_local(self) -> Address:
        """The address that the kernel makes of the hardware address."""
        octets = [int(octet, 16) for octet in self.mac.split(":")]
        eui = [octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]]
        interface_id = int.from_bytes(bytes(eui), "big")
        address = ipaddress.IPv6Interface(((0xFE80 << 112) | interface_id, 64))
        return Address(address, scope=253, proto=KERNEL_LINK_LOCAL)

    def seen(self, now_s: int) -> Netdev:
        return Netdev(
            ifindex=self.ifindex,
            ifname=IfName(self.name),
            mac=MacAddress(self.mac),
            permanent_mac=None if self.permanent_mac is None else MacAddress(self.permanent_mac),
            mtu=self.mtu,
            txqlen=self.txqlen,
            group=self.group,
            flags=self.flags,
            gso_max_size=self.gso_max_size,
            gso_max_segs=self.gso_max_segs,
            gso_ipv4_max_size=self.gso_ipv4_max_size,
            gro_max_size=self.gro_max_size,
            gro_ipv4_max_size=self.gro_ipv4_max_size,
            up=self.up,
            carrier=self.has_link,
            loopback=self.loopback,
            kind=self.kind,
            alias=self.alias or None,
            altnames=tuple(sorted(self.altnames)),
            parent=self.parent,
            lower=self.lower,
            master=self.master,
            below=self.below,
            token=self.token,
            addresses=tuple(own.seen(now_s) for own in self.alive_addresses(now_s)),
        )


RIDERS: Final = (
    *("vlan", "macvlan", "ipvlan", "macsec", "vxlan", "geneve", "gre", "ipip", "xfrm", "hsr"),
    *("ppp", "soft-RoCE", "bond", "vrf", "macvlan in another netns"),
)
"""What can rest on a netdev of the host."""


@attrs.define(eq=False)
class Rider:
    """What rests on a netdev: another netdev, or an RDMA device.

    It is `lost` when the netdev below leaves its namespace.
    """

    kind: str
    on: Link
    link: Link | None
    lost: bool = False


@attrs.define(eq=False)
class Space:
    """A network namespace.  The inode of a dead one is used again, its cookie never."""

    inode: int
    cookie: int | None = None
    links: list[Link] = attrs.field(factory=list)
    routes: list[Route] = attrs.field(factory=list)
    rules: list[Rule] = attrs.field(factory=list)
    nexthops: dict[int, Nexthop] = attrs.field(factory=dict)
    nexthop_groups: dict[int, NexthopGroup] = attrs.field(factory=dict)
    refused: set[str] = attrs.field(factory=set)
    """Addresses, sysctls and rules that the kernel refuses here, for whatever reason."""
    without_ipv6: set[str] = attrs.field(factory=set)
    """Names of netdevs whose sysctl `disable_ipv6` is set."""

    @property
    def names(self) -> set[str]:
        return {name for link in self.links for name in link.names}

    def find(self, name: str) -> Link | None:
        return next((link for link in self.links if name in link.names), None)

    def note_name(self, name: str, *, here: bool) -> None:
        """A netdev has this as its name from now on, or no longer; alternative ones do not count.

        Rules see a netdev by what they are given here.
        """
        for position, rule in enumerate(self.rules):
            bits = IIF_DETACHED * (rule.iif == name) | OIF_DETACHED * (rule.oif == name)
            detached = rule.detached & ~bits if here else rule.detached | bits
            self.rules[position] = attrs.evolve(rule, detached=detached)

    def lose_netdev(self, link: Link) -> None:
        """The netdev has left: rules that have found it, by whatever name, are detached."""
        for name in link.names:
            self.note_name(name, here=False)

    def lose_routes(self, ifindex: int) -> None:
        """The netdev is gone or down: IPv4 routes go whole, IPv6 ones lose the hop.

        So do nexthop objects, with their memberships and what is left without any.
        """
        self._lose_nexthops(ifindex)
        left = []
        for route in self.routes:
            if route.nexthop is not None:
                left.append(route)
                continue
            hops = tuple(hop for hop in route.hops if hop.ifindex != ifindex)
            if hops == route.hops:
                left.append(route)
            elif hops and route.family == 6:
                left.append(attrs.evolve(route, hops=hops))
        self.routes = left

    def _lose_nexthops(self, ifindex: int) -> None:
        self.nexthops = {
            number: each
            for number, each in self.nexthops.items()
            if each.hop is None or each.hop.ifindex != ifindex
        }
        for group in list(self.nexthop_groups.values()):
            left = tuple(member for member in group.members if member.id in self.nexthops)
            del self.nexthop_groups[group.id]
            if left:
                self.nexthop_groups[group.id] = attrs.evolve(group, members=left)
        self.follow_nexthops()

    def follow_nexthops(self) -> None:
        """Let each route by a nexthop object have the hops of that; without it, the route goes."""
        followed = []
        for route in self.routes:
            hops = route.hops if route.nexthop is None else self.hops_of(route.nexthop)
            if hops:
                followed.append(route if hops == route.hops else attrs.evolve(route, hops=hops))
        self.routes = followed

    def hops_of(self, number: int) -> tuple[Hop, ...]:
        """The hops of a nexthop object or group, with the weights of its members."""
        if number in self.nexthops:
            hop = self.nexthops[number].hop
            return () if hop is None else (hop,)
        group = self.nexthop_groups.get(number)
        members = () if group is None else group.members
        return tuple(
            attrs.evolve(hop, weight=member.weight)
            for member in members
            for hop in self.hops_of(member.id)
        )


@attrs.define(eq=False)
class Function:
    """A device on a bus, with the netdevs of its driver wherever they are."""

    address: str
    driver: str | None
    links: list[Link] = attrs.field(factory=list)
    interrupts: dict[str, str] = attrs.field(factory=dict)
    """The CPUs that each may go to; one that goes to `managed` is the kernel's own business."""
    physfn: str | None = None


@attrs.frozen
class Configuration:
    """What a node's administrator has configured on a netdev, in a form that can be compared."""

    ifname: str
    up: bool
    alias: str
    link: tuple[object, ...]
    """MAC address, MTU, txqlen, group, flags, limits of offloads and alternative names."""
    addresses: tuple[tuple[Address, int | None, int | None], ...]
    """Each with the end of both lifetimes; 0 stands for a preferred one that is over."""
    routes: tuple[Route, ...] = ()
    """With their hops through this netdev, whatever its name."""
    nexthops: tuple[Nexthop, ...] = ()
    """Whatever the name of the netdev."""
    nexthop_groups: tuple[NexthopGroup, ...] = ()
    """With their members through this netdev."""
    neighbours: tuple[Neighbour, ...] = ()
    proxy_neighbours: tuple[Neighbour, ...] = ()
    multicast: tuple[MacAddress, ...] = ()
    sysctls: tuple[tuple[str, int | str], ...] = ()
    queues: tuple[tuple[str, str], ...] = ()
    token: IpAddress | None = None
    traffic: frozenset[Item] = frozenset()
    redirections: frozenset[Redirection] = frozenset()
    rules: tuple[tuple[Rule, int], ...] = ()
    """Each with the netdevs that it does not see."""
    rdma: tuple[tuple[str, bool], ...] = ()
    """The RDMA devices by name, each with whether it is on the host."""
    ethtool: tuple[tuple[str, int | str], ...] = ()

    def at(self, now_s: int) -> "Configuration":
        """What is still there at a later time, if nobody changes anything."""
        left = tuple(
            (address, valid, 0 if preferred is not None and preferred <= now_s else preferred)
            for address, valid, preferred in self.addresses
            if valid is None or valid > now_s
        )
        return self if left == self.addresses else attrs.evolve(self, addresses=left)
