"""The kernel's netdevs and all that belongs to them: one socket a network namespace."""

import errno
import os
from collections.abc import Callable, Collection, Iterable

import attrs

from amdcni.core.errors import KernelRefused
from amdcni.core.host import (
    Address,
    Details,
    IpAddress,
    IpNetwork,
    Neighbour,
    Netdev,
    Qdisc,
    Route,
    Values,
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
from amdcni.effects.unsaved import read_unsaved


class Netlink:
    """A route netlink socket in one network namespace; close it, or use it as a context manager.

    `id` is what tells the namespace from others.
    """

    def __init__(self, netns_fd: int) -> None:
        """A socket in the namespace of `netns_fd`, which becomes the socket's own to close."""
        self._netns_fd = netns_fd
        with entered(netns_fd):
            self._kernel = Rtnetlink()
        self.id = netns_id(netns_fd, self._kernel.netns_cookie())

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
        """All netdevs of the namespace with all of their addresses, whatever others do meanwhile.

        What others disturb is made good by asking for the netdevs one by one: a busy node may
        never come to rest.
        """
        told = self._links()
        replies, whole = self._kernel.dump_once(addresses.query())
        if not whole:
            found = {ifindex: self._addresses_of(ifindex) for ifindex in told}
        else:
            found = {}
            for reply in replies:
                found.setdefault(addresses.ifindex_of(reply), []).append(reply)
        return tuple(_netdev_of(link, found.get(ifindex) or ()) for ifindex, link in told.items())

    def _links(self) -> dict[int, Reply]:
        """A message about each netdev.

        A dump ends without a word at a link that does not fit, and netdevs that come and go may
        hide others from it; so it is compared with a census, which is quick and has room for all.
        """
        replies, _ = self._kernel.dump_once(links.query_all())
        told = {links.ifindex_of(link): link for link in replies}
        for ifindex in self._ifindexes() ^ told.keys():
            link = self._find_link(links.query_by_index(ifindex))
            if link is None:
                told.pop(ifindex, None)
            else:
                told[ifindex] = link
        return told

    def _ifindexes(self) -> set[int]:
        """Those of all netdevs that have been there for the whole time, and perhaps of others.

        Where each look is disturbed, it takes several to see all; one is enough that shows none
        that earlier ones did not, but for new ones, whose number is higher than any before.
        """
        seen: set[int] = set()
        for _ in self._kernel.attempts():
            replies, whole = self._kernel.dump_once(links.census())
            now = set(map(links.ifindex_counted, replies))
            if whole:
                return now
            if seen and max(seen) < min(now - seen, default=max(seen) + 1):
                missed = (links.query_by_index(ifindex) for ifindex in seen - now)
                found = (self._find_link(query) for query in missed)
                return now | {links.ifindex_of(link) for link in found if link is not None}
            seen |= now
        raise AssertionError("attempts end by an exception")

    def find_netdev(self, ifname: str) -> Netdev | None:
        """The netdev of that name with its addresses, at no cost for the others; None if none.

        The kernel is asked for the one netdev, and for the addresses of that alone.
        """
        query = links.query(ifname)
        return None if query is None else self._find(query)

    def find_by_index(self, ifindex: int) -> Netdev | None:
        """The netdev of that number with its addresses, at no cost for the others; None if none."""
        return self._find(links.query_by_index(ifindex))

    def _find(self, query: Request) -> Netdev | None:
        link = self._find_link(query)
        if link is None:
            return None
        return _netdev_of(link, self._addresses_of(links.ifindex_of(link)))

    def _find_link(self, query: Request) -> Reply | None:
        try:
            return self._kernel.get(query)
        except RequestRefused as failure:
            if failure.code == errno.ENODEV:
                return None
            raise KernelRefused(f"the kernel does not show a netdev: {failure.said}") from None

    def _addresses_of(self, ifindex: int) -> list[Reply]:
        """None of a netdev that has gone."""
        try:
            return self._kernel.dump(addresses.query(ifindex))
        except RequestRefused as failure:
            if failure.code == errno.ENODEV:
                return []
            raise

    def details(self, netdev: Netdev) -> Details:
        """What is not read of every netdev."""
        return attrs.evolve(self.own_details(netdev), ways_out=self.ways_out())

    def own_details(self, netdev: Netdev) -> Details:
        """What is not read of every netdev, but for the default routes of others."""
        through = self._routes_through(netdev)
        permanent = self._kernel.dump(neighbours.query(netdev.ifindex))
        sysctls, defaults = self._sysctls(netdev)
        return Details(
            routes=tuple(route for route, _ in through),
            neighbours=tuple(filter(None, map(neighbours.neighbour_of, permanent))),
            sysctls=sysctls,
            sysctl_defaults=defaults,
            qdisc=self._root_qdisc(netdev),
            unsaved=tuple(
                f"{what} of {describe(route)}" for route, each in through for what in each.unsaved
            ),
        )

    def unsaved(self, netdev: Netdev, details: Details, *, renumbered: bool) -> tuple[str, ...]:
        """In words, what else of the netdev no record can hold; see `read_unsaved`."""
        with entered(self._netns_fd):
            return read_unsaved(self._kernel, netdev, details, renumbered=renumbered)

    def sysctls(self, netdev: Netdev) -> Values:
        """The sysctls of the netdev, as in `Details`."""
        return self._sysctls(netdev)[0]

    def _sysctls(self, netdev: Netdev) -> tuple[Values, Values]:
        with entered(self._netns_fd):
            return read_sysctls(netdev.ifname)

    def _routes_through(self, netdev: Netdev) -> list[tuple[Route, ToldRoute]]:
        """The routes that lead through the netdev, among others, with what was told of them."""
        told = self._told_routes(routes.leads_through(netdev.ifindex), netdev.ifindex)
        through = [each for each in told if netdev.ifindex in each.ifindexes]
        ifnames = self._ifnames_in(through, {netdev.ifindex: netdev.ifname})
        found = ((routes.route_of(each, ifnames), each) for each in through)
        return [(route, each) for route, each in found if route is not None]

    def routes_to(self, destinations: Collection[IpNetwork]) -> tuple[Route, ...]:
        """The routes to just these networks, of every table."""
        told = self._told_routes(routes.leads_to(destinations)) if destinations else []
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

    def _told_routes(
        self, wanted: Callable[[Reply], bool], ifindex: int | None = None
    ) -> list[ToldRoute]:
        """Those of both families."""
        return [
            routes.told_by(reply)
            for family in FAMILIES.values()
            for reply in self._kernel.dump(routes.query(family, ifindex), wanted)
        ]

    def _ifnames_in(self, told: Iterable[ToldRoute], known: dict[int, IfName]) -> dict[int, IfName]:
        """The names of all netdevs that the routes lead through, besides the `known`."""
        ifnames = dict(known)
        for ifindex in {ifindex for each in told for ifindex in each.ifindexes} - known.keys():
            link = self._find_link(links.query_by_index(ifindex))
            if link is not None:
                ifnames[ifindex] = links.ifname_of(link)
        return ifnames

    def _root_qdisc(self, netdev: Netdev) -> Qdisc | None:
        try:
            told = self._kernel.answers(qdiscs.query_root(netdev.ifindex))
        except RequestRefused as failure:
            if failure.code == errno.ENOENT:
                return None
            raise
        return next(filter(None, map(qdiscs.root_qdisc_of, told)), None)

    # ---- links

    def change(self, netdev: Netdev, **attributes: object) -> None:
        """Give the netdev these values of attributes of `Netdev`, in one request."""
        told = ", ".join(f"{name} {value!r}" for name, value in attributes.items())
        self._ask(f"give {netdev.ifname} the {told}", links.change(netdev, attributes))

    def rename(self, netdev: Netdev, ifname: IfName) -> None:
        """Rename the netdev, which has to be down on older kernels."""
        request = links.change(netdev, {"ifname": ifname})
        self._ask(f"rename {netdev.ifname} to {ifname}", request)

    # To have a thing twice is refused with EEXIST, and to lose it twice with ENOENT.

    def drop_altname(self, netdev: Netdev, altname: str) -> None:
        """Take an alternative name away from the netdev, if it has it still."""
        what = f"take the alternative name {altname} from {netdev.ifname}"
        self._ask(what, links.drop_altname(netdev, altname), in_vain=errno.ENOENT)

    def add_altname(self, netdev: Netdev, altname: str) -> None:
        """Give the netdev an alternative name, if it has not got it; another netdev may have it."""
        what = f"give {netdev.ifname} the alternative name {altname}"
        try:
            self._ask(what, links.add_altname(netdev, altname))
        except KernelRefused:
            now = self.find_by_index(netdev.ifindex)
            if now is None or altname not in now.altnames:
                raise

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
        self._ask(what, addresses.put(netdev, address), in_vain=errno.EEXIST)

    def put_route(self, change: RouteChange) -> None:
        """Set the route, whose hops have the ifindexes of this namespace."""
        what = f"set {describe(change.route)}"
        self._ask(what, routes.put(change), in_vain=errno.EEXIST)

    def put_neighbour(self, netdev: Netdev, neighbour: Neighbour) -> None:
        """Set the permanent neighbour."""
        what = f"set the neighbour {neighbour.address} of {netdev.ifname}"
        self._ask(what, neighbours.put(netdev, neighbour), in_vain=errno.EEXIST)

    def put_qdisc(self, netdev: Netdev, qdisc: Qdisc) -> None:
        """Make it the root qdisc of the netdev."""
        what = f"set the qdisc {qdisc.kind} of {netdev.ifname}"
        self._ask(what, qdiscs.put(netdev, qdisc), in_vain=errno.EEXIST)

    def put_sysctl(self, netdev: Netdev, name: str, value: int | str) -> None:
        """Set a sysctl of the netdev, such as `ipv4/conf/rp_filter`."""
        with entered(self._netns_fd):
            write_sysctl(netdev.ifname, name, value)

    def allow_ipv6(self, ifname: str) -> None:
        """Let the netdev of that name have IPv6 addresses where a sysctl forbids it."""
        with entered(self._netns_fd):
            allow_ipv6(ifname)

    def _ask(self, what: str, request: Request, in_vain: int | None = None) -> None:
        """Have it done; the error number `in_vain` says that it is so already."""
        try:
            self._kernel.ask(request)
        except RequestRefused as failure:
            if failure.code != in_vain:
                raise KernelRefused(f"the kernel refused to {what}: {failure.said}") from None


def _netdev_of(link: Reply, told: Iterable[Reply]) -> Netdev:
    found = map(addresses.address_of, told)
    return links.netdev_of(link, tuple(address for address in found if address is not None))
