"""A machine in memory: its kernel, its plugins, and the state folder on its disk.

The kernel is `fake_kernel`, the plugins are `fake_plugins`; `fake_node` is a process of ours.
"""

import ipaddress
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs

from amdcni.core.aspects.traffic_control import INGRESS_FILTERS, TC_H_INGRESS, Item
from amdcni.core.attachment import Attachment
from amdcni.core.host import (
    TC_H_ROOT,
    Chain,
    Filter,
    Hop,
    LinkFlag,
    Member,
    Neighbour,
    Nexthop,
    NexthopGroup,
    Qdisc,
    Redirection,
    Route,
    TrafficClass,
)
from amdcni.core.names import IfName, MacAddress
from amdcni.core.policy import Policy
from amdcni.core.rules import Rule
from tests.unit.fake_kernel import Kernel
from tests.unit.fake_netdevs import Link
from tests.unit.fake_plugins import Plugins

if TYPE_CHECKING:
    from tests.unit.fake_node import FakeNode


@attrs.define
class Disk:
    """A state folder: record files and markers by device key."""

    files: dict[str, bytes] = attrs.field(factory=dict)
    aside: list[tuple[str, bytes]] = attrs.field(factory=list)
    mappings: bytes | None = None
    """The Go plugin's file."""
    mappings_written: tuple[int, int] = (1, 0)
    """When it was last written: the boot, and the second in that boot."""
    markers: set[str] = attrs.field(factory=set)
    folders: set[str] = attrs.field(factory=set)
    """The index: the other state folders that hold records."""
    attempts: dict[str, bytes] = attrs.field(factory=dict)
    """What the markers contain."""
    full: bool = False
    read_only: bool = False

    def records(self) -> dict[str, Any]:
        """Every record, read without the code under test."""
        return {key: json.loads(data) for key, data in self.files.items()}


@attrs.define(eq=False)
class Machine:
    """One node with its kernel, its plugins and its state folder; `last` served the latest call.

    `locks` may hold the name of a device on which another process is at work.  `mover` is used for
    all configurations that name none.
    """

    mover: str = "delegate"

    kernel: Kernel = attrs.field(factory=Kernel)
    plugins: Plugins = attrs.field(init=False)
    disk: Disk = attrs.field(factory=Disk)
    """The default state folder."""
    other_disks: dict[str, Disk] = attrs.field(factory=dict)
    """Other state folders, as `dataDir` names them."""
    locks: set[str] = attrs.field(factory=set)
    kernelpaths: dict[str, str] = attrs.field(factory=dict)
    unready: str | None = None
    policy: Policy = attrs.field(factory=Policy)
    allocations: dict[str, frozenset[str]] | None = None
    """The devices of each pod by its UID, as the kubelet's checkpoint has them."""
    looks: list[Callable[[], None]] = attrs.field(factory=list)
    """What happens before a process looks at anything, or does anything."""
    last: "FakeNode | None" = None
    parsed: dict[bytes, Attachment] = attrs.field(factory=dict)
    """The records that its processes have read; most read the same ones again."""
    _running: "FakeNode | None" = None

    def __attrs_post_init__(self) -> None:
        self.plugins = Plugins(self.kernel)
        self.kernel.interrupts.append(self._spend)

    def _spend(self, what: str) -> None:
        if self._running is not None:
            self._running.spend_moment(what)

    @contextmanager
    def running(self, node: "FakeNode") -> Iterator[None]:
        """Meanwhile, every moment is one of `node`."""
        interrupted = self._running
        self.last = self._running = node
        try:
            yield
        finally:
            self._running = interrupted

    def _disks_in_use(self) -> list[tuple[str, Disk]]:
        others = [(name, disk) for name, disk in self.other_disks.items() if disk != Disk()]
        return [("", self.disk), *others]

    def picture(self) -> object:
        """Everything that lasts, in a form to compare: netdevs, records, markers, leases, locks."""
        spaces = {self.kernel.host, *self.kernel.paths.values()}
        netdevs = [
            (space.inode, link.ifindex, sorted(link.altnames), self.kernel.configuration_of(link))
            for space in spaces
            for link in space.links
        ]
        return (
            sorted(netdevs, key=lambda netdev: netdev[:2]),
            {name: dict(disk.files) for name, disk in self._disks_in_use()},
            {name: set(disk.markers) for name, disk in self._disks_in_use()},
            dict(self.plugins.leases),
            set(self.locks),
        )


TRAFFIC: Final[tuple[Item, ...]] = (
    Qdisc("htb", 0x10000, "00"),
    TrafficClass("htb", 0x10001, TC_H_ROOT, "01"),
    TrafficClass("htb", 0x10010, 0x10001, "02"),
    Qdisc("pfifo", 0x110000, "37000000", parent=0x10010),
    Filter("u32", 0x10000, 5, 8, 0x80000800, options="03"),
    Qdisc("clsact", 0xFFFF0000, parent=TC_H_INGRESS),
    Chain(INGRESS_FILTERS, 7),
    Filter("matchall", INGRESS_FILTERS, 1, 8, 1, options="04", targets=(IfName("lo"),)),
)
"""A tree of qdiscs with filters, one of which sends to the loopback netdev."""


def furnish(machine: Machine, link: Link) -> None:
    """Configure what a fabric NIC has in addition to its addresses; routes only if it is up.

    One of its policy rules is a network manager's.
    """
    link.altnames.add(f"{link.name}-of-the-fabric")
    link.flags, link.mtu, link.group = int(LinkFlag.MULTICAST), 9000, 7
    link.gso_max_size, link.gso_ipv4_max_size, link.gro_max_size = 40000, 30000, 50000
    link.neighbours = [Neighbour(ipaddress.ip_address("192.0.2.77"), MacAddress(link.mac))]
    link.multicast = [MacAddress("01:00:5e:00:00:77")]
    link.proxy_neighbours = [Neighbour(ipaddress.ip_address("192.0.2.78"), flags=8)]
    link.sysctls = {"ipv4/conf/rp_filter": "2", "ipv6/conf/accept_ra": "0"}
    link.traffic = list(TRAFFIC)
    link.redirections = [Redirection(link.ifindex, 50, "05")]
    link.queues |= {"rx-1/rps_cpus": "f", "gro_flush_timeout": "3", "napi-1/gro_flush_timeout": "5"}
    link.ethtool |= {"rings/rx": 512, "features/on": "0x4", "features/off": "0xb"}
    link.token = ipaddress.ip_address("::5")
    _set_rules(machine, link)
    if link.function is not None and not machine.kernel.rdma.configured(link):
        machine.kernel.rdma.plug(f"roce-{link.name}", link)
    if link.up:
        own = Hop(IfName(link.name), link.ifindex)
        router = attrs.evolve(own, via=ipaddress.ip_address("192.0.2.0"))
        number = link.ifindex
        for destination, hop in ((f"10.{number}.1.0/24", router), (f"10.{number}.2.0/24", own)):
            machine.kernel.add_route(
                machine.kernel.host, Route(ipaddress.ip_network(destination), (hop,), table=100)
            )
        space, first = machine.kernel.host, 10 * number
        for nexthop in (Nexthop(first, router), Nexthop(first + 1, own, protocol=186)):
            space.nexthops[nexthop.id] = nexthop
        members = (Member(first, 3), Member(first + 1))
        space.nexthop_groups[first + 2] = NexthopGroup(first + 2, members)
        machine.kernel.add_route(
            space, Route(ipaddress.ip_network(f"10.{number}.4.0/24"), (), nexthop=first + 2)
        )
        # A network manager gives such routes the protocol of the kernel or of a router.
        for destination, protocol in ((f"10.{number}.3.0/24", 2), (f"2001:db8:{number}::/64", 9)):
            managed = Route(
                ipaddress.ip_network(destination), (own,), protocol=protocol, metric=1024
            )
            machine.kernel.add_route(machine.kernel.host, managed)


def _set_rules(machine: Machine, link: Link) -> None:
    named = Rule(4, 1000 + link.ifindex, table=100)
    rail = attrs.evolve(named, family=6, priority=3000, iif=f"{link.name}-of-the-fabric")
    link.managed = [attrs.evolve(named, priority=2000, oif=link.name)]
    link.rules = [attrs.evolve(named, iif=link.name, action=8), *link.managed, rail]
    for rule in link.rules:
        # Those of a netdev of that name that was destroyed may still be there.
        if rule not in machine.kernel.host.rules:
            machine.kernel.add_rule(machine.kernel.host, rule)
