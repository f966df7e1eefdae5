"""The kernel's netdevs and all that belongs to them: one socket for each network namespace."""

import errno
import os
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, TypeVar, assert_never

from amdcni.core.aspects.routes import SetRoute
from amdcni.core.capture import Captured, Change, Details
from amdcni.core.errors import KernelRefused
from amdcni.core.host import Address, IpAddress, IpNetwork, Netdev, Route, Values, WayOut
from amdcni.core.names import IfName, MacAddress
from amdcni.core.rdma import Rdma, RdmaDevice
from amdcni.core.rules import AddRule, RenewRule, Rule, RuleChange
from amdcni.effects import aspects
from amdcni.effects.messages import addresses, links, neighbours, routes, rules
from amdcni.effects.netns import entered, netns_id
from amdcni.effects.rtnetlink import Reply, Request, RequestRefused, Rtnetlink
from amdcni.effects.sysfs import RDMA_DEVICES

if TYPE_CHECKING:
    from amdcni.effects.rdma import RdmaNetlink

T = TypeVar("T")


class Netlink:
    """A route netlink socket in one network namespace; close it, or use it as a context manager.

    `id` is what distinguishes the namespace from others.
    """

    def __init__(self, netns_fd: int) -> None:
        """A socket in the namespace of `netns_fd`, which it will close."""
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

        If others disturb a dump, the netdevs are asked for one by one: a busy node may never come
        to rest.
        """
        by_index = self._links()
        replies, whole = self._kernel.dump_once(addresses.query())
        if not whole:
            found = {ifindex: self._addresses_of(ifindex) for ifindex in by_index}
        else:
            found = {}
            for reply in replies:
                found.setdefault(addresses.ifindex_of(reply), []).append(reply)
        return tuple(_netdev_of(link, found.get(index) or ()) for index, link in by_index.items())

    def _links(self) -> dict[int, Reply]:
        """A message about each netdev.

        A dump ends silently at a link that does not fit, and netdevs that come and go may hide
        others from it; so it is compared with a census, which is quick and has room for all.
        """
        replies, _ = self._kernel.dump_once(links.query_all())
        by_index = {links.ifindex_of(link): link for link in replies}
        for ifindex in self._ifindexes() ^ by_index.keys():
            link = self._find_link(links.query_by_index(ifindex))
            if link is None:
                by_index.pop(ifindex, None)
            else:
                by_index[ifindex] = link
        return by_index

    def _ifindexes(self) -> set[int]:
        """The ifindexes of all netdevs that were there the whole time, and perhaps of others.

        If every look is disturbed, it takes several to see all: until one shows nothing that
        earlier ones did not, except new netdevs, whose numbers are higher than any before.
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
        """The addresses of one netdev; none if it has gone."""
        try:
            return self._kernel.dump(addresses.query(ifindex))
        except RequestRefused as failure:
            if failure.code == errno.ENODEV:
                return []
            raise

    def details(
        self, netdev: Netdev, kept: Captured | None = None, *, early: bool = False
    ) -> Details:
        """What is not read for every netdev; see `read_details`."""
        with entered(self._netns_fd):
            return aspects.read_details(self._kernel, netdev, kept, early=early)

    def unsaved(self, netdev: Netdev, details: Details, *, renumbered: bool) -> tuple[str, ...]:
        """In words, what else of the netdev no record can hold; see `read_unsaved`."""
        from amdcni.effects.unsaved import read_unsaved

        with entered(self._netns_fd):
            return read_unsaved(self._kernel, netdev, details, renumbered=renumbered)

    def routes_to(self, destinations: Collection[IpNetwork]) -> tuple[Route, ...]:
        """The routes to exactly these networks, in every table."""
        return aspects.routes.routes_to(self._kernel, destinations)

    def ways_out(self) -> tuple[WayOut, ...]:
        """The hops of the routes in the main table to wide prefixes."""
        return aspects.routes.ways_out(self._kernel)

    def find_way_to(self, ip: IpAddress) -> int | None:
        """The ifindex of the netdev through which packets to `ip` leave; None if none does."""
        try:
            route = routes.raw_route_of(self._kernel.get(routes.lookup(ip)))
        except RequestRefused:
            return None
        return next(iter(route.ifindexes), None)

    def receives_for(self, netdev: Netdev) -> tuple[MacAddress, ...]:
        """The hardware addresses, not of groups, that the netdev receives for somebody above it.

        A macvlan gives its own to the netdev below, whatever network namespace the macvlan is in.
        """
        try:
            replies = self._kernel.dump(neighbours.hardware_query(netdev.ifindex))
        except RequestRefused:
            return ()
        found = (neighbours.received_for(reply, netdev.ifindex) for reply in replies)
        return tuple(mac for mac in found if mac is not None)

    def rules(self) -> tuple[Rule, ...]:
        """The policy rules that name a netdev or an address, in the order of the kernel."""
        try:
            replies = self._kernel.dump(rules.query())
        except RequestRefused as failure:
            if failure.code == errno.EOPNOTSUPP:  # a kernel without policy rules
                return ()
            raise
        found = map(rules.rule_of, replies)
        return tuple(rule for rule in found if rule is not None)

    def rdma(self) -> Rdma:
        """The RDMA subsystem, with what sysfs shows of the devices of the host."""
        return self._rdma(lambda subsystem: subsystem.read()) or Rdma()

    def rdma_devices(self) -> tuple[RdmaDevice, ...]:
        """The RDMA devices that can be used here; what only sysfs knows of them is left out."""
        return self._rdma(lambda subsystem: subsystem.devices()) or ()

    def _rdma(self, use: "Callable[[RdmaNetlink], T]") -> T | None:
        """What `use` returns, with this thread in the namespace; None without RDMA subsystem.

        The kernel moves a device out of the namespace of the thread that asks, whatever that of the
        socket is.
        """
        if not os.path.isdir(RDMA_DEVICES):
            return None
        from amdcni.effects.rdma import RdmaNetlink

        with entered(self._netns_fd), RdmaNetlink() as subsystem:
            return use(subsystem)

    # ---- changing

    def apply(self, netdev: Netdev, changes: Iterable[Change]) -> list[str]:
        """Make the changes, each even if others fail; return what the kernel refused, in words."""
        refused = []
        with entered(self._netns_fd):
            for change in changes:
                try:
                    aspects.apply(self._kernel, netdev, change)
                except KernelRefused as failure:
                    refused.append(failure.message)
        return refused

    def change(self, netdev: Netdev, **attributes: object) -> None:
        """Set these attributes of the netdev, named as those of `Netdev`, in one request."""
        aspects.link.change_link(self._kernel, netdev, attributes)

    def rename(self, netdev: Netdev, ifname: IfName) -> None:
        """Rename the netdev; older kernels refuse unless it is down."""
        request = links.change(netdev, {"ifname": ifname})
        self._kernel.do(f"rename {netdev.ifname} to {ifname}", request)

    def drop_altname(self, netdev: Netdev, altname: str) -> None:
        """Remove an alternative name from the netdev, if it still has it."""
        aspects.altnames.drop(self._kernel, netdev, altname)

    def add_altname(self, netdev: Netdev, altname: str) -> None:
        """Give the netdev an alternative name, unless it has it; refused if another netdev does."""
        aspects.altnames.add(self._kernel, netdev, altname)

    def move(
        self,
        netdev: Netdev,
        to: "Netlink",
        ifname: IfName,
        ifindex: int | None = None,
        **attributes: object,
    ) -> None:
        """Move the netdev into another namespace under the name `ifname`, with these attributes.

        It gets `ifindex` there if no other netdev has that (Linux 5.12); otherwise the kernel lets
        it keep its own, if that is free, or gives it a new one.

        It is one request, which the kernel carries out in the order of do_setlink
        (net/core/rtnetlink.c): the move, which sets it down, hardware address and MTU, the name,
        the alias, and last, up.  A failure leaves the rest undone: the caller has to look.
        """
        what = f"move {netdev.ifname} to another network namespace as {ifname}"
        what += "".join(f", {name} {value!r}" for name, value in attributes.items())
        asked = {"ifname": ifname, **attributes}
        if ifindex is not None:
            try:
                numbered = links.change(netdev, {**asked, "ifindex": ifindex}, to._netns_fd)
                self._kernel.ask(numbered)
            except RequestRefused as failure:
                if failure.code != errno.EBUSY:
                    raise KernelRefused(f"the kernel refused to {what}: {failure.said}") from None
            else:
                return
        self._kernel.do(what, links.change(netdev, asked, to._netns_fd))

    def move_rdma(self, device: RdmaDevice, to: "Netlink") -> None:
        """Move an RDMA device of this namespace into another; raises RdmaImmovable if none can."""
        self._rdma(lambda subsystem: subsystem.move(device, to._netns_fd))

    def rename_rdma(self, device: RdmaDevice, name: str) -> None:
        """Rename an RDMA device of this namespace; no other may have the name."""
        self._rdma(lambda subsystem: subsystem.rename(device, name))

    def put_address(self, netdev: Netdev, address: Address) -> None:
        """Add the address, or set these attributes of the one that is there."""
        aspects.addresses.put(self._kernel, netdev, address)

    def put_route(self, change: SetRoute) -> None:
        """Set the route, whose hops have the ifindexes of this namespace."""
        aspects.routes.put(self._kernel, change)

    def set_rule(self, change: RuleChange) -> None:
        """Add the rule, or add it once more and remove the older ones: so it is always there."""
        rule = change.rule
        match change:
            case AddRule():
                what = f"add the policy rule {rule.describe()}"
                self._kernel.do(what, rules.add(rule), done_if=errno.EEXIST)
            case RenewRule():
                what = f"renew the policy rule {rule.describe()}"
                if not change.another:
                    self._kernel.do(what, rules.add(rule, once_more=True))
                for _ in range(change.blind):
                    self._kernel.do(what, rules.drop(rule), done_if=errno.ENOENT)
            case _:
                assert_never(change)

    def allow_ipv6(self, ifname: str) -> None:
        """Let the netdev of that name have IPv6 addresses, even if a sysctl forbids them."""
        with entered(self._netns_fd):
            aspects.sysctls.allow_ipv6(ifname)

    def sysctl_defaults(self, names: Iterable[str]) -> Values:
        """What a new netdev has of the sysctls with these names, as far as that can be read."""
        with entered(self._netns_fd):
            return aspects.sysctls.defaults_of(self._kernel, names)


def _netdev_of(link: Reply, replies: Iterable[Reply]) -> Netdev:
    found = map(addresses.address_of, replies)
    return links.netdev_of(link, tuple(address for address in found if address is not None))
