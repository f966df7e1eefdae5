"""A kernel in memory: namespaces, netdevs, addresses, and what moves and deaths of netns do.

It models what reference.md and net/core/dev.c say, and knows nothing of the code under test.

Every change is preceded by a `moment`, in which the watchers look at everything and one of the
`interrupts` can stop the process that is at work.  Watchers note what must never be in
`violations`, because an exception could be swallowed on its way.
"""

import ipaddress
from collections.abc import Callable
from typing import Final

import attrs

from amdcni.core.aspects.ethtool import SetEthtool
from amdcni.core.aspects.traffic_control import TC_H_INGRESS, Item, words_of
from amdcni.core.host import (
    TC_H_ROOT,
    Address,
    Below,
    Chain,
    Filter,
    Load,
    Neighbour,
    Nexthop,
    NexthopGroup,
    Qdisc,
    Redirection,
    Route,
    TrafficClass,
)
from amdcni.core.names import IfName, MacAddress
from amdcni.core.rules import IIF_DETACHED, OIF_DETACHED, Rule
from tests.unit.fake_netdevs import (
    ATTRIBUTES,
    KERNEL_LINK_LOCAL,
    SYSCTL_DEFAULTS,
    Assigned,
    Function,
    Link,
    Refused,
    Rider,
    Space,
)
from tests.unit.fake_rdma import RdmaSubsystem
from tests.unit.fake_shown import Shown

HOST_NETNS: Final = "/proc/1/ns/net"
"""A path of the host's own network namespace."""

_KERNEL_LOOPBACK: Final = 1  # IFAPROT_KERNEL_LO


class AlreadySo(Refused):
    """What was to be added exists, or what was to be removed does not (EEXIST)."""


@attrs.define(eq=False)
class Kernel(Shown):
    """One node's hardware and kernel, from boot to boot."""

    paths: dict[str, Space] = attrs.field(factory=dict)
    functions: dict[str, Function] = attrs.field(factory=dict)
    riders: list[Rider] = attrs.field(factory=list)
    unsaved: tuple[str, ...] = ()
    unsaved_if_renumbered: tuple[str, ...] = ()
    keeps_ifindexes: bool = True
    """Whether it knows IFLA_NEW_IFINDEX, as from Linux 5.12 on."""
    managers_work: bool = True
    """Whether the owners of rules set them again when their netdev is back."""
    most_altnames: int | None = None
    """How many alternative names it accepts of a netdev; none before Linux 5.5."""
    boot: int = 1
    moments: list[str] = attrs.field(factory=list)
    interrupts: list[Callable[[str], None]] = attrs.field(factory=list)
    watchers: list[Callable[[], None]] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    has_cookies: bool = True
    """Since Linux 5.14."""
    spaces: list[Space] = attrs.field(factory=list)
    """All that are alive, whether they have a path or not."""
    _ending: list[Space] = attrs.field(factory=list)
    _rising: list[tuple[Link, int]] = attrs.field(factory=list)
    """Netdevs that are up, and how many requests come before their links are ready."""
    _cookies: int = 0
    _ifindex: int = 1

    def __attrs_post_init__(self) -> None:
        self.host = self._new_space(1)
        self.rdma = RdmaSubsystem(self)
        self._start()

    def moment(self, what: str) -> None:
        """Somebody is about to do `what`."""
        while self._ending:
            self.lose(self._ending.pop())
        self._rise()
        self.moments.append(what)
        for watch in self.watchers:
            watch()
        for interrupt in self.interrupts:
            interrupt(what)

    # ---- what happens to a node

    def plug(
        self,
        address: str,
        *names: str,
        driver: str | None = "ionic",
        virtio: bool = False,
        shows_parent: bool = True,
    ) -> Function:
        """Plug in a NIC whose driver makes a netdev for each of `names`."""
        function = self.functions[address] = Function(address, driver)
        for name in names:
            link = self.add_link(name)
            link.function = address
            if shows_parent:
                link.permanent_mac = link.mac
                link.parent = f"virtio{len(self.functions)}" if virtio else address
            else:
                link.kind = "veth"
            function.links.append(link)
        return function

    def add_link(self, name: str, kind: str | None = None, space: Space | None = None) -> Link:
        """A new netdev, bare and down; on the host unless `space` is given."""
        self._ifindex += 1
        mac = f"02:00:00:00:{self._ifindex >> 8:02x}:{self._ifindex & 255:02x}"
        where = space or self.host
        link = Link(self._ifindex, name, mac, where, kind=kind)
        where.links.append(link)
        where.note_name(name, here=True)
        return link

    def remove_link(self, link: Link) -> None:
        self._take_from(link.space, link)

    def _take_from(self, space: Space, link: Link) -> None:
        space.links.remove(link)
        space.lose_routes(link.ifindex)
        space.lose_netdev(link)
        if space is self.host:
            # Whoever manages the netdev knows it by its name.
            lost = [rule for rule in link.managed if rule.oif in link.names]
            space.rules = [rule for rule in space.rules if rule not in lost]

    def ride(self, kind: str, on: Link) -> Rider:
        """Put one of `RIDERS` on a netdev, which must have an address if the rider needs one."""
        link = None
        if kind != "soft-RoCE":
            space = Space(0) if kind == "macvlan in another netns" else self.host
            # No NIC has a name like that.
            link = self.add_link(f"{kind.partition(' ')[0]}-{self._ifindex}", kind, space)
            own = on.addresses[0].address.interface.ip if on.addresses else None
            match kind:
                case "vlan" | "macvlan" | "ipvlan" | "macsec":
                    link.lower = on.ifindex
                case "vxlan" | "xfrm" | "hsr":
                    link.below = Below(links=(on.ifindex,))
                case "gre" | "ipip":
                    assert own is not None
                    link.below = Below(local=own)
                case "geneve":
                    link.below = Below(remote=ipaddress.ip_address("192.0.2.0"))
                case "bond" | "vrf":
                    assert on.master is None
                    on.master = link.ifindex
        self.riders.append(Rider(kind, on, link))
        return self.riders[-1]

    def alight(self, rider: Rider) -> None:
        """Remove what rests on a netdev."""
        self.riders.remove(rider)
        if rider.link is not None:
            self.remove_link(rider.link)
            if rider.on.master == rider.link.ifindex:
                rider.on.master = None

    def load(self) -> Load:
        """What riders do not show of themselves."""
        alive = [rider for rider in self.riders if not rider.lost]

        def by_kind(kind: str) -> list[Rider]:
            return [rider for rider in alive if rider.kind == kind]

        others = [(r.on.ifindex, r.link) for r in by_kind("macvlan in another netns")]
        tunnels = [(r.link, r.on.ifindex) for r in by_kind("geneve")]
        return Load(
            pppoe=frozenset(IfName(rider.on.name) for rider in by_kind("ppp")),
            rdma={f"rxe{n}": IfName(r.on.name) for n, r in enumerate(by_kind("soft-RoCE"))},
            tunnel_ways={link.ifindex: lower for link, lower in tunnels if link is not None},
            receives_for={n: (MacAddress(link.mac),) for n, link in others if link is not None},
        )

    def _put_into(self, link: Link, space: Space) -> None:
        link.space = space
        space.links.append(link)
        space.note_name(link.name, here=True)

    def unplug(self, address: str) -> None:
        self.rdma.unplug(address)
        for link in self.functions.pop(address).links:
            self.remove_link(link)

    def reset(self, address: str, name: str = "eth0") -> None:
        """The driver makes the first netdev of a device anew: on the host, bare, not as before."""
        self.rdma.reset(address)
        link = self.functions[address].links[0]
        self.remove_link(link)
        self._ifindex += 1
        new = Link(self._ifindex, name, link.permanent_mac or link.mac, self.host)
        for field in (*ATTRIBUTES, "ifindex", "alias", "altnames", "queues", "ethtool"):
            setattr(link, field, getattr(new, field))
        link.lose_configuration()
        self._put_into(link, self.host)
        link.name = f"eth{link.ifindex}" if name in self.host.names else name

    def make_netns(self, path: str) -> Space:
        """A new namespace at `path`, with the lowest free inode, as nsfs chooses it."""
        taken = {space.inode for space in self.spaces}
        space = self._new_space(next(n for n in range(1, 1000) if n not in taken))
        self._add_loopback(space)
        self.paths[path] = space
        return space

    def _new_space(self, inode: int) -> Space:
        self._cookies += 1
        space = Space(inode, self._cookies if self.has_cookies else None)
        self.spaces.append(space)
        return space

    def destroy_netns(self, space: Space) -> None:
        """The last process and mount of a namespace have gone."""
        for path in [path for path, there in self.paths.items() if there is space]:
            del self.paths[path]
        self.spaces.remove(space)
        self.lose(space)

    def leave_netns(self, space: Space) -> None:
        """The last descriptor of a namespace is closed; what is in it is lost a moment later."""
        for path in [path for path, there in self.paths.items() if there is space]:
            del self.paths[path]
        self.spaces.remove(space)
        self._ending.append(space)

    def reboot(self) -> None:
        """Everything in memory is gone; netdevs of hardware are new, bare and down.

        The caller then configures what the node's boot would configure (`configure`).
        """
        self.spaces.clear()
        self.host = self._new_space(1)
        self.ways_out = ()
        self.riders.clear()
        self.rdma.reboot()
        self.boot += 1
        self.now_s = 100
        self._ifindex = 1
        self._start()
        for function in self.functions.values():
            for link in function.links:
                self._ifindex += 1
                link.ifindex, link.alias = self._ifindex, ""
                link.altnames -= link.given_altnames
                link.lose_configuration()
                link.cut_off.clear()
                self._put_into(link, self.host)

    def configure(
        self, link: Link, addresses: tuple[Address, ...] = (), *, up: bool = True, alias: str = ""
    ) -> None:
        """Configure a netdev as an administrator does, in addition to what is there."""
        link.alias = alias
        self.set_up(link, up)
        for address in addresses:
            self.add_address(link, address)

    # ---- what the kernel does on request

    def set_up(self, link: Link, up: bool) -> None:
        self.moment(f"set {link.name} {'up' if up else 'down'}")
        if link.up and not up:
            link.addresses = [own for own in link.addresses if own.address.family == 4]
            link.space.lose_routes(link.ifindex)
        rises, link.up = up and not link.up, up
        if rises:
            self._await_link(link)
            # It makes new NAPI instances, set as the netdev is.
            value = link.queues["gro_flush_timeout"]
            link.queues |= {p: value for p in link.queues if p.startswith("napi-")}

    def _await_link(self, link: Link) -> None:
        self._rising.append((link, link.requests_until_ready))
        self._rise()

    def _rise(self) -> None:
        """Make the link-local addresses of the netdevs whose links are ready."""
        ready = [link for link, requests in self._rising if not requests]
        self._rising = [(link, requests - 1) for link, requests in self._rising if requests]
        for link in ready:
            made, there = link.link_local(), {own.address.identity for own in link.addresses}
            makes = link.up and link.sysctls.get("ipv6/conf/addr_gen_mode") != "1"
            if makes and made.identity not in there:
                link.insert(Assigned(made, None, None, by_kernel=True))

    def set_attribute(self, link: Link, name: str, value: object) -> None:
        self.moment(f"give {link.name} the {name} {value!r}")
        if name == "mtu" and not 68 <= int(str(value)) <= 65535:
            raise Refused("Invalid argument")
        setattr(link, name, value)
        if name in ("gso_max_size", "gro_max_size") and int(str(value)) <= 65536:
            setattr(link, name.replace("_", "_ipv4_", 1), value)

    def add_altname(self, link: Link, altname: str) -> None:
        self.moment(f"give {link.name} the altname {altname}")
        if altname in link.altnames:
            raise AlreadySo("File exists")
        if altname in link.space.names:
            raise Refused("File exists")
        if self.most_altnames is not None and len(link.altnames) >= self.most_altnames:
            raise Refused("Invalid argument")
        link.altnames.add(altname)
        link.given_altnames.add(altname)

    def drop_altname(self, link: Link, altname: str) -> None:
        self.moment(f"take the altname {altname} from {link.name}")
        if altname not in link.altnames:
            raise AlreadySo("No such file or directory")
        link.altnames.discard(altname)

    def rename(self, link: Link, name: str) -> None:
        self.moment(f"rename {link.name} to {name}")
        self._rename(link, name)

    def move(
        self, link: Link, to: Space, name: str | None = None, ifindex: int | None = None
    ) -> None:
        """Move and, in the same request, rename; if one step fails, the later ones are not done."""
        self.moment(f"move {link.name} as {name or link.name}")
        self._move(link, to, name, ifindex)

    def add_address(self, link: Link, address: Address) -> None:
        """Add the address, or replace its attributes."""
        self.moment(f"give {address.interface} to {link.name}")
        if address.family == 6 and link.name in link.space.without_ipv6:
            raise Refused("IPv6 is disabled on this device")
        if str(address.interface) in link.space.refused or address.valid_s == 0:
            raise Refused(f"{address.interface}: Cannot assign requested address")
        plain = attrs.evolve(address, flags=address.settable_flags, valid_s=None, preferred_s=None)
        ends = self._until(address.valid_s), self._until(address.preferred_s)
        new = Assigned(plain, *ends, by_kernel=address.proto == KERNEL_LINK_LOCAL)
        for position, own in enumerate(link.alive_addresses(self.now_s)):
            if own.address.identity == address.identity:
                link.addresses[position] = new
                return
        link.insert(new)

    def allow_ipv6(self, space: Space, name: str) -> None:
        self.moment(f"allow IPv6 on {name}")
        space.without_ipv6.discard(name)

    def add_route(self, space: Space, route: Route, *, replace: bool = False) -> None:
        """Append the route, or replace the one with the same identity."""
        self.moment(f"set the route to {route.destination}")
        if route.nexthop is not None:
            route = attrs.evolve(route, hops=space.hops_of(route.nexthop))
            if not route.hops:
                raise Refused("Nexthop id does not exist")
        links = {link.ifindex: link for link in space.links}
        if not all(hop.ifindex in links and links[hop.ifindex].up for hop in route.hops):
            raise Refused("Network is down")
        own = {own.address.interface.ip for link in space.links for own in link.addresses}
        if route.source is not None and route.source not in own:
            raise Refused("Invalid argument")
        alike = [r for r in space.routes if r.identity == route.identity]
        if route.nexthop is not None:
            if route.nexthop in [r.nexthop for r in alike]:
                raise AlreadySo("File exists")
            space.routes.append(route)
            return
        alike = [r for r in alike if r.nexthop is None]
        if replace:
            space.routes = [r for r in space.routes if r not in alike]
        elif route.family == 6 and alike:
            if set(route.hops) <= set(alike[0].hops):
                raise AlreadySo("File exists")
            space.routes.remove(alike[0])
            route = attrs.evolve(route, hops=(*alike[0].hops, *route.hops))
        elif route in alike:
            raise AlreadySo("File exists")
        space.routes.append(route)

    def add_nexthop(self, space: Space, nexthop: Nexthop) -> None:
        self.moment(f"make the nexthop object {nexthop.id}")
        if nexthop.id in space.nexthops or nexthop.id in space.nexthop_groups:
            raise AlreadySo("File exists")
        links = {link.ifindex: link for link in space.links}
        hop = nexthop.hop
        if hop is not None and not (hop.ifindex in links and links[hop.ifindex].has_link):
            raise Refused("Carrier for nexthop device is down")
        space.nexthops[nexthop.id] = nexthop

    def set_nexthop_group(self, space: Space, group: NexthopGroup) -> None:
        """Make the group, or give it these members."""
        self.moment(f"make the nexthop group {group.id}")
        if group.id in space.nexthops or not group.members:
            raise Refused("Invalid argument")
        if not {member.id for member in group.members} <= space.nexthops.keys():
            raise Refused("Invalid nexthop id")
        space.nexthop_groups[group.id] = group
        space.follow_nexthops()

    def add_neighbour(self, link: Link, neighbour: Neighbour) -> None:
        self.moment(f"give {link.name} the neighbour {neighbour.address}")
        link.neighbours = [n for n in link.neighbours if n.address != neighbour.address]
        link.neighbours.append(neighbour)

    def set_queue(self, link: Link, place: str, value: str) -> None:
        self.moment(f"set {place} of {link.name} to {value}")
        if place not in link.queues:
            raise Refused("No such file or directory")
        link.queues[place] = value
        if place == "gro_flush_timeout":
            link.queues |= {p: value for p in link.queues if p.startswith("napi-")}

    def add_proxy_neighbour(self, link: Link, neighbour: Neighbour) -> None:
        self.moment(f"let {link.name} answer for {neighbour.address}")
        others = [n for n in link.proxy_neighbours if n.address != neighbour.address]
        link.proxy_neighbours = [*others, neighbour]

    def add_multicast(self, link: Link, address: MacAddress) -> None:
        self.moment(f"let {link.name} receive for {address}")
        if address not in link.multicast:
            link.multicast.append(address)

    def set_sysctl(self, link: Link, name: str, value: int | str) -> None:
        self.moment(f"set {name} of {link.name}")
        if name in link.space.refused:
            raise Refused("Read-only file system")
        if name == "ipv6/conf/stable_secret":
            link.sysctls["ipv6/conf/addr_gen_mode"] = "2"
        if SYSCTL_DEFAULTS.get(name) == value:
            link.sysctls.pop(name, None)
        else:
            link.sysctls[name] = value
        if name.endswith("/addr_gen_mode"):
            self._await_link(link)

    def set_traffic(self, link: Link, item: Item) -> None:
        """A class, or what is in a qdisc, needs that to be there; filters are not numbered."""
        self.moment(f"set the {words_of(item)} of {link.name}")
        handles = {each.handle for each in link.traffic if isinstance(each, Qdisc | TrafficClass)}
        ends = () if isinstance(item, Chain | Filter) else (TC_H_ROOT, TC_H_INGRESS)
        if item.parent not in ends and not {item.parent, item.parent & 0xFFFF0000} & handles:
            raise Refused("No such file or directory")
        others = [each for each in link.traffic if _place_of(each) != _place_of(item)]
        link.traffic = [*others, item]

    def set_redirection(self, link: Link, redirection: Redirection) -> None:
        self.moment(f"have the action {redirection.number} send to {link.name}")
        link.cut_off.remove(redirection)
        link.redirections.append(redirection)

    def add_rule(self, space: Space, rule: Rule, *, once_more: bool = False) -> None:
        """Add the rule behind those of the same priority; a second one only if that is wanted."""
        self.moment(f"add the rule {rule.describe()}")
        if rule.describe() in space.refused:
            raise Refused("Invalid argument")
        if rule in space.rules and not once_more:
            raise AlreadySo("File exists")
        names = space.names
        missing = IIF_DETACHED * (rule.iif is not None and rule.iif not in names)
        missing |= OIF_DETACHED * (rule.oif is not None and rule.oif not in names)
        later = (n for n, each in enumerate(space.rules) if each.priority > rule.priority)
        position = next(later, len(space.rules))
        space.rules.insert(position, attrs.evolve(rule, detached=missing))

    def drop_rule(self, space: Space, rule: Rule) -> None:
        """Remove the oldest one of this content."""
        self.moment(f"drop the rule {rule.describe()}")
        if rule not in space.rules:
            raise AlreadySo("No such file or directory")
        space.rules.remove(rule)

    def time_passes(self) -> None:
        """The owners of rules set what they miss, if they are at work."""
        for link in self.host.links if self.managers_work else ():
            for rule in link.managed:
                if rule not in self.host.rules:
                    self.add_rule(self.host, rule)

    def set_ethtool(self, link: Link, change: SetEthtool) -> None:
        """What the driver gets as one request; it may refuse all of it."""
        self.moment(f"set {change.group} of {link.name}")
        if link.refused_settings & {f"{change.group}/{each.name}" for each in change.settings}:
            raise Refused("Operation not supported")
        for each in change.settings:
            if each.bit is None:
                link.ethtool[f"{change.group}/{each.name}"] = each.value
                continue
            on, off = (f"{change.group}/{name}" for name in ("on", "off"))
            places = [(f"{change.group}/{each.name}", each.value)]
            if change.group == "features":
                places = [(on, each.value), (off, not each.value)]
            for path, value in places:
                bits = int(str(link.ethtool[path]), 16) & ~(1 << each.bit)
                link.ethtool[path] = hex(bits | bool(value) << each.bit)

    def _until(self, seconds: int | None) -> int | None:
        return None if seconds is None else self.now_s + seconds

    def _rename(self, link: Link, name: str) -> None:
        if link.up:
            raise Refused("Device or resource busy")
        if not name:
            raise Refused("Invalid argument")
        if name != link.name and name in link.space.names:
            raise Refused("File exists")
        link.space.note_name(link.name, here=False)
        link.name = name
        link.space.note_name(name, here=True)

    def _move(self, link: Link, to: Space, name: str | None, ifindex: int | None = None) -> None:
        if link.altnames & to.names:
            raise Refused("File exists")
        arriving = link.name
        if arriving in to.names:
            if name is None or name in to.names:
                raise Refused("File exists")
            arriving = name
        self._take_from(link.space, link)
        for rider in self.riders:
            rider.lost |= rider.on is link
        taken = {other.ifindex for other in to.links}
        if ifindex is not None and ifindex not in taken and self.keeps_ifindexes:
            link.ifindex = ifindex
        elif link.ifindex in taken:
            self._ifindex += 1
            link.ifindex = self._ifindex
        self._put_into(link, to)
        link.name = arriving
        link.lose_configuration()
        if name is not None and name != link.name:
            self._rename(link, name)

    def lose(self, space: Space) -> None:
        """A namespace has ended: hardware comes back to the host, the rest is destroyed."""
        self.rdma.lose(space)
        for link in list(space.links):
            if link.parent is None:
                space.links.remove(link)
                continue
            link.altnames -= self.host.names
            fallback = f"dev{link.ifindex}"
            self._move(link, self.host, fallback if link.name in self.host.names else link.name)

    def _start(self) -> None:
        self.paths = {HOST_NETNS: self.host}
        self._add_loopback(self.host)
        address = Address(ipaddress.ip_interface("127.0.0.1/8"), proto=_KERNEL_LOOPBACK)
        self.host.links[0].addresses.append(Assigned(address, None, None, by_kernel=True))

    def _add_loopback(self, space: Space) -> None:
        up = space is self.host
        space.links.append(Link(1, "lo", "00:00:00:00:00:00", space, loopback=True, up=up))


def _place_of(item: Item) -> tuple[object, ...]:
    """What distinguishes two items for the kernel: a place has only one qdisc."""
    places = {
        Qdisc: ("parent",),
        TrafficClass: ("handle",),
        Chain: ("parent", "number"),
        Filter: ("parent", "chain", "priority", "handle"),
    }
    return (type(item), *(getattr(item, name) for name in places[type(item)]))
