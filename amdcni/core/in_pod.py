"""What a netdev gets in a pod from the mover `native`, and the result that reports it."""

import ipaddress
from collections.abc import Iterable
from typing import Final

import attrs

from amdcni.core import host
from amdcni.core.aspects.addresses import aged, in_setting_order, relabelled
from amdcni.core.aspects.routes import due_on_host, on_its_own
from amdcni.core.attachment import Attachment
from amdcni.core.capture import Captured
from amdcni.core.errors import PluginBroken
from amdcni.core.formats import copies_routes, dns_of
from amdcni.core.host import Address, AddressFlag, IpAddress, Netdev
from amdcni.core.ipam import gateway_of, given_addresses, is_given
from amdcni.core.request import Mover
from amdcni.core.spec import Interface, Ip, Result, Route

_MAIN_TABLE: Final = 254
_UNICAST: Final = 1

_NOT_HELD: Final = AddressFlag.TENTATIVE | AddressFlag.DADFAILED


def hosts_promise(record: Attachment) -> Result:
    """The result of giving a pod the captured addresses: what the `static` plugin would answer."""
    captured = () if record.captured is None else record.captured.addresses
    ips = tuple(Ip(interface, gateway_of(interface)) for interface in given_addresses(captured))
    return _promise(record, Result(ips=ips))


def ipams_promise(record: Attachment, given: Result) -> Result:
    """The result of giving a pod what its own IPAM plugin gave; raises PluginBroken if nothing.

    Every address is for our netdev (plugins/main/host-device); the plugin's own resolver settings
    are used if the configuration has none.
    """
    if not given.ips:
        raise PluginBroken(f"the IPAM plugin {record.ipam!r} gave no address; see its `ipam` keys")
    return _promise(record, given)


def _promise(record: Attachment, given: Result) -> Result:
    dns = dns_of(record.config) or given.dns
    ips = tuple(attrs.evolve(ip, interface=0) for ip in given.ips)
    return Result((), ips, given.routes, dns)


def promised_again(record: Attachment) -> Result | None:
    """What the ADD of a netdev that is attached again has promised; None if it is a first ADD.

    The copied routes are not in it: they are copied again, with all their attributes.
    """
    if record.result is None:
        return None
    copied: tuple[Route, ...] = ()
    if record.captured is not None and copies_routes(record.config):
        copied = _listed(record.captured.routes)
    routes = tuple(route for route in record.result.routes if route not in copied)
    return attrs.evolve(record.result, routes=routes)


def described(record: Attachment, promise: Result, netdev: Netdev) -> Result:
    """The promise together with the netdev, as it is in the pod."""
    interface = Interface(record.id.ifname, netdev.mac, sandbox=record.netns.path)
    return attrs.evolve(promise, interfaces=(interface,))


def addresses_for(record: Attachment, promise: Result, now_s: int) -> tuple[Address, ...]:
    """The addresses that the netdev gets in the pod, in the order in which to set them, `now_s`.

    One that is attached again gets them as its ADD gave them, and has just held them.
    """
    by_plugin = record.ipam is not None or record.mover is Mover.DELEGATE
    if by_plugin or record.captured is None:
        plain = tuple(_plain(ip) for ip in promise.ips)
        return plain if record.result is None else tuple(map(_as_held, plain))
    fitting = (a for a in record.captured.addresses if is_given(a))
    due = aged(fitting, record.elapsed_s(now_s))
    held = (_as_held(address) for address in in_setting_order(due))
    return relabelled(held, record.captured.ifname, record.id.ifname)


def _as_held(address: Address) -> Address:
    """An IPv6 address that this very NIC has just held needs no duplicate address detection."""
    if address.family == 4 or address.flags & _NOT_HELD:
        return address
    return attrs.evolve(address, flags=address.flags | AddressFlag.NODAD)


def _plain(ip: Ip) -> Address:
    """The address as plugins set it that know nothing else: with the usual broadcast address."""
    network = ip.address.network
    if network.version == 6 or network.prefixlen > network.max_prefixlen - 2:
        return Address(ip.address)
    return Address(ip.address, broadcast=network.broadcast_address)


def routes_for(promise: Result, netdev: Netdev) -> tuple[host.Route, ...]:
    """The routes that the netdev gets; one without a gateway uses the first of its family.

    The host part of a network in the result is dropped, as plugins do.
    """
    return tuple(_route(route, promise.ips, netdev) for route in promise.routes)


def _route(route: Route, ips: Iterable[Ip], netdev: Netdev) -> host.Route:
    via = route.gw or _first_gateway(ips, route.dst.version)
    metrics: dict[str, int | str] = {}
    if route.mtu is not None:
        metrics["mtu"] = route.mtu
    if route.advmss is not None:
        metrics["advmss"] = route.advmss
    return host.Route(
        destination=route.dst.network,
        hops=(host.Hop(netdev.ifname, netdev.ifindex, via),),
        table=_MAIN_TABLE if route.table is None else route.table,
        scope=route.scope or 0,
        metric=route.priority,
        metrics=metrics,
    )


def copied_routes(captured: Captured, netdev: Netdev) -> tuple[host.Route, ...]:
    """The routes of the host as `netdev` can have them in the pod, in the order of setting.

    Local routes stay the host's, and the pod's own kernel makes the one to link-local neighbours.
    If the pod does not have a preferred source, or not yet, the kernel chooses one.
    """
    own = {a.interface.ip for a in netdev.addresses if not a.flags & AddressFlag.TENTATIVE}
    return tuple(
        route if route.source in own else attrs.evolve(route, source=None)
        for route in due_on_host(map(on_its_own, captured.routes), captured.ifname, netdev, ())
        if route.kind == _UNICAST and not (route.family == 6 and route.destination.is_link_local)
    )


def with_routes(result: Result, copied: Iterable[host.Route]) -> Result:
    """The result with those of the routes that every version can express: of the main table."""
    return attrs.evolve(result, routes=(*result.routes, *_listed(copied)))


def _listed(copied: Iterable[host.Route]) -> tuple[Route, ...]:
    return tuple(
        Route(ipaddress.ip_interface(route.destination.with_prefixlen), route.hops[0].via)
        for route in copied
        if route.table == _MAIN_TABLE
    )


def _first_gateway(ips: Iterable[Ip], version: int) -> IpAddress | None:
    gateways = (ip.gateway for ip in ips if ip.gateway is not None)
    return next((gateway for gateway in gateways if gateway.version == version), None)
