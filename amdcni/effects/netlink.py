"""The kernel's netdevs and all that belongs to them, by pyroute2: one socket a network namespace.

pyroute2 is untyped; what comes out of this module is not.  A dump that others disturb
(NLM_F_DUMP_INTR) is read again.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, TypeVar

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

from amdcni.core.errors import KernelRefused
from amdcni.core.host import (
    SETTABLE_LINK_FLAGS,
    Address,
    Details,
    IpAddress,
    Neighbour,
    Netdev,
    Qdisc,
    Route,
)
from amdcni.core.names import IfName
from amdcni.core.routes import RouteChange, describe
from amdcni.effects.messages import (
    FAMILIES,
    FOREVER,
    TC_H_ROOT,
    UNSAVED,
    address_of,
    ifindexes_of,
    neighbour_of,
    netdev_of,
    qdisc_message,
    qdisc_of,
    route_message,
    route_of,
    token_of,
)
from amdcni.effects.netns import entered, netns_id
from amdcni.effects.sysctl import DEFAULTS, allow_ipv6, read_sysctls, write_sysctl

T = TypeVar("T")

_MAIN_TABLE: Final = 254
_NUD_PERMANENT: Final = 0x80
_DUMP_ATTEMPTS: Final = 20

_RTM_NEWROUTE: Final = 24
_RTM_NEWQDISC: Final = 36
_NLM_F_ACKED_REQUEST: Final = 0x1 | 0x4
_NLM_F_REPLACE: Final = 0x100
_NLM_F_CREATE: Final = 0x400
_NLM_F_APPEND: Final = 0x800


class Netlink:
    """A route netlink socket in one network namespace; close it, or use it as a context manager.

    `id` is what tells the namespace from others.
    """

    def __init__(self, netns_fd: int) -> None:
        """A socket in the namespace of `netns_fd`, which becomes the socket's own to close."""
        self._netns_fd = netns_fd
        self.id = netns_id(netns_fd)
        with entered(netns_fd):
            self._route: Any = IPRoute(ext_ack=True, strict_check=True)

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._route.close()
        os.close(self._netns_fd)

    # ---- reading

    def netdevs(self) -> tuple[Netdev, ...]:
        """All netdevs of the namespace with all of their addresses."""
        links = self._links()
        addresses: dict[int, list[Address]] = {}
        for message in self._dump(lambda: list(self._route.addr("dump"))):
            addresses.setdefault(message["index"], []).append(address_of(message))
        return tuple(netdev_of(link, tuple(addresses.get(link["index"], ()))) for link in links)

    def details(self, netdev: Netdev) -> Details:
        """What is not read of every netdev."""
        links = {link["index"]: link for link in self._links()}
        if netdev.ifindex not in links:
            raise KernelRefused(f"{netdev.ifname} has gone")
        ifnames = _ifnames(links.values())
        # All are read: the kernel finds no multipath route by one of its netdevs.
        through = [
            (route, message)
            for message in self._route_messages()
            if netdev.ifindex in ifindexes_of(message)
            and (route := route_of(message, ifnames)) is not None
        ]
        neighbours = self._dump(lambda: list(self._route.neigh("dump", ifindex=netdev.ifindex)))
        with entered(self._netns_fd):
            sysctls, defaults = read_sysctls(netdev.ifname), read_sysctls(DEFAULTS)
        return Details(
            routes=tuple(route for route, _ in through),
            neighbours=tuple(neighbour_of(n) for n in neighbours if n["state"] & _NUD_PERMANENT),
            sysctls=sysctls,
            sysctl_defaults=defaults,
            token=token_of(links[netdev.ifindex]),
            qdisc=self._qdisc(netdev),
            unsaved=tuple(
                f"{what} of {describe(route)}"
                for route, message in through
                for attribute, what in UNSAVED.items()
                if message.get(attribute) is not None
            ),
        )

    def routes(self) -> tuple[Route, ...]:
        """All routes that lead through a netdev, of every table."""
        ifnames = _ifnames(self._links())
        found = [route_of(message, ifnames) for message in self._route_messages()]
        return tuple(route for route in found if route is not None)

    def _links(self) -> list[Any]:
        return self._dump(lambda: list(self._route.link("dump")))

    def _route_messages(self) -> Iterator[Any]:
        for family in FAMILIES.values():
            yield from self._dump(partial(self._dump_routes, family))

    def _dump_routes(self, family: int, **where: int) -> list[Any]:
        return list(self._route.route("dump", family=family, **where))

    def _qdisc(self, netdev: Netdev) -> Qdisc | None:
        for message in self._dump(lambda: list(self._route.tc("dump", index=netdev.ifindex))):
            if message["parent"] == TC_H_ROOT and message["handle"]:
                return qdisc_of(message)
        return None

    def find_netdev(self, ifname: str) -> Netdev | None:
        """The netdev of that name with its addresses, at no cost for the others; None if none.

        The kernel is asked for the one netdev, and for the addresses of that alone.
        """
        try:
            (link,) = self._route.link("get", ifname=ifname)
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise KernelRefused(f"the kernel does not show {ifname}: {error}") from None
        found = self._dump(lambda: list(self._route.addr("dump", index=link["index"])))
        return netdev_of(link, tuple(address_of(message) for message in found))

    def default_routes(self, ifindex: int) -> tuple[int, ...]:
        """The ifindexes of the main table's default routes, if one goes through `ifindex`.

        The kernel filters by netdev, so that a node with a full routing table costs little.
        """
        ours = self._default_routes(oif=ifindex)
        return self._default_routes() if ours else ()

    def _default_routes(self, **where: int) -> tuple[int, ...]:
        found = []
        for family in FAMILIES.values():
            messages = self._dump(partial(self._dump_routes, family, table=_MAIN_TABLE, **where))
            for message in messages:
                if message["dst_len"] == 0 and message["type"] == 1:  # RTN_UNICAST
                    hops = message.get("RTA_MULTIPATH") or ()
                    found += [hop["oif"] for hop in hops] or [message.get("RTA_OIF")]
        return tuple(index for index in found if index)

    def _dump(self, read: Callable[[], T]) -> T:
        for _ in range(_DUMP_ATTEMPTS):
            try:
                return read()
            except NetlinkDumpInterrupted:
                continue
        raise KernelRefused("the netdevs change faster than they can be read; try again")

    # ---- links

    def change(self, netdev: Netdev, **attributes: object) -> None:
        """Give the netdev these values of attributes of `Netdev`, in one request."""
        asked = dict(attributes)
        if "up" in asked:
            asked["state"] = "up" if asked.pop("up") else "down"
        if "alias" in asked:
            asked["ifalias"] = asked.pop("alias") or ""
        if "mac" in asked:
            asked["address"] = asked.pop("mac")
        if "flags" in asked:
            asked["change"] = int(SETTABLE_LINK_FLAGS)
        told = ", ".join(f"{name} {value!r}" for name, value in attributes.items())
        self._set(netdev, f"give {netdev.ifname} the {told}", **asked)

    def rename(self, netdev: Netdev, ifname: IfName) -> None:
        """Rename the netdev, which has to be down on older kernels."""
        self._set(netdev, f"rename {netdev.ifname} to {ifname}", ifname=ifname)

    def drop_altname(self, netdev: Netdev, altname: str) -> None:
        """Take an alternative name away from the netdev."""
        self._ask(
            f"take the alternative name {altname} from {netdev.ifname}",
            lambda: self._route.link("property_del", index=netdev.ifindex, altname=altname),
        )

    def add_altname(self, netdev: Netdev, altname: str) -> None:
        """Give the netdev an alternative name."""
        self._ask(
            f"give {netdev.ifname} the alternative name {altname}",
            lambda: self._route.link("property_add", index=netdev.ifindex, altname=altname),
        )

    def move(self, netdev: Netdev, to: "Netlink", ifname: IfName) -> None:
        """Move the netdev into another namespace under the name `ifname`.

        A rename that fails after the move leaves the netdev moved under its old name
        (net/core/rtnetlink.c, do_setlink): the caller has to look.
        """
        what = f"move {netdev.ifname} to another network namespace as {ifname}"
        self._set(netdev, what, net_ns_fd=to._netns_fd, ifname=ifname)

    def _set(self, netdev: Netdev, what: str, **attributes: object) -> None:
        self._ask(what, lambda: self._route.link("set", index=netdev.ifindex, **attributes))

    # ---- addresses

    def put_address(self, netdev: Netdev, address: Address) -> None:
        """Add the address, or give the one that is there these attributes."""
        attributes: dict[str, Any] = {
            "index": netdev.ifindex,
            "family": FAMILIES[address.family],
            "local": str(address.interface.ip),
            "address": str(address.peer or address.interface.ip),
            "prefixlen": address.interface.network.prefixlen,
            "scope": address.scope,
            "flags": address.settable_flags,
            "broadcast": None if address.broadcast is None else str(address.broadcast),
            "label": address.label,
            "rt_priority": address.metric,
            "proto": address.proto,
            "valid": FOREVER if address.valid_s is None else address.valid_s,
            "preferred": FOREVER if address.preferred_s is None else address.preferred_s,
        }
        given = {key: value for key, value in attributes.items() if value is not None}
        what = f"give {address.interface} to {netdev.ifname}"
        self._ask(what, lambda: self._route.addr("replace", **given))

    # ---- what needs addresses

    def put_route(self, change: RouteChange) -> None:
        """Set the route, whose hops have the ifindexes of this namespace."""
        message = route_message(change.route)
        flags = _NLM_F_CREATE | (_NLM_F_REPLACE if change.replace else _NLM_F_APPEND)
        self._send(f"set {describe(change.route)}", message, _RTM_NEWROUTE, flags)

    def put_neighbour(self, netdev: Netdev, neighbour: Neighbour) -> None:
        """Set the permanent neighbour."""
        given: dict[str, Any] = {
            "ifindex": netdev.ifindex,
            "family": FAMILIES[neighbour.address.version],
            "dst": str(neighbour.address),
            "state": _NUD_PERMANENT,
            "flags": neighbour.flags,
        }
        if neighbour.mac is not None:
            given["lladdr"] = neighbour.mac
        if neighbour.protocol is not None:
            given["protocol"] = neighbour.protocol
        what = f"set the neighbour {neighbour.address} of {netdev.ifname}"
        self._ask(what, lambda: self._route.neigh("replace", **given))

    def put_token(self, netdev: Netdev, token: IpAddress) -> None:
        """Give the netdev this IPv6 token."""
        ipv6 = {"attrs": [("IFLA_INET6_TOKEN", str(token))]}
        what = f"give {netdev.ifname} the IPv6 token {token}"
        self._set(netdev, what, af_spec={"attrs": [("AF_INET6", ipv6)]})

    def put_qdisc(self, netdev: Netdev, qdisc: Qdisc) -> None:
        """Make it the root qdisc of the netdev."""
        message = qdisc_message(qdisc, netdev.ifindex)
        what = f"set the qdisc {qdisc.kind} of {netdev.ifname}"
        self._send(what, message, _RTM_NEWQDISC, _NLM_F_CREATE | _NLM_F_REPLACE)

    def put_sysctl(self, netdev: Netdev, name: str, value: int | str) -> None:
        """Set a sysctl of the netdev, such as `ipv4/conf/rp_filter`."""
        with entered(self._netns_fd):
            write_sysctl(netdev.ifname, name, value)

    def allow_ipv6(self, ifname: str) -> None:
        """Let the netdev of that name have IPv6 addresses where a sysctl forbids it."""
        with entered(self._netns_fd):
            allow_ipv6(ifname)

    def _send(self, what: str, message: Any, kind: int, flags: int) -> None:
        message["header"]["type"] = kind
        message["header"]["flags"] = _NLM_F_ACKED_REQUEST | flags
        self._ask(what, lambda: self._route.nlm_request_batch([message]))

    def _ask(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except NetlinkError as error:
            said = error.args[1] if len(error.args) > 1 else os.strerror(error.code)
            raise KernelRefused(f"the kernel refused to {what}: {said}") from None


def _ifnames(links: Iterable[Any]) -> dict[int, IfName]:
    return {link["index"]: IfName(link.get("IFLA_IFNAME")) for link in links}
