"""The kernel's netdevs and addresses, by pyroute2: one socket a network namespace.

pyroute2 is untyped; what comes out of this module is not.  A dump that others disturb
(NLM_F_DUMP_INTR) is read again.
"""

import errno
import ipaddress
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

from amdcni.core.errors import KernelRefused
from amdcni.core.host import Address, AddressFlag, IpAddress, Netdev
from amdcni.core.names import IfName, MacAddress
from amdcni.core.spec import Route
from amdcni.effects import sysctl
from amdcni.effects.netns import entered, netns_id

T = TypeVar("T")

_FAMILIES: Final = {4: 2, 6: 10}  # AF_INET, AF_INET6
_IFF_UP: Final = 0x1
_IFF_LOOPBACK: Final = 0x8
_FOREVER: Final = 0xFFFFFFFF
_MAIN_TABLE: Final = 254
_RTPROT_BOOT: Final = 3
_DUMP_ATTEMPTS: Final = 20
_DAD_LIMIT_S: Final = 10.0
_DAD_POLL_S: Final = 0.05


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
        links = self._dump(lambda: list(self._route.link("dump")))
        addresses: dict[int, list[Address]] = {}
        for message in self._dump(lambda: list(self._route.addr("dump"))):
            addresses.setdefault(message["index"], []).append(_address(message))
        return tuple(_netdev(link, tuple(addresses.get(link["index"], ()))) for link in links)

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
        return _netdev(link, tuple(_address(message) for message in found))

    def default_routes(self, ifindex: int) -> tuple[int, ...]:
        """The ifindexes of the main table's default routes, if one goes through `ifindex`.

        The kernel filters by netdev, so that a node with a full routing table costs little.
        """
        ours = self._default_routes(oif=ifindex)
        return self._default_routes() if ours else ()

    def _default_routes(self, **where: int) -> tuple[int, ...]:
        found = []
        for family in _FAMILIES.values():
            messages = self._dump(
                lambda family=family: list(  # type: ignore[misc]
                    self._route.route("dump", family=family, table=_MAIN_TABLE, **where)
                )
            )
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

    def set_up(self, netdev: Netdev, up: bool) -> None:
        """Bring the netdev up, or down."""
        self._set(
            netdev, f"set {netdev.ifname} {'up' if up else 'down'}", state="up" if up else "down"
        )

    def set_alias(self, netdev: Netdev, alias: str | None) -> None:
        """Give the netdev this ifalias; None takes it away."""
        self._set(netdev, f"set the alias of {netdev.ifname}", ifalias=alias or "")

    def set_mac(self, netdev: Netdev, mac: MacAddress) -> None:
        """Give the netdev this hardware address; many drivers want it down for that."""
        self._set(netdev, f"give {netdev.ifname} the hardware address {mac}", address=mac)

    def set_mtu(self, netdev: Netdev, mtu: int) -> None:
        """Give the netdev this MTU."""
        self._set(netdev, f"give {netdev.ifname} the MTU {mtu}", mtu=mtu)

    def rename(self, netdev: Netdev, ifname: IfName) -> None:
        """Rename the netdev, which has to be down on older kernels."""
        self._set(netdev, f"rename {netdev.ifname} to {ifname}", ifname=ifname)

    def drop_altname(self, netdev: Netdev, altname: str) -> None:
        """Take an alternative name away from the netdev."""
        self._ask(
            f"take the alternative name {altname} from {netdev.ifname}",
            lambda: self._route.link("property_del", index=netdev.ifindex, altname=altname),
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
            "family": _FAMILIES[address.family],
            "local": str(address.interface.ip),
            "address": str(address.peer or address.interface.ip),
            "prefixlen": address.interface.network.prefixlen,
            "scope": address.scope,
            "flags": address.settable_flags,
            "broadcast": None if address.broadcast is None else str(address.broadcast),
            "label": address.label,
            "rt_priority": address.metric,
            "proto": address.proto,
            "valid": _FOREVER if address.valid_s is None else address.valid_s,
            "preferred": _FOREVER if address.preferred_s is None else address.preferred_s,
        }
        given = {key: value for key, value in attributes.items() if value is not None}
        what = f"give {address.interface} to {netdev.ifname}"
        self._ask(what, lambda: self._route.addr("replace", **given))

    def allow_ipv6(self, ifname: str) -> None:
        """Let the netdev of that name have IPv6 addresses where a sysctl forbids it."""
        with entered(self._netns_fd):
            sysctl.allow_ipv6(ifname)

    def await_addresses(self, netdev: Netdev) -> None:
        """Wait until duplicate address detection is over; a duplicate is a KernelRefused.

        A netdev that has no carrier yet is not waited for longer than `_DAD_LIMIT_S`.
        """
        deadline = time.monotonic() + _DAD_LIMIT_S
        while time.monotonic() < deadline:
            found = self._dump(lambda: list(self._route.addr("dump", index=netdev.ifindex)))
            addresses = [
                _address(message) for message in found if message["family"] == _FAMILIES[6]
            ]
            for address in addresses:
                if address.flags & AddressFlag.DADFAILED:
                    raise KernelRefused(f"{address.interface.ip} is somebody else's already (DAD)")
            if not any(a.flags & AddressFlag.TENTATIVE for a in addresses if not _is_local(a)):
                return
            time.sleep(_DAD_POLL_S)

    # ---- routes

    def add_route(self, netdev: Netdev, route: Route) -> None:
        """Add the route through the netdev, beside those that lead to the same destination."""
        metrics = {"mtu": route.mtu, "advmss": route.advmss}
        attributes: dict[str, Any] = {
            "family": _FAMILIES[route.dst.version],
            "dst": str(route.dst.network),
            "oif": netdev.ifindex,
            "gateway": None if route.gw is None else str(route.gw),
            "priority": route.priority,
            "table": route.table,
            "scope": route.scope,
            "proto": _RTPROT_BOOT,
            "metrics": {key: value for key, value in metrics.items() if value is not None} or None,
        }
        given = {key: value for key, value in attributes.items() if value is not None}
        what = f"add the route to {route.dst} through {netdev.ifname}"
        self._ask(what, lambda: self._route.route("append", **given))

    def _ask(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except NetlinkError as error:
            said = error.args[1] if len(error.args) > 1 else os.strerror(error.code)
            raise KernelRefused(f"the kernel refused to {what}: {said}") from None


def _netdev(link: Any, addresses: tuple[Address, ...]) -> Netdev:
    properties = link.get("IFLA_PROP_LIST")
    altnames = () if properties is None else properties.get_attrs("IFLA_ALT_IFNAME")
    here = link.get("IFLA_LINK_NETNSID") is None
    info = link.get("IFLA_LINKINFO")
    return Netdev(
        ifindex=link["index"],
        ifname=IfName(link.get("IFLA_IFNAME")),
        mac=_mac(link.get("IFLA_ADDRESS")),
        permanent_mac=_mac(link.get("IFLA_PERM_ADDRESS")),
        mtu=link.get("IFLA_MTU") or 0,
        up=bool(link["flags"] & _IFF_UP),
        loopback=bool(link["flags"] & _IFF_LOOPBACK),
        kind=None if info is None else info.get("IFLA_INFO_KIND"),
        alias=link.get("IFLA_IFALIAS"),
        altnames=tuple(altnames),
        parent=link.get("IFLA_PARENT_DEV_NAME"),
        lower=link.get("IFLA_LINK") or None if here else None,
        master=link.get("IFLA_MASTER"),
        addresses=addresses,
    )


def _mac(text: str | None) -> MacAddress | None:
    """A tunnel has an IP address for its hardware address, which is none (net/ipv4/ip_gre.c)."""
    return MacAddress(text) if text and len(text) >= len("00:00:00:00:00:00") else None


def _address(message: Mapping[str, Any]) -> Address:
    """IFA_LOCAL is the address and IFA_ADDRESS the peer, where both are there and differ."""
    first, local = message.get("IFA_ADDRESS"), message.get("IFA_LOCAL")
    own = local or first
    lifetimes = message.get("IFA_CACHEINFO") or {}
    all_flags = message.get("IFA_FLAGS")
    flags = message["flags"] if all_flags is None else all_flags
    preferred_s = _lifetime(lifetimes.get("ifa_preferred"))
    if preferred_s is None and flags & AddressFlag.DEPRECATED:
        # Of a permanent IPv4 address the kernel shows no lifetime (inet_fill_ifaddr).
        preferred_s = 0
    broadcast = message.get("IFA_BROADCAST")
    return Address(
        interface=ipaddress.ip_interface(f"{own}/{message['prefixlen']}"),
        peer=_ip(first) if first and first != own else None,
        broadcast=ipaddress.IPv4Address(broadcast) if broadcast else None,
        label=message.get("IFA_LABEL"),
        scope=message["scope"],
        flags=flags,
        metric=message.get("IFA_RT_PRIORITY") or None,
        proto=message.get("IFA_PROTO") or None,
        valid_s=_lifetime(lifetimes.get("ifa_valid")),
        preferred_s=preferred_s,
    )


def _is_local(address: Address) -> bool:
    return address.interface.ip.is_link_local


def _ip(text: str) -> IpAddress:
    return ipaddress.ip_address(text)


def _lifetime(seconds: int | None) -> int | None:
    return None if seconds in (None, _FOREVER) else seconds
