"""What the kernel makes by itself for a netdev, and whether it will make that again.

Only what it will make again is left to it.  Who made something is not enough to know: network
managers mark their routes as the kernel's or as a router's, and the kernel makes nothing again that
has been switched off meanwhile.  The facts are those of net/ipv4/fib_frontend.c and of
net/ipv6/addrconf.c, ndisc.c and route.c.
"""

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

import attrs

from amdcni.core.host import (
    TEMPORARY,
    Address,
    AddressFlag,
    Hop,
    IpInterface,
    IpNetwork,
    Netdev,
    Route,
    Values,
)
from amdcni.core.names import MacAddress

_PROTO_RA: Final = 2  # IFAPROT_KERNEL_RA
_PROTO_LINK_LOCAL: Final = 3  # IFAPROT_KERNEL_LL
_LINK_LOCAL: Final = ipaddress.IPv6Network("fe80::/64")

_RTPROT_KERNEL: Final = 2
_RTPROT_RA: Final = 9
_RTN_UNICAST: Final = 1
_RTN_LOCAL: Final = 2
_RTN_BROADCAST: Final = 3
_RTN_ANYCAST: Final = 4
_MAIN_TABLE: Final = 254
_LOCAL_TABLE: Final = 255
_SCOPE_LINK: Final = 253
_MULTICAST: Final = ipaddress.IPv6Network("ff00::/8")
_PREFIX_METRIC: Final = 256  # IP6_RT_PRIO_ADDRCONF
_ROUTER_METRIC: Final = 1024  # IP6_RT_PRIO_USER
_ADVERTISED_METRICS: Final = frozenset({"hoplimit", "mtu"})

_EUI64, _STABLE, _RANDOM = 0, 2, 3  # IN6_ADDR_GEN_MODE_*; 1 is none

_INITIAL: Final[Mapping[str, int]] = {
    "accept_ra": 1,
    "accept_ra_defrtr": 1,
    "accept_ra_pinfo": 1,
    "accept_ra_rtr_pref": 1,
    "autoconf": 1,
    "ra_defrtr_metric": _ROUTER_METRIC,
}
"""The initial values of IPv6 sysctls, if not 0 (ip-sysctl.rst); they stand in for unread ones."""


@attrs.frozen
class _Settings:
    """What the kernel does by itself for IPv6 on a netdev that has these sysctls."""

    sysctls: Values

    def __getitem__(self, name: str) -> int:
        return int(self.sysctls.get(f"ipv6/conf/{name}", _INITIAL.get(name, 0)))

    @property
    def hears_routers(self) -> bool:
        """Whether router advertisements are accepted (ipv6_accept_ra)."""
        accept = self["accept_ra"]
        return not self["disable_ipv6"] and (accept == 2 if self["forwarding"] else accept > 0)

    @property
    def takes_prefixes(self) -> bool:
        """Whether prefixes of router advertisements are used."""
        return self.hears_routers and self["accept_ra_pinfo"] > 0

    def takes_routes_of(self, length: int) -> bool:
        """Whether routes to networks of that prefix length are learnt (RFC 4191)."""
        first, last = self["accept_ra_rt_info_min_plen"], self["accept_ra_rt_info_max_plen"]
        return self["accept_ra_rtr_pref"] > 0 and first <= length <= last


# ---- addresses


def is_kernels(address: Address, mac: MacAddress | None, *, protocols_reported: bool) -> bool:
    """Whether the kernel made `address` by itself.

    It never sets NOPREFIXROUTE.  Privacy addresses and stable private ones have a flag that nobody
    else can set.  For the rest, IFA_PROTO decides where the kernel reports it.  Elsewhere,
    addresses from router advertisements are known by a finite lifetime and the form of SLAAC, and
    the link-local address by being the EUI-64 of `mac`; a link-local address of any other form
    might have been set by hand.
    """
    if address.family == 4 or address.flags & AddressFlag.NOPREFIXROUTE:
        return False
    if address.flags & (TEMPORARY | AddressFlag.STABLE_PRIVACY):
        return True
    link_local = address.interface.network == _LINK_LOCAL
    if protocols_reported:
        return address.proto == (_PROTO_LINK_LOCAL if link_local else _PROTO_RA)
    if link_local:
        return is_eui64(address, mac)
    return address.valid_s is not None and (
        bool(address.flags & AddressFlag.MANAGETEMPADDR) or _ends_in_eui64(address.interface, mac)
    )


def remade_addresses(
    netdev: Netdev, sysctls: Values, *, protocols_reported: bool
) -> tuple[Address, ...]:
    """The addresses of `netdev` that the kernel made and will make again: never to be set by hand.

    A privacy address comes with the address that it was made for, whoever sets that.  A link-local
    address comes as soon as the link is ready, before or after what we set: beside others, one that
    anybody can set is not among them, so that they are listed in the same order.
    """
    settings = _Settings(sysctls)
    remade = tuple(
        address
        for address in netdev.addresses
        if is_kernels(address, netdev.mac, protocols_reported=protocols_reported)
        and _is_remade(address, netdev, settings)
    )
    beside = any(each.is_link_local for each in netdev.addresses if each not in remade)
    return tuple(each for each in remade if not (beside and is_eui64(each, netdev.mac)))


def _is_remade(address: Address, netdev: Netdev, settings: _Settings) -> bool:
    if address.interface.network == _LINK_LOCAL:
        return not settings["disable_ipv6"] and _is_generated(address, netdev.mac, settings)
    if address.flags & TEMPORARY:
        parents = (a for a in netdev.addresses if a.flags & AddressFlag.MANAGETEMPADDR)
        network = address.interface.network
        return settings["use_tempaddr"] > 0 and any(
            parent.interface.network == network for parent in parents
        )
    return settings.takes_prefixes and settings["autoconf"] > 0


def _is_generated(address: Address, mac: MacAddress | None, settings: _Settings) -> bool:
    """Whether that link-local address is what the kernel generates when the netdev goes up."""
    mode = settings["addr_gen_mode"]
    if address.flags & AddressFlag.STABLE_PRIVACY:
        return mode in (_STABLE, _RANDOM)
    own = None if mac is None else eui64_link_local(mac)
    return mode == _EUI64 and own in (None, address.interface.ip)


def is_eui64(address: Address, mac: MacAddress | None) -> bool:
    """Whether it is the link-local address that `mac` yields."""
    ip = address.interface.ip
    return address.is_link_local and mac is not None and ip == eui64_link_local(mac)


def eui64_link_local(mac: MacAddress) -> ipaddress.IPv6Address | None:
    """The link-local address that `mac` yields (RFC 4291, appendix A); None unless of 48 bits."""
    octets = bytes.fromhex(mac.replace(":", ""))
    if len(octets) != 6:
        return None
    interface_id = bytes([octets[0] ^ 0x02]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface_id)


def _ends_in_eui64(interface: IpInterface, mac: MacAddress | None) -> bool:
    link_local = None if mac is None else eui64_link_local(mac)
    return link_local is not None and interface.ip.packed[8:] == link_local.packed[8:]


# ---- routes


def remakes_route(
    route: Route, netdev: Netdev, sysctls: Values, remade: Collection[Address]
) -> bool:
    """Whether the kernel made `route` and will make it again once its addresses are there.

    `remade` are those of `remade_addresses`.  A route of the kernel's protocol comes with an
    address if it equals, in every attribute, the route that the kernel makes for that address;
    managers set others for addresses that have NOPREFIXROUTE.  What routers advertise comes again
    where they are heard.  Redirects are not among the routes, as the kernel keeps them elsewhere;
    one that is was set by a daemon.
    """
    settings = _Settings(sysctls)
    if route.protocol == _RTPROT_RA:
        return settings.hears_routers and _is_advertised(route, netdev, settings)
    if route.protocol != _RTPROT_KERNEL:
        return False
    if route.table == _LOCAL_TABLE:
        return _is_local(route, netdev.addresses)
    plain = attrs.evolve(route, expires_s=None, preference=route.preference or None)
    if any(plain in _made_with(a, netdev) for a in netdev.addresses if not _is_learnt(a, remade)):
        return True
    return settings.takes_prefixes and _is_on_link(route, plain, netdev, remade)


def _is_learnt(address: Address, remade: Collection[Address]) -> bool:
    """Whether a router advertisement will bring it; the prefix's route is announced separately."""
    return address in remade and address.interface.network != _LINK_LOCAL


def _made_with(address: Address, netdev: Netdev) -> Iterator[Route]:
    """The routes to networks that the kernel makes when `netdev` gets the address."""
    if address.family == 4:
        far = address.peer or address.interface.ip
        network = ipaddress.ip_network((far, address.interface.network.prefixlen), strict=False)
        without = AddressFlag.NOPREFIXROUTE | AddressFlag.SECONDARY
        alone = network.prefixlen == network.max_prefixlen and far == address.interface.ip
        if not (address.flags & without or alone):
            made = _connected(network, netdev, address.metric)
            yield attrs.evolve(made, scope=_SCOPE_LINK, source=address.interface.ip)
        return
    metric = address.metric or _PREFIX_METRIC
    if address.peer is not None:
        # To the peer, whatever the prefix and the flags (__ipv6_ifa_notify).
        yield _connected(ipaddress.ip_network(address.peer), netdev, metric)
    if not address.flags & AddressFlag.NOPREFIXROUTE:
        yield _connected(address.interface.network, netdev, metric)


def _connected(network: IpNetwork, netdev: Netdev, metric: int | None) -> Route:
    return Route(network, (Hop(netdev.ifname),), protocol=_RTPROT_KERNEL, metric=metric)


def _is_local(route: Route, addresses: Iterable[Address]) -> bool:
    """Whether the kernel delivers to itself by the route, which then comes with the addresses."""
    far = route.destination.network_address
    if route.kind == _RTN_LOCAL:
        return any(ipaddress.ip_network(a.interface.ip) == route.destination for a in addresses)
    if route.kind == _RTN_BROADCAST:
        return any(far in _broadcasts_of(address) for address in addresses)
    return route.destination == _MULTICAST or (route.family == 6 and route.kind == _RTN_ANYCAST)


def _broadcasts_of(address: Address) -> Iterator[object]:
    yield address.broadcast
    far = address.peer or address.interface.ip
    network = ipaddress.ip_network((far, address.interface.network.prefixlen), strict=False)
    yield from (network.network_address, network.broadcast_address)


def _is_on_link(route: Route, plain: Route, netdev: Netdev, remade: Collection[Address]) -> bool:
    """Whether a router has said that a network is on the link.

    If it said so forever, that shows by the address that it gave; without one, the route might be
    anybody's.
    """
    if route.family == 4 or plain != _connected(route.destination, netdev, _PREFIX_METRIC):
        return False
    return route.expires_s is not None or any(a.interface.ip in route.destination for a in remade)


def _is_advertised(route: Route, netdev: Netdev, settings: _Settings) -> bool:
    """Whether a router has said that it leads there itself; as a default router never forever.

    Only the main table gets such routes, and each leads to a single link-local address.
    """
    (hop, *others), length = route.hops, route.destination.prefixlen
    if others or hop.via is None or not hop.via.is_link_local:
        return False
    usual = Route(
        route.destination,
        (Hop(netdev.ifname, via=hop.via),),
        protocol=_RTPROT_RA,
        metric=route.metric,
        preference=route.preference,
        metrics=route.metrics,
        expires_s=route.expires_s,
    )
    if route != usual or not route.metrics.keys() <= _ADVERTISED_METRICS:
        return False
    if length:
        return route.metric == _ROUTER_METRIC and settings.takes_routes_of(length)
    usual_metric = settings["ra_defrtr_metric"]
    ends = route.expires_s is not None
    return ends and settings["accept_ra_defrtr"] > 0 and route.metric == usual_metric
