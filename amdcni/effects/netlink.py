"""The kernel's netdevs and all that belongs to them: one socket a network namespace."""

import errno
import os
from collections.abc import Callable, Iterable

from amdcni.core.errors import KernelRefused
from amdcni.core.host import (
    Address,
    Details,
    IpAddress,
    Neighbour,
    Netdev,
    Qdisc,
    Route,
    WayOut,
)
from amdcni.core.names import IfName, MacAddress
from amdcni.core.routes import RouteChange, describe
from amdcni.effects.messages import addresses, links, neighbours, qdiscs, routes
from amdcni.effects.messages.common import FAMILIES
from amdcni.effects.messages.routes import ToldRoute
from amdcni.effects.netns import entered, netns_id
from amdcni.effects.rtnetlink import Reply, Request, RequestRefused, Rtnetlink
from amdcni.effects.sysctl import allow_ipv6, read_sysctls, write_sysctl


class Netlink:
    """A route netlink socket in one network namespace; close it, or use it as a context manager.

    `id` is what tells the namespace from others.
    """

    def __init__(self, netns_fd: int) -> None:
        """A socket in the namespace of `netns_fd`, which becomes the socket's own to close."""
        self._netns_fd = netns_fd
        self.id = netns_id(netns_fd)
        with entered(netns_fd):
            self._kernel = Rtnetlink()

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._kernel.close()
        os.close(self._netns_fd)

    # ---- reading

    def netdevs(self) -> tuple[Netdev, ...]:
        """All netdevs of the namespace with all of their addresses."""
        found: dict[int, list[Address]] = {}
        told = self._kernel.dump(links.query())
        for reply in self._kernel.dump(addresses.query()):
            address = addresses.address_of(reply)
            if address is not None:
                found.setdefault(addresses.ifindex_of(reply), []).append(address)
        return tuple(
            links.netdev_of(link, tuple(found.get(links.ifindex_of(link), ()))) for link in told
        )

    def find_netdev(self, ifname: str) -> Netdev | None:
        """The netdev of that name with its addresses, at no cost for the others; None if none.

        The kernel is asked for the one netdev, and for the addresses of that alone.
        """
        try:
            link = self._kernel.get(links.query(ifname))
            found = self._kernel.dump(addresses.query(links.ifindex_of(link)))
        except RequestRefused as failure:
            if failure.code == errno.ENODEV:
                return None
            raise KernelRefused(f"the kernel does not show {ifname}: {failure.said}") from None
        told = map(addresses.address_of, found)
        return links.netdev_of(link, tuple(address for address in told if address is not None))

    def details(self, netdev: Netdev) -> Details:
        """What is not read of every netdev."""
        told = self._told_routes(routes.matters_to(netdev.ifindex))
        through = self._routes_through(netdev, told)
        permanent = self._kernel.dump(neighbours.query(netdev.ifindex))
        with entered(self._netns_fd):
            sysctls, defaults = read_sysctls(netdev.ifname)
        return Details(
            routes=tuple(route for route, _ in through),
            neighbours=tuple(filter(None, map(neighbours.neighbour_of, permanent))),
            sysctls=sysctls,
            sysctl_defaults=defaults,
            qdisc=self._root_qdisc(netdev),
            ways_out=tuple(way for each in told for way in each.ways_out),
            unsaved=tuple(
                f"{what} of {describe(route)}" for route, each in through for what in each.unsaved
            ),
        )

    def _routes_through(
        self, netdev: Netdev, told: list[ToldRoute]
    ) -> list[tuple[Route, ToldRoute]]:
        """The routes that lead through the netdev, among others, with what was told of them."""
        through = [each for each in told if netdev.ifindex in each.ifindexes]
        ifnames = self._ifnames_in(through, {netdev.ifindex: netdev.ifname})
        found = ((routes.route_of(each, ifnames), each) for each in through)
        return [(route, each) for route, each in found if route is not None]

    def routes(self) -> tuple[Route, ...]:
        """All routes that lead through a netdev, of every table."""
        told = self._told_routes(lambda _: True)
        ifnames = self._ifnames_in(told, {})
        found = (routes.route_of(each, ifnames) for each in told)
        return tuple(route for route in found if route is not None)

    def ways_out(self) -> tuple[WayOut, ...]:
        """The hops of the routes of the main table to wide prefixes."""
        told = self._told_routes(routes.is_wide)
        return tuple(way for each in told for way in each.ways_out)

    def find_way_to(self, ip: IpAddress) -> int | None:
        """The ifindex of the netdev through which packets to `ip` leave; None if none does."""
        try:
            told = routes.told_by(self._kernel.get(routes.lookup(ip)))
        except RequestRefused:
            return None
        return next(iter(told.ifindexes), None)

    def receives_for(self, netdev: Netdev) -> tuple[MacAddress, ...]:
        """The hardware addresses, not of groups, that the netdev receives for somebody above it.

        A macvlan gives its own to the netdev below, in whatever network namespace the macvlan is.
        """
        try:
            told = self._kernel.dump(neighbours.hardware_query(netdev.ifindex))
        except RequestRefused:
            return ()
        found = (neighbours.received_for(reply, netdev.ifindex) for reply in told)
        return tuple(mac for mac in found if mac is not None)

    def _told_routes(self, wanted: Callable[[Reply], bool]) -> list[ToldRoute]:
        """Those of both families; the kernel finds no multipath route by one of its netdevs."""
        return [
            routes.told_by(reply)
            for family in FAMILIES.values()
            for reply in self._kernel.dump(routes.query(family), wanted)
        ]

    def _ifnames_in(self, told: Iterable[ToldRoute], known: dict[int, IfName]) -> dict[int, IfName]:
        """The names of all netdevs that the routes lead through; `known` is asked first."""
        if all(known.keys() >= set(each.ifindexes) for each in told):
            return known
        found = self._kernel.dump(links.query())
        return {links.ifindex_of(link): links.ifname_of(link) for link in found}

    def _root_qdisc(self, netdev: Netdev) -> Qdisc | None:
        found = self._kernel.dump(qdiscs.query())
        told = (qdiscs.root_qdisc_of(reply, netdev.ifindex) for reply in found)
        return next((qdisc for qdisc in told if qdisc is not None), None)

    # ---- links

    def change(self, netdev: Netdev, **attributes: object) -> None:
        """Give the netdev these values of attributes of `Netdev`, in one request."""
        told = ", ".join(f"{name} {value!r}" for name, value in attributes.items())
        self._ask(f"give {netdev.ifname} the {told}", links.change(netdev, attributes))

    def rename(self, netdev: Netdev, ifname: IfName) -> None:
        """Rename the netdev, which has to be down on older kernels."""
        request = links.change(netdev, {"ifname": ifname})
        self._ask(f"rename {netdev.ifname} to {ifname}", request)

    def drop_altname(self, netdev: Netdev, altname: str) -> None:
        """Take an alternative name away from the netdev."""
        what = f"take the alternative name {altname} from {netdev.ifname}"
        self._ask(what, links.drop_altname(netdev, altname))

    def add_altname(self, netdev: Netdev, altname: str) -> None:
        """Give the netdev an alternative name."""
        what = f"give {netdev.ifname} the alternative name {altname}"
        self._ask(what, links.add_altname(netdev, altname))

    def move(self, netdev: Netdev, to: "Netlink", ifname: IfName, **attributes: object) -> None:
        """Move the netdev into another namespace under the name `ifname`, with these attributes.

        It is one request, which the kernel carries out in the order of do_setlink
        (net/core/rtnetlink.c): the move, which sets it down, hardware address and MTU, the name,
        the alias, and up as the last.  What fails leaves the rest undone: the caller has to look.
        """
        what = f"move {netdev.ifname} to another network namespace as {ifname}"
        what += "".join(f", {name} {value!r}" for name, value in attributes.items())
        asked = {"ifname": ifname, **attributes}
        self._ask(what, links.change(netdev, asked, to._netns_fd))

    # ---- addresses, and what needs them

    def put_address(self, netdev: Netdev, address: Address) -> None:
        """Add the address, or give the one that is there these attributes."""
        what = f"give {address.interface} to {netdev.ifname}"
        self._ask(what, addresses.put(netdev, address))

    def put_route(self, change: RouteChange) -> None:
        """Set the route, whose hops have the ifindexes of this namespace."""
        self._ask(f"set {describe(change.route)}", routes.put(change))

    def put_neighbour(self, netdev: Netdev, neighbour: Neighbour) -> None:
        """Set the permanent neighbour."""
        what = f"set the neighbour {neighbour.address} of {netdev.ifname}"
        self._ask(what, neighbours.put(netdev, neighbour))

    def put_qdisc(self, netdev: Netdev, qdisc: Qdisc) -> None:
        """Make it the root qdisc of the netdev."""
        what = f"set the qdisc {qdisc.kind} of {netdev.ifname}"
        self._ask(what, qdiscs.put(netdev, qdisc))

    def put_sysctl(self, netdev: Netdev, name: str, value: int | str) -> None:
        """Set a sysctl of the netdev, such as `ipv4/conf/rp_filter`."""
        with entered(self._netns_fd):
            write_sysctl(netdev.ifname, name, value)

    def allow_ipv6(self, ifname: str) -> None:
        """Let the netdev of that name have IPv6 addresses where a sysctl forbids it."""
        with entered(self._netns_fd):
            allow_ipv6(ifname)

    def _ask(self, what: str, request: Request) -> None:
        try:
            self._kernel.ask(request)
        except RequestRefused as failure:
            raise KernelRefused(f"the kernel refused to {what}: {failure.said}") from None
