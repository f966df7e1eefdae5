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
    IpAddress,
    Neighbour,
    Netdev,
    Redirection,
    Route,
)
from amdcni.core.names import IfName, MacAddress

_KERNEL_LINK_LOCAL: Final = 3  # IFAPROT_KERNEL_LL

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
    up: bool = False
    plugged_in: bool = True
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
    sysctls: dict[str, int | str] = attrs.field(factory=dict)
    token: IpAddress | None = None
    traffic: list[Item] = attrs.field(factory=list)
    """The traffic control, in the order in which it was set."""
    redirections: list[Redirection] = attrs.field(factory=list)
    """The actions of other netdevs that send to this one."""
    cut_off: list[Redirection] = attrs.field(factory=list)
    """Those that have sent to this one, until it left the host."""

    @property
    def names(self) -> set[str]:
        return {self.name, *self.altnames}

    def lose_configuration(self) -> None:
        """What no netdev keeps when it changes its namespace."""
        self.up, self.master, self.token = False, None, None
        for lost in (self.addresses, self.neighbours, self.proxy_neighbours, self.traffic):
            lost.clear()
        self.sysctls.clear()
        self.cut_off += self.redirections
        self.redirections.clear()

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
        return Address(address, scope=253, proto=_KERNEL_LINK_LOCAL)

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
            up=self.up,
            carrier=self.up and self.plugged_in,
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
    refused: set[str] = attrs.field(factory=set)
    """Addresses and sysctls that the kernel refuses here, for whatever reason."""
    without_ipv6: set[str] = attrs.field(factory=set)
    """Names of netdevs whose sysctl `disable_ipv6` is set."""

    @property
    def names(self) -> set[str]:
        return {name for link in self.links for name in link.names}

    def find(self, name: str) -> Link | None:
        return next((link for link in self.links if name in link.names), None)

    def lose_routes(self, ifindex: int) -> None:
        """The netdev is gone or down: IPv4 routes go whole, IPv6 ones lose the hop."""
        left = []
        for route in self.routes:
            hops = tuple(hop for hop in route.hops if hop.ifindex != ifindex)
            if hops == route.hops:
                left.append(route)
            elif hops and route.family == 6:
                left.append(attrs.evolve(route, hops=hops))
        self.routes = left


@attrs.define(eq=False)
class Function:
    """A device on a bus, with the netdevs of its driver wherever they are."""

    address: str
    driver: str | None
    links: list[Link] = attrs.field(factory=list)
    physfn: str | None = None


@attrs.frozen
class Configuration:
    """What a node's administrator has configured on a netdev, in a form that can be compared."""

    ifname: str
    up: bool
    alias: str
    link: tuple[object, ...]
    """MAC address, MTU, txqlen, group, flags and alternative names."""
    addresses: tuple[tuple[Address, int | None, int | None], ...]
    """Each with the end of both lifetimes; 0 stands for a preferred one that is over."""
    routes: tuple[Route, ...] = ()
    """With their hops through this netdev, whatever its name."""
    neighbours: tuple[Neighbour, ...] = ()
    proxy_neighbours: tuple[Neighbour, ...] = ()
    sysctls: tuple[tuple[str, int | str], ...] = ()
    token: IpAddress | None = None
    traffic: frozenset[Item] = frozenset()
    redirections: frozenset[Redirection] = frozenset()

    def at(self, now_s: int) -> "Configuration":
        """What is still there at a later time, if nobody changes anything."""
        left = tuple(
            (address, valid, 0 if preferred is not None and preferred <= now_s else preferred)
            for address, valid, preferred in self.addresses
            if valid is None or valid > now_s
        )
        return self if left == self.addresses else attrs.evolve(self, addresses=left)
